//! One stored version of an object: its value for those who compute, its bytes for those who only pass it on.
//!
//! A version is serialised once, at its commit. Answers, list items and watch lines share those bytes; the parsed value lives only as
//! long as the version is the current one, so that history costs bytes, not trees.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

/// The current version of an object.
#[derive(Debug)]
pub struct Object {
    /// The object, with its resourceVersion set.
    pub value: Value,
    /// The same as bytes.
    pub record: Arc<Record>,
}

impl Object {
    pub(crate) fn new(mut value: Value, key: &Arc<str>, revision: u64) -> Object {
        value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        let record = Arc::new(Record::encode(&value, key, revision));
        Object { value, record }
    }

    /// Its resourceVersion as a number.
    pub fn revision(&self) -> u64 {
        self.record.revision
    }

    /// A field of the metadata, if it is a string.
    pub fn meta(&self, field: &str) -> Option<&str> {
        self.value.get("metadata")?.get(field)?.as_str()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.meta("name").unwrap_or_default()
    }

    /// Its namespace; empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        self.meta("namespace").unwrap_or_default()
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        self.meta("uid").unwrap_or_default()
    }

    /// Whether it waits for its finalizers or its grace to end.
    pub fn is_deleting(&self) -> bool {
        self.meta("deletionTimestamp").is_some()
    }
}

/// The three things a watch can tell of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// It came into view.
    Added,
    /// It changed.
    Modified,
    /// It went out of view.
    Deleted,
}

impl Tell {
    fn line_head(self) -> &'static [u8] {
        match self {
            Tell::Added => br#"{"type":"ADDED","object":"#,
            Tell::Modified => br#"{"type":"MODIFIED","object":"#,
            Tell::Deleted => br#"{"type":"DELETED","object":"#,
        }
    }
}

/// A version as bytes: `{"kind":..,"apiVersion":..,` first, everything else in the order of its names.
#[derive(Debug)]
pub struct Record {
    /// Where it is stored: `namespace/name`, or the name of a cluster-scoped object.
    pub key: Arc<str>,
    /// The revision that wrote it.
    pub revision: u64,
    /// The object as JSON.
    pub bytes: Bytes,
    head: usize,
    revision_at: (usize, usize),
    lines: [OnceLock<Bytes>; 3],
}

fn write(buffer: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(buffer, value).expect("a JSON value has a JSON form");
}

impl Record {
    /// Serialises; the only place where that happens for stored objects.
    pub(crate) fn encode(value: &Value, key: &Arc<str>, revision: u64) -> Record {
        let map = value.as_object().expect("stored objects are JSON objects");
        let mut buffer = Vec::with_capacity(2048);
        buffer.extend_from_slice(br#"{"kind":"#);
        write(&mut buffer, map.get("kind").unwrap_or(&Value::Null));
        buffer.extend_from_slice(br#","apiVersion":"#);
        write(&mut buffer, map.get("apiVersion").unwrap_or(&Value::Null));
        let head = buffer.len();
        let mut revision_at = (0, 0);
        for (name, field) in map.iter().filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion")) {
            buffer.push(b',');
            write(&mut buffer, name);
            buffer.push(b':');
            match field {
                Value::Object(metadata) if name == "metadata" => revision_at = write_metadata(&mut buffer, metadata),
                other => write(&mut buffer, other),
            }
        }
        buffer.push(b'}');
        Record { key: key.clone(), revision, bytes: Bytes::from(buffer), head, revision_at, lines: Default::default() }
    }

    /// The same object under another resourceVersion: what a DELETED event shows.
    pub(crate) fn at_revision(&self, revision: u64) -> Record {
        let (from, to) = self.revision_at;
        let digits = revision.to_string();
        let mut buffer = Vec::with_capacity(self.bytes.len() + digits.len());
        buffer.extend_from_slice(&self.bytes[..from]);
        buffer.extend_from_slice(digits.as_bytes());
        buffer.extend_from_slice(&self.bytes[to..]);
        Record {
            key: self.key.clone(),
            revision,
            bytes: Bytes::from(buffer),
            head: self.head,
            revision_at: (from, from + digits.len()),
            lines: Default::default(),
        }
    }

    /// The object as a client of this API version sees it; `head` is `{"kind":..,"apiVersion":..` of that version. Versions differ by their
    /// name only (conversion strategy None).
    pub fn bytes_as(&self, head: &[u8]) -> Bytes {
        if &self.bytes[..self.head] == head {
            return self.bytes.clone();
        }
        let mut buffer = Vec::with_capacity(self.bytes.len() + head.len());
        buffer.extend_from_slice(head);
        buffer.extend_from_slice(&self.bytes[self.head..]);
        Bytes::from(buffer)
    }

    /// What follows kind and apiVersion, without the comma: the item of a core kind's list.
    pub fn tail(&self) -> &[u8] {
        self.bytes.get(self.head + 1..).unwrap_or(b"}")
    }

    /// The line of a watch, shared by all watchers of the storage version.
    pub fn line(&self, tell: Tell, head: &[u8]) -> Bytes {
        let of = |object: &[u8]| {
            let start = tell.line_head();
            let mut line = Vec::with_capacity(start.len() + object.len() + 2);
            line.extend_from_slice(start);
            line.extend_from_slice(object);
            line.extend_from_slice(b"}\n");
            Bytes::from(line)
        };
        if &self.bytes[..self.head] == head {
            return self.lines[tell as usize].get_or_init(|| of(&self.bytes)).clone();
        }
        of(&self.bytes_as(head))
    }

    /// Parses the bytes again, for the rare reader of an old version.
    pub fn parse(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("the server wrote these bytes itself")
    }
}

fn write_metadata(buffer: &mut Vec<u8>, metadata: &serde_json::Map<String, Value>) -> (usize, usize) {
    let mut revision_at = (0, 0);
    buffer.push(b'{');
    for (index, (name, field)) in metadata.iter().enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        write(buffer, name);
        buffer.push(b':');
        let from = buffer.len();
        write(buffer, field);
        if name == "resourceVersion" {
            revision_at = (from + 1, buffer.len() - 1);
        }
    }
    buffer.push(b'}');
    revision_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Object {
        let value = json!({"apiVersion": "g/v1", "kind": "K", "data": {"resourceVersion": "7"},
            "metadata": {"annotations": {"a": "\"resourceVersion\":\"8\""}, "name": "x", "resourceVersion": "old"}, "spec": {}});
        Object::new(value, &Arc::from("x"), 8)
    }

    #[test]
    fn bytes_are_the_object_with_its_type_first() {
        let object = object();
        assert!(object.record.bytes.starts_with(br#"{"kind":"K","apiVersion":"g/v1","data":"#));
        assert_eq!(object.record.parse(), object.value);
        assert_eq!(object.value["metadata"]["resourceVersion"], "8");
    }

    #[test]
    fn only_the_objects_own_version_is_replaced() {
        let later = object().record.at_revision(12345).parse();
        assert_eq!(later["metadata"]["resourceVersion"], "12345");
        assert_eq!(later["data"]["resourceVersion"], "7");
        assert_eq!(later["metadata"]["annotations"]["a"], "\"resourceVersion\":\"8\"");
    }

    #[test]
    fn another_api_version_differs_in_its_name_only() {
        let object = object();
        let other: Value =
            serde_json::from_slice(&object.record.bytes_as(br#"{"kind":"K","apiVersion":"g/v2""#)).expect("json");
        assert_eq!(other["apiVersion"], "g/v2");
        assert_eq!(other["spec"], json!({}));
        let line = object.record.line(Tell::Deleted, br#"{"kind":"K","apiVersion":"g/v1""#);
        assert!(line.starts_with(br#"{"type":"DELETED","object":{"kind""#) && line.ends_with(b"}\n"));
        let mut item = b"{".to_vec();
        item.extend_from_slice(object.record.tail());
        assert!(serde_json::from_slice::<Value>(&item).expect("json").get("kind").is_none());
    }
}
