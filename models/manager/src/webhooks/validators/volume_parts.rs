//! The validators of what belongs to a volume: engines, replicas, snapshots, attachments.

use corral_kube_client::ListParams;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use longhorn_api::kinds::volume::{AccessMode, DataEngine, VolumeState};
use longhorn_api::{Engine, Replica, Snapshot, VolumeAttachment, labels, settings};

use super::Denial;
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore};

/// A volume has one engine; one that can migrate, two. The server is asked, not the cache.
pub async fn new_engine(datastore: &Datastore, engine: &Engine) -> Result<(), Denial> {
    let volume_name = &engine.spec.volume_name;
    let Some(volume) = datastore.volumes.find(volume_name) else {
        return Err(Denial::invalid_field("spec.volumeName", "volume does not exist for engine"));
    };
    require_data_engine(datastore, &engine.spec.data_engine)?;
    let of_volume = ListParams::default().labels(&format!("{}={volume_name}", labels::VOLUME));
    let listed = datastore.engines.api().list(&of_volume).await;
    let listed = listed.context(|| "failed to list engines for volume");
    let count = listed.map_err(|error| Denial::internal(error.to_string()))?.items.len() + 1;
    let (most, kind) = if volume.spec.migratable { (2, "migratable") } else { (1, "non-migratable") };
    if count > most {
        return Err(Denial::invalid(format!("engine creation would result in {count} engines for {kind} volume")));
    }
    Ok(())
}

/// An engine keeps its data engine.
pub fn changed_engine(old: &Engine, new: &Engine) -> Result<(), Denial> {
    keeps_data_engine("engine", &old.metadata, &old.spec.data_engine, &new.spec.data_engine)
}

/// A replica's data engine is switched on.
pub fn new_replica(datastore: &Datastore, replica: &Replica) -> Result<(), Denial> {
    require_data_engine(datastore, &replica.spec.data_engine)
}

/// A replica keeps its data engine.
pub fn changed_replica(old: &Replica, new: &Replica) -> Result<(), Denial> {
    keeps_data_engine("replica", &old.metadata, &old.spec.data_engine, &new.spec.data_engine)
}

/// The last replica with data of a volume that stays cannot be deleted. A failed one counts: its data may be of use.
pub fn deleted_replica(datastore: &Datastore, replica: &Replica) -> Result<(), Denial> {
    let volume_name = &replica.spec.volume_name;
    let volume = datastore.volumes.find(volume_name).filter(|volume| volume.metadata.deletion_timestamp.is_none());
    if volume.is_none() {
        return Ok(());
    }
    let replicas = datastore.replicas_of_volume(volume_name);
    let available = replicas
        .iter()
        .filter(|(_, replica)| !replica.spec.healthy_at.is_empty() && replica.metadata.deletion_timestamp.is_none());
    let (available, replica_name): (Vec<_>, _) = (available.map(|(name, _)| name).collect(), name(&replica.metadata));
    if available.len() == 1 && available[0] == replica_name {
        return Err(Denial::invalid(format!(
            "cannot delete replica {replica_name} because volume {volume_name} only has one available replica"
        )));
    }
    Ok(())
}

/// A snapshot names its volume.
pub fn new_snapshot(snapshot: &Snapshot) -> Result<(), Denial> {
    if snapshot.spec.volume.is_empty() {
        return Err(Denial::invalid_field("spec.volume", "spec.volume is required"));
    }
    Ok(())
}

/// A snapshot stays with its volume.
pub fn changed_snapshot(old: &Snapshot, new: &Snapshot) -> Result<(), Denial> {
    stays_with_volume("snapshot", (&old.metadata, &old.spec.volume), (&new.metadata, &new.spec.volume))
}

/// Tickets stand under their ids.
pub fn new_attachment(attachment: &VolumeAttachment) -> Result<(), Denial> {
    for (key, ticket) in &attachment.spec.attachment_tickets {
        if *key != ticket.id {
            let id = &ticket.id;
            return Err(Denial::invalid(format!(
                "the attachmentTickets map contains inconsistent attachment ticket ID: {key} vs {id}"
            )));
        }
    }
    Ok(())
}

/// An attachment stays with its volume, and a volume that can migrate is wanted on two nodes at most, the second only while it is attached.
pub fn changed_attachment(datastore: &Datastore, old: &VolumeAttachment, new: &VolumeAttachment) -> Result<(), Denial> {
    if super::takes_finalizer_off(&old.metadata, &new.metadata) {
        return Ok(());
    }
    stays_with_volume("VolumeAttachment", (&old.metadata, &old.spec.volume), (&new.metadata, &new.spec.volume))?;
    let volume_name = &new.spec.volume;
    let volume =
        datastore.volumes.get(volume_name).context(|| format!("failed to get volume {volume_name} for attachment"));
    let volume = volume.map_err(|error| Denial::invalid_field("spec.volume", error.to_string()))?;
    let migratable = volume.spec.migratable && volume.spec.access_mode == AccessMode::ReadWriteMany;
    let tickets = new.spec.attachment_tickets.len();
    let state = &volume.status.state;
    if migratable && tickets == 2 && *state != VolumeState::Attached {
        let message =
            format!("cannot attach migratable volume {volume_name} to a second node while it is in state {state}");
        return Err(Denial::invalid_field("spec.attachmentTickets", message));
    }
    if migratable && tickets > 2 {
        let message = format!("cannot attach migratable volume {volume_name} to more than two nodes");
        return Err(Denial::invalid_field("spec.attachmentTickets", message));
    }
    new_attachment(new)
}

/// A data engine is switched on.
pub(super) fn require_data_engine(datastore: &Datastore, engine: &DataEngine) -> Result<(), Denial> {
    let setting = if *engine == DataEngine::V2 { settings::V2_DATA_ENGINE } else { settings::V1_DATA_ENGINE };
    let enabled = datastore.setting_flag(setting).context(|| format!("failed to get {setting} setting"));
    if !enabled.map_err(|error| Denial::internal(error.to_string()))? {
        return Err(Denial::forbidden(format!("{setting} data engine is not enabled")));
    }
    Ok(())
}

fn keeps_data_engine(kind: &str, metadata: &ObjectMeta, old: &DataEngine, new: &DataEngine) -> Result<(), Denial> {
    if *old != DataEngine::Unset && old != new {
        let object = name(metadata);
        return Err(Denial::invalid(format!("changing data engine for {kind} {object} is not supported")));
    }
    Ok(())
}

fn stays_with_volume(kind: &str, old: (&ObjectMeta, &str), new: (&ObjectMeta, &str)) -> Result<(), Denial> {
    if old.1 != new.1 {
        return Err(Denial::invalid_field("spec.volume", "spec.volume field is immutable"));
    }
    let owners = |metadata: &ObjectMeta| metadata.owner_references.clone().unwrap_or_default();
    if !owners(old.0).is_empty() && owners(old.0) != owners(new.0) {
        let kind = if kind == "snapshot" { "snapshot" } else { "VolumeAttachment's" };
        let message = format!("{kind} OwnerReferences field is immutable");
        return Err(Denial::invalid_field("metadata.ownerReferences", message));
    }
    let label = |metadata| labels::get(metadata, labels::VOLUME);
    if label(old.0).is_some() && label(old.0) != label(new.0) {
        return Err(Denial::invalid_field("metadata.labels", format!("label {} is immutable", labels::VOLUME)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longhorn_api::kinds::volume_attachment::AttachmentTicket;

    use super::*;

    #[test]
    fn tickets_stand_under_their_ids() {
        let mut attachment = VolumeAttachment::default();
        let ticket = AttachmentTicket { id: "a".to_owned(), ..AttachmentTicket::default() };
        attachment.spec.attachment_tickets.insert("a", ticket.clone());
        assert_eq!(new_attachment(&attachment), Ok(()));
        attachment.spec.attachment_tickets.insert("b", ticket);
        assert!(new_attachment(&attachment).is_err());
    }

    #[test]
    fn a_snapshot_stays_with_its_volume() {
        let mut old = Snapshot::default();
        old.spec.volume = "v1".to_owned();
        labels::set(&mut old.metadata, labels::VOLUME, "v1");
        assert_eq!(changed_snapshot(&old, &old), Ok(()));
        let mut new = old.clone();
        new.metadata.labels = None;
        assert!(changed_snapshot(&old, &new).is_err());
        new = old.clone();
        new.spec.volume = "v2".to_owned();
        assert!(changed_snapshot(&old, &new).is_err());
    }
}
