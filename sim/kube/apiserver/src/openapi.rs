//! Enough OpenAPI for kubectl: version 2 as the protobuf that older kubectl insists on (and as JSON), version 3 per group and version.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::error::ApiError;
use crate::registry::Registry;
use crate::resource::{Resource, api_version};

/// Asked for with an `@` before the version, which is no valid media type to answer with.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/REST`.
pub(crate) fn serve(registry: &Registry, rest: &str, accept: Option<&str>) -> Result<Answer, ApiError> {
    let json = |value: Value| Ok(Answer::json(200, serde_json::to_vec(&value).expect("a JSON value has a JSON form")));
    match rest {
        "v2" if accept.is_some_and(|accept| accept.contains("protobuf")) => {
            Ok(Answer { content_type: PROTOBUF, ..Answer::json(200, empty_document()) })
        }
        "v2" => json(
            json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": {}, "definitions": {}}),
        ),
        "v3" => json(index(registry)),
        _ => match rest.strip_prefix("v3/").and_then(group_of) {
            Some((group, version)) if registry.resources(&group, &version).next().is_some() => {
                json(document(registry, &group, &version))
            }
            _ => Err(ApiError::page_not_found()),
        },
    }
}

fn group_of(path: &str) -> Option<(String, String)> {
    if let Some(version) = path.strip_prefix("api/") {
        return Some((String::new(), version.to_owned()));
    }
    let (group, version) = path.strip_prefix("apis/")?.split_once('/')?;
    Some((group.to_owned(), version.to_owned()))
}

/// An OpenAPI v2 document without definitions, in protobuf: kubectl then leaves validation to the server.
fn empty_document() -> Bytes {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut encoded = vec![number << 3 | 2, content.len() as u8];
        encoded.extend_from_slice(content);
        encoded
    }
    let info = [field(1, b"Kubernetes"), field(2, b"v1.36.2")].concat();
    [field(1, b"2.0"), field(2, &info), field(8, b"")].concat().into()
}

fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for group in registry.groups() {
        for version in registry.versions(group) {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let url = format!("/openapi/v3/{path}");
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
    }
    json!({ "paths": paths })
}

fn schema_name(resource: &Resource) -> String {
    let group = if resource.group.is_empty() {
        "io.k8s.api.core".to_owned()
    } else {
        resource.group.split('.').rev().collect::<Vec<_>>().join(".")
    };
    format!("{group}.{}.{}", resource.version, resource.kind)
}

fn document(registry: &Registry, group: &str, version: &str) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for resource in registry.resources(group, version) {
        let mut schema = match resource.custom() {
            Some(custom) => custom.open_api.clone(),
            None => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        };
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": group, "version": version, "kind": resource.kind}]);
        schemas.insert(schema_name(resource), schema);
        paths.extend(operations(resource));
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": paths, "components": { "schemas": schemas }})
}

/// The paths of a resource, with what kubectl looks for: which parameters a PATCH takes.
fn operations(resource: &Resource) -> Vec<(String, Value)> {
    let prefix = if resource.group.is_empty() { "/api/" } else { "/apis/" };
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{prefix}{}{scope}/{}", api_version(&resource.group, &resource.version), resource.plural);
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let operation = |action: &str| {
        json!({
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{}", schema_name(resource))}}}}},
        })
    };
    vec![
        (collection.clone(), json!({"get": operation("list"), "post": operation("post")})),
        (
            format!("{collection}/{{name}}"),
            json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch"), "delete": operation("delete")}),
        ),
    ]
}
