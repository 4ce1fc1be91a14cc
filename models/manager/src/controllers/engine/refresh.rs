//! What one look of a monitor notes, in upstream's order, and what it has the engine do: start its frontend, take over changed limits, grow,
//! restore (`EngineMonitor.refresh`).

use std::collections::BTreeMap;

use corral_kube_client::EventType;
use host::time::Instant;
use longhorn_api::Engine;
use longhorn_api::go::Map;
use longhorn_api::kinds::engine::{EngineStatus, ReplicaMode, RestoreStatus};
use longhorn_api::kinds::volume::VolumeFrontend;

use super::UNKNOWN_REPLICA_PREFIX;
use super::monitor::Monitor;
use crate::engine::proxy::{EngineProxy, VolumeInfo, cli_api_version, endpoint};
use crate::runtime::backups::name;
use crate::runtime::volumes::VOLUME_HEAD;
use crate::runtime::{Context, Error, Result, clock};

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

impl Monitor {
    pub(super) async fn refresh(&mut self, mut engine: Engine) -> Result<()> {
        let shared = self.shared.clone();
        let datastore = &shared.manager.datastore;
        let mut before = engine.status.clone();
        let replicas = replicas_by_address(&engine)?;
        let mut proxy = shared.proxy(&engine).await?;

        let modes = proxy.replicas().await?;
        self.note_modes(&mut engine, &replicas, &modes);
        match proxy.snapshots().await {
            Ok(snapshots) => {
                engine.status.snapshots = snapshots;
                engine.status.snapshots_error.clear();
            }
            Err(error) => engine.status.snapshots_error = error.to_string(),
        }
        let manager = datastore.instance_managers.get(&engine.status.instance_manager_name)?;
        let version = cli_api_version(datastore, &engine.status.current_image, &engine.spec.data_engine)?;
        let volume = proxy.volume().await?;
        self.note_volume(&mut engine, &volume)?;
        let wants_frontend = !engine.spec.disable_frontend && engine.spec.frontend != VolumeFrontend::None;
        if engine.status.endpoint.is_empty() && wants_frontend {
            tracing::info!("Starting frontend {}", engine.spec.frontend);
            let started = proxy.start_frontend(&engine).await;
            started.context(|| format!("failed to start frontend {}", engine.spec.frontend))?;
        }
        engine.status.rebuild_status = proxy.rebuild_status().await?;
        correct_limits(&mut engine, &volume, &mut proxy, version, manager.status.api_version).await?;
        match proxy.purge_status().await {
            Ok(status) => engine.status.purge_status = status,
            Err(error) => tracing::warn!(%error, "Failed to get snapshot purge status"),
        }
        forget_former_replicas(&mut engine);

        // Stored before anything is done by it.
        let (changed, rarely) = needs_write(&before, &engine);
        if changed && (!rarely || self.size_writes.is_one_left()) {
            engine = datastore.engines.update_status(&engine).await?;
            if rarely {
                self.size_writes.take();
            }
            before = engine.status.clone();
        }
        if self.expand(&mut engine, &mut proxy).await? {
            return Ok(());
        }
        let mut restore = proxy.restore_status().await?;
        self.restore_and_clone(&mut engine, &mut restore, &replicas, &mut proxy, version).await.inspect_err(
            |error| {
                tracing::warn!(%error, "Engine Monitor");
            },
        )?;

        engine.status.restore_status = restore;
        forget_former_replicas(&mut engine);
        let completed = before.last_restored_backup != engine.status.last_restored_backup;
        if completed || has_failed_restore(&engine.status.restore_status) {
            self.count_restore(false);
        }
        if differs_besides_size(&before, &engine.status)
            && let Err(error) = datastore.engines.update_status(&engine).await
        {
            tracing::warn!(%error, "Engine Monitor: Failed to update engine status");
        }
        Ok(())
    }

    /// Notes the mode of every replica, and since when it has it. A replica that nobody asked for gets a name of its own.
    fn note_modes(
        &self,
        engine: &mut Engine,
        replicas: &BTreeMap<String, String>,
        found: &BTreeMap<String, ReplicaMode>,
    ) {
        let (mut modes, mut times) = (Map::from(BTreeMap::new()), Map::from(BTreeMap::new()));
        let now = clock::now_text();
        let order = self.shared.manager.datastore.in_map_order(found);
        for (url, mode) in order {
            let address = url.strip_prefix("tcp://").unwrap_or(url);
            let Some(replica) = replicas.get(address) else {
                tracing::warn!("Found unknown replica {address} in the Replica URL Mode Map");
                modes.insert(format!("{UNKNOWN_REPLICA_PREFIX}{url}"), mode.clone());
                continue;
            };
            modes.insert(replica.clone(), mode.clone());
            let known = &engine.status.replica_mode_map;
            if known.is_nil() {
                times.insert(replica.clone(), now.clone());
            } else if known.get(replica) == Some(mode) {
                let since = engine.status.replica_transition_time_map.get(replica);
                times.insert(replica.clone(), since.cloned().unwrap_or_else(|| now.clone()));
            } else {
                self.tell_mode(engine, replica, address, mode);
                times.insert(replica.clone(), now.clone());
            }
        }
        engine.status.replica_mode_map = modes;
        engine.status.replica_transition_time_map = times;
    }

    fn tell_mode(&self, engine: &Engine, replica: &str, address: &str, mode: &ReplicaMode) {
        let (event_type, reason, message) = match mode {
            ReplicaMode::Error => {
                (EventType::Warning, "Faulted", format!("Detected replica {replica} ({address}) in error"))
            }
            ReplicaMode::WriteOnly => {
                (EventType::Normal, "Rebuilding", format!("Detected rebuilding replica {replica} ({address})"))
            }
            _ => (EventType::Normal, "Rebuilt", format!("Detected replica {replica} ({address}) has been rebuilt")),
        };
        self.shared.events.event(engine, event_type, reason, message);
    }

    /// Notes endpoint and size, and how an expansion went.
    fn note_volume(&mut self, engine: &mut Engine, volume: &VolumeInfo) -> Result<()> {
        engine.status.endpoint = endpoint(volume, &engine.status.ip)?;
        let (error, failed_at) = (&volume.last_expansion_error, &volume.last_expansion_failed_at);
        let status = &mut engine.status;
        let is_news = !error.is_empty()
            && !failed_at.is_empty()
            && (status.last_expansion_error != *error || status.last_expansion_failed_at != *failed_at)
            && failed_at.parse().is_ok_and(|failed_at: jiff::Timestamp| failed_at >= self.expansion_seen_at);
        if is_news {
            status.last_expansion_error.clone_from(error);
            status.last_expansion_failed_at.clone_from(failed_at);
            let message = format!("Engine failed or partially failed to expand the size at {failed_at}: {error}");
            self.shared.events.event(&*engine, EventType::Warning, "FailedExpansion", message);
            self.expansion_seen_at = clock::now().0;
            self.expansion_backoff.next(name(&engine.metadata), Instant::now());
        }
        let (old_size, size) = (engine.status.current_size.0, volume.size);
        if old_size != 0 && old_size != size {
            let message = format!("Engine successfully expand size from {old_size} to {size}");
            self.shared.events.event(&*engine, EventType::Normal, "SucceededExpansion", message);
            self.expansion_seen_at = clock::now().0;
        }
        engine.status.current_size = size.into();
        engine.status.is_expanding = volume.is_expanding;
        Ok(())
    }

    /// Has the engine grow if it is smaller than it should be; says whether it does.
    async fn expand(&mut self, engine: &mut Engine, proxy: &mut EngineProxy) -> Result<bool> {
        let (wanted, current) = (engine.spec.volume_size.0, engine.status.current_size.0);
        if wanted == current {
            self.expansion_backoff.forget(name(&engine.metadata));
            self.expansion_seen_at = clock::now().0;
            engine.status.last_expansion_error.clear();
            engine.status.last_expansion_failed_at.clear();
            return Ok(false);
        }
        if engine.status.is_expanding {
            return Ok(false);
        }
        if wanted < current {
            engine.status.last_expansion_error = format!(
                "the expected size {wanted} of engine {} should not be smaller than the current size {current}",
                name(&engine.metadata)
            );
            engine.status.last_expansion_failed_at = clock::now().0.to_string();
            return Ok(false);
        }
        if !self.expansion_backoff.is_waiting(name(&engine.metadata), Instant::now()) {
            tracing::info!("Starting engine expansion from {current} to {wanted}");
            self.expansion_seen_at = clock::now().0;
            proxy.expand(wanted).await?;
        }
        Ok(true)
    }

    async fn restore_and_clone(
        &mut self,
        engine: &mut Engine,
        status: &mut Map<RestoreStatus>,
        replicas: &BTreeMap<String, String>,
        proxy: &mut EngineProxy,
        version: i64,
    ) -> Result<()> {
        if !self.restore(engine, status, replicas, proxy, version).await? {
            return Ok(());
        }
        engine.status.clone_status = if version >= 5 { proxy.clone_status().await? } else { Map::nil() };
        Ok(())
    }
}

/// Names of replicas by the address at which the engine has them.
fn replicas_by_address(engine: &Engine) -> Result<BTreeMap<String, String>> {
    let mut replicas = BTreeMap::new();
    for (replica, address) in &engine.status.current_replica_address_map {
        if replicas.insert(address.clone(), replica.clone()).is_some() {
            return Err(Error::message("invalid ReplicaAddressMap: duplicate addresses"));
        }
    }
    Ok(replicas)
}

/// Has the engine take over limits that were changed while it ran; engines and managers of old versions do not know them.
async fn correct_limits(
    engine: &mut Engine,
    volume: &VolumeInfo,
    proxy: &mut EngineProxy,
    cli_version: i64,
    manager_version: i64,
) -> Result<()> {
    let (spec, status) = (&engine.spec, &mut engine.status);
    if cli_version >= 7 && manager_version >= 3 {
        let (wanted, found) = (spec.unmap_mark_snap_chain_removed_enabled, volume.unmap_mark_snap_chain_removed);
        status.unmap_mark_snap_chain_removed_enabled = found;
        if wanted != found {
            let set = proxy.set_unmap_mark_snap_chain_removed(wanted).await;
            set.context(|| format!("failed to correct flag UnmapMarkSnapChainRemoved from {found} to {wanted}"))?;
        }
    }
    if cli_version >= 10 && manager_version >= 5 {
        let (wanted, found) = (spec.snapshot_max_count, volume.snapshot_max_count);
        status.snapshot_max_count = found;
        if wanted != found {
            let set = proxy.set_snapshot_max_count(wanted).await;
            set.context(|| format!("failed to correct flag SnapshotMaxCount from {found} to {wanted}"))?;
        }
        let (wanted, found) = (spec.snapshot_max_size.0, volume.snapshot_max_size);
        status.snapshot_max_size = found.into();
        if wanted != found {
            let set = proxy.set_snapshot_max_size(wanted).await;
            set.context(|| format!("failed to correct flag SnapshotMaxSize from {found} to {wanted}"))?;
        }
    }
    Ok(())
}

/// Takes away what is said of replicas that the engine has no longer.
fn forget_former_replicas(engine: &mut Engine) {
    let status = &mut engine.status;
    let urls: Vec<String> =
        status.current_replica_address_map.values().map(|address| format!("tcp://{address}")).collect();
    status.purge_status.retain(|url, _| urls.contains(url));
    status.restore_status.retain(|url, _| urls.contains(url));
    status.rebuild_status.retain(|url, _| urls.contains(url));
    status.clone_status.retain(|url, _| urls.contains(url));
}

fn has_failed_restore(restore: &Map<RestoreStatus>) -> bool {
    restore.values().take_while(|status| !status.is_restoring).any(|status| !status.error.is_empty())
}

/// Whether the status is written, and whether only as often as the limit for sizes allows.
fn needs_write(before: &EngineStatus, engine: &Engine) -> (bool, bool) {
    if differs_besides_size(before, &engine.status) {
        return (true, false);
    }
    let (Some(old), Some(new)) = (head_size(before), head_size(&engine.status)) else { return (false, false) };
    if old == new {
        return (false, false);
    }
    (true, new - old < size_threshold(engine.spec.volume_size.0))
}

fn differs_besides_size(before: &EngineStatus, after: &EngineStatus) -> bool {
    let Some(size) = after.snapshots.get(VOLUME_HEAD).map(|head| head.size.clone()) else { return before != after };
    let mut before = before.clone();
    if let Some(head) = before.snapshots.get_mut(VOLUME_HEAD) {
        head.size = size;
    }
    before != *after
}

fn head_size(status: &EngineStatus) -> Option<i64> {
    status.snapshots.get(VOLUME_HEAD)?.size.parse().ok()
}

/// Growth that is worth a write at once.
fn size_threshold(volume_size: i64) -> i64 {
    match volume_size {
        ..=0 => 0,
        size if size <= 100 * GIB => size / 1024,
        _ => 100 * MIB,
    }
}

#[cfg(test)]
mod tests {
    use longhorn_api::kinds::engine::SnapshotInfo;

    use super::*;

    fn engine(head_size: &str) -> Engine {
        let mut engine = Engine::default();
        engine.spec.volume_size = (64 * MIB).into();
        let head = SnapshotInfo { size: head_size.to_owned(), ..SnapshotInfo::default() };
        engine.status.snapshots.insert(VOLUME_HEAD, head);
        engine
    }

    #[test]
    fn small_growth_is_written_rarely() {
        let before = engine("0").status;
        assert_eq!(needs_write(&before, &engine("0")), (false, false));
        assert_eq!(needs_write(&before, &engine("4096")), (true, true));
        assert_eq!(needs_write(&before, &engine("65536")), (true, false), "a thousandth of the volume");
        let mut other = engine("4096");
        other.status.endpoint = "/dev/longhorn/v1".to_owned();
        assert_eq!(needs_write(&before, &other), (true, false));
    }

    #[test]
    fn two_replicas_do_not_share_an_address() {
        let mut engine = engine("0");
        engine.status.current_replica_address_map.insert("a", "10.0.0.1:10000".to_owned());
        assert!(replicas_by_address(&engine).is_ok());
        engine.status.current_replica_address_map.insert("b", "10.0.0.1:10000".to_owned());
        assert!(replicas_by_address(&engine).is_err());
    }

    #[test]
    fn what_is_said_of_former_replicas_goes() {
        let mut engine = engine("0");
        engine.status.restore_status.insert("tcp://10.0.0.1:10000", RestoreStatus::default());
        engine.status.restore_status.insert("tcp://10.0.0.2:10000", RestoreStatus::default());
        engine.status.current_replica_address_map.insert("a", "10.0.0.2:10000".to_owned());
        forget_former_replicas(&mut engine);
        assert_eq!(engine.status.restore_status.keys().collect::<Vec<_>>(), ["tcp://10.0.0.2:10000"]);
    }
}
