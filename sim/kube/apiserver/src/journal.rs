//! What the server tells the run's journal: every commit, and every write that it refused.

use host::journal::{Change, Event, content_hash, is_kept, note_changes, record};
use serde_json::Value;

use crate::call::Call;
use crate::error::ApiError;
use crate::store::Commit;

/// A write was committed. `kind` is the object's kind; `subresource` and `client` say how and by whom.
pub(crate) fn journal_write(commit: &Commit, subresource: &str, client: &str) {
    if !is_kept() {
        return;
    }
    let object = commit.object();
    let verb = match (&commit.old, &commit.new) {
        (None, _) => "create",
        (_, Some(_)) => "update",
        (_, None) => "delete",
    };
    let sequence = record(Event::ApiWrite {
        verb: verb.into(),
        kind: object.value.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default().into(),
        subresource: subresource.into(),
        namespace: object.namespace().into(),
        name: object.name().into(),
        uid: object.uid().into(),
        resource_version: commit.revision,
        deleting: object.is_deleting(),
        client: client.into(),
        content: content_hash(&object.record.bytes),
    });
    note_changes(sequence, || changes(commit));
}

/// Fields that change with every write, or say where another field comes from.
const BOOKKEEPING: [&str; 5] = ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"];

/// What the commit changed, leaf by leaf; lists are leaves. Of a new object that is everything that says something.
fn changes(commit: &Commit) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(new) = &commit.new {
        let old = commit.old.as_ref().map_or(&Value::Null, |old| &old.value);
        differences("", old, &new.value, &mut changes);
    }
    changes
}

fn differences(path: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    if !old.is_object() && !new.is_object() {
        let is_nothing = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            other => other.as_f64() == Some(0.0),
        };
        if !(is_nothing(old) && is_nothing(new)) {
            changes.push(Change { field: path.to_owned(), value: text(new) });
        }
        return;
    }
    let empty = serde_json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    for key in new.keys().chain(gone) {
        if path == "metadata" && BOOKKEEPING.contains(&key.as_str()) {
            continue;
        }
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        differences(&path, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), changes);
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(entry).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// An entry of a list: owners by kind and name, conditions by type, status and reason, everything else as it is.
fn entry(value: &Value) -> String {
    let part = |key: &str| value[key].as_str().filter(|text| !text.is_empty());
    match (part("kind"), part("name"), part("type"), part("status")) {
        (Some(kind), Some(name), _, _) => format!("{kind}/{name}"),
        (_, _, Some(condition), Some(status)) => match part("reason") {
            Some(reason) => format!("{condition}={status}:{reason}"),
            None => format!("{condition}={status}"),
        },
        _ => text(value),
    }
}

/// A request that was to write was refused.
pub(crate) fn journal_refusal(call: &Call, error: &ApiError) {
    if !is_kept() || matches!(call.verb, "get" | "list" | "watch") {
        return;
    }
    let name = if call.namespace.is_empty() { call.name.clone() } else { format!("{}/{}", call.namespace, call.name) };
    record(Event::ApiRefused {
        verb: call.verb.into(),
        kind: call.resource.kind.as_str().into(),
        name: name.into(),
        code: error.code,
        reason: error.reason.as_deref().unwrap_or_default().into(),
        client: call.client.user_agent.as_str().into(),
    });
}
