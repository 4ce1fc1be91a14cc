//! Pruning and defaulting in one pass: unknown fields go, nulls that may not be go, defaults come.

use serde_json::{Map, Value};

use super::{Additional, Path, Schema};

impl Schema {
    /// Brings an object into the shape of the schema; adds the paths of dropped fields to `unknown`. The root's type and metadata are left alone.
    pub fn shape_root(&self, object: &mut Map<String, Value>, unknown: &mut Vec<String>) {
        self.shape_fields(object, &Path::Root, true, unknown);
    }

    fn shape(&self, value: &mut Value, path: &Path<'_>, unknown: &mut Vec<String>) {
        match value {
            Value::Object(map) => self.shape_fields(map, path, self.embedded, unknown),
            Value::Array(list) => {
                let Some(items) = &self.items else { return };
                for (index, item) in list.iter_mut().enumerate() {
                    items.shape(item, &Path::Index(path, index), unknown);
                }
            }
            _ => {}
        }
    }

    fn shape_fields(&self, map: &mut Map<String, Value>, path: &Path<'_>, is_object: bool, unknown: &mut Vec<String>) {
        let before = unknown.len();
        let mut nulls = false;
        let mut strangers = false;
        for (name, value) in map.iter_mut() {
            let schema = match (self.properties.get(name), &self.additional) {
                _ if is_object && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => continue,
                (Some(schema), _) => schema,
                (None, Additional::Of(schema)) => schema,
                (None, Additional::Kept) => continue,
                (None, Additional::Dropped) => {
                    strangers = true;
                    unknown.push(Path::Field(path, name).to_string());
                    continue;
                }
            };
            if value.is_null() {
                nulls |= !schema.nullable;
            } else {
                schema.shape(value, &Path::Field(path, name), unknown);
            }
        }
        debug_assert!(unknown.len() >= before);
        if strangers || nulls {
            map.retain(|name, value| self.keeps(name, value, is_object));
        }
        if !self.has_defaults {
            return;
        }
        for (name, schema) in self.properties.iter().filter(|(_, schema)| schema.default.is_some()) {
            if !map.contains_key(name) {
                let mut value = schema.default.clone().expect("filtered");
                schema.shape(&mut value, &Path::Field(path, name), unknown);
                map.insert(name.clone(), value);
            }
        }
    }

    fn keeps(&self, name: &str, value: &Value, is_object: bool) -> bool {
        if is_object && matches!(name, "apiVersion" | "kind" | "metadata") {
            return true;
        }
        match (self.properties.get(name), &self.additional) {
            (Some(schema), _) => schema.nullable || !value.is_null(),
            (None, Additional::Of(schema)) => schema.nullable || !value.is_null(),
            (None, Additional::Kept) => true,
            (None, Additional::Dropped) => false,
        }
    }
}
