//! What a client had read: which write made what it saw, and which writes it had missed.

use std::collections::{BTreeMap, BTreeSet};

use corral_core::journal::{Event, Read, Record, full_name};

/// The writes of a run by what they were to.
#[derive(Default)]
pub(super) struct Writes {
    /// By kind and name (or `namespace/*` for lists): version and row, in order.
    of: BTreeMap<(String, String), Vec<(u64, usize)>>,
}

/// A read as the page tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub read: &'a Read<'static>,
    /// The write that made what was seen.
    pub saw: Option<usize>,
    /// The last write before the request that it did not see, and how many there were.
    pub missed: Option<(usize, usize)>,
}

impl Writes {
    /// Notes a write that stands in this row.
    pub fn note(&mut self, row: usize, event: &Event<'_>) {
        if let Event::ApiWrite { kind, namespace, name, resource_version, .. } = event {
            for name in BTreeSet::from([full_name(namespace, name), full_name(namespace, "*"), "*".to_owned()]) {
                self.of.entry((kind.to_string(), name)).or_default().push((*resource_version, row));
            }
        }
    }

    /// The reads of an event, each object and version once, those that were out of date first. `until` is the row of the write that came of it
    /// or the event's own: what was written later could not be seen.
    pub fn told<'a>(&self, record: &'a Record<'static>, until: usize) -> Vec<Told<'a>> {
        let reads = match &record.event {
            Event::ApiRequest { reads, .. } | Event::Call { reads, .. } => reads,
            _ => return Vec::new(),
        };
        let mut seen = BTreeSet::new();
        let fresh = reads.iter().filter(|read| seen.insert((&read.kind, &read.name, read.resource_version)));
        let mut told: Vec<Told<'a>> = fresh.map(|read| self.tell(read, until)).collect();
        told.sort_by_key(|told| told.missed.is_none());
        told
    }

    fn tell<'a>(&self, read: &'a Read<'static>, until: usize) -> Told<'a> {
        let writes = self.of.get(&(read.kind.to_string(), read.name.to_string())).map_or(&[][..], Vec::as_slice);
        let saw = writes.iter().find(|(version, _)| *version == read.resource_version).map(|(_, row)| *row);
        let after = writes.partition_point(|(version, _)| *version <= read.resource_version);
        let before = writes.partition_point(|(_, row)| *row < until);
        let missed = (after < before).then(|| (writes[before - 1].1, before - after));
        Told { read, saw, missed }
    }
}
