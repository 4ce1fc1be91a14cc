//! A Snapshot resource for each snapshot that the engine has, and none for what it has no longer.
//!
//! Fault model: upstream goes by the Engine as the reconcile read it at its beginning, and by the Snapshots as they are now. Between the two
//! lies the wait for a rebuild to begin (`super::rebuild`, up to 30 s): a Snapshot that became ready meanwhile is taken for one that the
//! engine has lost, and is deleted with its data (defect c1).

use longhorn_api::{Defect, Engine, Snapshot};

use super::EngineController;
use crate::runtime::Result;
use crate::runtime::backups::name;
use crate::runtime::volumes::VOLUME_HEAD;

impl EngineController {
    /// Deletes and creates Snapshots as the engine's status says (`syncSnapshotCRs`). Single failures are logged.
    pub(super) async fn follow_snapshots(&self, engine: &Engine) -> Result<()> {
        let datastore = &self.shared.manager.datastore;
        let volume_name = &engine.spec.volume_name;
        let volume = datastore.volumes.get(volume_name)?;
        let known = datastore.snapshots_of_volume(volume_name);
        // Read after the Snapshots: what one of them says of itself, this Engine said before.
        let newest = match datastore.build.has(Defect::FoundSnapshotDeleted) {
            true => None,
            false => Some(datastore.engines.get(name(&engine.metadata))?),
        };
        let engine = newest.as_deref().unwrap_or(engine);
        if !volume.spec.migration_node_id.is_empty() || !engine.status.snapshots_error.is_empty() {
            return Ok(());
        }
        for (snapshot_name, snapshot) in datastore.in_map_order(&known) {
            // One that is still to be taken is not missing.
            let was_there = !snapshot.spec.create_snapshot || !snapshot.status.creation_time.is_empty();
            let gone = !engine.status.snapshots.contains_key(snapshot_name);
            if gone && was_there && snapshot.metadata.deletion_timestamp.is_none() {
                tracing::info!("Deleting snapshot CR for the snapshot {snapshot_name}");
                match datastore.snapshots.delete(snapshot_name).await {
                    Err(error) if !error.is_not_found() => {
                        tracing::error!(%error, "syncSnapshotCRs: failed to delete snapshot CR {snapshot_name}");
                    }
                    _ => {}
                }
            }
        }
        for snapshot_name in datastore.in_map_order(engine.status.snapshots.keys()) {
            if snapshot_name == VOLUME_HEAD || known.contains_key(snapshot_name) {
                continue;
            }
            let mut snapshot = Snapshot::default();
            snapshot.metadata.name = Some(snapshot_name.clone());
            snapshot.spec.volume.clone_from(volume_name);
            tracing::info!("Creating snapshot CR for the snapshot {snapshot_name}");
            match datastore.snapshots.create(&snapshot).await {
                Err(error) if !error.is_already_exists() => {
                    tracing::error!(%error, "syncSnapshotCRs: failed to create snapshot CR {snapshot_name}");
                }
                _ => {}
            }
        }
        Ok(())
    }
}
