//! What the engine says of its replicas: which have failed, which are healthy, and what that makes of the volume.

use corral_kube_client::EventType;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::engine::ReplicaMode;
use longhorn_api::kinds::instance::{CONDITION_INSTANCE_CREATION, InstanceState};
use longhorn_api::kinds::replica::{CONDITION_WAIT_FOR_BACKING_IMAGE, REASON_WAIT_FOR_BACKING_IMAGE_FAILED};
use longhorn_api::kinds::volume::{DataLocality, VolumeRobustness, VolumeState};
use longhorn_api::{Engine, Replica};

use super::VolumeController;
use super::picture::Picture;
use super::replenish::wanted_count;
use super::replicas::{name_of_address, set_failed};
use crate::controllers::engine::UNKNOWN_REPLICA_PREFIX;
use crate::runtime::backups::name;
use crate::runtime::{Context, Result, clock};

/// What an engine without any usable replica dies of: exit status ENODATA.
const NO_BACKEND: &str = "exit status 61";

impl VolumeController {
    /// Follows the engine's view of its replicas (`ReconcileEngineReplicaState`).
    pub(super) async fn follow_engine(&self, picture: &mut Picture) -> Result<()> {
        let result = self.follow(picture).await;
        if picture.volume.status.robustness != VolumeRobustness::Degraded {
            picture.volume.status.last_degraded_at.clear();
        }
        result.context(|| format!("failed to reconcile engine/replica state for {}", picture.volume_name()))
    }

    async fn follow(&self, picture: &mut Picture) -> Result<()> {
        note_backing_image(picture);
        let Some(engine) = picture.current_engine()? else { return Ok(()) };
        match picture.engines[&engine].status.current_state {
            InstanceState::Unknown => {
                let (volume, unknown) = (&mut picture.volume, VolumeRobustness::Unknown);
                if volume.status.robustness != unknown {
                    volume.status.robustness = unknown;
                    let message = format!("volume {} robustness is unknown", name(&volume.metadata));
                    self.events.event(&*volume, EventType::Warning, "Unknown", message);
                }
                return Ok(());
            }
            InstanceState::Running => {}
            _ => {
                let creation = picture.engines[&engine].status.conditions.condition(CONDITION_INSTANCE_CREATION);
                fail_crashed(picture, &engine, creation.message.contains(NO_BACKEND));
                return Ok(());
            }
        }
        // The monitor has not begun yet.
        if picture.engines[&engine].status.replica_mode_map.is_nil() {
            return Ok(());
        }
        let healthy = self.follow_modes(picture, &engine);
        fail_strangers(picture, &engine);
        fail_crashed(picture, &engine, false);
        self.judge(picture, &engine, healthy).await
    }

    /// Notes failures and recoveries of the replicas that the engine knows; gives how many are healthy.
    fn follow_modes(&self, picture: &mut Picture, engine: &str) -> usize {
        let (now, mut healthy) = (clock::now_text(), 0);
        let status = picture.engines[engine].status.clone();
        for (replica_name, mode) in self.manager.datastore.in_map_order(&status.replica_mode_map) {
            if !picture.replicas.contains_key(replica_name) {
                continue;
            }
            let is_of = |address: &str| name_of_address(address, &picture.replicas) == replica_name;
            let restore = status.restore_status.iter().find(|(address, _)| is_of(address));
            let restore_error = restore.map(|(_, status)| status.error.clone()).unwrap_or_default();
            let purge = status.purge_status.iter().find(|(address, _)| is_of(address));
            let purge_error = purge.map(|(_, status)| status.error.clone()).unwrap_or_default();
            if *mode == ReplicaMode::Error || !restore_error.is_empty() || !purge_error.is_empty() {
                self.tell_failure(picture, replica_name, "FailedRestore", "the restore", &restore_error);
                self.tell_failure(picture, replica_name, "FailedSnapshotPurge", "the snapshot purge", &purge_error);
                let replica = picture.replica(replica_name);
                if replica.spec.failed_at.is_empty() {
                    tracing::warn!("Replica {replica_name} is marked as failed, mode {mode}");
                    set_failed(replica, &now);
                    replica.spec.log_requested = true;
                    engine_of(picture, engine).spec.log_requested = true;
                }
                picture.replica(replica_name).spec.desire_state = InstanceState::Stopped;
            } else if *mode == ReplicaMode::ReadWrite {
                let since = status.replica_transition_time_map.get(replica_name);
                self.note_healthy(picture.replica(replica_name), since.map(String::as_str), &now);
                healthy += 1;
            }
        }
        healthy
    }

    fn tell_failure(&self, picture: &Picture, replica: &str, reason: &str, what: &str, error: &str) {
        if !error.is_empty() {
            let message = format!("replica {replica} failed {what}: {error}");
            self.events.event(&picture.volume, EventType::Warning, reason, message);
        }
    }

    fn note_healthy(&self, replica: &mut Replica, since: Option<&str>, now: &str) {
        if replica.spec.healthy_at.is_empty() {
            let mut backoff = self.reuse_backoff.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            backoff.forget(name(&replica.metadata));
            replica.spec.healthy_at = now.to_owned();
            replica.spec.rebuild_retry_count = 0;
        }
        // Noted anew whenever the replica became readable since: an unreadable note counts as old.
        let newer = since.is_none_or(|since| clock::is_after(since, &replica.spec.last_healthy_at).unwrap_or(true));
        if newer {
            replica.spec.last_healthy_at = now.to_owned();
        }
    }

    /// Healthy, degraded, or neither: what has no healthy replica is dealt with later, as faulted.
    async fn judge(&self, picture: &mut Picture, engine: &str, healthy: usize) -> Result<()> {
        let before = picture.volume.status.robustness.clone();
        let volume_name = picture.volume_name().to_owned();
        let alone = picture.engines.len() == 1 && picture.volume.spec.migration_node_id.is_empty();
        if healthy == 0 {
            return Ok(());
        }
        if healthy >= wanted_count(&picture.volume) {
            picture.volume.status.robustness = VolumeRobustness::Healthy;
            if before == VolumeRobustness::Degraded {
                let message = format!("volume {volume_name} became healthy");
                self.events.event(&picture.volume, EventType::Normal, "Healthy", message);
            }
            if alone {
                self.replace_evicted(picture, engine, healthy).await?;
                let node = picture.engines[engine].spec.node_id.clone();
                if wants_local_replica(picture, &node) {
                    self.replenish(picture, engine, &node).await?;
                }
            }
            return Ok(());
        }
        picture.volume.status.robustness = VolumeRobustness::Degraded;
        if before != VolumeRobustness::Degraded {
            picture.volume.status.last_degraded_at = clock::now_text();
            let message = format!("volume {volume_name} became degraded");
            self.events.event(&picture.volume, EventType::Normal, "Degraded", message);
        }
        let expanding = picture.volume.spec.size != picture.engines[engine].status.current_size;
        if alone && !expanding { self.replenish(picture, engine, "").await } else { Ok(()) }
    }
}

fn engine_of<'a>(picture: &'a mut Picture, engine: &str) -> &'a mut Engine {
    picture.engines.get_mut(engine).expect("the current engine")
}

/// Says whether replicas wait for the volume's backing image, and what keeps it from them.
fn note_backing_image(picture: &mut Picture) {
    let conditions =
        picture.replicas.values().map(|replica| replica.status.conditions.condition(CONDITION_WAIT_FOR_BACKING_IMAGE));
    let waiting: Vec<_> = conditions.filter(|condition| condition.status == ConditionStatus::True).collect();
    let failures: std::collections::BTreeSet<String> = waiting
        .iter()
        .filter(|condition| condition.reason == REASON_WAIT_FOR_BACKING_IMAGE_FAILED)
        .map(|condition| condition.message.clone())
        .collect();
    let message = failures.into_iter().collect::<Vec<_>>().join(";");
    let (status, reason) = match (waiting.is_empty(), message.is_empty()) {
        (true, _) => (ConditionStatus::False, ""),
        (false, true) => (ConditionStatus::True, "Waiting"),
        (false, false) => (ConditionStatus::True, REASON_WAIT_FOR_BACKING_IMAGE_FAILED),
    };
    let conditions = &mut picture.volume.status.conditions;
    conditions.set_condition("WaitForBackingImage", status, reason, &message, &clock::now_text());
}

/// Marks replicas as failed whose instance failed before the engine could know them; all of them if the engine found none to use.
fn fail_crashed(picture: &mut Picture, engine: &str, all: bool) {
    let now = clock::now_text();
    let mut failed = false;
    for (replica_name, replica) in &mut picture.replicas {
        let crashed = replica.spec.failed_at.is_empty() && replica.status.current_state == InstanceState::Error;
        if all || crashed {
            tracing::warn!("Replica {replica_name} that not in the engine mode map is marked as failed");
            replica.spec.log_requested = true;
            set_failed(replica, &now);
            replica.spec.desire_state = InstanceState::Stopped;
            failed = true;
        }
    }
    if failed {
        engine_of(picture, engine).spec.log_requested = true;
    }
}

/// If the engine knows none of its replicas any more and all it knows failed, its replicas have failed.
fn fail_strangers(picture: &mut Picture, engine: &str) {
    let modes = &picture.engines[engine].status.replica_mode_map;
    let strange = |(replica, mode): (&String, &ReplicaMode)| {
        replica.starts_with(UNKNOWN_REPLICA_PREFIX) && *mode == ReplicaMode::Error
    };
    if !modes.iter().all(strange) {
        return;
    }
    let (now, mut failed) = (clock::now_text(), false);
    for replica in picture.replicas.values_mut().filter(|replica| replica.spec.engine_name == engine) {
        if replica.spec.failed_at.is_empty() {
            set_failed(replica, &now);
            replica.spec.log_requested = true;
            failed = true;
        }
        replica.spec.desire_state = InstanceState::Stopped;
    }
    if failed {
        engine_of(picture, engine).spec.log_requested = true;
        tracing::warn!(
            "All replica in engine's ReplicaModeMap are unknown and errored. Marking all replicas of the engine as failed"
        );
    }
}

/// Whether the volume should have a replica beside its workload and has none. One that is attached without a frontend has no workload.
fn wants_local_replica(picture: &Picture, node: &str) -> bool {
    let volume = &picture.volume;
    let is_local = |replica: &Replica| replica.spec.node_id == node || replica.spec.hard_node_affinity == node;
    volume.status.state == VolumeState::Attached
        && !volume.status.frontend_disabled
        && volume.spec.data_locality == DataLocality::BestEffort
        && (node.is_empty() || !picture.replicas.values().any(is_local))
}
