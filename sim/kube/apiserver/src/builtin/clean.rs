//! Types of built-in objects: a value of another type is refused in Go's words, unknown fields and nulls go, times and amounts get their
//! one form.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::fields::{Shape, Types};
use crate::error::{ApiError, json};
use crate::quantity;
use crate::resource::Resource;
use crate::schema::{Path, type_name};

/// Brings a built-in object into its form. The metadata has been seen to already.
pub(crate) fn clean(
    resource: &Resource,
    types: &Types,
    object: &mut Map<String, Value>,
    unknown: &mut Vec<String>,
) -> Result<(), ApiError> {
    Cleaner { types, unknown }
        .object(&resource.kind, object, &Path::Root)
        .map_err(|why| resource.cannot_be_handled(&why))
}

struct Cleaner<'a> {
    types: &'a Types,
    unknown: &'a mut Vec<String>,
}

impl Cleaner<'_> {
    fn object(&mut self, name: &str, object: &mut Map<String, Value>, path: &Path<'_>) -> Result<(), String> {
        let types = self.types;
        let Some(fields) = types.fields(name) else { return Ok(()) };
        let is_root = matches!(path, Path::Root);
        let mut failure = None;
        object.retain(|key, value| {
            if is_root && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                return true;
            }
            let Some(field) = fields.get(key.as_str()) else {
                self.unknown.push(Path::Field(path, key).to_string());
                return false;
            };
            if value.is_null() {
                return false;
            }
            match self.value(name, &field.shape, value, &Path::Field(path, key)) {
                Ok(()) => field.keeps_empty || !is_empty(&field.shape, value),
                Err(why) => {
                    failure.get_or_insert(why);
                    true
                }
            }
        });
        failure.map_or(Ok(()), Err)
    }

    fn value(&mut self, parent: &str, shape: &Shape, value: &mut Value, path: &Path<'_>) -> Result<(), String> {
        let mismatch = |value: &Value, wanted: &str| Err(mismatch(parent, value, path, wanted));
        match (shape, &mut *value) {
            (Shape::Any, _) => Ok(()),
            (Shape::String, Value::String(_))
            | (Shape::Boolean, Value::Bool(_))
            | (Shape::Number, Value::Number(_)) => Ok(()),
            (Shape::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
            (Shape::IntegerOrString, Value::String(_)) => Ok(()),
            (Shape::IntegerOrString, Value::Number(number)) if number.is_i64() => Ok(()),
            (Shape::Quantity, Value::String(_) | Value::Number(_)) => {
                let why = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
                *value = quantity::canonical(value).ok_or(why)?.into();
                Ok(())
            }
            (Shape::Time, Value::String(text)) => {
                *text = seconds(text).ok_or_else(|| unparsable(text, "2006-01-02T15:04:05Z07:00"))?;
                Ok(())
            }
            (Shape::MicroTime, Value::String(text)) => {
                *text = microseconds(text).ok_or_else(|| unparsable(text, "2006-01-02T15:04:05.000000Z07:00"))?;
                Ok(())
            }
            (Shape::Bytes, Value::String(text)) => match base64::engine::general_purpose::STANDARD
                .decode(text.as_bytes())
            {
                Ok(_) => Ok(()),
                Err(base64::DecodeError::InvalidByte(at, _)) => Err(format!("illegal base64 data at input byte {at}")),
                Err(_) => Err(format!("illegal base64 data at input byte {}", text.len())),
            },
            (Shape::Map(values), Value::Object(map)) => {
                map.retain(|_, value| !value.is_null() || **values == Shape::String);
                for (key, value) in map.iter_mut() {
                    if value.is_null() {
                        *value = "".into();
                    }
                    self.value(parent, values, value, &Path::Field(path, key)).map_err(|why| without_last(why, key))?;
                }
                Ok(())
            }
            (Shape::List(items, _), Value::Array(list)) => {
                let mut items_at = list.iter_mut().enumerate();
                items_at.try_for_each(|(index, item)| self.value(parent, items, item, &Path::Index(path, index)))
            }
            (Shape::Object(name), Value::Object(object)) => self.object(name, object, path),
            // Null items of lists of objects are empty ones in Go.
            (Shape::Object(_), Value::Null) => {
                *value = Value::Object(Map::new());
                Ok(())
            }
            (shape, value) => mismatch(value, &go_name(shape)),
        }
    }
}

fn is_empty(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::List(..), Value::Array(list)) => list.is_empty(),
        (Shape::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

fn mismatch(parent: &str, value: &Value, path: &Path<'_>, wanted: &str) -> String {
    let given = match type_name(value) {
        "boolean" => "bool",
        "integer" => "number",
        other => other,
    };
    format!("json: cannot unmarshal {given} into Go struct field {parent}.{} of type {wanted}", without_indexes(path))
}

/// Go's decoder names fields, not places in lists.
fn without_indexes(path: &Path<'_>) -> String {
    match path {
        Path::Index(parent, _) => without_indexes(parent),
        Path::Field(parent, name) => match without_indexes(parent) {
            parent if parent.is_empty() => (*name).to_owned(),
            parent => format!("{parent}.{name}"),
        },
        Path::Root => String::new(),
    }
}

/// Go names the map, not the key.
fn without_last(why: String, key: &str) -> String {
    why.replacen(&format!(".{key} of type"), " of type", 1)
}

fn go_name(shape: &Shape) -> String {
    match shape {
        Shape::String | Shape::Bytes => "string".into(),
        Shape::Integer => "int32".into(),
        Shape::Number => "float64".into(),
        Shape::Boolean => "bool".into(),
        Shape::Quantity => "resource.Quantity".into(),
        Shape::Time => "v1.Time".into(),
        Shape::MicroTime => "v1.MicroTime".into(),
        Shape::IntegerOrString => "intstr.IntOrString".into(),
        Shape::Any => "interface {}".into(),
        Shape::Map(values) => format!("map[string]{}", go_name(values)),
        Shape::List(items, _) => format!("[]{}", go_name(items)),
        Shape::Object(name) => format!("v1.{name}"),
    }
}

fn unparsable(text: &str, layout: &str) -> String {
    format!("parsing time {} as {}: cannot parse", json(text), json(layout))
}

fn seconds(text: &str) -> Option<String> {
    if text.len() == 20 && text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') {
        // Already in its form, if it is a time at all.
        text.parse::<Timestamp>().ok()?;
        return Some(text.to_owned());
    }
    Some(Timestamp::from_second(text.parse::<Timestamp>().ok()?.as_second()).ok()?.to_string())
}

fn microseconds(text: &str) -> Option<String> {
    let decimals = text.split_once('.').map(|(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    let time = text.parse::<Timestamp>().ok().filter(|_| decimals == Some(6))?;
    Some(format!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cleaned(kind: &str, object: Value) -> Result<(Value, Vec<String>), String> {
        let types = Types::new();
        let mut unknown = Vec::new();
        let Value::Object(mut map) = object else { panic!("no object") };
        Cleaner { types: &types, unknown: &mut unknown }.object(kind, &mut map, &Path::Root)?;
        Ok((Value::Object(map), unknown))
    }

    #[test]
    fn other_types_are_refused_in_gos_words() {
        let why = |kind, object| cleaned(kind, object).expect_err("refused");
        assert_eq!(
            why("ConfigMap", json!({"data": {"a": 1}})),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        assert!(why("Lease", json!({"spec": {"renewTime": "2026-11-20T00:00:00Z"}})).starts_with("parsing time"));
        assert!(why("Secret", json!({"data": {"a": "?"}})).starts_with("illegal base64"));
        assert!(
            why("Pod", json!({"spec": {"containers": "x"}})).contains("PodSpec.spec.containers of type []v1.Container")
        );
    }

    #[test]
    fn what_means_nothing_goes_and_the_rest_gets_its_form() {
        let pod = json!({"spec": {"containers": [{"name": "c", "args": [], "env": null, "resources": {"limits": {"cpu": "0.5"}}, "bogus": 1}],
            "volumes": [{"name": "v", "emptyDir": {}}]}});
        let (cleaned_pod, unknown) = cleaned("Pod", pod).expect("a pod");
        let expected = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}}}], "volumes": [{"name": "v", "emptyDir": {}}]}});
        assert_eq!(cleaned_pod, expected);
        assert_eq!(unknown, ["spec.containers[0].bogus"]);
        let (lease, _) =
            cleaned("Lease", json!({"spec": {"renewTime": "2026-11-20T01:00:00.000001+01:00"}})).expect("a lease");
        assert_eq!(lease["spec"]["renewTime"], "2026-11-20T00:00:00.000001Z");
    }
}
