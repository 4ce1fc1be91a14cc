//! Replicas that nobody needs: left over by an upgrade, useless after failures, without a place, or more than the volume asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use corral_kube_client::EventType;
use longhorn_api::kinds::volume::{DataEngine, DataLocality};
use longhorn_api::{Release, Replica, Volume, settings};

use super::VolumeController;
use super::picture::Picture;
use super::replenish::wanted_count;
use super::replicas::{Replicas, healthy_count, is_available, safe_as_last_count};
use crate::runtime::{Context, Result, clock};
use crate::scheduler::MAXIMUM_REBUILD_RETRIES;

impl VolumeController {
    /// Deletes them; of healthy ones, one at a time.
    pub(super) async fn clean_up(&self, picture: &mut Picture) -> Result<()> {
        if !picture.volume.spec.migration_node_id.is_empty() {
            return Ok(());
        }
        let engine = picture.current_engine()?;
        self.clean_up_failed(picture).await?;
        if is_upgrading(&picture.volume) {
            return Ok(());
        }
        self.clean_up_unplaced(picture).await?;
        let release = self.manager.datastore.release();
        if healthy_count(&picture.replicas, release) <= wanted_count(&picture.volume) {
            return Ok(());
        }
        if self.evict_one(picture).await? {
            return Ok(());
        }
        let engine_node = engine.map(|engine| picture.engines[&engine].spec.node_id.clone()).unwrap_or_default();
        self.delete_one_remote(picture, &engine_node).await
    }

    async fn clean_up_failed(&self, picture: &mut Picture) -> Result<()> {
        let datastore = &self.manager.datastore;
        let safe = safe_as_last_count(&picture.replicas, datastore.release());
        for replica_name in datastore.in_map_order(picture.replicas.keys().cloned().collect::<Vec<_>>()) {
            let replica = &picture.replicas[&replica_name];
            if !is_upgrading(&picture.volume) && !replica.spec.active {
                tracing::info!("Removing inactive replica {replica_name}");
                picture.delete_replica(&replica_name, datastore).await?;
                continue;
            }
            let failed = !replica.spec.failed_at.is_empty() && replica.metadata.deletion_timestamp.is_none();
            if failed && self.is_useless(&picture.volume, replica, safe) {
                tracing::info!("Cleaning up corrupted, staled replica {replica_name}");
                let deleted = picture.delete_replica(&replica_name, datastore).await;
                deleted.context(|| format!("failed to clean up staled replica {replica_name}"))?;
            }
        }
        Ok(())
    }

    /// Whether a failed replica is of no use any more. One that ever had data is kept until another one is safe.
    fn is_useless(&self, volume: &Volume, replica: &Replica, safe: usize) -> bool {
        let spec = &replica.spec;
        if !spec.last_healthy_at.is_empty() && safe == 0 {
            return false;
        }
        if spec.rebuild_retry_count >= MAXIMUM_REBUILD_RETRIES {
            return true;
        }
        let datastore = &self.manager.datastore;
        if volume.spec.data_engine == DataEngine::V2 {
            let keeps_data = datastore.release().at_least(Release::V1_8_0)
                && datastore.setting_flag(settings::V2_DATA_ENGINE_FAST_REPLICA_REBUILDING).unwrap_or(false);
            if !keeps_data {
                return true;
            }
        }
        let limit = Duration::from_secs(60 * volume.spec.stale_replica_timeout.unsigned_abs());
        let failed_at = clock::parse(&spec.failed_at);
        let stale = volume.spec.stale_replica_timeout > 0
            && failed_at.is_ok_and(|failed_at| clock::now().0 > failed_at + limit);
        stale || spec.image != volume.spec.image
    }

    async fn clean_up_unplaced(&self, picture: &mut Picture) -> Result<()> {
        let datastore = &self.manager.datastore;
        if picture.replicas.values().any(|replica| replica.spec.eviction_requested) {
            return Ok(());
        }
        let enough = healthy_count(&picture.replicas, datastore.release()) >= wanted_count(&picture.volume);
        let locality = &picture.volume.spec.data_locality;
        let anywhere = matches!(locality, DataLocality::Disabled | DataLocality::Unset);
        let unplaced = picture.replicas.iter().filter(|(_, replica)| {
            let spec = &replica.spec;
            let needless = (anywhere && !spec.hard_node_affinity.is_empty())
                || (enough && spec.hard_node_affinity != picture.volume.status.current_node_id);
            spec.healthy_at.is_empty() && spec.node_id.is_empty() && needless
        });
        for replica_name in unplaced.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            tracing::info!("Cleaning up failed-to-schedule replica {replica_name}");
            let deleted = picture.delete_replica(&replica_name, datastore).await;
            deleted.context(|| format!("failed to clean up failed-to-schedule replica {replica_name}"))?;
        }
        Ok(())
    }

    /// Deletes a replica that should move away. The last one that can be read from stays, even if it should go.
    async fn evict_one(&self, picture: &mut Picture) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let order = datastore.in_map_order(picture.replicas.iter().collect::<Vec<_>>());
        let available: Vec<_> = order.iter().filter(|(_, replica)| is_available(replica)).collect();
        let others_stay = available.iter().any(|(_, replica)| !replica.spec.eviction_requested);
        let last = if others_stay { None } else { available.last().map(|(name, _)| (*name).clone()) };
        let leaving = order.iter().filter(|(_, replica)| replica.spec.eviction_requested);
        let Some(leaving) = leaving.map(|(name, _)| (*name).clone()).find(|name| Some(name) != last.as_ref()) else {
            return Ok(false);
        };
        if let Err(error) = picture.delete_replica(&leaving, datastore).await {
            if !error.is_conflict() && !error.is_not_found() {
                let message = format!("volume {} failed to evict replica {leaving}", picture.volume_name());
                self.events.event(&picture.volume, EventType::Warning, "EvictionFailed", message);
            }
            return Err(error);
        }
        tracing::info!("Evicted replica {leaving}");
        Ok(true)
    }

    /// Deletes a replica elsewhere while there is one beside the workload: of those that share a disk, a node or a zone with others, the
    /// first by name that is not local. Without such a wish of the volume (and without balancing) replicas are never too many.
    async fn delete_one_remote(&self, picture: &mut Picture, engine_node: &str) -> Result<()> {
        let locality = &picture.volume.spec.data_locality;
        let is_local =
            |replica: &Replica| replica.spec.node_id == engine_node || replica.spec.hard_node_affinity == engine_node;
        let has_local = !engine_node.is_empty() && picture.replicas.values().any(is_local);
        if matches!(locality, DataLocality::Disabled | DataLocality::Unset) || !has_local {
            return Ok(());
        }
        let datastore = &self.manager.datastore;
        let zone = |node: &str| datastore.nodes.find(node).map(|node| node.status.zone.clone());
        let groups = [
            crowded(&picture.replicas, |replica| Some(format!("{}{}", replica.spec.node_id, replica.spec.disk_id))),
            crowded(&picture.replicas, |replica| Some(replica.spec.node_id.clone())),
            crowded(&picture.replicas, |replica| zone(&replica.spec.node_id)),
        ];
        let all = picture.replicas.keys().cloned().collect();
        let candidates = groups.into_iter().find(|group| group.len() > 1).unwrap_or(all);
        let remote = candidates.into_iter().find(|name| picture.replicas[name].spec.node_id != engine_node);
        let Some(remote) = remote else { return Ok(()) };
        picture.delete_replica(&remote, datastore).await
    }
}

/// The largest group of replicas that have a place in common, sorted by name.
fn crowded(replicas: &Replicas, place: impl Fn(&Replica) -> Option<String>) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (replica_name, replica) in replicas {
        if let Some(place) = place(replica) {
            groups.entry(place).or_default().push(replica_name.clone());
        }
    }
    groups.into_values().max_by_key(Vec::len).unwrap_or_default()
}

fn is_upgrading(volume: &Volume) -> bool {
    volume.status.current_image != volume.spec.image
}
