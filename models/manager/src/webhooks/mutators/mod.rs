//! The mutators: what is put right in an object before it is stored (`webhook/resources/*/mutator.go`).
//!
//! Every kind here but InstanceManager gets Longhorn's finalizer at each write, unless it is being deleted: a finalizer taken off by hand
//! comes back.

mod backups;
mod images;
mod instances;
mod system;
mod volume_parts;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use longhorn_api::{Release, labels};
use serde_json::json;

use super::review::{Denial, Operation, Patch, Request};
use super::{Resource, WRITES};
use crate::runtime::Datastore;

pub(super) use volumes::LONGEST_NAME as LONGEST_VOLUME_NAME;

/// What the mutators are asked about, in the order of upstream's rules.
pub fn resources(release: Release) -> Vec<Resource> {
    let many_targets = release.at_least(Release::V1_8_0_RC1);
    let names = [
        "backups",
        "backingimages",
        "backingimagemanagers",
        "backingimagedatasources",
        "nodes",
        "volumes",
        "engines",
        "engineimages",
        "orphans",
        "backuptargets",
        "backupvolumes",
        "snapshots",
        "replicas",
        "systembackups",
        "volumeattachments",
        "instancemanagers",
        "backupbackingimages",
    ];
    let mutated = names.into_iter().filter(|name| many_targets || *name != "backuptargets");
    mutated.map(|name| Resource { name, operations: WRITES }).collect()
}

/// What is to be changed in the object of a request.
pub async fn mutate(datastore: &Datastore, request: &Request) -> Result<Patch, Denial> {
    let created = request.operation == Operation::Create;
    let mut patch = Patch::default();
    match request.resource.as_str() {
        "backups" => backups::backup(datastore, &mut patch, &request.object()?, created)?,
        "backupvolumes" => backups::backup_volume(datastore, &mut patch, &request.object()?, created).await?,
        "backuptargets" => backups::backup_target(&mut patch, &request.object()?),
        "backupbackingimages" => backups::backup_backing_image(datastore, &mut patch, &request.object()?, created)?,
        "systembackups" => backups::system_backup(datastore, &mut patch, &request.object()?, created)?,
        "instancemanagers" => instances::instance_manager(datastore, &mut patch, &request.object()?, created)?,
        "orphans" => instances::orphan(datastore, &mut patch, &request.object()?, created)?,
        "nodes" => system::node(&mut patch, &request.object()?),
        "engineimages" => system::engine_image(&mut patch, &request.object()?, created),
        "volumes" if created => volumes::created(datastore, &mut patch, &request.object()?)?,
        "volumes" => volumes::changed(datastore, &mut patch, &request.old_object()?, &request.object()?)?,
        "engines" => volume_parts::engine(&mut patch, &request.object()?),
        "replicas" => volume_parts::replica(&mut patch, &request.object()?),
        "snapshots" => volume_parts::snapshot(datastore, &mut patch, &request.object()?, created)?,
        "volumeattachments" => {
            let old = if created { None } else { Some(request.old_object()?) };
            volume_parts::attachment(datastore, &mut patch, old.as_ref(), &request.object()?)?;
        }
        "backingimages" => images::backing_image(datastore, &mut patch, &request.object()?, created)?,
        "backingimagemanagers" => images::backing_image_manager(&mut patch, &request.object()?),
        "backingimagedatasources" => images::backing_image_data_source(&mut patch, &request.object()?),
        other => return Err(Denial::internal(format!("no mutator of {other}"))),
    }
    Ok(patch)
}

/// Puts Longhorn's finalizer on an object that is not being deleted.
fn put_finalizer(patch: &mut Patch, metadata: &ObjectMeta) {
    if metadata.deletion_timestamp.is_some() {
        return;
    }
    let mut metadata = metadata.clone();
    labels::add_finalizer(&mut metadata);
    patch.replace("/metadata/finalizers", json!(metadata.finalizers));
}

/// Adds labels to those of an object.
fn put_labels<'a>(patch: &mut Patch, metadata: &'a ObjectMeta, more: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let mut all: BTreeMap<&str, &str> =
        metadata.labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    all.extend(more);
    patch.replace("/metadata/labels", json!(all));
}
