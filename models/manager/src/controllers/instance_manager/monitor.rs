//! The monitor of one instance manager: keeps the resource's list of instances as the pod's is, and makes orphans of what no resource
//! stands for (`InstanceManagerMonitor`).
//!
//! A list is first written to the status, which takes an API write and the wait for the own cache, and only then compared with the resources: an
//! instance whose resource went meanwhile looks orphaned.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use corral_kube_client::{Stop, reads};
use longhorn_api::InstanceManager;
use longhorn_api::go::Map;
use longhorn_api::kinds::instance::InstanceType;
use longhorn_api::kinds::instance_manager::InstanceProcess;

use super::{InstanceManagerController, has_instance_orphans};
use crate::controllers::news_ticker::{Counted, NewsTicker};
use crate::engine::instance_manager::InstanceManagerClient;
use crate::manager::Manager;
use crate::runtime::Result;
use crate::runtime::backups::name;

/// Instances, by name.
pub(super) type Instances = BTreeMap<String, InstanceProcess>;

/// A monitor while it runs.
pub(super) struct Monitor {
    pub(super) manager: Arc<Manager>,
    pub(super) name: String,
}

impl InstanceManagerController {
    /// Connects and starts a monitor, unless one runs or is just ending.
    pub(super) async fn start_monitor(&self, manager: &InstanceManager) {
        let manager_name = name(&manager.metadata).to_owned();
        if manager.status.ip.is_empty() || self.monitors().contains_key(&manager_name) {
            return;
        }
        let client = match InstanceManagerClient::connect(manager, false).await {
            Ok(client) => client,
            Err(error) => {
                return tracing::error!(%error, "Failed to initialize im client to {manager_name} before monitoring");
            }
        };
        let stop = Stop::new();
        self.monitors().insert(manager_name.clone(), stop.clone());
        let monitor = Monitor { manager: self.manager.clone(), name: manager_name.clone() };
        let monitors = self.monitors.clone();
        host::spawn(async move {
            let scope = format!("instance-manager-monitor {manager_name}");
            reads::scope(scope, monitor.run(client, &stop)).await;
            // Tells the reader of the stream, if that still reads.
            stop.stop();
            monitors.lock().unwrap_or_else(PoisonError::into_inner).remove(&manager_name);
        });
    }

    /// Tells a monitor to end; it may be in the middle of its work.
    pub(super) fn stop_monitor(&self, manager_name: &str) {
        if let Some(stop) = self.monitors().get(manager_name) {
            stop.stop();
        }
    }

    fn monitors(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Stop>> {
        self.monitors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor {
    async fn run(&self, mut client: InstanceManagerClient, stop: &Stop) {
        let news = match client.watch().await {
            Ok(news) => news,
            Err(error) => return tracing::error!(%error, "Failed to get the notifier for monitoring"),
        };
        let mut ticker = NewsTicker::new(news, Counted::All, stop);
        while ticker.tick().await && self.poll(&mut client).await {}
    }

    /// Lists, writes, compares. False if the monitor is no longer wanted.
    async fn poll(&self, client: &mut InstanceManagerClient) -> bool {
        let store = &self.manager.datastore.instance_managers;
        let Some(found) = store.find(&self.name) else {
            tracing::warn!("Stop monitoring because the instance manager no longer exists");
            return false;
        };
        if found.status.owner_id != self.manager.node() {
            tracing::warn!("Stop monitoring the instance manager because it has a new owner {}", found.status.owner_id);
            return false;
        }
        let instances = match client.list().await {
            Ok(instances) => instances,
            Err(error) => {
                tracing::error!(%error, "failed to poll instance info to update instance manager {}", self.name);
                return true;
            }
        };
        let (engines, replicas) = by_type(instances);
        if let Err(error) = self.write(&found, &engines, &replicas).await {
            tracing::error!(%error, "failed to update instance map for instance manager {}", self.name);
        }
        if has_instance_orphans(&self.manager.datastore) {
            self.make_orphans(&found, engines, replicas).await;
        }
        true
    }

    /// Puts the lists into the status, if they are new.
    async fn write(&self, found: &InstanceManager, engines: &Instances, replicas: &Instances) -> Result<()> {
        let same = |kept: &Map<InstanceProcess>, now: &Instances| (kept.is_empty() && now.is_empty()) || **kept == *now;
        let status = &found.status;
        if same(&status.instance_engines, engines) && same(&status.instance_replicas, replicas) {
            return Ok(());
        }
        let mut changed = found.clone();
        changed.status.instance_engines = engines.clone().into_iter().collect();
        changed.status.instance_replicas = replicas.clone().into_iter().collect();
        self.manager.datastore.instance_managers.update_status(&changed).await.map(drop)
    }
}

/// Engines and replicas; what is neither is nobody's.
fn by_type(instances: Instances) -> (Instances, Instances) {
    let of_type = |wanted: InstanceType| -> Instances {
        let wanted = instances.iter().filter(|(_, instance)| instance.status.instance_type == wanted);
        wanted.map(|(name, instance)| (name.clone(), instance.clone())).collect()
    };
    (of_type(InstanceType::Engine), of_type(InstanceType::Replica))
}
