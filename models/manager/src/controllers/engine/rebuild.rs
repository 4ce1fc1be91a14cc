//! Rebuilding: a replica that the engine should have and does not is added to it, in a task of its own that lasts as long as the copying;
//! a replica that nobody asked for is removed.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use corral_kube_client::{EventType, reads};
use host::time::{Instant, sleep};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::engine::ReplicaMode;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::replica::{
    CONDITION_REBUILD_FAILED, REASON_REBUILD_FAILED_DISCONNECTION, REASON_REBUILD_FAILED_GENERAL,
};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Engine, Replica, settings};

use super::monitor::POLL_INTERVAL;
use super::{EngineController, Shared, UNKNOWN_REPLICA_PREFIX};
use crate::controllers::volume::set_failed;
use crate::engine::arguments::replica_folder;
use crate::engine::proxy::{EngineProxy, LocalSync};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result, clock};

/// How long a reconcile waits for the engine to show the new replica (`EnginePollTimeout`).
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a rebuild waits for a purge, and how often it looks (`purgeWaitIntervalInSecond`).
const PURGE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
const PURGE_INTERVAL: Duration = Duration::from_secs(10);

impl EngineController {
    /// Removes what nobody asked for, and begins to rebuild what is missing (`ReconcileEngineState`).
    pub(super) async fn follow_replicas(&self, engine: &Engine) -> Result<()> {
        self.remove_unknown(engine).await?;
        let modes = &engine.status.replica_mode_map;
        if modes.values().any(|mode| *mode == ReplicaMode::WriteOnly) {
            return Ok(());
        }
        let missing =
            engine.status.current_replica_address_map.iter().filter(|(replica, _)| !modes.contains_key(*replica));
        match self.shared.manager.datastore.in_map_order(missing).first() {
            Some((replica, address)) => {
                let started = self.start_rebuilding(engine, replica, address).await;
                started.context(|| format!("failed to start rebuild for {replica} of {}", name(&engine.metadata)))
            }
            None => Ok(()),
        }
    }

    async fn remove_unknown(&self, engine: &Engine) -> Result<()> {
        for (replica, mode) in self.shared.manager.datastore.in_map_order(&engine.status.replica_mode_map) {
            let Some(url) = replica.strip_prefix(UNKNOWN_REPLICA_PREFIX).map(str::to_owned) else { continue };
            let mut proxy = self.shared.proxy(engine).await?;
            let (shared, engine, mode) = (self.shared.clone(), engine.clone(), mode.clone());
            host::spawn(async move {
                let tell =
                    |event_type, reason, message: String| shared.events.event(&engine, event_type, reason, message);
                let what = format!("unknown replica {url} in mode {mode} from engine");
                tell(EventType::Normal, "Delete", format!("Removing {what}"));
                match proxy.remove_replica(&url, "").await {
                    Ok(()) => tell(EventType::Normal, "Delete", format!("Removed {what}")),
                    Err(error) => {
                        tell(EventType::Warning, "FailedDeleting", format!("Failed to remove {what}: {error}"))
                    }
                }
            });
        }
        Ok(())
    }

    /// Begins the rebuild, and waits until the engine shows it, so that no second one is begun.
    async fn start_rebuilding(&self, engine: &Engine, replica: &str, address: &str) -> Result<()> {
        let mut proxy = self.shared.proxy(engine).await?;
        if knows(&mut proxy, address).await? {
            tracing::info!("Replica {replica} address {address} has been added to the engine already");
            return Ok(());
        }
        let rebuild = Rebuild {
            shared: self.shared.clone(),
            engine: engine.clone(),
            replica: replica.to_owned(),
            address: address.to_owned(),
        };
        host::spawn(reads::scope(format!("longhorn-engine-rebuild {replica}"), rebuild.run()));
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if knows(&mut proxy, address).await? {
                return Ok(());
            }
            if Instant::now() + POLL_INTERVAL > deadline {
                host::time::sleep_until(deadline).await;
                return Err(Error::message("context deadline exceeded"));
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Whether the engine has a replica at this address.
async fn knows(proxy: &mut EngineProxy, address: &str) -> Result<bool> {
    let replicas = proxy.replicas().await?;
    Ok(replicas.keys().any(|url| url.strip_prefix("tcp://").unwrap_or(url) == address))
}

/// One rebuild.
struct Rebuild {
    shared: Arc<Shared>,
    /// As it was when the rebuild began.
    engine: Engine,
    replica: String,
    address: String,
}

impl Rebuild {
    /// All of it. What keeps it from beginning is only logged: the next reconcile tries again.
    async fn run(self) {
        if let Err(error) = self.rebuild().await {
            tracing::error!(%error, "Failed to rebuild replica {} at {}", self.replica, self.address);
        }
    }

    async fn rebuild(&self) -> Result<()> {
        let datastore = &self.shared.manager.datastore;
        let purges = datastore.setting_flag(settings::AUTO_CLEANUP_SYSTEM_GENERATED_SNAPSHOT)?;
        let mut proxy = self.shared.proxy(&self.engine).await.inspect_err(|error| {
            let message = format!("Failed rebuilding replica with Address {}: {error}", self.address);
            self.tell(EventType::Warning, "FailedRebuilding", message);
        })?;
        if purges && !self.purge_before(&mut proxy).await? {
            return Ok(());
        }
        let replica = (*datastore.replicas.get(&self.replica)?).clone();
        let replica = self.note_condition(replica, "").await?;
        if let Err(error) = self.add(&mut proxy, &replica).await {
            return self.give_up(&mut proxy, replica, &error).await;
        }
        self.backoff(|backoff| backoff.forget(name(&self.engine.metadata)));
        let volume = &self.engine.spec.volume_name;
        let message =
            format!("Replica {} with Address {} has been rebuilt for volume {volume}", self.replica, self.address);
        self.tell(EventType::Normal, "Rebuilt", message);
        if purges {
            self.purge(&mut proxy, "after").await?;
        }
        Ok(())
    }

    async fn purge(&self, proxy: &mut EngineProxy, when: &str) -> Result<()> {
        tracing::info!("Starting snapshot purge {when} rebuilding");
        proxy.purge().await.inspect_err(|error| {
            let (engine, volume) = (name(&self.engine.metadata), &self.engine.spec.volume_name);
            let message = format!(
                "Failed to start snapshot purge for engine {engine} and volume {volume} {when} rebuilding: {error}"
            );
            self.tell(EventType::Warning, "FailedStartingSnapshotPurge", message);
        })
    }

    /// Has system snapshots merged first, and waits for it; says whether the rebuild goes on.
    async fn purge_before(&self, proxy: &mut EngineProxy) -> Result<bool> {
        self.purge(proxy, "before").await?;
        let deadline = Instant::now() + PURGE_TIMEOUT;
        while Instant::now() < deadline {
            sleep(PURGE_INTERVAL).await;
            let engine = self.shared.manager.datastore.engines.get(name(&self.engine.metadata))?;
            if !self.is_wanted(&engine) {
                return Ok(false);
            }
            if !engine.status.purge_status.values().any(|status| status.is_purging) {
                return Ok(true);
            }
        }
        let message = format!(
            "Timeout waiting for snapshot purge done before rebuilding volume {}, wait interval {} second",
            self.engine.spec.volume_name,
            PURGE_TIMEOUT.as_secs()
        );
        self.tell(EventType::Warning, "TimeoutSnapshotPurge", message);
        Ok(false)
    }

    /// Whether the engine still runs and should have this replica at this address (`shouldProceedToWaitAndRebuild`).
    fn is_wanted(&self, engine: &Engine) -> bool {
        engine.status.current_state == InstanceState::Running
            && engine.spec.desire_state == InstanceState::Running
            && engine.spec.replica_address_map.get(&self.replica) == Some(&self.address)
    }

    async fn add(&self, proxy: &mut EngineProxy, replica: &Replica) -> Result<()> {
        let (datastore, engine) = (&self.shared.manager.datastore, &self.engine);
        let fast = datastore.setting_flag(settings::FAST_REPLICA_REBUILD_ENABLED)?;
        let file_sync = datastore.setting_number(settings::REPLICA_FILE_SYNC_HTTP_CLIENT_TIMEOUT)?;
        let long = datastore.setting_number(settings::LONG_GRPC_TIMEOUT)?;
        let restores = !engine.spec.requested_backup_restore.is_empty();
        if restores && engine.spec.node_id.is_empty() {
            return Ok(());
        }
        let (engine_name, volume) = (name(&engine.metadata), &engine.spec.volume_name);
        let kind = if restores { "restore" } else { "normal" };
        let message = format!(
            "Start rebuilding replica {} with Address {} for {kind} engine {engine_name} and volume {volume}",
            self.replica, self.address
        );
        self.tell(EventType::Normal, "Rebuilding", message);
        let (url, local, seconds) = (self.url(), self.local_sync(replica), if restores { 0 } else { long });
        proxy.add_replica(engine, &self.replica, &url, restores, fast, local, file_sync, seconds).await?;
        if engine.spec.data_engine == DataEngine::V2 { self.wait_for_v2(long).await } else { Ok(()) }
    }

    /// A replica of the volume that runs on the same node, to copy from.
    fn local_sync(&self, replica: &Replica) -> Option<LocalSync> {
        let datastore = &self.shared.manager.datastore;
        let others = datastore.replicas_of_volume(&self.engine.spec.volume_name);
        let others = others.into_values().filter(|other| {
            name(&other.metadata) != self.replica
                && other.spec.node_id == replica.spec.node_id
                && other.metadata.deletion_timestamp.is_none()
                && other.status.current_state == InstanceState::Running
        });
        let source = datastore.in_map_order(others).into_iter().next()?;
        let folder = |replica: &Replica| replica_folder(&replica.spec.disk_path, &replica.spec.data_directory_name);
        Some(LocalSync { source: folder(&source), target: folder(replica) })
    }

    /// A v2 engine answers when the rebuild has begun; the monitor's notes tell when it is done.
    async fn wait_for_v2(&self, seconds: i64) -> Result<()> {
        let datastore = &self.shared.manager.datastore;
        let deadline = Instant::now() + Duration::from_secs(seconds.unsigned_abs());
        while Instant::now() < deadline {
            sleep(POLL_INTERVAL).await;
            let engine = datastore.engines.get(name(&self.engine.metadata))?;
            if !engine.spec.replica_address_map.contains_key(&self.replica) {
                return Err(Error::message(format!("unknown replica {} for engine", self.replica)));
            }
            let replica = datastore.replicas.get(&self.replica)?;
            if replica.status.current_state != InstanceState::Running {
                let state = &replica.status.current_state;
                let message = format!("replica {} is state {state}, which is invalid for rebuilding", self.replica);
                return Err(Error::message(message));
            }
            match engine.status.replica_mode_map.get(&self.replica) {
                Some(ReplicaMode::ReadWrite) => return Ok(()),
                Some(ReplicaMode::Error) => {
                    let message = format!("replica {} is in ERR mode, which is invalid for rebuilding", self.replica);
                    return Err(Error::message(message));
                }
                None => continue,
                Some(_) => {}
            }
            let Some(status) = engine.status.rebuild_status.get(&self.url()) else { continue };
            if status.state == "error" || !status.error.is_empty() {
                return Err(Error::message(format!(
                    "failed to wait for v2 replica {} rebuild, rebuilding state {}, error: {}",
                    self.replica, status.state, status.error
                )));
            }
            if status.state == "complete" {
                return Ok(());
            }
        }
        Err(Error::message(format!("timeout waiting for replica {} to be rebuilt", self.replica)))
    }

    /// Removes the replica from the engine, and marks it as failed unless another one failed a moment ago.
    async fn give_up(&self, proxy: &mut EngineProxy, replica: Replica, error: &Error) -> Result<()> {
        let (engine_name, volume) = (name(&self.engine.metadata), &self.engine.spec.volume_name);
        let message = format!("Failed rebuilding replica with Address {}: {error}", self.address);
        tracing::error!("{message}");
        self.tell(EventType::Warning, "FailedRebuilding", message);
        if let Err(error) = proxy.remove_replica(&self.url(), &self.replica).await {
            let (replica, address) = (&self.replica, &self.address);
            let message = format!(
                "Failed to remove rebuilding replica {replica} with address {address} for engine {engine_name} and volume {volume} \
                 due to rebuilding failure: {error}"
            );
            self.tell(EventType::Warning, "FailedDeleting", message);
        }
        if self.backoff(|backoff| backoff.is_waiting(engine_name, Instant::now())) {
            tracing::debug!("Engine is still in backoff for replica {} rebuild failure", self.replica);
            return Ok(());
        }
        let mut replica = self.note_condition(replica, &error.to_string()).await?;
        set_failed(&mut replica, &clock::now_text());
        replica.spec.desire_state = InstanceState::Stopped;
        self.shared.manager.datastore.update_replica(&replica).await?;
        self.backoff(|backoff| backoff.next(engine_name, Instant::now()));
        Ok(())
    }

    /// Says of the replica why its rebuild failed; without a failure, that none did.
    async fn note_condition(&self, mut replica: Replica, error: &str) -> Result<Replica> {
        let datastore = &self.shared.manager.datastore;
        let unreachable = ["Canceled", "DeadlineExceeded", "Unavailable"]
            .iter()
            .any(|code| error.contains(&format!("rpc error: code = {code}")));
        let (status, mut reason) = match (error.is_empty(), unreachable) {
            (true, _) => (ConditionStatus::False, String::new()),
            (false, true) => (ConditionStatus::True, REASON_REBUILD_FAILED_DISCONNECTION.to_owned()),
            (false, false) => (ConditionStatus::True, REASON_REBUILD_FAILED_GENERAL.to_owned()),
        };
        if unreachable {
            let ready = datastore.nodes.get(&replica.spec.node_id)?.status.conditions.condition("Ready");
            if matches!(ready.reason.as_str(), "ManagerPodDown" | "KubernetesNodeGone" | "KubernetesNodeNotReady") {
                reason = ready.reason;
            }
        }
        let (conditions, now) = (&mut replica.status.conditions, clock::now_text());
        conditions.set_condition(CONDITION_REBUILD_FAILED, status, &reason, error, &now);
        datastore.replicas.update_status(&replica).await
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    fn backoff<T>(&self, ask: impl FnOnce(&mut crate::runtime::backoff::Backoff) -> T) -> T {
        ask(&mut self.shared.rebuild_backoff.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, event_type: EventType, reason: &str, message: String) {
        self.shared.events.event(&self.engine, event_type, reason, message);
    }
}
