//! Failed replicas: which one is used again, and how long one waits for them before a new replica takes their place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::{DataEngine, VolumeRobustness};
use longhorn_api::{Node, Release, Replica, Volume, settings};

use super::candidates::Search;
use super::{DiskSpace, ReplicaScheduler, fits_selectors};
use crate::runtime::{Context, Datastore, Result, clock};

/// So many failed rebuilds make a replica useless (`FailedReplicaMaxRetryCount`).
pub const MAXIMUM_REBUILD_RETRIES: i64 = 5;

/// Whether a failed replica may be of use again, now or when its node is back.
pub fn is_potentially_reusable(replica: &Replica) -> bool {
    let spec = &replica.spec;
    !spec.failed_at.is_empty()
        && !spec.node_id.is_empty()
        && !spec.disk_id.is_empty()
        && spec.rebuild_retry_count < MAXIMUM_REBUILD_RETRIES
        && !spec.eviction_requested
}

/// How long until a degraded volume gets a new replica although failed ones might come back; zero if that time is over.
pub(super) fn time_to_replacement(datastore: &Datastore, volume: &Volume) -> Result<Duration> {
    let seconds = datastore.setting_number(settings::REPLICA_REPLENISHMENT_WAIT_INTERVAL)?;
    let degraded = &volume.status.last_degraded_at;
    let degraded = clock::parse(degraded).context(|| format!("failed to parse last degraded timestamp {degraded}"))?;
    let due = degraded + Duration::from_secs(seconds.unsigned_abs());
    Ok(Duration::try_from(due.duration_since(clock::now().0)).unwrap_or_default())
}

impl ReplicaScheduler<'_> {
    /// A failed replica that can be rebuilt where it is: of several, the one that failed last (`CheckAndReuseFailedReplica`).
    pub fn reusable_replica(
        &self,
        replicas: &BTreeMap<String, Replica>,
        volume: &Volume,
        affinity: &str,
    ) -> Result<Option<String>> {
        if !self.rebuilds_in_place(volume) {
            return Ok(None);
        }
        let active: BTreeMap<String, Replica> = replicas
            .iter()
            .filter(|(_, replica)| replica.spec.active)
            .map(|(name, replica)| (name.clone(), replica.clone()))
            .collect();
        let nodes = self.usable_nodes();
        let (mut of_nodes, mut disks) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
        let mut reusable: Vec<(&String, &Replica)> = Vec::new();
        for (replica_name, replica) in &active {
            let Some(node) = nodes.get(&replica.spec.node_id) else { continue };
            if !self.is_reusable(replica, volume, node, affinity)? {
                continue;
            }
            of_nodes.insert(replica.spec.node_id.clone(), node.clone());
            disks.entry(replica.spec.node_id.clone()).or_default().insert(replica.spec.disk_id.clone());
            reusable.push((replica_name, replica));
        }
        let search = Search { checks_room: false, ignores_failed_replicas: true };
        let (candidates, _) = self.candidates(&of_nodes, &disks, &active, volume, search)?;
        let reusable = reusable.into_iter().filter(|(_, replica)| candidates.contains_key(&replica.spec.disk_id));
        let latest = self.datastore.in_map_order(reusable).into_iter().max_by_key(|(_, replica)| {
            // Texts of one format: their order is that of the times.
            replica.spec.failed_at.clone()
        });
        Ok(latest.map(|(replica_name, _)| replica_name.clone()))
    }

    /// How long a degraded volume waits before it gets a new replica; zero for now (`RequireNewReplica`).
    pub fn wait_before_new_replica(
        &self,
        replicas: &BTreeMap<String, Replica>,
        volume: &Volume,
        affinity: &str,
    ) -> Duration {
        let waits = volume.status.robustness == VolumeRobustness::Degraded
            && affinity.is_empty()
            && replicas.values().any(is_potentially_reusable)
            && self.rebuilds_in_place(volume);
        if !waits {
            return Duration::ZERO;
        }
        match time_to_replacement(self.datastore, volume) {
            Ok(Duration::ZERO) => Duration::ZERO,
            // A second more, because clocks differ.
            Ok(time) => time + Duration::from_secs(1),
            Err(error) => {
                tracing::error!(%error, "Failed to get time until replica replacement, will directly replenish a new replica");
                Duration::ZERO
            }
        }
    }

    /// Whether a failed replica keeps its data: those of v2 do not, unless a setting of later releases says so.
    fn rebuilds_in_place(&self, volume: &Volume) -> bool {
        if volume.spec.data_engine != DataEngine::V2 {
            return true;
        }
        self.datastore.release().at_least(Release::V1_8_0)
            && self.datastore.setting_flag(settings::V2_DATA_ENGINE_FAST_REPLICA_REBUILDING).unwrap_or(false)
    }

    fn is_reusable(&self, replica: &Replica, volume: &Volume, node: &Arc<Node>, affinity: &str) -> Result<bool> {
        let (spec, datastore) = (&replica.spec, self.datastore);
        if !is_potentially_reusable(replica) || (!affinity.is_empty() && spec.node_id != affinity) {
            return Ok(false);
        }
        if !datastore.is_data_engine_image_ready(&spec.image, &spec.data_engine, &spec.node_id).unwrap_or(false) {
            return Ok(false);
        }
        let allow_empty = datastore.setting_flag(settings::ALLOW_EMPTY_DISK_SELECTOR_VOLUME)?;
        let Some((disk_name, status)) =
            node.status.disk_status.iter().find(|(_, status)| status.disk_uuid == spec.disk_id)
        else {
            return Ok(false);
        };
        let Some(disk) = node.spec.disks.get(disk_name) else { return Ok(false) };
        let holds = |condition: &str| status.conditions.condition(condition).status.as_str() == "True";
        // A disk that has promised too much but is not full keeps what it has.
        let keeps = holds("Schedulable")
            || (status.conditions.condition("Schedulable").reason == "DiskPressure"
                && DiskSpace::of(datastore, disk, status).is_ok_and(|space| space.is_not_full()));
        if !holds("Ready") || !keeps || !disk.allow_scheduling || disk.eviction_requested {
            return Ok(false);
        }
        if !fits_selectors(&disk.tags, &volume.spec.disk_selector, allow_empty) {
            return Ok(false);
        }
        Ok(datastore.instance_manager_for(&spec.node_id, &spec.data_engine).is_ok_and(|manager| {
            manager.metadata.deletion_timestamp.is_none()
                && manager.status.current_state == InstanceManagerState::Running
        }))
    }
}
