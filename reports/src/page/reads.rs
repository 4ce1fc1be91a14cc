//! What a client had read: which write made what it saw, and which writes it had missed.

use std::collections::{BTreeMap, BTreeSet};

use corral_core::journal::{Event, Read, Record};

use super::names::full;

/// The writes of a run by what they were to, and which request made which.
#[derive(Default)]
pub(super) struct Writes {
    /// By kind and name (or `namespace/*` for lists): version and row, in order.
    of: BTreeMap<(String, String), Vec<(u64, usize)>>,
    /// By version: row, verb, kind and name.
    made: BTreeMap<u64, Made>,
    claimed: BTreeSet<usize>,
}

struct Made {
    row: usize,
    verb: String,
    object: (String, String),
    /// The user agent's first part.
    client: String,
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
        if let Event::ApiWrite { verb, kind, namespace, name, resource_version, client, .. } = event {
            let object = (kind.to_string(), full(namespace, name));
            let lists = [(kind.to_string(), full(namespace, "*")), (kind.to_string(), "*".to_owned())];
            for key in BTreeSet::from([object.clone(), lists[0].clone(), lists[1].clone()]) {
                self.of.entry(key).or_default().push((*resource_version, row));
            }
            let client = client.split('/').next().unwrap_or_default().to_owned();
            self.made.insert(*resource_version, Made { row, verb: verb.to_string(), object, client });
        }
    }

    /// The write that this request of a process made. The first request that says so has it: one that changed nothing is answered with a version of
    /// others. Who removes the last finalizer is answered with the version that was there before: there, the deletion that follows it is meant.
    pub fn made_by(&mut self, event: &Event<'_>, process: &str) -> Option<usize> {
        let Event::ApiRequest { verb, kind, name, code: 200..=299, resource_version, .. } = event else { return None };
        let is_free = |made: &&Made| !self.claimed.contains(&made.row);
        let answered = self.made.get(resource_version).filter(is_free).filter(|made| {
            let is_same = made.object.0 == *kind && (made.object.1 == *name || verb == "create");
            is_same && (verb == "create") == (made.verb == "create")
        });
        let deletion = || {
            let writes = self.of.get(&(kind.to_string(), name.to_string()))?;
            let next = writes.get(writes.partition_point(|(version, _)| version <= resource_version))?;
            let made = self.made.get(&next.0).filter(is_free)?;
            let is_own = made.verb == "delete" && verb != "create" && process.contains(&made.client);
            is_own.then_some(made)
        };
        let row = answered.or_else(deletion)?.row;
        self.claimed.insert(row);
        Some(row)
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
