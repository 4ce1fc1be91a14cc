//! One WATCH request: its lines as typed events, decoded once and without a detour through untyped JSON.
//!
//! A watch ends cleanly, breaks, or runs into its time-out: to the reader it simply ends, and is opened again from the last resourceVersion.
//! Only what the server says is an error: an ERROR event (410 above all) or a line that is no event.
//! Source: apimachinery pkg/watch/streamwatcher.go.

use std::fmt;
use std::io::BufRead;
use std::marker::PhantomData;

use bytes::Bytes;
use http_body_util::BodyExt;
use kube_core::response::Status;
use kube_core::watch::Bookmark;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::client::Incoming;
use crate::error::{Error, Result};

/// Marks the bookmark at the end of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What a watch says.
#[derive(Clone, Debug)]
pub enum WatchEvent<K> {
    /// An object appeared, or began to match the selector.
    Added(K),
    /// An object changed.
    Modified(K),
    /// An object is gone, or no longer matches; with its last state, at the version of the deletion.
    Deleted(K),
    /// Nothing happened up to this version.
    Bookmark {
        /// The version up to which the watch has told everything.
        resource_version: String,
        /// Whether this ends the initial events of a streamed list.
        initial_events_end: bool,
    },
    /// The server gives the watch up.
    Error(Box<Status>),
}

/// An open watch.
pub struct Watch<K> {
    body: Option<Incoming>,
    lines: Lines,
    _objects: PhantomData<fn() -> K>,
}

impl<K: DeserializeOwned> Watch<K> {
    pub(crate) fn new(body: Incoming) -> Watch<K> {
        Watch { body: Some(body), lines: Lines::default(), _objects: PhantomData }
    }

    /// The next event; `None` once the stream has ended, in whatever way.
    pub async fn next(&mut self) -> Option<Result<WatchEvent<K>>> {
        loop {
            while let Some(line) = self.lines.next() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Some(decode_event(&line));
            }
            match self.body.as_mut()?.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.lines.push(data);
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a watch broke");
                    self.body = None;
                }
                None => self.body = None,
            }
        }
    }
}

fn decode_event<K: DeserializeOwned>(line: &[u8]) -> Result<WatchEvent<K>> {
    serde_json::from_slice(line).map_err(|source| Error::Decode { what: "a watch event".into(), source })
}

/// Cuts a stream of chunks into lines. A line within one chunk is a slice of it, not a copy.
#[derive(Default)]
struct Lines {
    chunk: Bytes,
    begun: Vec<u8>,
}

impl Lines {
    fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "a chunk is cut up before the next is read");
        self.chunk = chunk;
    }

    /// The next whole line, with its line end.
    fn next(&mut self) -> Option<Bytes> {
        let mut rest = &self.chunk[..];
        // The standard library's only fast search for a byte.
        let length = rest.skip_until(b'\n').expect("reading from memory cannot fail");
        if length == 0 {
            return None;
        }
        let line = self.chunk.split_to(length);
        if !line.ends_with(b"\n") {
            self.begun.extend_from_slice(&line);
            return None;
        }
        if self.begun.is_empty() {
            return Some(line);
        }
        self.begun.extend_from_slice(&line);
        Some(std::mem::take(&mut self.begun).into())
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Field {
    Type,
    Object,
    #[serde(other)]
    Other,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Type {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for WatchEvent<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor(PhantomData))
    }
}

struct EventVisitor<K>(PhantomData<fn() -> K>);

impl<'de, K: DeserializeOwned> Visitor<'de> for EventVisitor<K> {
    type Value = WatchEvent<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a watch event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WatchEvent<K>, A::Error> {
        use serde::de::Error as _;
        let mut event_type = None;
        let mut early_object: Option<Box<RawValue>> = None;
        let mut event = None;
        while let Some(field) = map.next_key::<Field>()? {
            match (field, &event_type) {
                (Field::Type, _) => event_type = Some(map.next_value::<Type>()?),
                // Every server writes the type first; then the object is decoded where it stands.
                (Field::Object, Some(event_type)) => event = Some(object(event_type, &mut map)?),
                (Field::Object, None) => early_object = Some(map.next_value()?),
                (Field::Other, _) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let event_type = event_type.ok_or_else(|| A::Error::missing_field("type"))?;
        match (event, early_object) {
            (Some(event), _) => Ok(event),
            (None, Some(object)) => late_object(&event_type, &object).map_err(A::Error::custom),
            (None, None) => Err(A::Error::missing_field("object")),
        }
    }
}

fn object<'de, K: DeserializeOwned, A: MapAccess<'de>>(
    event_type: &Type,
    map: &mut A,
) -> Result<WatchEvent<K>, A::Error> {
    Ok(match event_type {
        Type::Added => WatchEvent::Added(map.next_value()?),
        Type::Modified => WatchEvent::Modified(map.next_value()?),
        Type::Deleted => WatchEvent::Deleted(map.next_value()?),
        Type::Bookmark => bookmark(map.next_value()?),
        Type::Error => WatchEvent::Error(map.next_value()?),
    })
}

fn late_object<K: DeserializeOwned>(event_type: &Type, object: &RawValue) -> serde_json::Result<WatchEvent<K>> {
    // As bytes, as everything else is: a decoder of text would be compiled for every kind beside it.
    let object = object.get().as_bytes();
    Ok(match event_type {
        Type::Added => WatchEvent::Added(serde_json::from_slice(object)?),
        Type::Modified => WatchEvent::Modified(serde_json::from_slice(object)?),
        Type::Deleted => WatchEvent::Deleted(serde_json::from_slice(object)?),
        Type::Bookmark => bookmark(serde_json::from_slice(object)?),
        Type::Error => WatchEvent::Error(serde_json::from_slice(object)?),
    })
}

fn bookmark<K>(bookmark: Bookmark) -> WatchEvent<K> {
    let initial_events_end = bookmark.metadata.annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true");
    WatchEvent::Bookmark { resource_version: bookmark.metadata.resource_version, initial_events_end }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use proptest::prelude::*;

    use super::*;

    const MODIFIED: &str = r#"{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}"#;

    #[test]
    fn the_object_may_come_before_its_type() {
        let line = r#"{"object":{"metadata":{"name":"a"}},"type":"DELETED"}"#;
        let event: WatchEvent<ConfigMap> = decode_event(line.as_bytes()).unwrap();
        assert!(matches!(event, WatchEvent::Deleted(map) if map.metadata.name.as_deref() == Some("a")));
    }

    #[test]
    fn bookmarks_and_errors_are_not_of_the_objects_type() {
        let line = br#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        let event: WatchEvent<ConfigMap> = decode_event(line).unwrap();
        assert!(
            matches!(event, WatchEvent::Bookmark { resource_version, initial_events_end: true } if resource_version == "9")
        );
        let line = br#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410,"message":"too old resource version: 1 (5)"}}"#;
        let event: WatchEvent<ConfigMap> = decode_event(line).unwrap();
        assert!(matches!(event, WatchEvent::Error(status) if status.code == 410));
    }

    #[test]
    fn an_unknown_type_or_a_torn_line_is_an_error() {
        assert!(decode_event::<ConfigMap>(br#"{"type":"MOVED","object":{}}"#).is_err());
        assert!(decode_event::<ConfigMap>(&MODIFIED.as_bytes()[..30]).is_err());
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_stream_is_cut(cuts in prop::collection::vec(1_usize..60, 0..40)) {
            let stream = format!("{MODIFIED}\n\n{MODIFIED}\nx\n");
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            let mut rest = Bytes::from(stream.clone());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                lines.push(rest.split_to(cut.min(rest.len())));
                while let Some(line) = lines.next() {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            prop_assert_eq!(seen, stream.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>());
        }
    }
}
