//! The DaemonSet that puts an engine's binary on every node (`controller/engine_image_controller.go`).
//!
//! Its container copies the binary into a directory of the host and sleeps; its probes run the copied binary. When the container
//! ends it takes the binary away again.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use longhorn_api::{API_VERSION, EngineImage, labels, names, settings};
use serde_json::{Value, json};

use crate::engine::execute;
use crate::manager::Manager;
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::{Error, Result};

const INITIAL_DELAY_SECONDS: u32 = 3;
const PERIOD_SECONDS: u32 = 5;
const TIMEOUT_SECONDS: u32 = 4;
const FAILURE_THRESHOLD: u32 = 3;

/// The reference from a DaemonSet to its engine image, which waits for it when it is deleted.
pub fn owner(engine_image: &EngineImage) -> OwnerReference {
    OwnerReference { block_owner_deletion: Some(true), ..owner_reference(engine_image) }
}

/// The DaemonSet of an engine image, with what the settings say about system components.
pub fn daemon_set(manager: &Manager, engine_image: &EngineImage) -> Result<DaemonSet> {
    let datastore = &manager.datastore;
    let engine_image_name = name(&engine_image.metadata);
    let image = &engine_image.spec.image;
    let daemon_set_name = names::engine_image_daemon_set(engine_image_name);
    let selector = json!({labels::COMPONENT: "engine-image", labels::ENGINE_IMAGE: engine_image_name});
    let tolerations = tolerations(&datastore.setting_value(settings::TAINT_TOLERATION)?);
    let pull_policy = pull_policy(&datastore.setting_value(settings::SYSTEM_MANAGED_PODS_IMAGE_PULL_POLICY)?)?;
    let script = "diff /usr/local/bin/longhorn /data/longhorn > /dev/null 2>&1; \
                  if [ $? -ne 0 ]; then cp -p /usr/local/bin/longhorn /data/ && echo installed; fi && \
                  trap 'rm /data/longhorn* && echo cleaned up' EXIT && sleep infinity";
    let registry_secret = datastore.setting_value(settings::REGISTRY_SECRET)?;
    let pull_secrets = if registry_secret.is_empty() { Value::Null } else { json!([{"name": registry_secret}]) };
    let spec = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": daemon_set_name,
            "namespace": datastore.namespace,
            "labels": labels::of_engine_image(engine_image_name),
            "annotations": {labels::LAST_APPLIED_TOLERATIONS: tolerations.to_string()},
        },
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {
                "metadata": {"name": daemon_set_name, "labels": selector, "ownerReferences": [owner(engine_image)]},
                "spec": {
                    "serviceAccountName": manager.arguments.service_account,
                    "tolerations": tolerations,
                    "nodeSelector": node_selector(&datastore.setting_value(settings::SYSTEM_MANAGED_COMPONENTS_NODE_SELECTOR)?),
                    "priorityClassName": datastore.setting_value(settings::PRIORITY_CLASS)?,
                    "imagePullSecrets": pull_secrets,
                    "containers": [{
                        "name": daemon_set_name,
                        "image": image,
                        "command": ["/bin/bash"],
                        "args": ["-c", script],
                        "imagePullPolicy": pull_policy,
                        "volumeMounts": [{"name": "data", "mountPath": "/data/"}],
                        "readinessProbe": probe("ls /data/longhorn && /data/longhorn version --client-only"),
                        "livenessProbe": probe("/data/longhorn version --client-only"),
                        "securityContext": {"privileged": true},
                    }],
                    "volumes": [{"name": "data", "hostPath": {"path": execute::binary_directory(image)}}],
                },
            },
        },
    });
    serde_json::from_value(spec).map_err(|error| Error::message(format!("failed to create daemonset spec: {error}")))
}

/// Whether the DaemonSet names an engine image as its first owner.
pub fn is_owned_by_engine_image(daemon_set: &DaemonSet) -> bool {
    let first = daemon_set.metadata.owner_references.iter().flatten().next();
    first.is_some_and(|owner| owner.kind == "EngineImage" && owner.api_version == API_VERSION)
}

fn probe(script: &str) -> Value {
    json!({
        "exec": {"command": ["sh", "-c", script]},
        "initialDelaySeconds": INITIAL_DELAY_SECONDS,
        "timeoutSeconds": TIMEOUT_SECONDS,
        "periodSeconds": PERIOD_SECONDS,
        "failureThreshold": FAILURE_THRESHOLD,
    })
}

/// Setting `taint-toleration`, `key1=value1:NoSchedule; key2:NoExecute`, as tolerations.
pub(super) fn tolerations(setting: &str) -> Value {
    let items = setting.split(';').map(str::trim).filter(|item| !item.is_empty());
    Value::Array(items.map(toleration).collect())
}

fn toleration(item: &str) -> Value {
    let (pair, effect) = item.rsplit_once(':').unwrap_or((item, ""));
    match pair.split_once('=') {
        Some((key, value)) => json!({"key": key, "value": value, "operator": "Equal", "effect": effect}),
        None => json!({"key": pair, "operator": "Exists", "effect": effect}),
    }
}

/// Setting `system-managed-components-node-selector`, `label1:value1;label2:value2`.
pub(super) fn node_selector(setting: &str) -> Value {
    let pairs = setting.split(';').filter_map(|pair| pair.trim().split_once(':'));
    Value::Object(pairs.map(|(key, value)| (key.to_owned(), Value::from(value))).collect())
}

/// Setting `system-managed-pods-image-pull-policy` in Kubernetes' words.
pub(super) fn pull_policy(setting: &str) -> Result<&'static str> {
    match setting {
        "always" => Ok("Always"),
        "if-not-present" => Ok("IfNotPresent"),
        "never" => Ok("Never"),
        other => Err(Error::message(format!("invalid ImagePullPolicy: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_tolerations_and_selectors() {
        assert_eq!(
            tolerations("key1=value1:NoSchedule; key2:NoExecute"),
            json!([
                {"key": "key1", "value": "value1", "operator": "Equal", "effect": "NoSchedule"},
                {"key": "key2", "operator": "Exists", "effect": "NoExecute"},
            ])
        );
        assert_eq!(tolerations(""), json!([]));
        assert_eq!(node_selector("disk:ssd; zone:a"), json!({"disk": "ssd", "zone": "a"}));
        assert_eq!(pull_policy("if-not-present").unwrap(), "IfNotPresent");
        assert!(pull_policy("sometimes").is_err());
    }
}
