//! The deletion of a volume: everything that belongs to it first, then its finalizer.

use corral_kube_client::EventType;
use longhorn_api::Volume;
use longhorn_api::kinds::volume::{DataEngine, VolumeState};

use super::VolumeController;
use crate::runtime::backups::name;
use crate::runtime::{Datastore, Result};

impl VolumeController {
    /// Deletes what belongs to the volume, and lets the volume go when nothing is left.
    pub(super) async fn delete(&self, mut volume: Volume) -> Result<()> {
        let datastore = &self.manager.datastore;
        let volume_name = name(&volume.metadata).to_owned();
        // What the reconcile saw when it began; what is left is looked up anew.
        let (engines, replicas) =
            (datastore.engines_of_volume(&volume_name), datastore.replicas_of_volume(&volume_name));
        let snapshots = datastore.snapshots_of_volume(&volume_name);
        if volume.status.state != VolumeState::Deleting {
            volume.status.state = VolumeState::Deleting;
            volume = datastore.volumes.update_status(&volume).await?;
            self.events.event(&volume, EventType::Normal, "Delete", format!("Deleting volume {volume_name}"));
        }
        for (snapshot_name, snapshot) in datastore.in_map_order(&snapshots) {
            if snapshot.metadata.deletion_timestamp.is_none() {
                datastore.snapshots.delete(snapshot_name).await?;
            }
        }
        for (engine_name, engine) in datastore.in_map_order(&engines) {
            if engine.metadata.deletion_timestamp.is_none() {
                datastore.engines.delete(engine_name).await?;
            }
        }
        // The device over the replicas of v2 goes before them.
        let terminating = replicas.values().any(|replica| replica.metadata.deletion_timestamp.is_some());
        if volume.spec.data_engine == DataEngine::V2 && has_engines(datastore, &volume_name) && !terminating {
            tracing::info!("Volume {volume_name} still has engines, so skip deleting its replicas");
            return Ok(());
        }
        for (replica_name, replica) in datastore.in_map_order(&replicas) {
            if replica.metadata.deletion_timestamp.is_none() {
                datastore.replicas.delete(replica_name).await?;
            }
        }
        match datastore.volume_attachments.delete(&volume_name).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        if has_engines(datastore, &volume_name) || !datastore.replicas_of_volume(&volume_name).is_empty() {
            return Ok(());
        }
        datastore.volumes.remove_finalizer(volume).await
    }
}

fn has_engines(datastore: &Datastore, volume: &str) -> bool {
    !datastore.engines_of_volume(volume).is_empty()
}
