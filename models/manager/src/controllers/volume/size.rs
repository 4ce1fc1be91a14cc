//! The size of a volume: what its data take, and its growth.

use corral_kube_client::EventType;
use longhorn_api::Volume;

use super::VolumeController;
use super::picture::Picture;
use crate::runtime::Result;
use crate::scheduler::ReplicaScheduler;

impl VolumeController {
    /// Adds up what the snapshots take, and begins or cancels an expansion (`reconcileVolumeSize`).
    pub(super) fn follow_size(&self, picture: &mut Picture, engine: &str) -> Result<()> {
        let current = &picture.engines[engine];
        if current.status.snapshots_error.is_empty() {
            let sizes = current.status.snapshots.values().map(|snapshot| snapshot.size.parse::<i64>().unwrap_or(0));
            picture.volume.status.actual_size = sizes.sum();
        }
        let (size, old_size) = (picture.volume.spec.size, current.spec.volume_size);
        if old_size == size {
            return Ok(());
        }
        if current.status.current_size == size {
            picture.volume.status.expansion_required = false;
            let volume = picture.volume_name();
            let message = format!("Canceled expanding the volume {volume}, will automatically detach it");
            self.events.event(&picture.volume, EventType::Normal, "CanceledExpansion", message);
        } else {
            let scheduler = ReplicaScheduler::new(&self.manager.datastore);
            let fits = scheduler.check_expansion(&picture.volume, old_size.0, size.0);
            match fits {
                Ok(Ok(())) => {}
                Ok(Err(objection)) => {
                    tracing::warn!("Failed to start volume expansion: {objection}");
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%error, "Failed to start volume expansion");
                    return Ok(());
                }
            }
            tracing::info!("Expanding volume from size {old_size} to size {size}");
            picture.volume.status.expansion_required = true;
        }
        picture.engines.get_mut(engine).expect("the current engine").spec.volume_size = size;
        picture.replicas.values_mut().for_each(|replica| replica.spec.volume_size = size);
        Ok(())
    }
}

/// The expansion is done when the engine says so.
pub(super) fn finish_expansion(volume: &mut Volume, current_size: i64) {
    if volume.status.expansion_required && volume.spec.size.0 == current_size {
        volume.status.expansion_required = false;
        volume.status.frontend_disabled = false;
    }
}
