//! What a manager of one release makes of an object that another release wrote.
//!
//! A Go program decodes into the types it was compiled with and encodes those again: fields it does not know are lost, fields it
//! knows and does not find appear with their zero value. While an upgrade rolls through a cluster, managers of two releases write the
//! same objects this way. The types of [`crate::kinds`] know the fields of all releases; this gives each release its own eyes.

use serde_json::{Map, Value};

use crate::releases::Release;
use crate::resource::Definition;
use crate::schema::{Field, Type};

/// Turns an object into what a manager of `release` writes after having read it. What is not an object stays as it is.
pub fn as_written_by(release: Release, definition: &Definition, object: &mut Value) {
    let Value::Object(object) = object else { return };
    let mut own = Map::new();
    for name in ["apiVersion", "kind", "metadata"] {
        if let Some(value) = object.remove(name) {
            own.insert(name.to_owned(), value);
        }
    }
    rewrite_record(release, definition.fields, object);
    own.append(object);
    *object = own;
}

fn rewrite_record(release: Release, fields: &[Field], record: &mut Map<String, Value>) {
    let mut known = Map::new();
    for field in fields.iter().filter(|field| field.is_in(release)) {
        let mut value = record.remove(field.name).unwrap_or(Value::Null);
        rewrite(release, &field.value, &mut value);
        if !(field.omitted_when_empty && is_zero(&value)) {
            known.insert(field.name.to_owned(), value);
        }
    }
    *record = known;
}

fn rewrite(release: Release, value_type: &Type, value: &mut Value) {
    if value.is_null() {
        *value = zero(value_type);
    }
    match (value_type, value) {
        (Type::Record(fields), Value::Object(record)) => rewrite_record(release, fields, record),
        (Type::List(item), Value::Array(items)) => items.iter_mut().for_each(|value| rewrite(release, item, value)),
        (Type::Map(entry), Value::Object(map)) => map.values_mut().for_each(|value| rewrite(release, entry, value)),
        _ => {}
    }
}

fn zero(value_type: &Type) -> Value {
    match value_type {
        Type::Text => "".into(),
        Type::Boolean => false.into(),
        Type::Integer(_) => 0.into(),
        Type::QuotedInteger => "0".into(),
        Type::Duration => "0s".into(),
        Type::Time | Type::List(_) | Type::Map(_) => Value::Null,
        Type::Record(_) => Value::Object(Map::new()),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // Go's omitempty never leaves a structure out, and an empty map is one without entries.
        Value::Object(entries) => entries.is_empty(),
    }
}
