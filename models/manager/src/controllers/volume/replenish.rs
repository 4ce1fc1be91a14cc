//! Keeps the number of replicas: failed ones that can be rebuilt are used again, new ones are made, one at a time once the volume is in use.
//!
//! Balancing replicas over nodes and disks (`replicaAutoBalance`) is not here; a volume that asks for it is treated as one that does not.

use std::sync::PoisonError;
use std::time::Duration;

use corral_kube_client::EventType;
use host::time::Instant;
use longhorn_api::go::Map;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::engine::ReplicaMode;
use longhorn_api::kinds::replica::{CONDITION_REBUILD_FAILED, REASON_REBUILD_FAILED_DISCONNECTION};
use longhorn_api::kinds::volume::{DataLocality, VolumeState};
use longhorn_api::{Engine, Replica, Volume, settings};

use super::VolumeController;
use super::picture::Picture;
use super::replicas::{Replicas, set_failed};
use crate::runtime::backups::name;
use crate::runtime::{Context, Result, clock};
use crate::scheduler::{MAXIMUM_REBUILD_RETRIES, Objections, ReplicaScheduler};

impl VolumeController {
    /// Makes up for replicas that are missing. A node, if what is missing is a replica there.
    pub(super) async fn replenish(&self, picture: &mut Picture, engine: &str, affinity: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let rebuilds = datastore.setting_number(settings::CONCURRENT_REPLICA_REBUILD_PER_NODE_LIMIT)?;
        let is_new = picture.replicas.is_empty();
        if !is_new && (rebuilds == 0 || picture.volume.status.state != VolumeState::Attached) {
            return Ok(());
        }
        let of_engine = &picture.engines[engine];
        // A rebuild starts when the engine knows all of its replicas and has none to give up: two replicas with one address would be mixed up.
        if !is_synced(of_engine, &picture.replicas) || rebuilding_count(of_engine) != 0 {
            return Ok(());
        }
        let mut count = missing_count(&picture.volume, &picture.replicas);
        if (!is_new && count > 0) || !affinity.is_empty() {
            count = 1;
        }
        for _replica in 0..count {
            self.replenish_one(picture, engine, affinity, is_new).await?;
        }
        Ok(())
    }

    async fn replenish_one(&self, picture: &mut Picture, engine: &str, affinity: &str, is_new: bool) -> Result<()> {
        let datastore = &self.manager.datastore;
        let scheduler = ReplicaScheduler::new(datastore);
        let volume_name = picture.volume_name().to_owned();
        let reusable = scheduler.reusable_replica(&picture.replicas, &picture.volume, affinity);
        let reusable = reusable.context(|| "failed to reuse a failed replica during replica replenishment")?;
        if let Some(replica_name) = reusable {
            let (waits, delay) = self.reuse_delay(&replica_name);
            if !waits {
                tracing::info!("Failed replica {replica_name} will be reused during rebuilding");
                reuse(picture.replica(&replica_name));
                return Ok(());
            }
            tracing::warn!(
                "Failed to reuse failed replica {replica_name} immediately, backoff period is {delay:?} now"
            );
            self.queue.add_after(&volume_name, delay);
        }
        let wait = scheduler.wait_before_new_replica(&picture.replicas, &picture.volume, affinity);
        if !wait.is_zero() {
            self.queue.add_after(&volume_name, wait);
            return Ok(());
        }
        let mut replica = self.new_replica(&picture.volume, &picture.engines[engine], affinity);
        if affinity.is_empty()
            && let Err(objections) = scheduler.has_place_for(&replica, &picture.replicas, &picture.volume)?
        {
            let mut all = Objections::of(Objections::PRECHECK_FAILED);
            all.append(objections);
            tracing::warn!("Unable to create new replica {}: {}", name(&replica.metadata), all.join());
            let conditions = &mut picture.volume.status.conditions;
            let reason = "ReplicaSchedulingFailure";
            conditions.set_condition("Scheduled", ConditionStatus::False, reason, &all.join(), &clock::now_text());
            return Ok(());
        }
        if !is_new {
            // One that fails to be rebuilt is not tried again.
            replica.spec.rebuild_retry_count = MAXIMUM_REBUILD_RETRIES;
        }
        tracing::info!("Creating new Replica {}", name(&replica.metadata));
        let replica = datastore.create_replica(replica).await?;
        picture.replicas.insert(name(&replica.metadata).to_owned(), replica);
        Ok(())
    }

    /// Whether a failed replica was used again a moment ago, and how long that keeps it from being used once more.
    fn reuse_delay(&self, replica: &str) -> (bool, Duration) {
        let mut backoff = self.reuse_backoff.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if backoff.is_waiting(replica, now) {
            return (true, backoff.delay(replica));
        }
        backoff.next(replica, now);
        (false, Duration::ZERO)
    }

    /// Creates one more replica than the volume asks for while one is to move away.
    pub(super) async fn replace_evicted(&self, picture: &mut Picture, engine: &str, healthy: usize) -> Result<()> {
        let mode = |replica: &str| picture.engines[engine].status.replica_mode_map.get(replica).cloned();
        let mut staying = healthy;
        for (replica_name, replica) in &picture.replicas {
            if replica.spec.eviction_requested && mode(replica_name) == Some(ReplicaMode::ReadWrite) {
                staying = staying.saturating_sub(1);
            }
        }
        let being_made = |replica: &Replica| replica.spec.healthy_at.is_empty() && replica.spec.failed_at.is_empty();
        if staying < wanted_count(&picture.volume) && !picture.replicas.values().any(being_made) {
            tracing::info!("Creating one more replica for eviction");
            if let Err(error) = self.replenish(picture, engine, "").await {
                let message = format!("volume {} failed to create one more replica", picture.volume_name());
                self.events.event(&picture.volume, EventType::Warning, "EvictionFailed", message);
                return Err(error).context(|| "failed to create new replica for replica eviction");
            }
        }
        Ok(())
    }
}

fn reuse(replica: &mut Replica) {
    set_failed(replica, "");
    replica.spec.healthy_at.clear();
    if failed_by_itself(replica) {
        replica.spec.rebuild_retry_count += 1;
    }
}

/// Whether the last rebuild failed for another reason than that the replica could not be reached (`IsReplicaRebuildingFailed`).
fn failed_by_itself(replica: &Replica) -> bool {
    let condition = replica.status.conditions.condition(CONDITION_REBUILD_FAILED);
    let unreachable = matches!(
        condition.reason.as_str(),
        REASON_REBUILD_FAILED_DISCONNECTION | "ManagerPodDown" | "KubernetesNodeGone" | "KubernetesNodeNotReady"
    );
    condition.status != ConditionStatus::True || !unreachable
}

/// How many replicas a volume asks for.
pub(super) fn wanted_count(volume: &Volume) -> usize {
    usize::try_from(volume.spec.number_of_replicas).unwrap_or(0)
}

/// How many replicas are missing; those that move away do not count, nor does a local one that no disk takes.
pub(super) fn missing_count(volume: &Volume, replicas: &Replicas) -> usize {
    let current = &volume.status.current_node_id;
    let is_unplaced_local = |replica: &Replica| {
        let spec = &replica.spec;
        volume.spec.data_locality == DataLocality::BestEffort
            && spec.healthy_at.is_empty()
            && spec.failed_at.is_empty()
            && spec.node_id.is_empty()
            && !current.is_empty()
            && spec.hard_node_affinity == *current
    };
    let usable = |replica: &&Replica| {
        let spec = &replica.spec;
        !is_unplaced_local(replica) && spec.failed_at.is_empty() && !spec.eviction_requested && spec.active
    };
    wanted_count(volume).saturating_sub(replicas.values().filter(usable).count())
}

/// Whether the engine is connected to all replicas it should be, and only to those.
fn is_synced(engine: &Engine, replicas: &Replicas) -> bool {
    let connected = |replica: &&Replica| {
        replica.spec.failed_at.is_empty() && !replica.spec.node_id.is_empty() && replica.spec.active
    };
    let (wanted, modes): (&Map<String>, &Map<ReplicaMode>) =
        (&engine.spec.replica_address_map, &engine.status.replica_mode_map);
    wanted.len() == replicas.values().filter(connected).count()
        && wanted.len() == modes.len()
        && wanted.keys().all(|replica| modes.get(replica).is_some_and(|mode| *mode != ReplicaMode::Error))
}

/// How many replicas are being rebuilt or wait for it.
fn rebuilding_count(engine: &Engine) -> usize {
    let modes = &engine.status.replica_mode_map;
    let rebuilt = modes.values().filter(|mode| **mode == ReplicaMode::WriteOnly).count();
    rebuilt + engine.status.current_replica_address_map.keys().filter(|replica| !modes.contains_key(*replica)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(replicas: i64) -> Volume {
        let mut volume = Volume::default();
        volume.spec.number_of_replicas = replicas;
        volume
    }

    fn replica(failed: bool, evicting: bool) -> Replica {
        let mut replica = Replica::default();
        replica.spec.active = true;
        replica.spec.node_id = "n1".to_owned();
        replica.spec.eviction_requested = evicting;
        if failed {
            set_failed(&mut replica, "2026-11-20T10:00:00Z");
        }
        replica
    }

    #[test]
    fn failed_and_leaving_replicas_are_missed() {
        let replicas: Replicas =
            [("a", replica(false, false)), ("b", replica(true, false)), ("c", replica(false, true))]
                .map(|(name, replica)| (name.to_owned(), replica))
                .into();
        assert_eq!(missing_count(&volume(3), &replicas), 2);
        assert_eq!(missing_count(&volume(1), &replicas), 0);
    }

    #[test]
    fn nothing_is_rebuilt_before_the_engine_knows_its_replicas() {
        let replicas: Replicas = [("a".to_owned(), replica(false, false))].into();
        let mut engine = Engine::default();
        assert!(!is_synced(&engine, &replicas));
        engine.spec.replica_address_map.insert("a", "10.0.0.1:10000".to_owned());
        assert!(!is_synced(&engine, &replicas), "not in the mode map yet");
        engine.status.replica_mode_map.insert("a", ReplicaMode::ReadWrite);
        assert!(is_synced(&engine, &replicas));
        engine.status.replica_mode_map.insert("a", ReplicaMode::Error);
        assert!(!is_synced(&engine, &replicas));
    }

    #[test]
    fn a_replica_that_could_not_be_reached_is_not_blamed() {
        let mut replica = replica(true, false);
        assert!(failed_by_itself(&replica));
        let conditions = &mut replica.status.conditions;
        conditions.set_condition(CONDITION_REBUILD_FAILED, ConditionStatus::True, "KubernetesNodeNotReady", "", "");
        assert!(!failed_by_itself(&replica));
    }
}
