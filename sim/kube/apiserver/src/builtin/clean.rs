//! Types of built-in objects: what is no object of its kind is refused, and nulls mean nothing.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::resource::Resource;

/// Brings a built-in object into its form.
pub(crate) fn clean(
    _resource: &Resource,
    object: &mut Map<String, Value>,
    _unknown: &mut Vec<String>,
) -> Result<(), ApiError> {
    strip_nulls(object);
    Ok(())
}

fn strip_nulls(map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    map.values_mut().for_each(strip);
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => strip_nulls(map),
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
