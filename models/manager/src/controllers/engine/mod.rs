//! The engine controller: the engine instance of a volume, its monitor, the rebuilding of its replicas, and a Snapshot resource for each of
//! its snapshots (`controller/engine_controller.go`).
//!
//! The manager of the engine's node owns it, if that node has the image the engine runs. Live upgrade is not here.

mod instance;
mod monitor;
mod rebuild;
mod refresh;
mod restore;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, Stop};
use longhorn_api::kinds::engine::EngineStatus;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::instance_manager::InstanceManagerType;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Engine, InstanceManager, settings};

pub(crate) use instance::{EngineDriver, forgive, manager_of, manager_to_delete_in, may_be_reached, note_manager};

use super::instance::{Driver as _, InstanceHandler};
use crate::engine::proxy::EngineProxy;
use crate::manager::Manager;
use crate::runtime::backoff::Backoff;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Result, ownership};

/// What a replica is called that the engine knows and nobody else does; its URL follows.
pub const UNKNOWN_REPLICA_PREFIX: &str = "UNKNOWN-";

/// Delays between two failed rebuilds of one engine (`NewEngineController`).
const SHORTEST_REBUILD_DELAY: Duration = Duration::from_secs(10);
const LONGEST_REBUILD_DELAY: Duration = Duration::from_secs(300);

/// The controller.
pub struct EngineController {
    shared: Arc<Shared>,
}

/// What the controller, its monitors and its rebuilds share.
struct Shared {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
    /// Running monitors, by engine.
    monitors: Mutex<BTreeMap<String, Stop>>,
    /// Failed rebuilds, by engine.
    rebuild_backoff: Mutex<Backoff>,
    /// How many volumes of this manager restore a backup just now.
    restores: Mutex<i64>,
}

/// Starts it: Engines with resync, InstanceManagers without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.engines.informer().add_handler(queue.handler::<Engine>());
    let (of, to) = (manager.clone(), queue.clone());
    let on_manager = move |event: Event<InstanceManager>| {
        let changed = event.object();
        let kind = &changed.spec.instance_manager_type;
        if !matches!(kind, InstanceManagerType::Engine | InstanceManagerType::AllInOne) {
            return;
        }
        for engine in of.datastore.engines.list() {
            // One that attaches has no manager yet, one that detaches has no node any more.
            let is_there = engine.spec.node_id == changed.spec.node_id
                || engine.status.instance_manager_name == name(&changed.metadata);
            if is_there {
                to.add(name(&engine.metadata));
            }
        }
    };
    datastore.instance_managers.informer().add_handler_with_resync(Duration::ZERO, on_manager);
    let shared = Shared {
        manager: manager.clone(),
        queue: queue.clone(),
        events: manager.events(EngineController::NAME),
        monitors: Mutex::new(BTreeMap::new()),
        rebuild_backoff: Mutex::new(Backoff::new(SHORTEST_REBUILD_DELAY, LONGEST_REBUILD_DELAY)),
        restores: Mutex::new(0),
    };
    Runner::new(queue, Arc::new(EngineController { shared: Arc::new(shared) })).start();
}

impl Reconcile for EngineController {
    const NAME: &'static str = "longhorn-engine";

    async fn reconcile(&self, engine_name: &str) -> Result<()> {
        let result = self.reconcile_engine(engine_name).await;
        result
            .context(|| format!("failed to sync engine for {}/{engine_name}", self.shared.manager.datastore.namespace))
    }
}

impl EngineController {
    async fn reconcile_engine(&self, engine_name: &str) -> Result<()> {
        let datastore = &self.shared.manager.datastore;
        let Some(engine) = datastore.engines.find(engine_name) else { return Ok(()) };
        datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        let me = self.shared.manager.node();
        let (spec, status) = (&engine.spec, &engine.status);
        let responsible = datastore.is_responsible_for_instance(
            me,
            &spec.node_id,
            &status.owner_id,
            &status.current_image,
            &spec.data_engine,
        )?;
        if !responsible {
            return Ok(());
        }
        let taken = ownership::take(&datastore.engines, (*engine).clone(), me).await?;
        let Some(mut engine) = taken else { return Ok(()) };
        if engine.metadata.deletion_timestamp.is_some() {
            let driver = EngineDriver { manager: &self.shared.manager };
            let deleted = driver.delete(&engine).await;
            deleted.context(|| {
                format!("failed to clean up the related engine instance before deleting engine {engine_name}")
            })?;
            return datastore.engines.remove_finalizer(engine).await;
        }
        let before = engine.status.clone();
        let mut result = self.follow(&mut engine).await;
        if result.is_ok() && engine.status != before {
            result = datastore.engines.update_status(&engine).await.map(drop);
        }
        match result {
            Err(error) if error.is_conflict() => {
                self.shared.queue.add(engine_name);
                Ok(())
            }
            other => other,
        }
    }

    async fn follow(&self, engine: &mut Engine) -> Result<()> {
        let upgrading = !engine.spec.upgraded_replica_address_map.is_empty();
        if !upgrading && engine.status.current_replica_address_map != engine.spec.replica_address_map {
            // Stored before anything is done by it.
            engine.status.current_replica_address_map = engine.spec.replica_address_map.clone();
            return Ok(());
        }
        let manager = &self.shared.manager;
        let driver = EngineDriver { manager };
        let handler = InstanceHandler { datastore: &manager.datastore, events: &self.shared.events, driver: &driver };
        handler.reconcile(engine).await?;

        let monitored = self.shared.is_monitored(name(&engine.metadata));
        if engine.status.current_state != InstanceState::Running {
            if monitored {
                self.stop_monitoring(engine).await;
            }
        } else if !monitored {
            monitor::start(&self.shared, engine);
        } else if !engine.status.replica_mode_map.is_nil() && engine.spec.desire_state != InstanceState::Stopped {
            // A stopping engine is left alone: another one may have its address already.
            self.follow_replicas(engine).await?;
        }
        let synced = self.follow_snapshots(engine).await;
        synced.context(|| format!("failed to sync with snapshot CRs for engine {}", name(&engine.metadata)))
    }

    /// Forgets what the monitor noted, and stops it once that is stored. The object keeps its version, so what else this reconcile would
    /// write meets a conflict and is tried again: upstream does the same.
    async fn stop_monitoring(&self, engine: &mut Engine) {
        forget_monitored(&mut engine.status);
        let engine_name = name(&engine.metadata);
        match self.shared.manager.datastore.engines.update_status(engine).await {
            Ok(_) => self.shared.stop_monitor(engine_name),
            Err(error) => tracing::error!(%error, "failed to update engine {engine_name} to stop monitoring"),
        }
    }
}

impl Shared {
    fn is_monitored(&self, engine: &str) -> bool {
        self.monitors.lock().unwrap_or_else(PoisonError::into_inner).contains_key(engine)
    }

    fn stop_monitor(&self, engine: &str) {
        if let Some(stop) = self.monitors.lock().unwrap_or_else(PoisonError::into_inner).get(engine) {
            stop.stop();
        }
    }

    /// A connection to the engine, if it runs.
    async fn proxy(&self, engine: &Engine) -> Result<EngineProxy> {
        connect(&self.manager, engine).await
    }
}

/// A connection to an engine that runs (`GetBinaryClientForEngine`, `GetCompatibleClient`).
pub(crate) async fn connect(manager: &Manager, engine: &Engine) -> Result<EngineProxy> {
    let (engine_name, status) = (name(&engine.metadata), &engine.status);
    if engine.spec.data_engine != DataEngine::V2 {
        let problem = if status.current_state != InstanceState::Running {
            Some("engine is not running")
        } else if status.current_image.is_empty() {
            Some("require specify engine image")
        } else if status.ip.is_empty() || status.port == 0 {
            Some("require IP and Port")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(crate::runtime::Error::message(format!(
                "cannot get client for engine {engine_name}: {problem}"
            )));
        }
    }
    EngineProxy::connect(&manager.datastore, engine).await
}

/// Takes back what is known of a running engine only (`ResetMonitoringEngineStatus`).
fn forget_monitored(status: &mut EngineStatus) {
    let fresh = EngineStatus::default();
    status.endpoint = fresh.endpoint;
    status.last_restored_backup = fresh.last_restored_backup;
    status.replica_mode_map = fresh.replica_mode_map;
    status.replica_transition_time_map = fresh.replica_transition_time_map;
    status.restore_status = fresh.restore_status;
    status.purge_status = fresh.purge_status;
    status.rebuild_status = fresh.rebuild_status;
    status.last_expansion_failed_at = fresh.last_expansion_failed_at;
    status.last_expansion_error = fresh.last_expansion_error;
}
