//! What the server says about itself: groups, versions, resources, health, its version.
//!
//! Facts: apiserver's `endpoints/discovery`; conformance/real.json.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::error::ApiError;
use crate::openapi;
use crate::path::ResourcePath;
use crate::registry::Registry;
use crate::resource::{Resource, api_version};
use crate::server::Inner;

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn answer(value: &Value) -> Answer {
    Answer::json(200, serde_json::to_vec(value).expect("a JSON value has a JSON form"))
}

/// `/version`, `/healthz`, `/openapi/..` and the like.
pub(crate) fn other(inner: &Inner, path: &str, accept: Option<&str>, _body: &Bytes) -> Result<Answer, ApiError> {
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match (first, rest) {
        ("version", "") => Ok(answer(&version())),
        ("healthz" | "livez" | "readyz", _) => Ok(Answer::text(200, "ok")),
        ("openapi", _) => openapi::serve(&inner.registry(), rest, accept),
        ("", "") => Ok(answer(
            &json!({ "paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"] }),
        )),
        _ => Err(ApiError::page_not_found()),
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.2+corral", "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// `/api`, `/apis` and what is below them down to the resources.
pub(crate) fn discover(inner: &Inner, group: Option<&str>, version: Option<&str>) -> Result<Answer, ApiError> {
    let registry = inner.registry();
    match (group, version) {
        (None, _) => {
            let groups: Vec<Value> = registry
                .groups()
                .filter(|group| !group.is_empty())
                .map(|group| group_value(&registry, group))
                .collect();
            Ok(answer(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})))
        }
        (Some(""), None) => {
            let address = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]);
            Ok(answer(&json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": address})))
        }
        (Some(group), None) => {
            if registry.versions(group).is_empty() {
                return Err(ApiError::page_not_found());
            }
            let mut value = group_value(&registry, group);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            Ok(answer(&value))
        }
        (Some(group), Some(version)) => {
            let resources: Vec<Value> =
                registry.resources(group, version).flat_map(|resource| resource_values(resource)).collect();
            if resources.is_empty() {
                return Err(ApiError::page_not_found());
            }
            Ok(answer(
                &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version), "resources": resources}),
            ))
        }
    }
}

fn group_value(registry: &Registry, group: &str) -> Value {
    let version = |version: &str| json!({"groupVersion": api_version(group, version), "version": version});
    let versions: Vec<Value> = registry.versions(group).into_iter().map(version).collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": group, "versions": versions, "preferredVersion": preferred})
}

fn resource_values(resource: &Resource) -> Vec<Value> {
    let verbs: Vec<&str> = VERBS
        .into_iter()
        .filter(|verb| !(resource.key.as_ref() == "namespaces" && *verb == "deletecollection"))
        .collect();
    let mut value = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs,
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        value["categories"] = resource.categories.clone().into();
    }
    let mut values = vec![value];
    let mut subresources: Vec<&str> = match resource.builtin_model() {
        Some(model) => model.subresources.to_vec(),
        None => ["status", "scale"].into_iter().filter(|name| resource.has_subresource(name)).collect(),
    };
    subresources.sort_unstable();
    for name in subresources {
        let (kind, group, version, verbs) = match name {
            "binding" => ("Binding", "", "v1", vec!["create"]),
            "eviction" => ("Eviction", "policy", "v1", vec!["create"]),
            "finalize" => (resource.kind.as_str(), "", "", vec!["update"]),
            "scale" => ("Scale", "autoscaling", "v1", vec!["get", "patch", "update"]),
            _ => (resource.kind.as_str(), "", "", vec!["get", "patch", "update"]),
        };
        let mut value = json!({
            "name": format!("{}/{name}", resource.plural), "singularName": "", "namespaced": resource.namespaced, "kind": kind, "verbs": verbs,
        });
        if !version.is_empty() {
            value["group"] = group.into();
            value["version"] = version.into();
        }
        values.push(value);
    }
    values
}

/// Questions about permissions and identities: everything is allowed here, to everybody.
pub(crate) fn review(method: &Method, path: &ResourcePath, body: &Bytes) -> Option<Result<Answer, ApiError>> {
    let status = match (path.group.as_str(), path.plural.as_str()) {
        ("authorization.k8s.io", "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews") => {
            json!({ "allowed": true })
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => json!({
            "incomplete": false, "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        }),
        ("authentication.k8s.io", "selfsubjectreviews") => {
            json!({ "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]} })
        }
        ("authentication.k8s.io", "tokenreviews") => {
            json!({ "authenticated": true, "user": {"username": "kubernetes-admin", "groups": ["system:masters"]} })
        }
        _ => return None,
    };
    if *method != Method::POST {
        return Some(Err(ApiError::method_not_allowed()));
    }
    Some(match serde_json::from_slice::<Value>(body) {
        Ok(mut review) if review.is_object() => {
            review["status"] = status;
            Ok(Answer { code: 201, ..answer(&review) })
        }
        _ => Err(ApiError::bad_request("couldn't get version/kind; json parse error")),
    })
}
