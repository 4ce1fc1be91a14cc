//! What the caches say of nodes (`datastore/longhorn.go`). The questions differ in what they take for "down".

use longhorn_api::kinds::condition::{Condition, ConditionStatus};

use super::datastore::Datastore;
use super::error::{Error, Result};

impl Datastore {
    /// Whether Kubernetes says that the node is not ready, or it is gone. A node without a manager is neither.
    pub fn is_node_down_or_deleted(&self, node: &str) -> Result<bool> {
        let ready = self.ready_condition(node)?;
        Ok(ready.is_none_or(|ready| {
            ready.status == ConditionStatus::False
                && matches!(ready.reason.as_str(), "KubernetesNodeGone" | "KubernetesNodeNotReady")
        }))
    }

    /// Whether the node is gone.
    pub fn is_node_deleted(&self, node: &str) -> Result<bool> {
        let ready = self.ready_condition(node)?;
        Ok(ready.is_none_or(|ready| ready.status == ConditionStatus::False && ready.reason == "KubernetesNodeGone"))
    }

    /// Whether Kubernetes puts no pods on the node any more.
    pub fn is_kubernetes_node_cordoned(&self, node: &str) -> Result<bool> {
        let node = self.kubernetes_nodes.require(node)?;
        Ok(node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)))
    }

    fn ready_condition(&self, node: &str) -> Result<Option<Condition>> {
        if node.is_empty() {
            return Err(Error::message("no node name provided to check node down or deleted"));
        }
        Ok(self.nodes.find(node).map(|node| node.status.conditions.condition("Ready")))
    }
}
