//! The validators: what may be stored at all (`webhook/resources/*/validator.go`). They read the webhooks' own caches.

mod backups;
mod nodes;
mod settings;

use longhorn_api::Release;

use super::review::{Denial, Operation, Request};
use super::{Resource, WRITES};
use crate::runtime::Datastore;

const CREATE: &[Operation] = &[Operation::Create];
const EVERYTHING: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete];

/// What the validators are asked about, in the order of upstream's rules.
pub fn resources(release: Release) -> Vec<Resource> {
    let resource = |name, operations| Resource { name, operations };
    let many_targets = release.at_least(Release::V1_8_0_RC1);
    let mut resources = vec![resource("nodes", WRITES), resource("settings", EVERYTHING)];
    if many_targets {
        resources.push(resource("backupbackingimages", CREATE));
        resources.push(resource("backups", CREATE));
        resources.push(resource("backuptargets", EVERYTHING));
    }
    resources.push(resource("systembackups", CREATE));
    resources
}

/// Whether the write of a request may happen.
pub async fn validate(datastore: &Datastore, request: &Request) -> Result<(), Denial> {
    match (request.resource.as_str(), request.operation) {
        ("backups", Operation::Create) => backups::backup(&request.object()?),
        ("backuptargets", Operation::Create) => backups::new_target(datastore, &request.object()?),
        ("backuptargets", Operation::Update) => {
            backups::changed_target(datastore, &request.old_object()?, &request.object()?)
        }
        ("backuptargets", Operation::Delete) => backups::deleted_target(datastore, &request.old_object()?),
        ("backupbackingimages", Operation::Create) => backups::backup_backing_image(datastore, &request.object()?),
        ("systembackups", Operation::Create) => backups::system_backup(datastore),
        ("settings", Operation::Create) => settings::new(datastore, &request.object()?).await,
        ("settings", Operation::Update) => {
            settings::changed(datastore, &request.old_object()?, &request.object()?).await
        }
        ("settings", Operation::Delete) => settings::deleted(datastore.release(), &request.old_object()?),
        ("nodes", Operation::Create) => nodes::new(datastore, &request.object()?),
        ("nodes", Operation::Update) => nodes::changed(datastore, &request.old_object()?, &request.object()?),
        (resource, operation) => Err(Denial::internal(format!("no validator of {} of {resource}", operation.as_str()))),
    }
}
