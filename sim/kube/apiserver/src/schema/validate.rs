//! Validation, in the words of the real server (conformance/real.json).

use serde_json::{Map, Value};

use super::{Additional, Checks, ListKind, Path, Schema, Type, type_name};
use crate::error::{Cause, json};

impl Schema {
    /// Says what is wrong with an object. The root's type and metadata have rules of their own, elsewhere.
    pub fn validate_root(&self, object: &Map<String, Value>, causes: &mut Vec<Cause>) {
        self.validate_fields(object, &Path::Root, true, causes);
        if let Some(checks) = &self.checks {
            checks.validate_combinations(&Value::Object(object.clone()), &Path::Root, causes);
        }
    }

    fn validate(&self, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
        if value.is_null() && self.nullable {
            return;
        }
        if !self.kind.fits(value) {
            self.refuse_type(value, path, causes);
            return;
        }
        match value {
            Value::Object(map) => self.validate_fields(map, path, self.embedded, causes),
            Value::Array(list) => self.validate_list(list, path, causes),
            _ => {}
        }
        if let Some(checks) = &self.checks {
            checks.validate(self.kind, value, path, causes);
        }
    }

    fn refuse_type(&self, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
        let given = json(type_name(value));
        let why = format!("{path} in body must be of type {}: {given}", self.kind.name());
        causes.push(Cause::type_invalid(path.to_string(), &given, &why));
        if self.kind == Type::Integer && value.is_number() {
            let why = format!("Checked value must be of type integer (default format) in {path}");
            causes.push(Cause::invalid("<nil>", "\"\"", &why));
        }
    }

    fn validate_fields(&self, map: &Map<String, Value>, path: &Path<'_>, is_object: bool, causes: &mut Vec<Cause>) {
        for name in self.required.iter().filter(|name| !map.contains_key(name.as_str())) {
            causes.push(Cause::required(Path::Field(path, name).to_string(), ""));
        }
        for (name, value) in map {
            if is_object && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            match (self.properties.get(name), &self.additional) {
                (Some(schema), _) => schema.validate(value, &Path::Field(path, name), causes),
                (None, Additional::Of(schema)) => schema.validate(value, &Path::Field(path, name), causes),
                (None, _) => {}
            }
        }
    }

    fn validate_list(&self, list: &[Value], path: &Path<'_>, causes: &mut Vec<Cause>) {
        if let Some(items) = &self.items {
            for (index, item) in list.iter().enumerate() {
                items.validate(item, &Path::Index(path, index), causes);
            }
        }
        let identity = |item: &Value| match &self.list {
            ListKind::Map(keys) => {
                let item = item.as_object();
                let keys = keys.iter().filter_map(|key| Some((key.clone(), item?.get(key)?.clone())));
                Value::Object(keys.collect())
            }
            _ => item.clone(),
        };
        if self.list == ListKind::Atomic {
            return;
        }
        let identities: Vec<Value> = list.iter().map(identity).collect();
        for (index, one) in identities.iter().enumerate() {
            if identities[..index].contains(one) {
                causes.push(Cause::duplicate(Path::Index(path, index).to_string(), json(one)));
            }
        }
    }

    fn accepts(&self, value: &Value, path: &Path<'_>) -> bool {
        let mut causes = Vec::new();
        self.validate(value, path, &mut causes);
        causes.is_empty()
    }
}

impl Checks {
    fn validate(&self, kind: Type, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let choices: Vec<String> = self.choices.iter().map(json).collect();
            causes.push(Cause::not_supported(path.to_string(), json(value), &choices));
        }
        let mut invalid =
            |why: String| causes.push(Cause::invalid(path.to_string(), json(value), &format!("{path} in body {why}")));
        if let Some(number) = value.as_f64() {
            match self.minimum {
                Some((bound, true)) if number <= bound => invalid(format!("should be greater than {bound}")),
                Some((bound, false)) if number < bound => {
                    invalid(format!("should be greater than or equal to {bound}"))
                }
                _ => {}
            }
            match self.maximum {
                Some((bound, true)) if number >= bound => invalid(format!("should be less than {bound}")),
                Some((bound, false)) if number > bound => invalid(format!("should be less than or equal to {bound}")),
                _ => {}
            }
            if self.multiple_of.is_some_and(|step| step != 0.0 && (number / step).fract() != 0.0) {
                invalid(format!("should be a multiple of {}", self.multiple_of.unwrap_or_default()));
            }
            let narrow = kind == Type::Integer && self.format == "int32";
            if narrow && !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) {
                let why = "Checked value must be of type integer with format int32 in ".to_owned() + &path.to_string();
                causes.push(Cause::invalid("<nil>", "\"\"", &why));
            }
        }
        if let Some(text) = value.as_str() {
            self.validate_text(text, path, causes);
        }
        self.validate_sizes(value, path, causes);
        self.validate_combinations(value, path, causes);
    }

    fn validate_text(&self, text: &str, path: &Path<'_>, causes: &mut Vec<Cause>) {
        let length = text.chars().count() as u64;
        let field = || path.to_string();
        if let Some(bound) = self.max_length.filter(|bound| length > *bound) {
            causes.push(Cause::too_long(field(), &format!("may not be more than {bound} bytes")));
        }
        if let Some(bound) = self.min_length.filter(|bound| length < *bound) {
            let why = format!("{path} in body should be at least {bound} chars long");
            causes.push(Cause::invalid(field(), json(text), &why));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.regex.is_match(text)) {
            let why = format!("{path} in body should match '{}'", pattern.text);
            causes.push(Cause::invalid(field(), json(text), &why));
        }
        if !format_fits(&self.format, text) {
            let why = format!("{path} in body must be of type {}: {}", self.format, json(text));
            causes.push(Cause::type_invalid(field(), json(text), &why));
        }
    }

    fn validate_sizes(&self, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
        let (size, least, most, what) = match value {
            Value::Array(list) => (list.len() as u64, self.min_items, self.max_items, "items"),
            Value::Object(map) => (map.len() as u64, self.min_properties, self.max_properties, "properties"),
            _ => return,
        };
        if let Some(bound) = most.filter(|bound| size > *bound) {
            causes.push(Cause::too_many(path.to_string(), &format!("{size}: must have at most {bound} items")));
        }
        if let Some(bound) = least.filter(|bound| size < *bound) {
            let why = format!("{path} in body should have at least {bound} {what}");
            causes.push(Cause::invalid(path.to_string(), size, &why));
        }
    }

    fn validate_combinations(&self, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
        let mut invalid =
            |why: &str| causes.push(Cause::invalid(path.to_string(), json(value), &format!("{path} in body {why}")));
        let accepted = |schemas: &[Schema]| schemas.iter().filter(|schema| schema.accepts(value, path)).count();
        if !self.any_of.is_empty() && accepted(&self.any_of) == 0 {
            invalid("must validate at least one schema (anyOf)");
        }
        if !self.one_of.is_empty() && accepted(&self.one_of) != 1 {
            invalid("must validate one and only one schema (oneOf)");
        }
        if self.not.as_ref().is_some_and(|schema| schema.accepts(value, path)) {
            invalid("must not validate the schema (not)");
        }
        for schema in &self.all_of {
            schema.validate(value, path, causes);
        }
    }
}

/// Whether a text has a format; unknown formats fit everything, as in the real server.
fn format_fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "byte" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(text).is_ok()
        }
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "uuid" => uuid::Uuid::parse_str(text).is_ok(),
        _ => true,
    }
}
