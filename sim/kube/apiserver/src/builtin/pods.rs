//! Pods: defaults, what admission adds, what may change, and how much grace a deletion gives.
//!
//! Facts: kubernetes/pkg/apis/core/v1/defaults.go, pkg/registry/core/pod/strategy.go, the DefaultTolerationSeconds and Priority admission
//! plug-ins. Left out: the token volume that the ServiceAccount plug-in mounts, security contexts, resource validation.

use serde_json::{Map, Value, json};

use super::{Surroundings, at, default, each, existing, object, text};
use crate::error::{ApiError, Cause};

/// Fields for selectors.
pub(super) const FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

/// Defaults of a pod.
pub(super) fn defaults(pod: &mut Map<String, Value>) {
    if let Some(spec) = existing(pod, "spec") {
        spec_defaults(spec);
        default(spec, "enableServiceLinks", true);
        let unlimited = spec.get("hostNetwork") == Some(&Value::Bool(true));
        for container in each(spec, "containers").filter(|_| unlimited) {
            for port in each(container, "ports") {
                if let Some(number) = port.get("containerPort").cloned() {
                    default(port, "hostPort", number);
                }
            }
        }
        for container in each(spec, "containers") {
            limits_are_requests(container);
        }
    }
    if let Some(status) = existing(pod, "status") {
        let address = text(status, "podIP").map(str::to_owned);
        if let Some(address) = address.filter(|_| !status.contains_key("podIPs")) {
            status.insert("podIPs".into(), json!([{ "ip": address }]));
        }
        let address = text(status, "hostIP").map(str::to_owned);
        if let Some(address) = address.filter(|_| !status.contains_key("hostIPs")) {
            status.insert("hostIPs".into(), json!([{ "ip": address }]));
        }
    }
}

fn limits_are_requests(container: &mut Map<String, Value>) {
    let Some(resources) = existing(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if let Some(requests) = object(resources, "requests") {
        for (name, amount) in limits {
            default(requests, &name, amount);
        }
    }
}

/// Defaults of a pod's spec, in a pod or in a template.
pub(super) fn spec_defaults(spec: &mut Map<String, Value>) {
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    // Either name implies the other, and the older one is still shown.
    match (text(spec, "serviceAccountName").map(str::to_owned), text(spec, "serviceAccount").map(str::to_owned)) {
        (Some(name), _) => drop(spec.insert("serviceAccount".into(), name.into())),
        (None, Some(name)) => drop(spec.insert("serviceAccountName".into(), name.into())),
        (None, None) => {}
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in each(spec, list) {
            container_defaults(container);
        }
    }
    for volume in each(spec, "volumes") {
        volume_defaults(volume);
    }
}

fn container_defaults(container: &mut Map<String, Value>) {
    let latest = text(container, "image").is_some_and(|image| {
        let name = image.rsplit('/').next().unwrap_or(image);
        !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
    });
    default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in each(container, "ports") {
        default(port, "protocol", "TCP");
    }
    for variable in each(container, "env") {
        if let Some(reference) = existing(variable, "valueFrom").and_then(|source| existing(source, "fieldRef")) {
            default(reference, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = existing(container, name) {
            for (field, value) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                default(probe, field, value);
            }
            if let Some(get) = existing(probe, "httpGet") {
                default(get, "scheme", "HTTP");
                default(get, "path", "/");
            }
            if let Some(call) = existing(probe, "grpc") {
                default(call, "service", "");
            }
        }
    }
}

fn volume_defaults(volume: &mut Map<String, Value>) {
    for (source, mode) in [("configMap", 0o644), ("secret", 0o644), ("downwardAPI", 0o644), ("projected", 0o644)] {
        if let Some(source) = existing(volume, source) {
            default(source, "defaultMode", mode);
        }
    }
    if let Some(path) = existing(volume, "hostPath") {
        default(path, "type", "");
    }
    if !volume.keys().any(|field| field != "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
}

/// What admission and strategy add at a create.
pub(super) fn prepare(pod: &mut Map<String, Value>, surroundings: &dyn Surroundings) -> Result<(), ApiError> {
    let qos = quality_of_service(pod);
    pod.insert("status".into(), json!({ "phase": "Pending", "qosClass": qos }));
    let name = at(pod, &["metadata", "name"]).and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(spec) = existing(pod, "spec") else { return Ok(()) };
    if text(spec, "serviceAccountName").is_none_or(str::is_empty) {
        spec.insert("serviceAccountName".into(), "default".into());
        spec.insert("serviceAccount".into(), "default".into());
    }
    let class = text(spec, "priorityClassName").filter(|class| !class.is_empty()).map(str::to_owned);
    match (surroundings.priority(class.as_deref()), class) {
        (None, Some(class)) => {
            let why = format!("no PriorityClass with name {class} was found");
            return Err(ApiError::forbidden("", "pods", &name, &why));
        }
        (None, None) => {
            spec.insert("priority".into(), 0.into());
            default(spec, "preemptionPolicy", "PreemptLowerPriority");
        }
        (Some(priority), _) => {
            spec.insert("priorityClassName".into(), priority.class.into());
            spec.insert("priority".into(), priority.value.into());
            default(spec, "preemptionPolicy", priority.preemption);
        }
    }
    add_tolerations(spec);
    Ok(())
}

/// DefaultTolerationSeconds: five minutes on a node that does not answer.
fn add_tolerations(spec: &mut Map<String, Value>) {
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            let field = |name| toleration.get(name).and_then(Value::as_str).unwrap_or_default();
            (field("key") == key || field("key").is_empty()) && matches!(field("effect"), "NoExecute" | "")
        };
        if !tolerations.iter().any(covers) {
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

fn quality_of_service(pod: &Map<String, Value>) -> &'static str {
    let containers = at(pod, &["spec", "containers"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let amounts = |container: &Value, what: &str| -> Vec<(String, Value)> {
        let found = container.pointer(&format!("/resources/{what}")).and_then(Value::as_object);
        let counted = found.into_iter().flatten().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
        counted.map(|(name, amount)| (name.clone(), amount.clone())).collect()
    };
    let asks =
        |container: &Value| !amounts(container, "requests").is_empty() || !amounts(container, "limits").is_empty();
    let guaranteed = |container: &Value| {
        let limits = amounts(container, "limits");
        limits.len() == 2 && amounts(container, "requests") == limits
    };
    match () {
        () if !containers.iter().any(asks) => "BestEffort",
        () if containers.iter().all(guaranteed) => "Guaranteed",
        () => "Burstable",
    }
}

/// What an update carries over.
pub(super) fn prepare_update(pod: &mut Map<String, Value>, old: &Map<String, Value>, _: &dyn Surroundings) {
    // A client that builds a pod from a template does not know what admission had added.
    let (Some(spec), Some(before)) = (existing(pod, "spec"), old.get("spec").and_then(Value::as_object)) else {
        return;
    };
    for field in ["priority", "preemptionPolicy", "serviceAccountName", "serviceAccount"] {
        if let Some(value) = before.get(field) {
            default(spec, field, value.clone());
        }
    }
}

/// Whether a pod's spec is one.
pub(super) fn validate(pod: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    let spec = pod.get("spec").and_then(Value::as_object);
    validate_containers("spec", spec, causes);
    if let Some(old) = old.and_then(|old| old.get("spec")).and_then(Value::as_object)
        && let Some(spec) = spec
        && !only_allowed_changes(spec, old)
    {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}

pub(super) fn validate_containers(path: &str, spec: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    let containers = spec.and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    let Some(containers) = containers.filter(|containers| !containers.is_empty()) else {
        causes.push(Cause::required(format!("{path}.containers"), ""));
        return;
    };
    let mut names = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let field = |name: &str| container.get(name).and_then(Value::as_str).unwrap_or_default();
        let path = format!("{path}.containers[{index}]");
        let name = field("name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if let Some(why) = crate::names::label_error(name) {
            causes.push(Cause::invalid(format!("{path}.name"), crate::error::json(name), &why));
        } else if names.contains(&name) {
            causes.push(Cause::duplicate(format!("{path}.name"), crate::error::json(name)));
        }
        names.push(name);
        if field("image").is_empty() && path.starts_with("spec.containers") {
            causes.push(Cause::required(format!("{path}.image"), ""));
        }
    }
}

/// Compares two specs without what may change.
fn only_allowed_changes(new: &Map<String, Value>, old: &Map<String, Value>) -> bool {
    let comparable = |spec: &Map<String, Value>| {
        let mut spec = spec.clone();
        for list in ["containers", "initContainers"] {
            each(&mut spec, list).for_each(|container| drop(container.remove("image")));
        }
        for field in ["activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"] {
            spec.remove(field);
        }
        spec
    };
    let list =
        |spec: &Map<String, Value>| spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    let grace = |spec: &Map<String, Value>| spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64);
    let grace_allowed =
        grace(new) == grace(old) || (grace(old).is_some_and(|seconds| seconds < 0) && grace(new) == Some(1));
    let tolerations = list(new);
    let comparable = (comparable(new), comparable(old));
    grace_allowed && list(old).iter().all(|kept| tolerations.contains(kept)) && comparable.0 == comparable.1
}

/// How long a pod may take to end, if its deletion is asked for with so much grace: none where nothing runs.
pub(crate) fn grace_seconds(pod: &Value, asked: Option<i64>) -> i64 {
    let text = |path| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let own = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30);
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed") {
        return 0;
    }
    match asked.unwrap_or(own) {
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}
