//! Config maps, secrets, leases, events, priority classes, webhook configurations.
//!
//! Facts: kubernetes/pkg/apis/{core,coordination,scheduling,admissionregistration}; conformance/real.json.

use serde_json::{Map, Value, json};

use super::{at, default, each, existing, text};
use crate::error::{Cause, json as as_json};

/// Fields of events for selectors.
pub(super) const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const DATA_LIMIT: usize = 1 << 20;

fn validate_data(
    object: &Map<String, Value>,
    old: Option<&Map<String, Value>>,
    fields: &[&str],
    causes: &mut Vec<Cause>,
) {
    let mut total = 0;
    for field in fields {
        for (key, value) in object.get(*field).and_then(Value::as_object).into_iter().flatten() {
            if let Some(why) = crate::names::config_key_error(key) {
                causes.push(Cause::invalid(format!("{field}[{key}]"), as_json(key), &why));
            }
            let written = value.as_str().map_or(0, str::len);
            total += if *field == "data" && fields.len() == 2 { written } else { written / 4 * 3 };
        }
    }
    if total > DATA_LIMIT {
        causes.push(Cause::too_long("", &format!("may not be more than {DATA_LIMIT} bytes")));
    }
    let Some(old) = old.filter(|old| old.get("immutable") == Some(&Value::Bool(true))) else { return };
    if object.get("immutable") != Some(&Value::Bool(true)) {
        causes.push(Cause::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for field in fields.iter().filter(|field| object.get(**field) != old.get(**field)) {
        causes.push(Cause::forbidden(*field, "field is immutable when `immutable` is set"));
    }
}

/// Whether a config map is one.
pub(super) fn validate_config_map(map: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    validate_data(map, old, &["data", "binaryData"], causes);
}

/// Defaults of a secret; what is written as text is stored as base64.
pub(super) fn secret_defaults(secret: &mut Map<String, Value>) {
    use base64::Engine as _;
    default(secret, "type", "Opaque");
    if let Some(Value::Object(plain)) = secret.remove("stringData")
        && let Some(data) = super::object(secret, "data")
    {
        for (key, value) in plain {
            let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
            data.insert(key, encoded.into());
        }
    }
}

/// Whether a secret is one.
pub(super) fn validate_secret(secret: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    validate_data(secret, old, &["data"], causes);
    if let Some(before) = old.and_then(|old| text(old, "type"))
        && text(secret, "type") != Some(before)
    {
        let now = text(secret, "type").unwrap_or_default();
        causes.push(Cause::invalid("type", as_json(now), "field is immutable"));
    }
}

/// Whether a lease is one.
pub(super) fn validate_lease(lease: &Map<String, Value>, _: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    for (field, least) in [("leaseDurationSeconds", 1), ("leaseTransitions", 0)] {
        let path = ["spec", field];
        if let Some(number) = at(lease, &path).and_then(Value::as_i64).filter(|number| *number < least) {
            let why = if least == 1 { "must be greater than 0" } else { "must be greater than or equal to 0" };
            causes.push(Cause::invalid(format!("spec.{field}"), number, why));
        }
    }
}

/// Defaults of a priority class.
pub(super) fn priority_class_defaults(class: &mut Map<String, Value>) {
    default(class, "preemptionPolicy", "PreemptLowerPriority");
}

/// Defaults of a webhook configuration.
pub(super) fn webhook_defaults(configuration: &mut Map<String, Value>) {
    let mutating = text(configuration, "kind") == Some("MutatingWebhookConfiguration");
    for webhook in each(configuration, "webhooks") {
        default(webhook, "failurePolicy", "Fail");
        default(webhook, "matchPolicy", "Equivalent");
        default(webhook, "timeoutSeconds", 10);
        default(webhook, "namespaceSelector", json!({}));
        default(webhook, "objectSelector", json!({}));
        if mutating {
            default(webhook, "reinvocationPolicy", "Never");
        }
        if let Some(service) = existing(webhook, "clientConfig").and_then(|config| existing(config, "service")) {
            default(service, "port", 443);
        }
        for rule in each(webhook, "rules") {
            default(rule, "scope", "*");
        }
    }
}

fn one_of(causes: &mut Vec<Cause>, path: String, value: Option<&str>, known: &[&str]) {
    match value {
        None => causes.push(Cause::required(path, "")),
        Some(value) if !known.contains(&value) => {
            let known: Vec<String> = known.iter().map(as_json).collect();
            causes.push(Cause::not_supported(path, as_json(value), &known));
        }
        Some(_) => {}
    }
}

/// Whether a webhook configuration is one. Whether its URLs may be http is an option of the server, checked where that is known.
pub(super) fn validate_webhooks(
    configuration: &Map<String, Value>,
    _: Option<&Map<String, Value>>,
    causes: &mut Vec<Cause>,
) {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array);
    let mut names = Vec::new();
    for (index, webhook) in webhooks.into_iter().flatten().filter_map(Value::as_object).enumerate() {
        let path = |field: &str| format!("webhooks[{index}].{field}");
        let name = text(webhook, "name").unwrap_or_default();
        if name.split('.').count() < 3 || crate::names::subdomain_error(name).is_some() {
            let why = "should be a domain with at least three segments separated by dots";
            causes.push(Cause::invalid(path("name"), as_json(name), why));
        }
        if names.contains(&name) {
            causes.push(Cause::duplicate(path("name"), as_json(name)));
        }
        names.push(name);
        if webhook.get("admissionReviewVersions").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            causes.push(Cause::required(path("admissionReviewVersions"), "must specify one of v1, v1beta1"));
        }
        one_of(causes, path("sideEffects"), text(webhook, "sideEffects"), &["None", "NoneOnDryRun"]);
        one_of(causes, path("failurePolicy"), text(webhook, "failurePolicy"), &["Fail", "Ignore"]);
        one_of(causes, path("matchPolicy"), text(webhook, "matchPolicy"), &["Equivalent", "Exact"]);
        let timeout = webhook.get("timeoutSeconds").and_then(Value::as_i64).unwrap_or(10);
        if !(1..=30).contains(&timeout) {
            causes.push(Cause::invalid(
                path("timeoutSeconds"),
                timeout,
                "the timeout value must be between 1 and 30 seconds",
            ));
        }
        let client = webhook.get("clientConfig").and_then(Value::as_object);
        let has = |field| client.is_some_and(|client| client.contains_key(field));
        if has("url") == has("service") {
            causes.push(Cause::required(path("clientConfig"), "exactly one of url or service is required"));
        }
    }
}
