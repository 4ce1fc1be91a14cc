//! The volume's conditions about its snapshots and about the places of its replicas; unplaced replicas get one here.

use std::time::Duration;

use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::volume::DataLocality;
use longhorn_api::settings;

use super::VolumeController;
use super::picture::Picture;
use super::replenish::{missing_count, wanted_count};
use crate::runtime::{Result, clock};
use crate::scheduler::{Objections, ReplicaScheduler};

/// More snapshots than this are too many for a condition (`VolumeSnapshotsWarningThreshold`).
const MANY_SNAPSHOTS: usize = 100;
/// When a replica that found no place is tried again.
const SCHEDULING_RETRY: Duration = Duration::from_secs(30);

const SCHEDULED: &str = "Scheduled";
const REPLICA_SCHEDULING_FAILURE: &str = "ReplicaSchedulingFailure";

impl VolumeController {
    /// Sets the conditions TooManySnapshots and Scheduled (`reconcileVolumeCondition`).
    pub(super) fn schedule(&self, picture: &mut Picture, engine: &str) -> Result<()> {
        let snapshots = picture.engines[engine].status.snapshots.len().saturating_sub(1);
        let (many, now) = (snapshots > MANY_SNAPSHOTS, clock::now_text());
        let conditions = &mut picture.volume.status.conditions;
        if many {
            let message = format!("Snapshots count is {snapshots} over the warning threshold {MANY_SNAPSHOTS}");
            let condition = "TooManySnapshots";
            conditions.set_condition(condition, ConditionStatus::True, condition, &message, &now);
        } else {
            conditions.set_condition("TooManySnapshots", ConditionStatus::False, "", "", &now);
        }
        let (mut placed, objections) = self.place(picture, &now)?;
        if picture.replicas.len() != wanted_count(&picture.volume) {
            placed = false;
        }
        if placed && missing_count(&picture.volume, &picture.replicas) == 0 {
            let conditions = &mut picture.volume.status.conditions;
            conditions.set_condition(SCHEDULED, ConditionStatus::True, "", "", &now);
        } else if picture.volume.status.current_node_id.is_empty() && self.may_be_degraded(picture)? {
            let message = "Reset schedulable due to allow volume creation with degraded availability";
            picture.volume.status.conditions.set_condition(SCHEDULED, ConditionStatus::True, "", message, &now);
            placed = true;
        }
        if !placed {
            note_failure(picture, objections, &now);
        }
        Ok(())
    }

    /// Gives every unplaced replica a place. Whether all have one, and what the others met.
    fn place(&self, picture: &mut Picture, now: &str) -> Result<(bool, Objections)> {
        let datastore = &self.manager.datastore;
        let scheduler = ReplicaScheduler::new(datastore);
        let (mut placed, mut all) = (true, Objections::default());
        let unplaced = picture.replicas.iter().filter(|(_, replica)| replica.spec.node_id.is_empty());
        let unplaced: Vec<String> = unplaced.map(|(replica, _)| replica.clone()).collect();
        for replica_name in datastore.in_map_order(unplaced) {
            let mut replica = picture.replicas[&replica_name].clone();
            if picture.volume.spec.data_locality == DataLocality::StrictLocal {
                if picture.volume.spec.node_id.is_empty() {
                    continue;
                }
                replica.spec.hard_node_affinity.clone_from(&picture.volume.spec.node_id);
            }
            let objections = scheduler.schedule(&mut replica, &picture.replicas, &picture.volume)?;
            if let Some(objections) = objections {
                all.append(objections);
                let affinity = &replica.spec.hard_node_affinity;
                let reason =
                    if affinity.is_empty() { REPLICA_SCHEDULING_FAILURE } else { "LocalReplicaSchedulingFailure" };
                tracing::warn!("Failed to schedule replica {replica_name} {affinity}");
                let conditions = &mut picture.volume.status.conditions;
                conditions.set_condition(SCHEDULED, ConditionStatus::False, reason, "", now);
                placed = false;
                self.queue.add_after(picture.volume_name(), SCHEDULING_RETRY);
            }
            picture.replicas.insert(replica_name, replica);
        }
        Ok((placed, all))
    }

    /// Whether a volume that is not attached may do with the replicas that have a place.
    fn may_be_degraded(&self, picture: &Picture) -> Result<bool> {
        let setting = settings::ALLOW_VOLUME_CREATION_WITH_DEGRADED_AVAILABILITY;
        let mut replicas = picture.replicas.values();
        Ok(self.manager.datastore.setting_flag(setting)?
            && replicas.any(|replica| !replica.spec.node_id.is_empty() && replica.spec.failed_at.is_empty()))
    }
}

/// Says why replicas have no place, unless the condition says it already.
fn note_failure(picture: &mut Picture, mut objections: Objections, now: &str) {
    if objections.is_empty() {
        objections.add(Objections::SCHEDULING_FAILED);
    }
    let conditions = &mut picture.volume.status.conditions;
    let condition = conditions.condition(SCHEDULED);
    if condition.status != ConditionStatus::False {
        return;
    }
    let message = if condition.reason == REPLICA_SCHEDULING_FAILURE && !condition.message.is_empty() {
        condition.message
    } else {
        objections.join()
    };
    conditions.set_condition(SCHEDULED, ConditionStatus::False, &condition.reason, &message, now);
}
