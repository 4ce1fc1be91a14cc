//! Nodes and namespaces.
//!
//! Facts: kubernetes/pkg/registry/core/{node,namespace}; the TaintNodesByCondition admission plug-in; conformance/real.json.

use serde_json::{Map, Value, json};

use super::{Surroundings, default, object};
use crate::error::ApiError;

/// Defaults of a node.
pub(super) fn node_defaults(node: &mut Map<String, Value>) {
    if let Some(status) = object(node, "status") {
        let unknown = json!({
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "",
            "kubeletVersion": "", "kubeProxyVersion": "", "operatingSystem": "", "architecture": "",
        });
        default(status, "daemonEndpoints", json!({ "kubeletEndpoint": { "Port": 0 } }));
        default(status, "nodeInfo", unknown);
    }
    object(node, "spec");
}

/// A new node takes no pods until its kubelet reports it ready.
pub(super) fn prepare_node(node: &mut Map<String, Value>, _: &dyn Surroundings) -> Result<(), ApiError> {
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    if let Some(taints) =
        object(node, "spec").and_then(|spec| spec.entry("taints").or_insert_with(|| json!([])).as_array_mut())
        && !taints.iter().any(|one| one.get("key") == taint.get("key") && one.get("effect") == taint.get("effect"))
    {
        taints.push(taint);
    }
    Ok(())
}

/// A new namespace is active, carries its name as a label, and waits for the namespace controller at its end.
pub(super) fn prepare_namespace(namespace: &mut Map<String, Value>, _: &dyn Surroundings) -> Result<(), ApiError> {
    namespace.insert("status".into(), json!({ "phase": "Active" }));
    if let Some(spec) = object(namespace, "spec")
        && let Some(finalizers) = spec.entry("finalizers").or_insert_with(|| json!([])).as_array_mut()
        && !finalizers.iter().any(|one| one == "kubernetes")
    {
        finalizers.push("kubernetes".into());
    }
    label_with_name(namespace);
    Ok(())
}

fn label_with_name(namespace: &mut Map<String, Value>) {
    let Some(metadata) = object(namespace, "metadata") else { return };
    if let Some(name) = metadata.get("name").cloned()
        && let Some(labels) = object(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".into(), name);
    }
}

/// Finalizers of the spec change through `/finalize` only.
pub(super) fn prepare_namespace_update(
    namespace: &mut Map<String, Value>,
    old: &Map<String, Value>,
    _: &dyn Surroundings,
) {
    if let Some(spec) = object(namespace, "spec") {
        match old.get("spec").and_then(|spec| spec.get("finalizers")) {
            Some(finalizers) => drop(spec.insert("finalizers".into(), finalizers.clone())),
            None => drop(spec.remove("finalizers")),
        }
    }
    label_with_name(namespace);
}
