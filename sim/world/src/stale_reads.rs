//! Hazard: a client wrote on the ground of a read that was out of date when the write was answered. Every race of controllers begins so; most do no harm.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use corral_core::journal::{Event, full_name};

/// What is stored, by kind and name, as far as it was written in this run.
#[derive(Default)]
pub(crate) struct StaleReads {
    newest: Mutex<BTreeMap<(String, String), Stored>>,
}

/// The last write of an object.
#[derive(Clone, Copy)]
struct Stored {
    version: u64,
    /// The version before, if this write deleted the object: whoever took the last finalizer away is answered with that.
    gone_after: Option<u64>,
}

impl StaleReads {
    /// The reads behind an accepted write that were not of the newest version: object, version seen, newest version.
    pub fn observe(&self, event: &Event<'_>) -> Vec<(String, u64, u64)> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::ApiWrite { verb, kind, namespace, name, resource_version, .. } => {
                let object = (kind.to_string(), full_name(namespace, name));
                let before = newest.get(&object).map(|stored| stored.version).filter(|_| verb == "delete");
                newest.insert(object, Stored { version: *resource_version, gone_after: before });
                Vec::new()
            }
            Event::ApiRequest { kind, name, code, resource_version, reads, .. } if (200..300).contains(code) => {
                let stale = reads.iter().filter_map(|read| {
                    let object = (read.kind.to_string(), read.name.to_string());
                    let Stored { version: stored, gone_after } = *newest.get(&object)?;
                    if gone_after.is_some() && read.resource_version == 0 {
                        // It saw nothing, and there is nothing.
                        return None;
                    }
                    // What this very write made of the object is no news to it.
                    let made = stored == *resource_version || gone_after == Some(*resource_version);
                    let is_own = read.kind == *kind && read.name == *name && made;
                    let is_stale = read.resource_version < stored && !is_own;
                    is_stale.then(|| (format!("{} {}", object.0, object.1), read.resource_version, stored))
                });
                stale.collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use corral_core::journal::Read;

    use super::*;

    fn written(verb: &'static str, resource_version: u64) -> Event<'static> {
        Event::ApiWrite {
            verb: verb.into(),
            kind: "Volume".into(),
            subresource: "".into(),
            namespace: "".into(),
            name: "vol-1".into(),
            uid: "".into(),
            resource_version,
            deleting: false,
            client: "".into(),
            content: 0,
        }
    }

    /// An engine is written on the ground of this version of the volume.
    fn on_the_ground_of(resource_version: u64) -> Event<'static> {
        let (kind, name) = ("Volume".into(), "vol-1".into());
        Event::ApiRequest {
            verb: "update".into(),
            kind: "Engine".into(),
            subresource: "".into(),
            name: "vol-1-e-0".into(),
            code: 200,
            resource_version: 100,
            within: "".into(),
            reads: vec![Read { kind, name, resource_version, age_ns: 0, cached: true }],
        }
    }

    #[test]
    fn what_is_older_than_what_is_stored_is_stale_and_what_is_gone_is_rightly_not_seen() {
        let reads = StaleReads::default();
        let is_stale = |seen: u64| !reads.observe(&on_the_ground_of(seen)).is_empty();
        assert!(!is_stale(0));
        reads.observe(&written("create", 5));
        assert!(is_stale(0) && !is_stale(5));
        reads.observe(&written("update", 6));
        assert!(is_stale(5) && !is_stale(6));
        reads.observe(&written("delete", 7));
        assert!(is_stale(6) && !is_stale(0));
        reads.observe(&written("create", 8));
        assert!(is_stale(0) && is_stale(6) && !is_stale(8));
    }
}
