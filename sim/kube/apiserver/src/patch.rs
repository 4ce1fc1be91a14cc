//! Patches: JSON (RFC 6902), merge (RFC 7386), and strategic merge for the built-in kinds.

mod json_patch;
mod strategic;

use serde_json::Value;

use crate::builtin::MergeRules;
use crate::decode::{json_error, media_type};
use crate::error::ApiError;
use crate::resource::{Model, Resource};

/// A patch, ready to be applied as often as needed.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    Json(Vec<json_patch::Operation>),
    Merge(Value),
    Strategic(Value, MergeRules),
}

impl Patch {
    /// Reads the body of a PATCH.
    pub fn decode(resource: &Resource, content_type: Option<&str>, body: &[u8]) -> Result<Patch, ApiError> {
        let parse = || -> Result<Value, ApiError> {
            serde_json::from_slice(body)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {}", json_error(&error))))
        };
        let object = |value: Value| match value {
            Value::Object(_) => Ok(value),
            _ => Err(ApiError::bad_request(
                "error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}",
            )),
        };
        match (media_type(content_type), &resource.model) {
            ("application/json-patch+json", _) => Ok(Patch::Json(json_patch::decode(parse()?)?)),
            ("application/merge-patch+json", _) => Ok(Patch::Merge(object(parse()?)?)),
            ("application/strategic-merge-patch+json", Model::Builtin(model, types)) => {
                Ok(Patch::Strategic(object(parse()?)?, MergeRules::of_kind(types, model.kind)))
            }
            (_, model) => Err(ApiError::unsupported_media_type(match model {
                Model::Builtin(..) => {
                    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
                }
                Model::Custom(_) => "application/json-patch+json, application/merge-patch+json",
            })),
        }
    }

    /// A JSON patch by its text.
    pub fn json(text: &[u8]) -> Result<Patch, ApiError> {
        let patch = serde_json::from_slice(text).map_err(|error| ApiError::bad_request(json_error(&error)))?;
        Ok(Patch::Json(json_patch::decode(patch)?))
    }

    /// The object with the patch applied.
    pub fn apply(&self, object: &Value) -> Result<Value, ApiError> {
        let mut patched = object.clone();
        match self {
            Patch::Json(operations) => json_patch::apply(&mut patched, operations)?,
            Patch::Merge(patch) => merge(&mut patched, patch),
            Patch::Strategic(patch, rules) => strategic::merge(&mut patched, patch, rules)?,
        }
        Ok(patched)
    }
}

/// RFC 7386: objects are merged, null takes away, everything else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let map = target.as_object_mut().expect("made an object above");
    for (name, change) in patch {
        if change.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_rfc_7386_hold() {
        for (original, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut target = original.clone();
            merge(&mut target, &patch);
            assert_eq!(target, result, "{original} with {patch}");
        }
    }
}
