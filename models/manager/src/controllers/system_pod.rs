//! Pods of backing image managers and of data sources: what settings say of every pod of the system's own, the disk, and the probe of one
//! port.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use longhorn_api::{labels, settings};
use serde_json::{Value, json};

use super::engine_image_daemon_set::{node_selector, pull_policy, tolerations};
use crate::manager::Manager;
use crate::runtime::{Error, Result};

/// Where the disk is in the container (backing-image-manager `pkg/types`).
const DISK_IN_CONTAINER: &str = "/data";

/// One pod.
pub(super) struct SystemPod<'a> {
    pub(super) name: &'a str,
    pub(super) container: &'a str,
    pub(super) image: &'a str,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) owner: OwnerReference,
    pub(super) node: &'a str,
    pub(super) disk_path: &'a str,
    pub(super) port: u16,
    pub(super) command: Value,
}

impl SystemPod<'_> {
    /// The pod as it is created.
    pub(super) fn manifest(self, manager: &Manager) -> Result<Pod> {
        let datastore = &manager.datastore;
        let value = |setting| datastore.setting_value(setting);
        let tolerations = tolerations(&value(settings::TAINT_TOLERATION)?);
        let secret = value(settings::REGISTRY_SECRET)?;
        let secrets = if secret.is_empty() { Value::Null } else { json!([{"name": secret}]) };
        let container = json!({
            "name": self.container,
            "image": self.image,
            "imagePullPolicy": pull_policy(&value(settings::SYSTEM_MANAGED_PODS_IMAGE_PULL_POLICY)?)?,
            "command": self.command,
            "readinessProbe": {
                "tcpSocket": {"port": self.port},
                "initialDelaySeconds": 3, "timeoutSeconds": 4, "periodSeconds": 5, "failureThreshold": 3,
            },
            "volumeMounts": [{"name": "disk-path", "mountPath": DISK_IN_CONTAINER}],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "securityContext": {"privileged": true},
        });
        let pod = json!({
            "metadata": {
                "name": self.name,
                "namespace": datastore.namespace,
                "labels": self.labels,
                "annotations": {labels::LAST_APPLIED_TOLERATIONS: tolerations.to_string()},
                "ownerReferences": [self.owner],
            },
            "spec": {
                "serviceAccountName": manager.arguments.service_account,
                "tolerations": tolerations,
                "nodeSelector": node_selector(&value(settings::SYSTEM_MANAGED_COMPONENTS_NODE_SELECTOR)?),
                "priorityClassName": value(settings::PRIORITY_CLASS)?,
                "imagePullSecrets": secrets,
                "nodeName": self.node,
                "restartPolicy": "Never",
                "containers": [container],
                "volumes": [{"name": "disk-path", "hostPath": {"path": self.disk_path}}],
            },
        });
        serde_json::from_value(pod)
            .map_err(|error| Error::message(format!("failed to make the pod {}: {error}", self.name)))
    }
}

/// The phase of a pod.
pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether no container of a pod is unready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let statuses = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
    statuses.into_iter().all(|status| status.ready)
}

/// The address of a pod.
pub(super) fn address(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default()
}
