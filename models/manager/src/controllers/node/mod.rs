//! The node controller: the conditions of Longhorn's Nodes, and on the manager's own node its disks, instance managers and orphans
//! (`controller/node_controller.go`).
//!
//! A Node has no owner: every manager writes the Ready condition of every Node, which is how a node without a manager becomes
//! not ready. All Nodes are looked at whenever any manager's pod changes.

mod disk_monitor;
mod disks;
mod instance_managers;
mod orphans;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType};
use k8s_openapi::api::core::v1::{Node as KubernetesNode, Pod};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::node::{DiskSpec, DiskType};
use longhorn_api::{Node, Replica, Setting, names, settings};

use crate::manager::Manager;
use crate::pods;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Error, Result, clock};
use disk_monitor::DiskMonitor;

/// Resync period of Nodes, by its own name upstream too.
const RESYNC: Duration = Duration::from_secs(30);
/// How long a kubelet may say that it is not ready, as it does when it restarts.
const IGNORED_NOT_READY: Duration = Duration::from_secs(15);

/// The controller.
pub struct NodeController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
    /// Begun when the own node is first looked at.
    disks: OnceLock<Arc<DiskMonitor>>,
}

/// Starts it: Nodes with resync; managers' pods, Kubernetes' nodes, the replicas of the own node and some Settings without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.nodes.informer().add_handler_with_resync(RESYNC, queue.handler::<Node>());
    let on_pod = (manager.clone(), queue.clone());
    let handler = move |event: Event<Pod>| {
        let (manager, queue) = &on_pod;
        if pods::is_manager(event.object()) {
            for node in manager.datastore.nodes.list() {
                queue.add(name(&node.metadata));
            }
        }
    };
    datastore.pods.informer().add_handler_with_resync(Duration::ZERO, handler);
    let on_kubernetes_node = (manager.clone(), queue.clone());
    let handler = move |event: Event<KubernetesNode>| {
        let (manager, queue) = &on_kubernetes_node;
        let node = name(&event.object().metadata);
        if !matches!(event, Event::Added { .. }) && manager.datastore.nodes.find(node).is_some() {
            queue.add(node);
        }
    };
    datastore.kubernetes_node_informer().add_handler_with_resync(Duration::ZERO, handler);
    let (of, to) = (manager.clone(), queue.clone());
    let on_replica = move |event: Event<Replica>| {
        let node = &event.object().spec.node_id;
        if node == of.node() && of.datastore.nodes.find(node).is_some() {
            to.add(node);
        }
    };
    datastore.replicas.informer().add_handler_with_resync(Duration::ZERO, on_replica);
    let (of, to) = (manager.clone(), queue.clone());
    let on_setting = move |event: Event<Setting>| {
        if !matches!(event, Event::Deleted { .. }) && is_followed(name(&event.object().metadata)) {
            of.datastore.nodes.list().iter().for_each(|node| to.add(name(&node.metadata)));
        }
    };
    datastore.settings.informer().add_handler_with_resync(Duration::ZERO, on_setting);
    let events = manager.events(NodeController::NAME);
    let controller = NodeController { manager: manager.clone(), queue: queue.clone(), events, disks: OnceLock::new() };
    Runner::new(queue, Arc::new(controller)).start();
}

/// Settings after which every node is looked at.
fn is_followed(setting: &str) -> bool {
    matches!(
        setting,
        settings::STORAGE_MINIMAL_AVAILABLE_PERCENTAGE
            | settings::BACKING_IMAGE_CLEANUP_WAIT_INTERVAL
            | settings::ORPHAN_AUTO_DELETION
            | settings::ORPHAN_RESOURCE_AUTO_DELETION
            | settings::NODE_DRAIN_POLICY
    )
}

impl Reconcile for NodeController {
    const NAME: &'static str = "longhorn-node";

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(node) = datastore.nodes.find(name) else {
            tracing::error!("Longhorn node {name} has been deleted");
            return Ok(());
        };
        if node.metadata.deletion_timestamp.is_some() {
            self.events.event(&*node, EventType::Warning, "Delete", format!("Deleting node {name}"));
            return datastore.nodes.remove_finalizer((*node).clone()).await;
        }
        let mut changed = (*node).clone();
        let mut result = self.keep(&mut changed).await;
        if result.is_ok() && changed.status != node.status {
            result = datastore.nodes.update_status(&changed).await.map(drop);
        }
        match result {
            Err(error) if error.is_conflict() => {
                self.queue.add(name);
                Ok(())
            }
            other => other,
        }
    }
}

impl NodeController {
    async fn keep(&self, node: &mut Node) -> Result<()> {
        let datastore = &self.manager.datastore;
        let node_name = name(&node.metadata).to_owned();
        let Some(kubernetes_node) = datastore.kubernetes_nodes.get(&node_name) else {
            let message = format!("Kubernetes node missing: node {node_name} has been removed from the cluster");
            self.set_condition(
                node,
                "Ready",
                ConditionStatus::False,
                "KubernetesNodeGone",
                &message,
                EventType::Warning,
            );
            return Ok(());
        };
        self.set_ready(node, &kubernetes_node);
        let honours_cordon = datastore.setting_flag(settings::DISABLE_SCHEDULING_ON_CORDONED_NODE)?;
        let cordoned = kubernetes_node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
        if honours_cordon && cordoned {
            let (reason, message) = ("KubernetesNodeCordoned", format!("Node {node_name} is cordoned"));
            self.set_condition(node, "Schedulable", ConditionStatus::False, reason, &message, EventType::Normal);
        } else {
            self.set_condition(node, "Schedulable", ConditionStatus::True, "", "", EventType::Normal);
        }
        let label = |key: &str| {
            kubernetes_node.metadata.labels.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default()
        };
        node.status.region = label("topology.kubernetes.io/region");
        node.status.zone = label("topology.kubernetes.io/zone");
        if self.manager.node() == node_name { self.keep_own_node(node).await } else { Ok(()) }
    }

    /// What only the manager on the node does.
    async fn keep_own_node(&self, node: &mut Node) -> Result<()> {
        let node_name = name(&node.metadata).to_owned();
        // Coming here proves that this manager lives: its webhook and recovery backend may be asked (again).
        let labels = [pods::ADMISSION_WEBHOOK, pods::RECOVERY_BACKEND];
        pods::label_manager_pod(&self.manager.datastore, &node_name, &labels).await?;
        let monitor = self.disks.get_or_init(|| DiskMonitor::start(&self.manager, &self.queue));
        let collected = monitor.collected();
        if !disks::are_matching(node, &collected) {
            tracing::warn!("Failed to sync with disk monitor due to mismatching disks");
            return Ok(());
        }
        self.update_disks(node, &collected).await?;
        self.note_mount_propagation(node);
        self.keep_instance_managers(node).await?;
        self.keep_orphans(node, &collected).await?;
        self.request_evictions(node).await
    }

    /// Whether the manager's pod sees mounts that are made on the host later.
    fn note_mount_propagation(&self, node: &mut Node) {
        let node_name = name(&node.metadata).to_owned();
        let pods = pods::managers(&self.manager.datastore);
        let Some(pod) = pods.iter().find(|pod| pods::node_of(pod) == node_name) else { return };
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut mounts =
            containers.filter(|one| one.name == "longhorn-manager").flat_map(|one| one.volume_mounts.iter().flatten());
        let Some(mount) = mounts.find(|mount| mount.name == "longhorn") else { return };
        let propagation = mount.mount_propagation.as_deref().unwrap_or_default();
        let (status, reason, message) = if propagation == "Bidirectional" {
            (ConditionStatus::True, "", String::new())
        } else {
            let pod_name = name(&pod.metadata);
            let message = format!(
                "The MountPropagation value {propagation} is not detected from pod {pod_name}, node {node_name}"
            );
            (ConditionStatus::False, "NoMountPropagationSupport", message)
        };
        node.status.conditions.set_condition("MountPropagation", status, reason, &message, &clock::now_text());
    }

    /// Asks the replicas of disks that are being emptied to move away, and takes that back. Eviction by drain policies is not here.
    async fn request_evictions(&self, node: &mut Node) -> Result<()> {
        let datastore = &self.manager.datastore;
        node.status.auto_evicting = false;
        let is_down = datastore.is_node_down_or_deleted(name(&node.metadata))?;
        for (disk_name, disk) in &node.spec.disks {
            let wanted = !is_down && (node.spec.eviction_requested || disk.eviction_requested);
            let scheduled = node.status.disk_status.get(disk_name).map(|status| &status.scheduled_replica);
            for replica_name in scheduled.into_iter().flat_map(|scheduled| scheduled.keys()) {
                let replica = datastore.replicas.get(replica_name)?;
                if replica.spec.eviction_requested == wanted {
                    continue;
                }
                let mut changed = (*replica).clone();
                changed.spec.eviction_requested = wanted;
                let (reason, verb) =
                    if wanted { ("EvictionUserRequested", "Requesting") } else { ("EvictionCanceled", "Cancelling") };
                if let Err(error) = datastore.update_replica(&changed).await {
                    tracing::warn!(%error, "Failed to change the eviction of replica {replica_name}, will resync node");
                    self.queue.add(name(&node.metadata));
                    continue;
                }
                let place = format!("from node {} and disk {}", node.spec.name, changed.spec.disk_id);
                self.events.event(
                    &changed,
                    EventType::Normal,
                    reason,
                    format!("{verb} replica {replica_name} eviction {place}"),
                );
            }
        }
        Ok(())
    }

    /// Ready holds if the manager's pod runs and Kubernetes has no objection to the node; the last objection wins.
    fn set_ready(&self, node: &mut Node, kubernetes_node: &KubernetesNode) {
        let node_name = name(&node.metadata).to_owned();
        let pods = pods::managers(&self.manager.datastore);
        let pod = pods.iter().find(|pod| pods::node_of(pod) == node_name);
        let objections = pod_objection(&node_name, pod.map(|pod| &**pod))
            .into_iter()
            .chain(kubernetes_objections(&node_name, kubernetes_node));
        let mut ready = true;
        for (reason, message) in objections {
            ready = false;
            self.set_condition(node, "Ready", ConditionStatus::False, reason, &message, EventType::Warning);
        }
        if ready {
            let message = format!("Node {node_name} is ready");
            self.set_condition(node, "Ready", ConditionStatus::True, "", &message, EventType::Normal);
        }
    }

    /// Sets a condition, and tells people if its status changes.
    fn set_condition(
        &self,
        node: &mut Node,
        condition: &str,
        status: ConditionStatus,
        reason: &str,
        message: &str,
        event_type: EventType,
    ) {
        if node.status.conditions.condition(condition).status != status {
            self.events.event(&*node, event_type, condition, message);
        }
        node.status.conditions.set_condition(condition, status, reason, message, &clock::now_text());
    }
}

type Objection = (&'static str, String);

/// What the manager's pod says against the node.
fn pod_objection(node: &str, pod: Option<&Pod>) -> Option<Objection> {
    let Some(pod) = pod else {
        let message = format!("Manager pod is missing: node {node} has no manager pod running on it");
        return Some(("ManagerPodMissing", message));
    };
    let status = pod.status.as_ref()?;
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready")?;
    let runs = ready.status == "True" && status.phase.as_deref() == Some("Running");
    let message = || format!("Node {node} is down: manager pod {} is not running", name(&pod.metadata));
    (!runs).then(|| ("ManagerPodDown", message()))
}

/// What Kubernetes says against the node. A kubelet that has just become not ready is ignored for a while; one that is not heard
/// of (`Unknown`) is not.
fn kubernetes_objections(node: &str, kubernetes_node: &KubernetesNode) -> Vec<Objection> {
    let conditions = kubernetes_node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut objections = Vec::new();
    for condition in conditions.into_iter().flatten() {
        let reason = condition.reason.as_deref().unwrap_or_default();
        match condition.type_.as_str() {
            "Ready" if condition.status != "True" => {
                let since = condition.last_transition_time.as_ref().map(|time| clock::now().0.duration_since(time.0));
                let recent =
                    since.is_some_and(|since| since < jiff::SignedDuration::try_from(IGNORED_NOT_READY).expect("15 s"));
                if !(condition.status == "False" && recent) {
                    objections.push(("KubernetesNodeNotReady", format!("Kubernetes node {node} not ready: {reason}")));
                }
            }
            "DiskPressure" | "PIDPressure" | "MemoryPressure" | "NetworkUnavailable" if condition.status == "True" => {
                let message = condition.message.as_deref().unwrap_or_default();
                objections.push((
                    "KubernetesNodePressure",
                    format!("Kubernetes node {node} has pressure: {reason}, {message}"),
                ));
            }
            _ => {}
        }
    }
    objections
}

/// The Node that a manager makes for itself when it starts, with the default disk unless nodes get theirs by label (`CreateDefaultNode`).
pub async fn create_own_node(manager: &Manager) -> Result<()> {
    let datastore = &manager.datastore;
    if datastore.nodes.find(manager.node()).is_some() {
        return Ok(());
    }
    let mut node = Node::default();
    node.metadata.name = Some(manager.node().to_owned());
    node.spec.name = manager.node().to_owned();
    node.spec.allow_scheduling = true;
    node.spec.tags.make();
    if !datastore.setting_flag(settings::CREATE_DEFAULT_DISK_LABELED_NODES)? {
        let path = datastore.existing_setting_value(settings::DEFAULT_DATA_PATH)?;
        let takes_blocks = datastore.setting_flag(settings::V2_DATA_ENGINE)?;
        if takes_blocks || !is_potential_block_disk(&path) {
            let (disk_name, disk) = default_disk(manager, &path).await?;
            node.spec.disks.insert(disk_name, disk);
        }
    }
    match datastore.nodes.create(&node).await {
        Err(error) if error.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}

/// A PCI address, or a path of a device.
fn is_potential_block_disk(path: &str) -> bool {
    path.starts_with("/dev/") || (path.len() > 4 && path.as_bytes()[4] == b':' && !path.contains('/'))
}

/// The disk at `path`, named after its file system, with a part of it reserved (`types.CreateDefaultDisk`).
pub(super) async fn default_disk(manager: &Manager, path: &str) -> Result<(String, DiskSpec)> {
    let mut disk = DiskSpec { path: path.to_owned(), allow_scheduling: true, ..DiskSpec::default() };
    if is_potential_block_disk(path) {
        disk.disk_type = DiskType::Block;
        let digits = manager.datastore.random_digits(16);
        return Ok((format!("{}{digits}", names::DEFAULT_DISK_PREFIX), disk));
    }
    let failed = |error: std::io::Error| Error::message(format!("failed to create default disk at {path}: {error}"));
    host::fs::create_dir_all(&format!("{}/replicas", path.trim_end_matches('/'))).await.map_err(failed)?;
    let room = host::fs::file_system(path).await.map_err(failed)?;
    disk.disk_type = DiskType::Filesystem;
    let percentage = manager.datastore.setting_number(settings::STORAGE_RESERVED_PERCENTAGE_FOR_DEFAULT_DISK)?;
    let maximum = room.blocks * room.block_bytes;
    disk.storage_reserved = (u128::from(maximum) * percentage.unsigned_abs() as u128 / 100) as i64;
    Ok((format!("{}{}", names::DEFAULT_DISK_PREFIX, room.id), disk))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn pod(ready: &str, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "longhorn-manager-x"},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn kubernetes_node(condition: &str, status: &str, seconds_ago: i64) -> KubernetesNode {
        let since = Time(clock::now().0 - jiff::SignedDuration::from_secs(seconds_ago));
        serde_json::from_value(json!({"status": {"conditions": [
            {"type": condition, "status": status, "reason": "why", "lastTransitionTime": since},
        ]}}))
        .unwrap()
    }

    #[test]
    fn the_managers_pod_must_be_there_and_run() {
        let reason = |pod: Option<&Pod>| pod_objection("n1", pod).map(|(reason, _)| reason);
        assert_eq!(reason(None), Some("ManagerPodMissing"));
        assert_eq!(reason(Some(&pod("False", "Running"))), Some("ManagerPodDown"));
        assert_eq!(reason(Some(&pod("True", "Running"))), None);
        assert_eq!(reason(Some(&Pod::default())), None, "a pod that says nothing yet is no objection");
    }

    #[test]
    fn a_restarting_kubelet_is_ignored_for_fifteen_seconds() {
        let count =
            |status, seconds_ago| kubernetes_objections("n1", &kubernetes_node("Ready", status, seconds_ago)).len();
        assert_eq!((count("False", 5), count("False", 20)), (0, 1));
        assert_eq!(count("Unknown", 5), 1, "silence counts at once");
        assert_eq!(count("True", 5), 0);
    }

    #[test]
    fn pressure_is_an_objection() {
        let objections = kubernetes_objections("n1", &kubernetes_node("DiskPressure", "True", 100));
        assert_eq!(objections[0].0, "KubernetesNodePressure");
        assert!(kubernetes_objections("n1", &kubernetes_node("DiskPressure", "False", 100)).is_empty());
    }
}
