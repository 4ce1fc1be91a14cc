//! The pod garbage collector: removes pods that no kubelet will ever remove.
//!
//! Each 20 s: pods on nodes that have been absent for 40 s, and pods that were deleted before they were bound. (The API server removes the latter at once;
//! what is left for this is a pod that lost its node's name by no fault of its own.) Not here: the limit on finished pods.
//! Source: kubernetes pkg/controller/podgc/gc_controller.go.

use std::collections::BTreeMap;
use std::time::Duration;

use corral_kube_client::params::{DeleteParams, Patch, PatchParams};
use corral_kube_client::{Api, Client, Error, Lister, object_key, reads};
use host::time::Instant;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use super::Context;
use super::pods::{is_finished, node_name};

const PERIOD: Duration = Duration::from_secs(20);
const QUARANTINE: Duration = Duration::from_secs(40);

struct Controller {
    client: Client,
    nodes: Lister<Node>,
    pods: Lister<Pod>,
    /// Nodes that pods name and that were not there, and since when.
    missing: BTreeMap<String, Instant>,
}

/// Begins the controller.
pub(crate) fn start(context: &Context) -> Result<(), Error> {
    let mut controller = Controller {
        client: context.client("pod-garbage-collector")?,
        nodes: context.informers.informer::<Node>().lister(),
        pods: context.informers.informer::<Pod>().lister(),
        missing: BTreeMap::new(),
    };
    let (informers, stop) = (context.informers.clone(), context.stop.clone());
    host::spawn(async move {
        informers.wait_for_cache_sync().await;
        while !stop.is_stopped() {
            reads::scope("pod-garbage-collector", controller.collect()).await;
            host::time::sleep(PERIOD).await;
        }
    });
    Ok(())
}

impl Controller {
    async fn collect(&mut self) {
        let pods = self.pods.list();
        let is_missing = |node: &str| !node.is_empty() && self.nodes.get(node).is_none();
        let mut missing = BTreeMap::new();
        for node in pods.iter().map(|pod| node_name(pod)).filter(|node| is_missing(node)) {
            let since = self.missing.get(node).copied().unwrap_or_else(Instant::now);
            missing.insert(node.to_owned(), since);
        }
        self.missing = missing;
        let orphaned = |pod: &Pod| self.missing.get(node_name(pod)).is_some_and(|since| since.elapsed() >= QUARANTINE);
        let unbound = |pod: &Pod| node_name(pod).is_empty() && pod.metadata.deletion_timestamp.is_some();
        for pod in pods.iter().filter(|pod| orphaned(pod) || unbound(pod)) {
            if let Err(error) = self.remove(pod).await {
                tracing::debug!(%error, pod = object_key(&pod.metadata), "cannot remove a pod without a node");
            }
        }
    }

    async fn remove(&self, pod: &Pod) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(&self.client, pod.metadata.namespace.as_deref().unwrap_or_default());
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if !node_name(pod).is_empty() {
            // The node is asked for itself: the cache may be behind.
            let nodes: Api<Node> = Api::all(&self.client);
            if nodes.get_opt(node_name(pod)).await?.is_some() {
                return Ok(());
            }
        }
        if !is_finished(pod) {
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed"}});
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        match api.delete(name, &DeleteParams::default().grace_period(0)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _deleted_or_gone => Ok(()),
        }
    }
}
