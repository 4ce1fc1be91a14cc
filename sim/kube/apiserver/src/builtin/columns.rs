//! What `kubectl get` shows of the built-in kinds: a row of cells per object.
//!
//! Facts: kubernetes/pkg/printers/internalversion/printers.go, for titles; wide columns are left out where nobody misses them.

use serde_json::{Map, Value, json};

/// Where a cell comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell {
    /// A JSON pointer; `<none>` if nothing is there.
    At(&'static str),
    /// Computed.
    Of(fn(&Value) -> Value),
    /// The age of the object.
    Age,
    /// How long ago something was, by a JSON pointer.
    Since(&'static str),
}

/// A column after the name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub name: &'static str,
    pub kind: &'static str,
    /// 0 is always shown, 1 in the wide form.
    pub priority: u8,
    pub cell: Cell,
}

const fn column(name: &'static str, kind: &'static str, cell: Cell) -> Column {
    Column { name, kind, priority: 0, cell }
}

const fn wide(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", priority: 1, cell }
}

const fn at(name: &'static str, pointer: &'static str) -> Column {
    column(name, "string", Cell::At(pointer))
}

const AGE: Column = column("Age", "string", Cell::Age);
const DEFAULT: &[Column] = &[column("Created At", "date", Cell::At("/metadata/creationTimestamp"))];

const PODS: &[Column] = &[
    column("Ready", "string", Cell::Of(pod_ready)),
    column("Status", "string", Cell::Of(pod_status)),
    column("Restarts", "string", Cell::Of(pod_restarts)),
    AGE,
    wide("IP", Cell::At("/status/podIP")),
    wide("Node", Cell::At("/spec/nodeName")),
    wide("Nominated Node", Cell::At("/status/nominatedNodeName")),
];
const NODES: &[Column] = &[
    column("Status", "string", Cell::Of(node_status)),
    column("Roles", "string", Cell::Of(node_roles)),
    AGE,
    at("Version", "/status/nodeInfo/kubeletVersion"),
];
const DEPLOYMENTS: &[Column] = &[
    column("Ready", "string", Cell::Of(|o| ratio(o, "/status/readyReplicas", "/spec/replicas"))),
    column("Up-to-date", "string", Cell::Of(|o| number(o, "/status/updatedReplicas"))),
    column("Available", "string", Cell::Of(|o| number(o, "/status/availableReplicas"))),
    AGE,
];
const STATEFUL_SETS: &[Column] =
    &[column("Ready", "string", Cell::Of(|o| ratio(o, "/status/readyReplicas", "/spec/replicas"))), AGE];
const REPLICA_SETS: &[Column] = &[
    column("Desired", "integer", Cell::Of(|o| number(o, "/spec/replicas"))),
    column("Current", "integer", Cell::Of(|o| number(o, "/status/replicas"))),
    column("Ready", "integer", Cell::Of(|o| number(o, "/status/readyReplicas"))),
    AGE,
];
const DAEMON_SETS: &[Column] = &[
    column("Desired", "integer", Cell::Of(|o| number(o, "/status/desiredNumberScheduled"))),
    column("Current", "integer", Cell::Of(|o| number(o, "/status/currentNumberScheduled"))),
    column("Ready", "integer", Cell::Of(|o| number(o, "/status/numberReady"))),
    column("Up-to-date", "integer", Cell::Of(|o| number(o, "/status/updatedNumberScheduled"))),
    column("Available", "integer", Cell::Of(|o| number(o, "/status/numberAvailable"))),
    column("Node Selector", "string", Cell::Of(|o| pairs(o.pointer("/spec/template/spec/nodeSelector")))),
    AGE,
];
const JOBS: &[Column] =
    &[column("Completions", "string", Cell::Of(|o| ratio(o, "/status/succeeded", "/spec/completions"))), AGE];
const CRON_JOBS: &[Column] = &[
    at("Schedule", "/spec/schedule"),
    column("Suspend", "boolean", Cell::At("/spec/suspend")),
    column("Active", "integer", Cell::Of(|o| count(o, "/status/active"))),
    AGE,
];
const SERVICES: &[Column] = &[
    at("Type", "/spec/type"),
    at("Cluster-IP", "/spec/clusterIP"),
    column("External-IP", "string", Cell::Of(|_| json!("<none>"))),
    column("Port(s)", "string", Cell::Of(service_ports)),
    AGE,
    wide("Selector", Cell::Of(|o| pairs(o.pointer("/spec/selector")))),
];
const CLAIMS: &[Column] = &[
    at("Status", "/status/phase"),
    at("Volume", "/spec/volumeName"),
    at("Capacity", "/status/capacity/storage"),
    column("Access Modes", "string", Cell::Of(access_modes)),
    at("StorageClass", "/spec/storageClassName"),
    AGE,
];
const VOLUMES: &[Column] = &[
    at("Capacity", "/spec/capacity/storage"),
    column("Access Modes", "string", Cell::Of(access_modes)),
    at("Reclaim Policy", "/spec/persistentVolumeReclaimPolicy"),
    at("Status", "/status/phase"),
    column("Claim", "string", Cell::Of(claim)),
    at("StorageClass", "/spec/storageClassName"),
    at("Reason", "/status/reason"),
    AGE,
];
const CLASSES: &[Column] = &[
    at("Provisioner", "/provisioner"),
    at("ReclaimPolicy", "/reclaimPolicy"),
    at("VolumeBindingMode", "/volumeBindingMode"),
    column(
        "AllowVolumeExpansion",
        "boolean",
        Cell::Of(|o| o.get("allowVolumeExpansion").cloned().unwrap_or(json!(false))),
    ),
    AGE,
];
const ATTACHMENTS: &[Column] = &[
    at("Attacher", "/spec/attacher"),
    at("PV", "/spec/source/persistentVolumeName"),
    at("Node", "/spec/nodeName"),
    column("Attached", "boolean", Cell::At("/status/attached")),
    AGE,
];
const EVENTS: &[Column] = &[
    column("Last Seen", "string", Cell::Since("/lastTimestamp")),
    at("Type", "/type"),
    at("Reason", "/reason"),
    column("Object", "string", Cell::Of(event_object)),
    at("Message", "/message"),
];

/// The columns of a kind, after the name.
pub(crate) fn columns(plural: &str) -> &'static [Column] {
    const CONFIG_MAPS: &[Column] =
        &[column("Data", "integer", Cell::Of(|o| json!(entries(o, "data") + entries(o, "binaryData")))), AGE];
    const SECRETS: &[Column] =
        &[at("Type", "/type"), column("Data", "integer", Cell::Of(|o| json!(entries(o, "data")))), AGE];
    const NAMESPACES: &[Column] = &[at("Status", "/status/phase"), AGE];
    const LEASES: &[Column] = &[at("Holder", "/spec/holderIdentity"), AGE];
    const ENDPOINTS: &[Column] = &[column("Endpoints", "string", Cell::Of(endpoints)), AGE];
    const ACCOUNTS: &[Column] = &[column("Secrets", "integer", Cell::Of(|o| count(o, "/secrets"))), AGE];
    const PRIORITIES: &[Column] = &[
        column("Value", "integer", Cell::At("/value")),
        column("Global-Default", "boolean", Cell::Of(|o| o.get("globalDefault").cloned().unwrap_or(json!(false)))),
        AGE,
    ];
    const WEBHOOKS: &[Column] = &[column("Webhooks", "integer", Cell::Of(|o| count(o, "/webhooks"))), AGE];
    match plural {
        "pods" => PODS,
        "nodes" => NODES,
        "deployments" => DEPLOYMENTS,
        "statefulsets" => STATEFUL_SETS,
        "replicasets" | "replicationcontrollers" => REPLICA_SETS,
        "daemonsets" => DAEMON_SETS,
        "jobs" => JOBS,
        "cronjobs" => CRON_JOBS,
        "services" => SERVICES,
        "persistentvolumeclaims" => CLAIMS,
        "persistentvolumes" => VOLUMES,
        "storageclasses" => CLASSES,
        "volumeattachments" => ATTACHMENTS,
        "events" => EVENTS,
        "configmaps" => CONFIG_MAPS,
        "secrets" => SECRETS,
        "namespaces" => NAMESPACES,
        "leases" => LEASES,
        "endpoints" => ENDPOINTS,
        "serviceaccounts" => ACCOUNTS,
        "priorityclasses" => PRIORITIES,
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => WEBHOOKS,
        _ => DEFAULT,
    }
}

fn number(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).filter(|value| value.is_number()).cloned().unwrap_or(json!(0))
}

fn ratio(object: &Value, part: &str, whole: &str) -> Value {
    json!(format!("{}/{}", number(object, part), number(object, whole)))
}

fn count(object: &Value, pointer: &str) -> Value {
    json!(object.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len))
}

fn entries(object: &Value, field: &str) -> usize {
    object.get(field).and_then(Value::as_object).map_or(0, Map::len)
}

fn pairs(map: Option<&Value>) -> Value {
    let pairs = map.and_then(Value::as_object).into_iter().flatten();
    let all: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    json!(if all.is_empty() { "<none>".to_owned() } else { all.join(",") })
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn string<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn pod_ready(pod: &Value) -> Value {
    let ready =
        list(pod, "/status/containerStatuses").filter(|status| status.get("ready") == Some(&Value::Bool(true))).count();
    json!(format!("{ready}/{}", list(pod, "/spec/containers").count()))
}

fn pod_restarts(pod: &Value) -> Value {
    let restarts = list(pod, "/status/containerStatuses").filter_map(|status| status.get("restartCount")?.as_i64());
    json!(restarts.sum::<i64>().to_string())
}

fn pod_status(pod: &Value) -> Value {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return json!(if string(pod, "/status/reason") == "NodeLost" { "Unknown" } else { "Terminating" });
    }
    let mut shown = string(pod, "/status/phase");
    if !string(pod, "/status/reason").is_empty() {
        shown = string(pod, "/status/reason");
    }
    for status in list(pod, "/status/containerStatuses") {
        for state in ["/state/waiting/reason", "/state/terminated/reason"] {
            if !string(status, state).is_empty() {
                shown = string(status, state);
            }
        }
    }
    json!(shown)
}

fn node_status(node: &Value) -> Value {
    let ready = list(node, "/status/conditions").find(|condition| string(condition, "/type") == "Ready");
    let mut shown = match ready.map(|condition| string(condition, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        shown.push_str(",SchedulingDisabled");
    }
    json!(shown)
}

fn node_roles(node: &Value) -> Value {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let roles: Vec<&str> = labels.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).collect();
    json!(if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") })
}

fn service_ports(service: &Value) -> Value {
    let ports = list(service, "/spec/ports").map(|port| match port.get("nodePort").and_then(Value::as_i64) {
        Some(node) => format!("{}:{node}/{}", number(port, "/port"), string(port, "/protocol")),
        None => format!("{}/{}", number(port, "/port"), string(port, "/protocol")),
    });
    let ports: Vec<String> = ports.collect();
    json!(if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") })
}

fn access_modes(volume: &Value) -> Value {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "?",
    };
    json!(list(volume, "/spec/accessModes").map(short).collect::<Vec<_>>().join(","))
}

fn claim(volume: &Value) -> Value {
    let name = string(volume, "/spec/claimRef/name");
    json!(if name.is_empty() {
        String::new()
    } else {
        format!("{}/{name}", string(volume, "/spec/claimRef/namespace"))
    })
}

fn endpoints(endpoints: &Value) -> Value {
    let mut all = Vec::new();
    for subset in list(endpoints, "/subsets") {
        for address in list(subset, "/addresses") {
            let ports =
                list(subset, "/ports").map(|port| format!("{}:{}", string(address, "/ip"), number(port, "/port")));
            all.extend(ports);
        }
    }
    json!(if all.is_empty() { "<none>".to_owned() } else { all.join(",") })
}

fn event_object(event: &Value) -> Value {
    json!(format!("{}/{}", string(event, "/involvedObject/kind").to_lowercase(), string(event, "/involvedObject/name")))
}
