//! The node controller, as far as ownership needs it: the conditions Ready and Schedulable of Longhorn's Nodes
//! (`controller/node_controller.go`). Disks, instance managers, orphans and evictions come with the storeys that have them;
//! [`NodeController::keep_own_node`] is their place.
//!
//! A Node has no owner: every manager writes the Ready condition of every Node, which is how a node without a manager becomes
//! not ready. All Nodes are looked at whenever any manager's pod changes.

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType};
use k8s_openapi::api::core::v1::{Node as KubernetesNode, Pod};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::{Node, settings};

use crate::manager::Manager;
use crate::pods;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Result, clock};

/// Resync period of Nodes, by its own name upstream too.
const RESYNC: Duration = Duration::from_secs(30);
/// How long a kubelet may say that it is not ready, as it does when it restarts.
const IGNORED_NOT_READY: Duration = Duration::from_secs(15);

/// The controller.
pub struct NodeController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
}

/// Starts it: Nodes with resync; managers' pods and Kubernetes' nodes without.
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
    let events = manager.events(NodeController::NAME);
    let controller = NodeController { manager: manager.clone(), queue: queue.clone(), events };
    Runner::new(queue, Arc::new(controller)).start();
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
        if self.manager.node() == node_name { self.keep_own_node(&node_name).await } else { Ok(()) }
    }

    /// What only the manager on the node does.
    async fn keep_own_node(&self, node_name: &str) -> Result<()> {
        // Coming here proves that this manager lives: its webhook and recovery backend may be asked (again).
        let labels = [pods::ADMISSION_WEBHOOK, pods::RECOVERY_BACKEND];
        pods::label_manager_pod(&self.manager.datastore, node_name, &labels).await
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

/// The Node that a manager makes for itself when it starts (`CreateDefaultNode`); the default disk comes with the disks.
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
    match datastore.nodes.create(&node).await {
        Err(error) if error.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
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
