//! Tables for `kubectl get`, and lists of metadata only.
//!
//! Facts: apimachinery's `meta/v1` types; kubernetes/pkg/printers; apiextensions-apiserver's `registry/customresource/tableconvertor`.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::builtin::{Cell, columns};
use crate::query::Query;
use crate::resource::Resource;
use crate::store::Record;

/// Metadata of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    pub version: u64,
    pub continue_token: String,
    pub remaining: Option<usize>,
}

impl ListMeta {
    /// The metadata of a table of one object.
    pub fn of_object(record: &Record) -> ListMeta {
        ListMeta { version: record.revision, ..ListMeta::default() }
    }

    pub fn json(&self) -> Value {
        let mut meta = json!({ "resourceVersion": self.version.to_string() });
        if !self.continue_token.is_empty() {
            meta["continue"] = self.continue_token.clone().into();
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        meta
    }
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("a JSON value has a JSON form"))
}

fn partial_value(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// One object's metadata.
pub(crate) fn partial(object: &Value) -> Bytes {
    bytes(&partial_value(object))
}

/// The metadata of a list's objects.
pub(crate) fn partial_list(objects: &[Value], meta: &ListMeta) -> Bytes {
    let items: Vec<Value> = objects.iter().map(partial_value).collect();
    bytes(
        &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta.json(), "items": items}),
    )
}

fn definition(name: &str, kind: &str, format: &str, description: &str, priority: i64) -> Value {
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
}

/// A table of objects.
pub(crate) fn table(resource: &Resource, objects: &[Value], meta: &ListMeta, query: &Query, now: &str) -> Bytes {
    bytes(&table_value(resource, objects, meta, query, now))
}

/// The same as a value; a watch wraps it.
pub(crate) fn table_value(resource: &Resource, objects: &[Value], meta: &ListMeta, query: &Query, now: &str) -> Value {
    let mut definitions = vec![definition("Name", "string", "name", "Name must be unique within a namespace.", 0)];
    match resource.custom() {
        Some(version) if version.columns.is_empty() => {
            definitions.push(definition("Age", "date", "", "Time since the object was created.", 0));
        }
        Some(version) => definitions.extend(version.columns.iter().map(|column| {
            definition(&column.name, &column.kind, &column.format, &column.description, column.priority)
        })),
        None => definitions.extend(
            columns(&resource.plural)
                .iter()
                .map(|column| definition(column.name, column.kind, "", "", i64::from(column.priority))),
        ),
    }
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, query, now)).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta.json(), "columnDefinitions": definitions, "rows": rows})
}

fn row(resource: &Resource, object: &Value, query: &Query, now: &str) -> Value {
    let mut cells = vec![object.pointer("/metadata/name").cloned().unwrap_or_default()];
    let created = object.pointer("/metadata/creationTimestamp").cloned().unwrap_or_default();
    match resource.custom() {
        Some(version) if version.columns.is_empty() => {
            cells.push(json!(age(created.as_str().unwrap_or_default(), now)))
        }
        Some(version) => {
            cells.extend(version.columns.iter().map(|column| custom_cell(&column.kind, &column.path.find(object), now)))
        }
        None => cells.extend(columns(&resource.plural).iter().map(|column| match column.cell {
            Cell::Age => json!(age(created.as_str().unwrap_or_default(), now)),
            Cell::Since(pointer) => match object.pointer(pointer).and_then(Value::as_str) {
                Some(time) => json!(age(time, now)),
                None => json!("<unknown>"),
            },
            Cell::Of(compute) => compute(object),
            Cell::At(pointer) => object.pointer(pointer).cloned().unwrap_or_else(|| match column.kind {
                "string" => json!("<none>"),
                _ => Value::Null,
            }),
        })),
    }
    let mut row = Map::new();
    row.insert("cells".into(), cells.into());
    match query.get("includeObject") {
        Some("None") => {}
        Some("Object") => drop(row.insert("object".into(), object.clone())),
        _ => drop(row.insert("object".into(), partial_value(object))),
    }
    Value::Object(row)
}

fn custom_cell(kind: &str, found: &[&Value], now: &str) -> Value {
    let Some(first) = found.first() else { return Value::Null };
    match (kind, first) {
        ("string", Value::String(_)) | ("integer" | "number", Value::Number(_)) | ("boolean", Value::Bool(_)) => {
            (*first).clone()
        }
        ("date", _) => json!(age(first.as_str().unwrap_or_default(), now)),
        ("string", Value::Null) => Value::Null,
        ("string", _) if found.len() == 1 => json!(first.to_string()),
        ("string", _) => json!(
            found
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(",")
        ),
        _ => Value::Null,
    }
}

/// How long ago, as kubectl writes it: `5s`, `3m20s`, `4h`, `2d`.
fn age(created: &str, now: &str) -> String {
    let (Ok(created), Ok(now)) = (created.parse::<jiff::Timestamp>(), now.parse::<jiff::Timestamp>()) else {
        return "<unknown>".into();
    };
    let seconds = now.as_second().saturating_sub(created.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 && seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 && minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 && hours % 24 != 0 => format!("{days}d{}h", hours % 24),
        () if days < 730 => format!("{days}d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        let from = "2026-01-01T00:00:00Z";
        for (now, expected) in [
            ("2026-01-01T00:01:59Z", "119s"),
            ("2026-01-01T00:03:20Z", "3m20s"),
            ("2026-01-01T02:30:00Z", "150m"),
            ("2026-01-01T05:00:00Z", "5h"),
            ("2026-01-03T12:00:00Z", "2d12h"),
            ("2026-02-01T00:00:00Z", "31d"),
        ] {
            assert_eq!(age(from, now), expected);
        }
    }
}
