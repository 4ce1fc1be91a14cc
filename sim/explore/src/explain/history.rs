//! A journal, indexed: processes by number, objects with their owners, who read what.

use std::collections::{BTreeMap, BTreeSet};

use corral_core::Nanos;
use corral_core::journal::{Event, JournalFile, Read, Record, full_name};

use super::lines;

/// Kind and name; with the namespace, names are as `Read` has them.
pub(super) type Object = (String, String);

/// What happened to an object.
#[derive(Default)]
pub(super) struct Life {
    pub owners: BTreeSet<Object>,
    /// The reconciles that read it.
    pub readers: BTreeSet<String>,
    pub writes: Vec<Write>,
    /// Whether it was written once the workload had begun.
    pub is_used: bool,
    /// What its fields said: names of others, among the rest.
    pub values: BTreeSet<String>,
}

/// A write of an object.
pub(super) struct Write {
    version: u64,
    at: Nanos,
    is_last: bool,
}

impl Life {
    pub fn is_gone(&self) -> bool {
        self.writes.last().is_some_and(|write| write.is_last)
    }

    /// The first write until a time that was missed by whoever had seen this version; 0 stands for no such object.
    fn missed(&self, version: u64, until: Nanos) -> Option<&Write> {
        let written = &self.writes[..self.writes.partition_point(|write| write.at <= until)];
        let former = match version {
            // What was and went is not missed.
            0 => written.iter().rposition(|write| write.is_last).map_or(0, |last| last + 1),
            _ => 0,
        };
        written[former..].iter().find(|write| write.version > version)
    }
}

/// A request as its client saw it: why, and on what ground.
pub(super) struct Request {
    pub process: u32,
    pub within: String,
    pub stale: Option<Stale>,
}

/// The oldest read behind a request that was out of date.
pub(super) struct Stale {
    pub object: Object,
    pub age_ns: u64,
    /// When what it did not see was written.
    pub written_at: Nanos,
}

/// The journal's index.
#[derive(Default)]
pub(super) struct History {
    pub processes: BTreeMap<u32, String>,
    /// The machines they ran on.
    machines: BTreeMap<u32, String>,
    pub objects: BTreeMap<Object, Life>,
    /// Requests by kind and the version they made.
    pub requests: BTreeMap<(String, u64), Request>,
    /// When the workload began.
    pub workload_at: Nanos,
}

/// Where the workload begins: an index into the records.
pub(super) fn workload(journal: &JournalFile) -> usize {
    let is_workload = |record: &Record<'_>| matches!(&record.event, Event::Phase { name } if name == "workload");
    journal.records.iter().position(is_workload).unwrap_or(0)
}

impl History {
    pub fn of(journal: &JournalFile) -> History {
        let mut history = History::default();
        let workload_at = journal.records.get(workload(journal)).map_or(Nanos::ZERO, |record| record.at);
        history.workload_at = workload_at;
        for record in journal.records.iter() {
            match &record.event {
                Event::ProcessBegan { process, name, machine, .. } => {
                    history.processes.insert(*process, name.to_string());
                    history.machines.insert(*process, machine.to_string());
                }
                Event::ApiWrite { verb, kind, namespace, name, resource_version, .. } => {
                    let full = full_name(namespace, name);
                    let changes = journal.changes(record.sequence);
                    let owners = changes.iter().filter(|change| change.field == "metadata.ownerReferences");
                    let owners: Vec<Object> = owners
                        .flat_map(|change| change.value.split(' '))
                        .filter_map(|owner| owner.split_once('/'))
                        .map(|(kind, name)| (kind.to_owned(), full_name(namespace, name)))
                        .collect();
                    let life = history.objects.entry((kind.to_string(), full)).or_default();
                    life.owners.extend(owners);
                    life.values.extend(changes.iter().map(|change| change.value.clone()));
                    life.is_used |= record.at >= workload_at;
                    life.writes.push(Write { version: *resource_version, at: record.at, is_last: verb == "delete" });
                }
                Event::ApiRequest { kind, code, resource_version, within, reads, .. } => {
                    history.note_reads(within, reads);
                    if (200..300).contains(code) {
                        let stale = history.stale(kind, *resource_version, reads, record.at);
                        let request = Request { process: record.process, within: within.to_string(), stale };
                        // A later request that changes nothing is answered with the same version.
                        history.requests.entry((kind.to_string(), *resource_version)).or_insert(request);
                    }
                }
                _ => {}
            }
        }
        history
    }

    /// Machine and process, for people.
    pub fn whereabouts(&self, process: u32) -> String {
        match (self.machines.get(&process), self.processes.get(&process)) {
            (Some(machine), Some(name)) => format!("{machine}, {}", lines::short(name)),
            _ => "the cluster".to_owned(),
        }
    }

    fn note_reads(&mut self, within: &str, reads: &[Read<'_>]) {
        for read in reads.iter().filter(|_| !within.is_empty()) {
            let object = (read.kind.to_string(), read.name.to_string());
            if let Some(life) = self.objects.get_mut(&object) {
                life.readers.insert(within.to_owned());
            }
        }
    }

    /// The oldest of these reads that was out of date at a time, for a request that made this version.
    pub fn stale(&self, kind: &str, own_version: u64, reads: &[Read<'_>], at: Nanos) -> Option<Stale> {
        let stale = reads.iter().filter_map(|read| {
            let object = (read.kind.to_string(), read.name.to_string());
            let life = self.objects.get(&object)?;
            let missed = life.missed(read.resource_version, at);
            let missed = missed.filter(|write| !(read.kind == kind && write.version == own_version))?;
            // Whoever takes the last finalizer away is answered with the version before: that the object is gone is its own doing.
            if read.kind == kind && life.is_gone() && read.resource_version == own_version {
                return None;
            }
            Some(Stale { object, age_ns: read.age_ns, written_at: missed.at })
        });
        stale.max_by_key(|stale| stale.age_ns)
    }
}
