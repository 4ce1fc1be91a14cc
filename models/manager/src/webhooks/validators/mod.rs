//! The validators: what may be stored at all (`webhook/resources/*/validator.go`). They read the webhooks' own caches.

mod backups;
mod images;
mod instances;
mod nodes;
mod settings;
mod volume_parts;
mod volumes;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use longhorn_api::{Release, labels};

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
    resources.push(resource("backingimages", EVERYTHING));
    resources.push(resource("systemrestores", CREATE));
    resources.push(resource("volumes", WRITES));
    resources.push(resource("snapshots", WRITES));
    resources.push(resource("systembackups", CREATE));
    resources.push(resource("volumeattachments", WRITES));
    resources.push(resource("engines", WRITES));
    resources.push(resource("replicas", EVERYTHING));
    resources.push(resource("orphans", WRITES));
    resources.push(resource("instancemanagers", WRITES));
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
        ("backingimages", Operation::Create) => images::new(datastore, &request.object()?),
        ("backingimages", Operation::Update) => images::changed(&request.old_object()?, &request.object()?),
        ("backingimages", Operation::Delete) => images::deleted(datastore, &request.old_object()?),
        ("systemrestores", Operation::Create) => images::system_restore(datastore, &request.object()?),
        ("systembackups", Operation::Create) => backups::system_backup(datastore),
        ("settings", Operation::Create) => settings::new(datastore, &request.object()?).await,
        ("settings", Operation::Update) => {
            settings::changed(datastore, &request.old_object()?, &request.object()?).await
        }
        ("settings", Operation::Delete) => settings::deleted(datastore.release(), &request.old_object()?),
        ("instancemanagers", Operation::Create | Operation::Update) => instances::instance_manager(&request.object()?),
        ("orphans", Operation::Create) => instances::orphan(datastore.release(), &request.object()?),
        ("orphans", Operation::Update) => {
            instances::changed_orphan(datastore.release(), &request.old_object()?, &request.object()?)
        }
        ("nodes", Operation::Create) => nodes::new(datastore, &request.object()?),
        ("nodes", Operation::Update) => nodes::changed(datastore, &request.old_object()?, &request.object()?),
        ("volumes", Operation::Create) => volumes::new(datastore, &request.object()?),
        ("volumes", Operation::Update) => volumes::changed(datastore, &request.old_object()?, &request.object()?),
        ("engines", Operation::Create) => volume_parts::new_engine(datastore, &request.object()?).await,
        ("engines", Operation::Update) => volume_parts::changed_engine(&request.old_object()?, &request.object()?),
        ("replicas", Operation::Create) => volume_parts::new_replica(datastore, &request.object()?),
        ("replicas", Operation::Update) => volume_parts::changed_replica(&request.old_object()?, &request.object()?),
        ("replicas", Operation::Delete) => volume_parts::deleted_replica(datastore, &request.old_object()?),
        ("snapshots", Operation::Create) => volume_parts::new_snapshot(&request.object()?),
        ("snapshots", Operation::Update) => volume_parts::changed_snapshot(&request.old_object()?, &request.object()?),
        ("volumeattachments", Operation::Create) => volume_parts::new_attachment(&request.object()?),
        ("volumeattachments", Operation::Update) => {
            volume_parts::changed_attachment(datastore, &request.old_object()?, &request.object()?)
        }
        (resource, operation) => Err(Denial::internal(format!("no validator of {} of {resource}", operation.as_str()))),
    }
}

/// Whether a write does nothing to the finalizers of a terminating object but take Longhorn's away.
fn takes_finalizer_off(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    let count = |metadata: &ObjectMeta| metadata.finalizers.as_ref().map_or(0, Vec::len);
    old.deletion_timestamp.is_some()
        && count(new) + 1 == count(old)
        && labels::has_finalizer(old)
        && !labels::has_finalizer(new)
}
