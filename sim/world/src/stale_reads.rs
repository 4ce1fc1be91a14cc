//! Hazard: a client wrote on the ground of a read that was out of date when the write was answered. Every race of controllers begins so; most do no harm.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use corral_core::journal::Event;

/// What is stored, by kind and name, as far as it was written in this run.
#[derive(Default)]
pub(crate) struct StaleReads {
    newest: Mutex<BTreeMap<(String, String), u64>>,
}

impl StaleReads {
    /// The reads behind an accepted write that were not of the newest version: object, version seen, newest version.
    pub fn observe(&self, event: &Event<'_>) -> Vec<(String, u64, u64)> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::ApiWrite { kind, namespace, name, resource_version, .. } => {
                let name = if namespace.is_empty() { name.to_string() } else { format!("{namespace}/{name}") };
                newest.insert((kind.to_string(), name), *resource_version);
                Vec::new()
            }
            Event::ApiRequest { kind, name, code, resource_version, reads, .. } if (200..300).contains(code) => {
                let stale = reads.iter().filter_map(|read| {
                    let object = (read.kind.to_string(), read.name.to_string());
                    let stored = *newest.get(&object)?;
                    // What this very write made of the object is no news to it.
                    let is_own = read.kind == *kind && read.name == *name && stored == *resource_version;
                    let is_stale = read.resource_version < stored && !is_own && read.name != "*";
                    is_stale.then(|| (format!("{} {}", object.0, object.1), read.resource_version, stored))
                });
                stale.collect()
            }
            _ => Vec::new(),
        }
    }
}
