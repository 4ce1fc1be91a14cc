//! Services, endpoints, endpoint slices, network policies.
//!
//! Facts: kubernetes/pkg/apis/core/v1/defaults.go, pkg/registry/core/service; conformance/real.json. Single-stack IPv4.

use serde_json::{Map, Value, json};

use super::{Surroundings, at, default, each, existing, object, text};
use crate::error::{ApiError, Cause, json as as_json};

/// Defaults of a service.
pub(super) fn defaults(service: &mut Map<String, Value>) {
    if let Some(spec) = existing(service, "spec") {
        default(spec, "type", "ClusterIP");
        default(spec, "sessionAffinity", "None");
        if text(spec, "type") != Some("ExternalName") {
            default(spec, "internalTrafficPolicy", "Cluster");
        }
        if matches!(text(spec, "type"), Some("NodePort" | "LoadBalancer")) {
            default(spec, "externalTrafficPolicy", "Cluster");
        }
        if text(spec, "type") == Some("LoadBalancer") {
            default(spec, "allocateLoadBalancerNodePorts", true);
        }
        if text(spec, "sessionAffinity") == Some("ClientIP") {
            default(spec, "sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": 10800 } }));
        }
        for port in each(spec, "ports") {
            default(port, "protocol", "TCP");
            if port.get("targetPort").is_none_or(|target| target == &json!(0) || target == &json!("")) {
                let number = port.get("port").cloned().unwrap_or_default();
                port.insert("targetPort".into(), number);
            }
        }
    }
    if let Some(status) = object(service, "status") {
        default(status, "loadBalancer", json!({}));
    }
}

/// Gives a new service its addresses and ports.
pub(super) fn prepare(service: &mut Map<String, Value>, surroundings: &dyn Surroundings) -> Result<(), ApiError> {
    service.insert("status".into(), json!({ "loadBalancer": {} }));
    if let Some(spec) = existing(service, "spec") {
        allocate(spec, surroundings);
    }
    Ok(())
}

fn allocate(spec: &mut Map<String, Value>, surroundings: &dyn Surroundings) {
    if text(spec, "type") == Some("ExternalName") {
        return;
    }
    if text(spec, "clusterIP").is_none_or(str::is_empty) {
        let listed = at(spec, &["clusterIPs"]).and_then(|all| all.get(0)).and_then(Value::as_str).map(str::to_owned);
        spec.insert("clusterIP".into(), listed.unwrap_or_else(|| surroundings.cluster_ip()).into());
    }
    let address = spec["clusterIP"].clone();
    spec.insert("clusterIPs".into(), json!([address]));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", "SingleStack");
    let balanced = spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
    if text(spec, "type") == Some("NodePort") || (text(spec, "type") == Some("LoadBalancer") && balanced) {
        for port in each(spec, "ports") {
            if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0 {
                port.insert("nodePort".into(), surroundings.node_port().into());
            }
        }
    }
}

/// An update that does not name the addresses keeps them.
pub(super) fn prepare_update(
    service: &mut Map<String, Value>,
    old: &Map<String, Value>,
    surroundings: &dyn Surroundings,
) {
    let (Some(spec), Some(before)) = (existing(service, "spec"), old.get("spec").and_then(Value::as_object)) else {
        return;
    };
    if text(spec, "type") == Some("ExternalName") {
        return;
    }
    if text(before, "type") != Some("ExternalName") {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = before.get(field) {
                default(spec, field, value.clone());
            }
        }
    }
    let before: Vec<(Value, Value)> = at(before, &["ports"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|port| Some((json!([port.get("port"), port.get("protocol")]), port.get("nodePort")?.clone())))
        .collect();
    if matches!(text(spec, "type"), Some("NodePort" | "LoadBalancer")) {
        for port in each(spec, "ports") {
            let id = json!([port.get("port"), port.get("protocol")]);
            if let Some((_, number)) = before.iter().find(|(one, _)| *one == id) {
                default(port, "nodePort", number.clone());
            }
        }
    }
    allocate(spec, surroundings);
}

/// Whether a service is one.
pub(super) fn validate(service: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    let spec = service.get("spec").and_then(Value::as_object);
    let kind = spec.and_then(|spec| text(spec, "type")).unwrap_or("ClusterIP");
    let known = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !known.contains(&kind) {
        causes.push(Cause::not_supported("spec.type", as_json(kind), &known.map(as_json)));
    }
    let ports = spec.and_then(|spec| spec.get("ports")).and_then(Value::as_array).cloned().unwrap_or_default();
    let headless = spec.and_then(|spec| text(spec, "clusterIP")) == Some("None");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (index, port) in ports.iter().enumerate() {
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        if !(1..=65535).contains(&number) {
            causes.push(Cause::invalid(
                format!("spec.ports[{index}].port"),
                number,
                "must be between 1 and 65535, inclusive",
            ));
        }
        if ports.len() > 1 && port.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("spec.ports[{index}].name"), ""));
        }
    }
    let address =
        |service: &Map<String, Value>| at(service, &["spec", "clusterIP"]).and_then(Value::as_str).map(str::to_owned);
    if let Some(before) = old.and_then(address).filter(|before| !before.is_empty())
        && kind != "ExternalName"
        && let Some(now) = address(service).filter(|now| *now != before)
    {
        causes.push(Cause::invalid("spec.clusterIPs[0]", as_json(&vec![now]), "may not change once set"));
    }
}

/// Defaults of endpoints.
pub(super) fn endpoints_defaults(endpoints: &mut Map<String, Value>) {
    for subset in each(endpoints, "subsets") {
        for port in each(subset, "ports") {
            default(port, "protocol", "TCP");
        }
    }
}

/// Defaults of an endpoint slice.
pub(super) fn endpoint_slice_defaults(slice: &mut Map<String, Value>) {
    default(slice, "endpoints", Value::Array(Vec::new()));
    default(slice, "ports", Value::Null);
    for port in each(slice, "ports") {
        default(port, "name", "");
        default(port, "protocol", "TCP");
    }
}

/// Defaults of a network policy.
pub(super) fn network_policy_defaults(policy: &mut Map<String, Value>) {
    let Some(spec) = existing(policy, "spec") else { return };
    let types = if spec.contains_key("egress") { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    default(spec, "policyTypes", types);
    for direction in ["ingress", "egress"] {
        for rule in each(spec, direction) {
            for port in each(rule, "ports") {
                default(port, "protocol", "TCP");
            }
        }
    }
}
