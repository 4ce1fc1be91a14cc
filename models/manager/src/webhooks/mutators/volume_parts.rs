//! The mutators of what belongs to a volume: engines, replicas, snapshots, attachments.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use longhorn_api::go::Map;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Engine, Replica, Snapshot, VolumeAttachment, labels};
use serde_json::json;

use super::volumes::fitting_name;
use super::{Denial, Patch, put_finalizer, put_labels};
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::{Context, Datastore};

/// An Engine has maps of its replicas, even if there are none.
pub fn engine(patch: &mut Patch, engine: &Engine) {
    let spec = &engine.spec;
    let maps = [
        ("replicaAddressMap", &spec.replica_address_map),
        ("upgradedReplicaAddressMap", &spec.upgraded_replica_address_map),
    ];
    for (field, map) in maps {
        if map.is_nil() {
            patch.replace(format!("/spec/{field}"), json!({}));
        }
    }
    put_common(patch, &engine.metadata, &spec.volume_name, &spec.data_engine);
}

/// A Replica is labelled with its volume.
pub fn replica(patch: &mut Patch, replica: &Replica) {
    put_common(patch, &replica.metadata, &replica.spec.volume_name, &replica.spec.data_engine);
}

fn put_common(patch: &mut Patch, metadata: &ObjectMeta, volume: &str, engine: &DataEngine) {
    let volume = fitting_name(volume);
    let of_volume = (!volume.is_empty()).then_some((labels::VOLUME, volume.as_str()));
    put_labels(patch, metadata, of_volume);
    put_finalizer(patch, metadata);
    if *engine == DataEngine::Unset {
        patch.replace("/spec/dataEngine", DataEngine::V1.as_str());
    }
}

/// A new Snapshot belongs to its volume.
pub fn snapshot(datastore: &Datastore, patch: &mut Patch, snapshot: &Snapshot, created: bool) -> Result<(), Denial> {
    put_finalizer(patch, &snapshot.metadata);
    if created { put_volume(datastore, patch, &snapshot.metadata, &snapshot.spec.volume) } else { Ok(()) }
}

/// A VolumeAttachment belongs to its volume; a ticket that changes is counted up, so that what was said of the former wish does not count
/// for the new one.
pub fn attachment(
    datastore: &Datastore,
    patch: &mut Patch,
    old: Option<&VolumeAttachment>,
    attachment: &VolumeAttachment,
) -> Result<(), Denial> {
    put_finalizer(patch, &attachment.metadata);
    let Some(old) = old else {
        return put_volume(datastore, patch, &attachment.metadata, &attachment.spec.volume);
    };
    if attachment.spec.attachment_tickets.is_nil() {
        patch.replace("/spec/attachmentTickets", json!({}));
    }
    let mut tickets = attachment.spec.attachment_tickets.clone();
    for (ticket_id, ticket) in tickets.make().iter_mut() {
        let statuses = &attachment.status.attachment_ticket_statuses;
        match (old.spec.attachment_tickets.get(ticket_id), statuses.get(ticket_id)) {
            (None, Some(status)) => ticket.generation = status.generation.wrapping_add(1),
            (Some(before), _) if before != ticket => ticket.generation = ticket.generation.wrapping_add(1),
            _ => {}
        }
        ticket.generation = ticket.generation.max(0);
    }
    let before: &Map<_> = &attachment.spec.attachment_tickets;
    if *tickets != **before {
        patch.replace("/spec/attachmentTickets", json!(tickets));
    }
    Ok(())
}

fn put_volume(datastore: &Datastore, patch: &mut Patch, metadata: &ObjectMeta, volume: &str) -> Result<(), Denial> {
    let volume = datastore.volumes.get(volume).context(|| format!("failed to get volume {volume}"));
    let volume = volume.map_err(|error| Denial::invalid_field("spec.Volume", error.to_string()))?;
    put_labels(patch, metadata, [(labels::VOLUME, name(&volume.metadata))]);
    if metadata.owner_references.iter().flatten().next().is_none() {
        patch.replace("/metadata/ownerReferences", json!([owner_reference(&*volume)]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;
    use longhorn_api::kinds::volume_attachment::AttachmentTicket;

    use super::super::super::tests::webhook_datastore;
    use super::*;

    #[test]
    fn a_changed_ticket_is_a_new_wish() {
        let datastore = webhook_datastore(Build::parse_tag("v1.9.2").unwrap());
        let mut old = VolumeAttachment::default();
        let ticket = AttachmentTicket { node_id: "n1".to_owned(), generation: 3, ..AttachmentTicket::default() };
        old.spec.attachment_tickets.insert("a", ticket);
        let mut new = old.clone();
        let tickets = |new: &VolumeAttachment| {
            let mut patch = Patch::default();
            attachment(&datastore, &mut patch, Some(&old), new).unwrap();
            let found =
                patch.operations().iter().find(|operation| operation["path"] == "/spec/attachmentTickets").cloned();
            found.map(|operation| operation["value"]["a"]["generation"].as_i64().unwrap())
        };
        assert_eq!(tickets(&new), None, "nothing changed");
        new.spec.attachment_tickets.get_mut("a").unwrap().node_id = "n2".to_owned();
        assert_eq!(tickets(&new), Some(4));
    }
}
