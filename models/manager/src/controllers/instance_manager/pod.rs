//! The pod of an instance manager (`createInstanceManagerPodSpec`).
//!
//! It is bound to its node by name and never restarted: if its container ends, the controller makes another pod. The liveness probe looks
//! whether all ports are open, and for the second data engine whether `spdk_tgt` runs.

use k8s_openapi::api::core::v1::Pod;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{API_VERSION, InstanceManager, Release, labels, settings};
use serde_json::{Value, json};

use super::super::engine_image_daemon_set::{node_selector, pull_policy, tolerations};
use super::applied::{cpu_request, millicpu_text};
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::{Error, Result};

/// Ports of the process manager, the proxy, the disk service, the instance service.
const PORTS: [u16; 4] = [8500, 8501, 8502, 8503];
/// Port of the second data engine's own service.
const SPDK_PORT: u16 = 8504;
const PROBE_INITIAL_DELAY_SECONDS: i64 = 3;
/// Of a probe before there was a setting for it.
const PROBE_PERIOD_SECONDS: i64 = 5;
const PROBE_FAILURES: i64 = 6;
const PROBE_FAILURES_V1_7: i64 = 3;

/// The pod; what it is started with goes into the status.
pub(super) fn pod(manager: &Manager, instance_manager: &mut InstanceManager) -> Result<Pod> {
    let datastore = &manager.datastore;
    let tolerations = tolerations(&datastore.setting_value(settings::TAINT_TOLERATION)?);
    let selector = node_selector(&datastore.setting_value(settings::SYSTEM_MANAGED_COMPONENTS_NODE_SELECTOR)?);
    let registry_secret = datastore.setting_value(settings::REGISTRY_SECRET)?;
    let pull_secrets = if registry_secret.is_empty() { Value::Null } else { json!([{"name": registry_secret}]) };
    let container = container(manager, instance_manager)?;
    let spec = &instance_manager.spec;
    let is_v2 = spec.data_engine == DataEngine::V2;
    let mut volumes = json!([
        {"name": "host", "hostPath": {"path": "/"}},
        {"name": "engine-binaries", "hostPath": {"path": "/var/lib/longhorn/engine-binaries/"}},
        {"name": "unix-domain-socket", "hostPath": {"path": "/var/lib/longhorn/unix-domain-socket/"}},
        {"name": "longhorn-grpc-tls", "secret": {"secretName": "longhorn-grpc-tls", "optional": true}},
    ]);
    if is_v2 {
        let huge_pages = json!({"name": "hugepage", "emptyDir": {"medium": "HugePages"}});
        volumes.as_array_mut().expect("a list").push(huge_pages);
    }
    let pod = json!({
        "metadata": {
            "name": name(&instance_manager.metadata),
            "namespace": datastore.namespace,
            "labels": labels::of_instance_manager(manager.node(), &spec.image, spec.data_engine.as_str()),
            "annotations": {labels::LAST_APPLIED_TOLERATIONS: tolerations.to_string()},
            "ownerReferences": [owner(instance_manager)],
        },
        "spec": {
            "serviceAccountName": manager.arguments.service_account,
            "tolerations": tolerations,
            "nodeSelector": selector,
            "priorityClassName": datastore.setting_value(settings::PRIORITY_CLASS)?,
            "imagePullSecrets": pull_secrets,
            "nodeName": spec.node_id,
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": volumes,
        },
    });
    serde_json::from_value(pod)
        .map_err(|error| Error::message(format!("failed to make the instance manager pod: {error}")))
}

/// The reference from what belongs to an instance manager: its controller, whose deletion waits for it.
pub(super) fn owner(instance_manager: &InstanceManager) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "InstanceManager",
        "name": name(&instance_manager.metadata),
        "uid": instance_manager.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

fn container(manager: &Manager, instance_manager: &mut InstanceManager) -> Result<Value> {
    let datastore = &manager.datastore;
    let is_v2 = instance_manager.spec.data_engine == DataEngine::V2;
    let arguments = if is_v2 { v2_arguments(manager, instance_manager)? } else { v1_arguments() };
    let mut mounts = json!([
        {"name": "host", "mountPath": "/host", "mountPropagation": "HostToContainer"},
        {"name": "engine-binaries", "mountPath": "/engine-binaries/", "mountPropagation": "HostToContainer"},
        {"name": "unix-domain-socket", "mountPath": "/host/var/lib/longhorn/unix-domain-socket/"},
        {"name": "longhorn-grpc-tls", "mountPath": "/tls-files/"},
    ]);
    let mut resources = json!({});
    if let Some(request) = millicpu_text(cpu_request(manager, instance_manager)?) {
        resources["requests"]["cpu"] = request.into();
    }
    let mut container = json!({
        "name": "instance-manager",
        "image": instance_manager.spec.image,
        "imagePullPolicy": pull_policy(&datastore.setting_value(settings::SYSTEM_MANAGED_PODS_IMAGE_PULL_POLICY)?)?,
        "securityContext": {"privileged": true},
        "args": arguments,
        "livenessProbe": probe(manager, is_v2)?,
        "env": [
            {"name": "TLS_DIR", "value": "/tls-files/"},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
    });
    if is_v2 {
        mounts.as_array_mut().expect("a list").push(json!({"name": "hugepage", "mountPath": "/hugepages"}));
        let huge_pages = datastore.setting_number(settings::V2_DATA_ENGINE_HUGEPAGE_LIMIT)?;
        resources["requests"]["memory"] = "128Mi".into();
        resources["limits"]["hugepages-2Mi"] = format!("{huge_pages}Mi").into();
        if datastore.release().at_least(Release::V1_8_0_RC1) {
            container["lifecycle"] = json!({"preStop": {"exec": {"command": ["instance-manager-v2-prestop"]}}});
        }
    }
    container["volumeMounts"] = mounts;
    container["resources"] = resources;
    Ok(container)
}

fn v1_arguments() -> Vec<String> {
    ["instance-manager", "--debug", "daemon", "--listen", "0.0.0.0:8500"].map(str::to_owned).into()
}

fn v2_arguments(manager: &Manager, instance_manager: &mut InstanceManager) -> Result<Vec<String>> {
    let datastore = &manager.datastore;
    let flags = datastore.setting_value(settings::V2_DATA_ENGINE_LOG_FLAGS)?;
    let flags = if flags.is_empty() { "all".to_owned() } else { flags.to_lowercase() };
    let mut arguments = vec!["instance-manager".to_owned(), "--spdk-log".to_owned(), flags];
    if datastore.release().at_least(Release::V1_8_0_RC1) {
        let mut mask = instance_manager.spec.data_engine_spec.v2.cpu_mask.clone();
        if mask.is_empty() {
            mask = datastore.setting_value(settings::V2_DATA_ENGINE_CPU_MASK)?;
        }
        instance_manager.status.data_engine_status.v2.cpu_mask.clone_from(&mask);
        arguments.extend(["--spdk-cpumask".to_owned(), mask]);
    }
    let rest = ["--enable-spdk", "--debug", "daemon", "--spdk-enabled", "--listen", "0.0.0.0:8500"];
    arguments.extend(rest.map(str::to_owned));
    Ok(arguments)
}

fn probe(manager: &Manager, is_v2: bool) -> Result<Value> {
    let release = manager.datastore.release();
    let port = |port: u16| format!("nc -zv localhost {port} > /dev/null 2>&1");
    let mut checks: Vec<String> = PORTS.into_iter().map(port).collect();
    if is_v2 {
        checks.push(port(SPDK_PORT));
        checks.push("[ $(ps aux | grep 'spdk_tgt' | grep -v 'grep' | grep -v 'tee' | wc -l) != 0 ]".to_owned());
    }
    let (timeout, period) = if release.before(Release::V1_9_2) {
        (PROBE_PERIOD_SECONDS - 1, PROBE_PERIOD_SECONDS)
    } else {
        let timeout = manager.datastore.setting_number(settings::INSTANCE_MANAGER_POD_LIVENESS_PROBE_TIMEOUT)?;
        (timeout, timeout + 1)
    };
    Ok(json!({
        "exec": {"command": ["/bin/sh", "-c", format!("test $({}; echo $?) -eq 0", checks.join(" && "))]},
        "initialDelaySeconds": PROBE_INITIAL_DELAY_SECONDS,
        "timeoutSeconds": timeout,
        "periodSeconds": period,
        "failureThreshold": if release.before(Release::V1_8_0_RC1) { PROBE_FAILURES_V1_7 } else { PROBE_FAILURES },
    }))
}
