//! The managers' own pods: which ones there are, where they listen, and the labels by which services find them
//! (`datastore/kubernetes.go`, `types/types.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use corral_kube_client::{Api, DEFAULT_RETRY, retry_on_conflict};
use k8s_openapi::api::core::v1::Pod;
use longhorn_api::{Build, Defect, names};

use crate::runtime::{Datastore, Error, Result};

/// A label that a service selects by: key and value.
pub type Label = (&'static str, &'static str);

/// Says that the pod serves admission webhooks.
pub const ADMISSION_WEBHOOK: Label = ("longhorn.io/admission-webhook", "longhorn-admission-webhook");
/// Says that the pod serves the conversion webhook.
pub const CONVERSION_WEBHOOK: Label = ("longhorn.io/conversion-webhook", "longhorn-conversion-webhook");
/// Says that the pod serves the recovery backend.
pub const RECOVERY_BACKEND: Label = ("longhorn.io/recovery-backend", "longhorn-recovery-backend");

/// The label of managers' pods, from their DaemonSet.
pub const APP: Label = ("app", names::MANAGER_DAEMON_SET);

/// Whether a pod has the manager's container.
pub fn is_manager(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.containers.iter().any(|container| container.name == "longhorn-manager"))
}

/// The node that a pod is on.
pub fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// The managers' pods, in an order that means nothing.
pub fn managers(datastore: &Datastore) -> Vec<Arc<Pod>> {
    datastore.pods.list_labelled(&[APP])
}

/// The addresses of running managers by node; an error if a node has two.
pub fn manager_addresses(datastore: &Datastore) -> Result<BTreeMap<String, String>> {
    let pods = managers(datastore);
    if pods.is_empty() {
        return Err(Error::message(format!("cannot find manager pods by label map[{}:{}]", APP.0, APP.1)));
    }
    let mut addresses = BTreeMap::new();
    for pod in pods {
        let Some(status) = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running")) else {
            continue;
        };
        let address = status.pod_ip.clone().unwrap_or_default();
        if addresses.insert(node_of(&pod).to_owned(), address).is_some_and(|before| !before.is_empty()) {
            return Err(Error::message(format!("multiple managers on the node {}", node_of(&pod))));
        }
    }
    Ok(addresses)
}

/// Puts labels on the pod of the manager on `node`; nothing is written if it has them.
pub async fn label_manager_pod(datastore: &Datastore, node: &str, labels: &[Label]) -> Result<()> {
    let pods = managers(datastore);
    let pod = pods.iter().find(|pod| node_of(pod) == node);
    let pod = pod.ok_or_else(|| corral_kube_client::Error::not_found("", "pod", node))?;
    let mut pod = Pod::clone(pod);
    if add(&mut pod, labels) {
        update(datastore.pods.api(), &datastore.build, pod, labels).await?;
    }
    Ok(())
}

/// Adds what a pod has not; false if there is nothing to add.
pub fn add(pod: &mut Pod, labels: &[Label]) -> bool {
    let own = pod.metadata.labels.get_or_insert_default();
    let before = own.len();
    for (key, value) in labels {
        own.entry((*key).to_owned()).or_insert_with(|| (*value).to_owned());
    }
    own.len() > before
}

/// Writes a pod that has got these labels, in one try (c5).
pub async fn update(
    api: &Api<Pod>,
    build: &Build,
    pod: Pod,
    labels: &[Label],
) -> std::result::Result<(), corral_kube_client::Error> {
    let written = api.update(&pod).await.map(drop);
    if build.has(Defect::FoundStartConflict) || !written.as_ref().is_err_and(corral_kube_client::Error::is_conflict) {
        return written;
    }
    let name = pod.metadata.name.unwrap_or_default();
    retry_on_conflict(api.client(), DEFAULT_RETRY, || async {
        let mut pod = api.get(&name).await?;
        add(&mut pod, labels);
        api.update(&pod).await.map(drop)
    })
    .await
}
