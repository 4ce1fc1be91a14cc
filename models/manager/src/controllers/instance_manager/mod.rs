//! The instance-manager controller: the pod behind each InstanceManager, and what the resource says of it
//! (`controller/instance_manager_controller.go`).
//!
//! The manager of the instance manager's node owns it. Its status follows the pod; its list of instances is the [`monitor`]'s, which runs in
//! the owner's process. A terminating resource is given up at once: its pod is deleted and its status is written no more, so that it says
//! "running" until the end, and whoever goes by the status still counts on it.

mod applied;
mod budget;
mod monitor;
mod orphans;
mod pod;

pub(super) use orphans::{deletes_by_itself, is_of_instance, is_past_grace, parameter};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::{Event, Stop};
use k8s_openapi::api::core::v1::{Node as KubernetesNode, Pod};
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{InstanceManager, Orphan, Release, Setting, settings};

use crate::engine::instance_manager::InstanceManagerClient;
use crate::manager::Manager;
use crate::pods;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Datastore, Result, ownership};

/// A version that is not known yet.
const UNKNOWN_API_VERSION: i64 = 0;
/// The interface that the manager speaks, and the oldest it can do with (`engineapi`).
const API_VERSIONS: (i64, i64) = (6, 1);

/// The controller.
pub struct InstanceManagerController {
    manager: Arc<Manager>,
    queue: Queue,
    /// Stops of the monitors that run, by instance manager.
    monitors: Arc<Mutex<BTreeMap<String, Stop>>>,
}

/// Starts it: InstanceManagers with resync; their pods, Kubernetes' nodes, some Settings and, where there are orphans of instances, Orphans
/// without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.instance_managers.informer().add_handler(queue.handler::<InstanceManager>());
    let (of, to) = (manager.clone(), queue.clone());
    let on_pod = move |event: Event<Pod>| {
        let pod_name = name(&event.object().metadata);
        if is_instance_manager(event.object()) && of.datastore.instance_managers.find(pod_name).is_some() {
            to.add(pod_name);
        }
    };
    datastore.pods.informer().add_handler_with_resync(Duration::ZERO, on_pod);
    let (of, to) = (manager.clone(), queue.clone());
    let on_node = move |event: Event<KubernetesNode>| {
        if !matches!(event, Event::Added { .. }) {
            queue_all_on_node(&of.datastore, &to, name(&event.object().metadata));
        }
    };
    datastore.kubernetes_node_informer().add_handler_with_resync(Duration::ZERO, on_node);
    if has_instance_orphans(datastore) {
        let (of, to) = (manager.clone(), queue.clone());
        let on_orphan = move |event: Event<Orphan>| {
            if matches!(event, Event::Added { .. }) {
                queue_all_on_node(&of.datastore, &to, &event.object().spec.node_id);
            }
        };
        datastore.orphans.informer().add_handler_with_resync(Duration::ZERO, on_orphan);
    }
    let (of, to) = (manager.clone(), queue.clone());
    let on_setting = move |event: Event<Setting>| {
        let concerns = matches!(event, Event::Updated { .. }) && is_followed(name(&event.object().metadata));
        if concerns {
            queue_all_on_node(&of.datastore, &to, of.node());
        }
    };
    datastore.settings.informer().add_handler_with_resync(Duration::ZERO, on_setting);
    let monitors = Arc::default();
    let controller = InstanceManagerController { manager: manager.clone(), queue: queue.clone(), monitors };
    Runner::new(queue, Arc::new(controller)).start();
}

/// Whether this release makes orphans of instances (from b90da500c on).
pub(super) fn has_instance_orphans(datastore: &Datastore) -> bool {
    datastore.release().at_least(Release::V1_9_0_DEV_00886872C)
}

fn is_followed(setting: &str) -> bool {
    matches!(
        setting,
        settings::KUBERNETES_CLUSTER_AUTOSCALER_ENABLED
            | settings::V2_DATA_ENGINE_CPU_MASK
            | settings::ORPHAN_RESOURCE_AUTO_DELETION
    )
}

fn is_instance_manager(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.containers.iter().any(|container| container.name == "instance-manager"))
}

/// Queues the instance managers of a node that Longhorn knows.
fn queue_all_on_node(datastore: &Datastore, queue: &Queue, node: &str) {
    if datastore.nodes.find(node).is_none() {
        return;
    }
    for engine in [DataEngine::V1, DataEngine::V2] {
        for manager in datastore.instance_managers_on(node, &engine, None) {
            queue.add(name(&manager.metadata));
        }
    }
}

impl Reconcile for InstanceManagerController {
    const NAME: &'static str = "longhorn-instance-manager";

    async fn reconcile(&self, manager_name: &str) -> Result<()> {
        let result = self.sync(manager_name).await;
        let namespace = &self.manager.datastore.namespace;
        result.context(|| format!("failed to sync instance manager for {namespace}/{manager_name}"))
    }
}

impl InstanceManagerController {
    async fn sync(&self, manager_name: &str) -> Result<()> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let Some(found) = datastore.instance_managers.find(manager_name) else {
            tracing::warn!("Deleting instance manager pod {manager_name} since the instance manager is not found");
            return self.clean_up_pod(manager_name).await;
        };
        if !datastore.is_responsible_on(me, &found.spec.node_id, &found.status.owner_id) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.instance_managers, (*found).clone(), me).await?;
        let Some(mut manager) = taken else { return Ok(()) };
        if manager.metadata.deletion_timestamp.is_some() {
            tracing::warn!("Deleting instance manager pod {manager_name} since the instance manager is being deleted");
            return self.clean_up_pod(manager_name).await;
        }
        let before = manager.status.clone();
        let mut result = self.follow(&mut manager).await;
        if result.is_ok() && manager.status != before {
            result = datastore.instance_managers.update_status(&manager).await.map(drop);
        }
        match result {
            Err(error) if error.is_conflict() => {
                self.queue.add(manager_name);
                Ok(())
            }
            other => other,
        }
    }

    async fn follow(&self, manager: &mut InstanceManager) -> Result<()> {
        self.follow_pod(manager);
        if manager.spec.data_engine == DataEngine::V2 && !self.may_proceed(manager)? {
            return Ok(());
        }
        self.follow_node(manager)?;
        forget_instances(manager);
        self.keep_pod(manager).await?;
        self.keep_budget(manager).await?;
        self.learn_version(manager).await?;
        self.keep_monitor(manager).await;
        if has_instance_orphans(&self.manager.datastore) { self.delete_orphans(manager).await } else { Ok(()) }
    }

    /// The state is what the pod's is, whatever it was before.
    fn follow_pod(&self, manager: &mut InstanceManager) {
        let pod = self.manager.datastore.pods.find(name(&manager.metadata));
        let state = &mut manager.status.current_state;
        let Some(pod) = pod else {
            // Without a pod, one that never had one is stopped.
            let is_new = matches!(state, InstanceManagerState::Unset | InstanceManagerState::Stopped);
            *state = if is_new { InstanceManagerState::Stopped } else { InstanceManagerState::Error };
            return;
        };
        if pod.metadata.deletion_timestamp.is_some() {
            *state = InstanceManagerState::Error;
            return;
        }
        let status = pod.status.as_ref();
        let is_ready = status.and_then(|status| status.container_statuses.as_ref());
        let is_ready = is_ready.into_iter().flatten().all(|container| container.ready);
        match status.and_then(|status| status.phase.as_deref()) {
            Some("Pending") => *state = InstanceManagerState::Starting,
            Some("Running") if is_ready => {
                *state = InstanceManagerState::Running;
                let ip = status.and_then(|status| status.pod_ip.clone());
                manager.status.ip = ip.unwrap_or_default();
            }
            Some("Running") => *state = InstanceManagerState::Starting,
            _ => *state = InstanceManagerState::Error,
        }
    }

    /// The second data engine's pod takes huge pages and disks that no other pod can have at the same time: a stopped one waits until
    /// every other of the node is stopped, and only one of the default image starts.
    fn may_proceed(&self, manager: &InstanceManager) -> Result<bool> {
        if manager.status.current_state != InstanceManagerState::Stopped {
            return Ok(true);
        }
        let datastore = &self.manager.datastore;
        let others = datastore.instance_managers_on(&manager.spec.node_id, &DataEngine::V2, None);
        let occupies = |other: &Arc<InstanceManager>| {
            other.metadata.name != manager.metadata.name && other.status.current_state != InstanceManagerState::Stopped
        };
        if others.iter().any(occupies) {
            return Ok(false);
        }
        Ok(manager.spec.image == datastore.existing_setting_value(settings::DEFAULT_INSTANCE_MANAGER_IMAGE)?)
    }

    fn follow_node(&self, manager: &mut InstanceManager) -> Result<()> {
        let is_down = self.manager.datastore.is_node_down_or_deleted(&manager.spec.node_id)?;
        let state = &mut manager.status.current_state;
        if is_down && !matches!(state, InstanceManagerState::Error | InstanceManagerState::Unknown) {
            *state = InstanceManagerState::Unknown;
        }
        Ok(())
    }

    /// Deletes the pod if it has to go or is gone, and makes a new one; on the instance manager's own node only.
    async fn keep_pod(&self, manager: &mut InstanceManager) -> Result<()> {
        let datastore = &self.manager.datastore;
        let manager_name = name(&manager.metadata).to_owned();
        if let Err(error) = self.apply_log_settings(manager).await {
            tracing::warn!(%error, "Failed to sync log settings to instance manager pod {manager_name}");
        }
        let state = &manager.status.current_state;
        let stays = !matches!(state, InstanceManagerState::Error | InstanceManagerState::Stopped)
            && !self.must_be_replaced(manager)?;
        if stays {
            return Ok(());
        }
        self.clean_up_pod(&manager_name).await?;
        if self.manager.node() != manager.spec.node_id {
            return Ok(());
        }
        // A pod with a node's name is not kept off by a cordon, so it must not be made.
        if datastore.is_kubernetes_node_cordoned(&manager.spec.node_id)? {
            return Ok(());
        }
        let pod = pod::pod(&self.manager, manager)?;
        tracing::info!("Creating instance manager pod {manager_name}");
        match datastore.pods.api().create(&pod).await {
            Err(error) if error.is_already_exists() => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Ends the monitor and deletes the pod.
    async fn clean_up_pod(&self, manager_name: &str) -> Result<()> {
        self.stop_monitor(manager_name);
        let store = &self.manager.datastore.pods;
        let pod = store.find(manager_name).filter(|pod| pod.metadata.deletion_timestamp.is_none());
        if pod.is_none() {
            return Ok(());
        }
        tracing::info!("Deleting instance manager pod {manager_name} for instance manager {manager_name}");
        store.delete(manager_name).await
    }

    /// Asks a running instance manager which interfaces it speaks; those of one that went away are forgotten, the proxy's are not.
    async fn learn_version(&self, manager: &mut InstanceManager) -> Result<()> {
        let running = manager.status.current_state == InstanceManagerState::Running;
        if !running && manager.status.current_state != InstanceManagerState::Unknown {
            manager.status.api_version = UNKNOWN_API_VERSION;
            manager.status.api_min_version = UNKNOWN_API_VERSION;
            return Ok(());
        }
        let status = &manager.status;
        let unknown = status.api_version == UNKNOWN_API_VERSION || status.proxy_api_version == UNKNOWN_API_VERSION;
        if !running || !unknown {
            return Ok(());
        }
        let versions = InstanceManagerClient::connect(manager, false).await?.versions().await?;
        manager.status.api_version = versions.instance_manager_api_version;
        manager.status.api_min_version = versions.instance_manager_api_min_version;
        manager.status.proxy_api_version = versions.instance_manager_proxy_api_version;
        manager.status.proxy_api_min_version = versions.instance_manager_proxy_api_min_version;
        Ok(())
    }

    /// A running instance manager that can be spoken with is monitored; one of unknown state is left as it is.
    async fn keep_monitor(&self, manager: &InstanceManager) {
        let (status, (own, least)) = (&manager.status, API_VERSIONS);
        if status.current_state == InstanceManagerState::Unknown {
            return;
        }
        let is_compatible = own >= status.api_min_version && status.api_version >= least;
        if status.current_state == InstanceManagerState::Running && is_compatible {
            self.start_monitor(manager).await;
        } else {
            self.stop_monitor(name(&manager.metadata));
        }
    }
}

/// In these states no instance runs, or soon none will; what the list says would mislead other controllers.
fn forget_instances(manager: &mut InstanceManager) {
    use InstanceManagerState::{Error, Starting, Stopped};
    if matches!(manager.status.current_state, Stopped | Error | Starting) {
        manager.status.instances = Default::default();
        manager.status.instance_engines = Default::default();
        manager.status.instance_replicas = Default::default();
        manager.status.backing_images = Default::default();
    }
}

/// Whether an instance manager's pod is there, as the cache has it.
fn has_pod(manager: &Manager, instance_manager: &InstanceManager) -> bool {
    let pod = manager.datastore.pods.find(name(&instance_manager.metadata));
    pod.is_some_and(|pod| pods::node_of(&pod) == instance_manager.spec.node_id)
}

#[cfg(test)]
mod tests {
    use longhorn_api::kinds::instance_manager::InstanceProcess;

    use super::*;

    #[test]
    fn a_list_of_instances_does_not_outlive_its_pod() {
        let mut manager = InstanceManager::default();
        manager.status.instance_replicas.insert("r", InstanceProcess::default());
        manager.status.current_state = InstanceManagerState::Unknown;
        forget_instances(&mut manager);
        assert!(!manager.status.instance_replicas.is_nil(), "a node that is away may come back with all of them");
        manager.status.current_state = InstanceManagerState::Error;
        forget_instances(&mut manager);
        assert!(manager.status.instance_replicas.is_nil());
    }
}
