//! A volume without a healthy replica, or whose engine died: it becomes faulted, which detaches it; then the replicas that failed last are
//! taken as good again and it is attached anew.

use std::time::Duration;

use corral_kube_client::EventType;
use jiff::Timestamp;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::volume::{VolumeRobustness, VolumeState};
use longhorn_api::{Defect, Replica, settings};

use super::VolumeController;
use super::picture::Picture;
use super::replicas::{needs_salvage, set_failed};
use crate::runtime::{Result, clock};
use crate::scheduler::disk_of;

/// Replicas that failed so long before the last one are behind it (`AutoSalvageTimeLimit`).
const SALVAGE_WINDOW: Duration = Duration::from_secs(60);

impl VolumeController {
    /// Deals with faults; says whether this reconcile has done its part with that.
    pub(super) fn salvage(&self, picture: &mut Picture, engine: &str) -> Result<bool> {
        let current = picture.engines.get_mut(engine).expect("the current engine");
        current.spec.salvage_requested &= !current.status.salvage_executed;
        if needs_salvage(&picture.replicas) {
            return self.salvage_replicas(picture, engine);
        }
        let status = &mut picture.volume.status;
        if status.robustness == VolumeRobustness::Faulted && status.state == VolumeState::Detached {
            status.robustness = VolumeRobustness::Unknown;
            self.request_remount(picture, "");
            return Ok(true);
        }
        self.note_dead_engine(picture, engine);
        Ok(false)
    }

    fn salvage_replicas(&self, picture: &mut Picture, engine: &str) -> Result<bool> {
        picture.volume.status.robustness = VolumeRobustness::Faulted;
        let status = &picture.volume.status;
        let automatic = self.manager.datastore.setting_flag(settings::AUTO_SALVAGE)?
            && !status.is_standby
            && !status.restore_required;
        if !automatic {
            return Ok(false);
        }
        // Stored before the status can say "detached", so that the next start of the engine salvages.
        picture.engines.get_mut(engine).expect("the current engine").spec.salvage_requested = true;
        if picture.volume.status.state != VolumeState::Detached {
            return Ok(false);
        }
        let has_data = picture.replicas.values().any(|replica| !replica.spec.healthy_at.is_empty());
        if !has_data && self.manager.datastore.build.has(Defect::FoundNeverHealthy) {
            tracing::warn!("Failed to auto salvage volume {}: no data exists", picture.volume_name());
            return Ok(false);
        }
        // Without c16: a volume that was never healthy has nothing to lose.
        let usable = self.usable_failed_replicas(picture, !has_data)?;
        tracing::info!("Bringing up {} replicas for auto-salvage", usable.len());
        let last = usable.iter().map(|(_, failed_at)| *failed_at).max();
        let recent = usable.iter().filter(|(_, failed_at)| last.is_some_and(|last| *failed_at + SALVAGE_WINDOW > last));
        let mut salvaged = false;
        for (replica_name, _) in self.manager.datastore.in_map_order(recent) {
            set_failed(picture.replica(replica_name), "");
            let volume = picture.volume_name();
            let message = format!("Replica {replica_name} of volume {volume} will be automatically salvaged");
            self.events.event(&picture.volume, EventType::Warning, "AutoSalvaged", message);
            salvaged = true;
        }
        if salvaged {
            self.request_remount(picture, " after automatically salvaging replicas");
            picture.volume.status.robustness = VolumeRobustness::Unknown;
        }
        Ok(salvaged)
    }

    /// Failed replicas, with data unless those without will do too, on a disk that can be used; and when they failed.
    fn usable_failed_replicas(&self, picture: &Picture, empty_too: bool) -> Result<Vec<(String, Timestamp)>> {
        let mut usable = Vec::new();
        for (replica_name, replica) in &picture.replicas {
            let will_do = empty_too || !replica.spec.healthy_at.is_empty();
            if !will_do || !self.is_disk_usable(replica) {
                continue;
            }
            match clock::parse(&replica.spec.failed_at) {
                Ok(failed_at) => usable.push((replica_name.clone(), failed_at)),
                Err(error) => tracing::warn!(%error, "Failed to parse FailedAt timestamp for replica {replica_name}"),
            }
        }
        Ok(usable)
    }

    fn is_disk_usable(&self, replica: &Replica) -> bool {
        let (datastore, node) = (&self.manager.datastore, &replica.spec.node_id);
        if node.is_empty() || replica.spec.disk_id.is_empty() || datastore.is_node_down_or_deleted(node).unwrap_or(true)
        {
            return false;
        }
        let Some(node) = datastore.nodes.find(node) else { return false };
        let disk = disk_of(&node, &replica.spec.disk_id);
        disk.is_some_and(|(_, status)| status.conditions.condition("Schedulable").status.as_str() == "True")
    }

    /// Asks that the pods that use the volume mount it again.
    fn request_remount(&self, picture: &mut Picture, why: &str) {
        let now = clock::now_text();
        picture.volume.status.remount_requested_at.clone_from(&now);
        let message = format!("Volume {} requested remount at {now}{why}", picture.volume_name());
        self.events.event(&picture.volume, EventType::Normal, "Remount", message);
    }

    /// An engine that died under a volume in use: the volume becomes faulted, so that it is detached and attached anew.
    fn note_dead_engine(&self, picture: &mut Picture, engine: &str) {
        let (spec, status) = (&picture.volume.spec, &picture.volume.status);
        let in_use =
            !status.current_node_id.is_empty() || (!spec.node_id.is_empty() && status.state != VolumeState::Attached);
        if picture.engines[engine].status.current_state != InstanceState::Error || !in_use {
            return;
        }
        let message = format!("Engine of volume {} dead unexpectedly, reattach the volume", picture.volume_name());
        self.events.event(&picture.volume, EventType::Warning, "DetachedUnexpectedly", message);
        picture.engines.get_mut(engine).expect("the current engine").spec.log_requested = true;
        for replica in picture.replicas.values_mut() {
            replica.spec.log_requested |= replica.status.current_state == InstanceState::Running;
        }
        picture.volume.status.robustness = VolumeRobustness::Faulted;
    }
}
