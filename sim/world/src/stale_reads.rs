//! Hazard: a client wrote on the ground of a read that was out of date when the write was answered. Every race of controllers begins so; most do no harm.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use corral_core::journal::Event;

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
                let name = if namespace.is_empty() { name.to_string() } else { format!("{namespace}/{name}") };
                let object = (kind.to_string(), name);
                let before = newest.get(&object).map(|stored| stored.version).filter(|_| verb == "delete");
                newest.insert(object, Stored { version: *resource_version, gone_after: before });
                Vec::new()
            }
            Event::ApiRequest { kind, name, code, resource_version, reads, .. } if (200..300).contains(code) => {
                let stale = reads.iter().filter_map(|read| {
                    let object = (read.kind.to_string(), read.name.to_string());
                    let Stored { version: stored, gone_after } = *newest.get(&object)?;
                    // What this very write made of the object is no news to it.
                    let made = stored == *resource_version || gone_after == Some(*resource_version);
                    let is_own = read.kind == *kind && read.name == *name && made;
                    let is_stale = read.resource_version < stored && !is_own && read.name != "*";
                    is_stale.then(|| (format!("{} {}", object.0, object.1), read.resource_version, stored))
                });
                stale.collect()
            }
            _ => Vec::new(),
        }
    }
}
