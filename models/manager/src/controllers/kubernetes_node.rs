//! The kubernetes-node controller, as far as it concerns this storey: a Longhorn Node goes when its Kubernetes node is gone
//! (`controller/kubernetes_node_controller.go`). Default disks and tags from a node's labels come with the disks.

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::Event;
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use longhorn_api::Node;

use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Result};

/// The controller.
pub struct KubernetesNodeController {
    manager: Arc<Manager>,
}

/// Starts it: Kubernetes' nodes with resync, Longhorn's without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let on_kubernetes_node = queue.clone();
    let handler = move |event: Event<KubernetesNode>| {
        if !matches!(event, Event::Added { .. }) {
            on_kubernetes_node.add(name(&event.object().metadata));
        }
    };
    manager.datastore.kubernetes_node_informer().add_handler(handler);
    manager.datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, queue.handler::<Node>());
    Runner::new(queue, Arc::new(KubernetesNodeController { manager: manager.clone() })).start();
}

impl Reconcile for KubernetesNodeController {
    const NAME: &'static str = "longhorn-kubernetes-node";

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        if datastore.kubernetes_nodes.get(name).is_some() {
            return Ok(());
        }
        tracing::info!("Cleaning up Longhorn node {name} since failed to find the related kubernetes node");
        datastore.nodes.delete(name).await.context(|| format!("failed to sync node {name}"))
    }
}
