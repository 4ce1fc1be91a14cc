//! From the OpenAPI form of a CustomResourceDefinition to what the server works with.

use regex_lite::Regex;
use serde_json::Value;

use super::{Additional, Checks, ListKind, Pattern, Schema, Type};

/// Compiles; the error says what is not understood, with its path below `openAPIV3Schema`.
pub(crate) fn compile(source: &Value) -> Result<Schema, String> {
    let flag = |name: &str| source.get(name) == Some(&Value::Bool(true));
    let text = |name: &str| source.get(name).and_then(Value::as_str);
    let kind = match text("type") {
        _ if flag("x-kubernetes-int-or-string") => Type::IntOrString,
        None | Some("") => Type::Any,
        Some("object") => Type::Object,
        Some("array") => Type::Array,
        Some("string") => Type::String,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        Some(other) => return Err(format!("type: Unsupported value: \"{other}\"")),
    };
    let mut schema = Schema {
        kind,
        nullable: flag("nullable"),
        default: source.get("default").cloned(),
        embedded: flag("x-kubernetes-embedded-resource"),
        ..Schema::default()
    };
    for (name, property) in source.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let property = compile(property).map_err(|why| format!("properties[{name}].{why}"))?;
        schema.properties.insert(name.clone(), property);
    }
    schema.additional = match source.get("additionalProperties") {
        _ if flag("x-kubernetes-preserve-unknown-fields") => Additional::Kept,
        Some(Value::Bool(true)) => Additional::Kept,
        Some(Value::Object(_)) => Additional::Of(Box::new(compile(&source["additionalProperties"])?)),
        _ => Additional::Dropped,
    };
    if let Some(items) = source.get("items") {
        schema.items = Some(Box::new(compile(items).map_err(|why| format!("items.{why}"))?));
    }
    schema.required = strings(source.get("required"));
    schema.list = match text("x-kubernetes-list-type") {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(strings(source.get("x-kubernetes-list-map-keys"))),
        _ => ListKind::Atomic,
    };
    schema.checks = checks(source)?.map(Box::new);
    let below = |schema: &Schema| schema.default.is_some() || schema.has_defaults;
    schema.has_defaults = schema.properties.values().any(below)
        || schema.items.as_deref().is_some_and(below)
        || matches!(&schema.additional, Additional::Of(values) if below(values));
    Ok(schema)
}

fn strings(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn checks(source: &Value) -> Result<Option<Checks>, String> {
    const NAMES: [&str; 15] = [
        "enum",
        "minimum",
        "maximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "pattern",
        "format",
        "allOf",
        "anyOf",
        "oneOf",
    ];
    if !NAMES.iter().chain(&["not"]).any(|name| source.get(name).is_some()) {
        return Ok(None);
    }
    let bound = |name: &str, exclusive: &str| {
        let bound = source.get(name).and_then(Value::as_f64)?;
        Some((bound, source.get(exclusive) == Some(&Value::Bool(true))))
    };
    let length = |name: &str| source.get(name).and_then(Value::as_u64);
    let all = |name: &str| -> Result<Vec<Schema>, String> {
        source.get(name).and_then(Value::as_array).into_iter().flatten().map(compile).collect()
    };
    let pattern = match source.get("pattern").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let regex = Regex::new(text).map_err(|why| format!("pattern: Invalid value: \"{text}\": {why}"))?;
            Some(Pattern { text: text.to_owned(), regex })
        }
    };
    Ok(Some(Checks {
        choices: source.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        minimum: bound("minimum", "exclusiveMinimum"),
        maximum: bound("maximum", "exclusiveMaximum"),
        multiple_of: source.get("multipleOf").and_then(Value::as_f64),
        min_length: length("minLength"),
        max_length: length("maxLength"),
        min_items: length("minItems"),
        max_items: length("maxItems"),
        min_properties: length("minProperties"),
        max_properties: length("maxProperties"),
        pattern,
        format: source.get("format").and_then(Value::as_str).unwrap_or_default().to_owned(),
        all_of: all("allOf")?,
        any_of: all("anyOf")?,
        one_of: all("oneOf")?,
        not: source.get("not").map(compile).transpose()?.map(Box::new),
    }))
}
