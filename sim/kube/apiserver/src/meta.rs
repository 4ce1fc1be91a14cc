//! Metadata: what a client may say in it, what the server makes of it.
//!
//! Facts: apimachinery's `api/validation/objectmeta.go`, apiserver's `registry/rest/{create,update}.go`; facts/kubernetes.md section 1.

use serde_json::{Map, Value};

use crate::error::{ApiError, Cause, json};
use crate::names::{NameRule, label_value_error, qualified_name_error};
use crate::resource::Resource;
use crate::schema::type_name;

/// Characters of generated names: no vowels, nothing that is mistaken for something else.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
const LONGEST_GENERATED: usize = 63;
const ANNOTATIONS_LIMIT: usize = 256 << 10;

/// The metadata of an object; [`clean`] has made sure that there is some.
pub(crate) fn of(object: &Map<String, Value>) -> &Map<String, Value> {
    object.get("metadata").and_then(Value::as_object).expect("a decoded object has metadata")
}

/// The same, to be changed.
pub(crate) fn of_mut(object: &mut Map<String, Value>) -> &mut Map<String, Value> {
    object.get_mut("metadata").and_then(Value::as_object_mut).expect("a decoded object has metadata")
}

/// A text of the metadata; empty if it is absent.
pub(crate) fn text<'a>(object: &'a Map<String, Value>, field: &str) -> &'a str {
    of(object).get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A number of the metadata.
pub(crate) fn number(object: &Map<String, Value>, field: &str) -> Option<i64> {
    of(object).get(field)?.as_i64()
}

/// The finalizers.
pub(crate) fn finalizers(object: &Map<String, Value>) -> Vec<&str> {
    of(object).get("finalizers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Replaces the finalizers; an empty list is an absent one.
pub(crate) fn set_finalizers(object: &mut Map<String, Value>, finalizers: Vec<String>) {
    let metadata = of_mut(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
}

/// Checks the types of the metadata's fields and drops what means nothing: unknown fields (noted), nulls, empty lists and maps, and
/// `managedFields`, which this server does not keep.
pub(crate) fn clean(
    resource: &Resource,
    object: &mut Map<String, Value>,
    unknown: &mut Vec<String>,
) -> Result<(), ApiError> {
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    let Value::Object(metadata) = metadata else {
        let why = format!(
            "json: cannot unmarshal {} into Go struct field {}.metadata of type v1.ObjectMeta",
            go_type(metadata),
            resource.kind
        );
        return Err(resource.cannot_be_handled(&why));
    };
    let mut failure = None;
    metadata.retain(|field, value| match check_field(field, value) {
        Ok(Fate::Kept) => true,
        Ok(Fate::Dropped) => false,
        Ok(Fate::Unknown) => {
            unknown.push(format!("metadata.{field}"));
            false
        }
        Err(why) => {
            failure.get_or_insert(why);
            true
        }
    });
    match failure {
        Some(why) => Err(resource.cannot_be_handled(&why)),
        None => Ok(()),
    }
}

enum Fate {
    Kept,
    Dropped,
    Unknown,
}

fn go_type(value: &Value) -> &'static str {
    match type_name(value) {
        "boolean" => "bool",
        "integer" => "number",
        other => other,
    }
}

fn mismatch(value: &Value, field: &str, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go struct field ObjectMeta.{field} of type {wanted}", go_type(value))
}

fn check_field(field: &str, value: &Value) -> Result<Fate, String> {
    if value.is_null() {
        return Ok(Fate::Dropped);
    }
    let kept = |yes: bool| Ok(if yes { Fate::Kept } else { Fate::Dropped });
    match field {
        "name" | "generateName" | "namespace" | "uid" | "resourceVersion" => match value.as_str() {
            Some(text) => kept(!text.is_empty()),
            None => Err(mismatch(value, field, "string")),
        },
        "creationTimestamp" | "deletionTimestamp" => match value.as_str() {
            Some(text) if text.parse::<jiff::Timestamp>().is_ok() => Ok(Fate::Kept),
            Some(text) => {
                Err(format!("parsing time {0} as \"2006-01-02T15:04:05Z07:00\": cannot parse {0}", json(text)))
            }
            None => Err(mismatch(value, field, "string")),
        },
        "generation" | "deletionGracePeriodSeconds" if !value.is_i64() => Err(mismatch(value, field, "int64")),
        "generation" | "deletionGracePeriodSeconds" => Ok(Fate::Kept),
        "labels" | "annotations" => match value {
            Value::Object(map) => match map.values().find(|value| !value.is_string() && !value.is_null()) {
                Some(wrong) => Err(mismatch(wrong, field, "string")),
                None => kept(!map.is_empty()),
            },
            _ => Err(mismatch(value, field, "map[string]string")),
        },
        "finalizers" => match value {
            Value::Array(list) => match list.iter().find(|value| !value.is_string()) {
                Some(wrong) => Err(mismatch(wrong, field, "string")),
                None => kept(!list.is_empty()),
            },
            _ => Err(mismatch(value, field, "[]string")),
        },
        "ownerReferences" => match value {
            Value::Array(list) => match list.iter().find(|value| !value.is_object()) {
                Some(wrong) => Err(mismatch(wrong, field, "v1.OwnerReference")),
                None => kept(!list.is_empty()),
            },
            _ => Err(mismatch(value, field, "[]v1.OwnerReference")),
        },
        "managedFields" | "selfLink" => Ok(Fate::Dropped),
        _ => Ok(Fate::Unknown),
    }
}

/// What a client may not say at a create.
pub(crate) fn wipe_system_fields(object: &mut Map<String, Value>) {
    let metadata = of_mut(object);
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        metadata.remove(field);
    }
}

/// A name from a prefix.
pub(crate) fn generate_name(prefix: &str, mut draw: impl FnMut(u64) -> u64) -> String {
    let room = LONGEST_GENERATED - SUFFIX_LENGTH;
    let mut end = prefix.len().min(room);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let suffix = (0..SUFFIX_LENGTH).map(|_| SUFFIX[draw(SUFFIX.len() as u64) as usize] as char);
    prefix[..end].chars().chain(suffix).collect()
}

/// Says what is wrong with the metadata of any object.
pub(crate) fn validate(resource: &Resource, object: &Map<String, Value>, causes: &mut Vec<Cause>) {
    let name = text(object, "name");
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else {
        let rule = resource.builtin_model().map_or(NameRule::Subdomain, |model| model.name_rule);
        if let Some(why) = rule.error(name) {
            causes.push(Cause::invalid("metadata.name", json(name), &why));
        }
    }
    let map = |field| of(object).get(field).and_then(Value::as_object).into_iter().flatten();
    for (key, value) in map("labels") {
        if let Some(why) = qualified_name_error(key) {
            causes.push(Cause::invalid("metadata.labels", json(key), &why));
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(why) = label_value_error(value) {
            causes.push(Cause::invalid("metadata.labels", json(value), &why));
        }
    }
    let mut size = 0;
    for (key, value) in map("annotations") {
        if let Some(why) = qualified_name_error(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", json(key), &why));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        causes
            .push(Cause::too_long("metadata.annotations", &format!("may not be more than {ANNOTATIONS_LIMIT} bytes")));
    }
    validate_owners(object, causes);
    validate_finalizers(resource, object, causes);
}

fn validate_owners(object: &Map<String, Value>, causes: &mut Vec<Cause>) {
    let owners = of(object).get("ownerReferences").and_then(Value::as_array);
    let mut controller: Option<String> = None;
    for owner in owners.into_iter().flatten() {
        let field = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        let shown = |name: &str| format!("metadata.ownerReferences.{name}");
        if field("apiVersion").rsplit('/').next().is_none_or(str::is_empty) {
            causes.push(Cause::invalid(shown("apiVersion"), json(field("apiVersion")), "version must not be empty"));
        }
        for name in ["kind", "name", "uid"] {
            if field(name).is_empty() {
                causes.push(Cause::invalid(shown(name), "\"\"", "must not be empty"));
            }
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let this = format!("{}/{}", field("kind"), field("name"));
            match &controller {
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    causes.push(Cause::invalid("metadata.ownerReferences", json(&owners), &why));
                }
                None => controller = Some(this),
            }
        }
    }
}

fn is_standard_finalizer(name: &str) -> bool {
    matches!(name, "kubernetes" | "orphan" | "foregroundDeletion")
}

fn validate_finalizers(resource: &Resource, object: &Map<String, Value>, causes: &mut Vec<Cause>) {
    let all = finalizers(object);
    for name in &all {
        if let Some(why) = qualified_name_error(name) {
            causes.push(Cause::invalid("metadata.finalizers", json(name), &why));
        } else if resource.custom().is_none()
            && !name.contains('/')
            && !is_standard_finalizer(name)
            && *name != crate::crd::CLEANUP
        {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid("metadata.finalizers", json(name), why));
        }
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid("metadata.finalizers", json(&all), why));
    }
}

/// Warnings about finalizers that were added to a custom resource.
pub(crate) fn finalizer_warnings(object: &Map<String, Value>, old: Option<&Map<String, Value>>) -> Vec<String> {
    let before = old.map(finalizers).unwrap_or_default();
    let mut added: Vec<&str> = finalizers(object).into_iter().filter(|name| !before.contains(name)).collect();
    added.sort_unstable();
    let bare = added.into_iter().filter(|name| !name.contains('/') && !is_standard_finalizer(name));
    bare.map(|name| {
        let why = "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers";
        format!("metadata.finalizers: {}: {why}", json(name))
    })
    .collect()
}

/// What an update may not change and what it need not repeat; `PrepareForUpdate` of the generic registry.
pub(crate) fn carry_over(object: &mut Map<String, Value>, old: &Map<String, Value>) {
    let before = of(old);
    let metadata = of_mut(object);
    for field in ["creationTimestamp", "generation"] {
        match before.get(field) {
            Some(value) => drop(metadata.insert(field.into(), value.clone())),
            None => drop(metadata.remove(field)),
        }
    }
    for field in ["name", "namespace", "uid"] {
        if let Some(value) = before.get(field).filter(|_| !metadata.contains_key(field)) {
            metadata.insert(field.into(), value.clone());
        }
    }
    // An update never takes a deletion back, and never moves it.
    if let Some(value) = before.get("deletionTimestamp") {
        metadata.insert("deletionTimestamp".into(), value.clone());
        if let Some(grace) = before.get("deletionGracePeriodSeconds") {
            metadata.entry("deletionGracePeriodSeconds").or_insert_with(|| grace.clone());
        }
    }
}

/// Says which immutable metadata an update changes.
pub(crate) fn validate_update(object: &Map<String, Value>, old: &Map<String, Value>, causes: &mut Vec<Cause>) {
    if of(old).contains_key("deletionTimestamp") {
        let before = finalizers(old);
        let added: Vec<&str> = finalizers(object).into_iter().filter(|name| !before.contains(name)).collect();
        if !added.is_empty() {
            let shown: Vec<String> = added.iter().map(json).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                shown.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (before, now) = (of(old).get(field), of(object).get(field));
        if before != now {
            let shown = now.map_or_else(|| "null".into(), json);
            causes.push(Cause::invalid(format!("metadata.{field}"), shown, "field is immutable"));
        }
    }
}
