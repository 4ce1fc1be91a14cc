//! Heartbeats: renewals of leases, of which only the gaps are of interest. They are told as stretches.

use std::collections::{BTreeMap, BTreeSet};

use corral_core::journal::{Event, JournalFile, full_name};

/// Renewals further apart than this are two stretches: kubelets renew every ten seconds, leaders more often.
const GAP_NS: u64 = 25_000_000_000;

/// Renewals without a gap.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub lease: String,
    pub from: u64,
    pub to: u64,
    pub count: u64,
}

/// Which events are left out, and what is told of them instead.
#[derive(Default)]
pub(super) struct Heartbeats {
    /// Sequences of the events that are left out.
    pub folded: BTreeSet<u64>,
    pub stretches: Vec<Stretch>,
}

impl Heartbeats {
    pub fn of(file: &JournalFile) -> Heartbeats {
        let mut found = Heartbeats::default();
        let mut versions = BTreeSet::new();
        let mut open: BTreeMap<String, Stretch> = BTreeMap::new();
        for record in &file.records {
            match &record.event {
                Event::ApiWrite { verb, kind, namespace, name, resource_version, .. }
                    if kind == "Lease" && verb == "update" && is_renewal(file, record.sequence) =>
                {
                    found.folded.insert(record.sequence);
                    versions.insert(*resource_version);
                    let (lease, at) = (full_name(namespace, name), record.at.0);
                    match open.get_mut(&lease) {
                        Some(stretch) if at - stretch.to <= GAP_NS => {
                            (stretch.to, stretch.count) = (at, stretch.count + 1);
                        }
                        _ => {
                            let new = Stretch { lease: lease.clone(), from: at, to: at, count: 1 };
                            found.stretches.extend(open.insert(lease, new));
                        }
                    }
                }
                // The client's half of it.
                Event::ApiRequest { kind, code: 200, resource_version, .. }
                    if kind == "Lease" && versions.contains(resource_version) =>
                {
                    found.folded.insert(record.sequence);
                }
                _ => {}
            }
        }
        found.stretches.extend(open.into_values());
        found
    }
}

/// Whether a write of a lease said "still here" and no more. A journal without changes cannot tell; there every update is taken for one.
fn is_renewal(file: &JournalFile, sequence: u64) -> bool {
    let changes = file.changes.get(&sequence);
    changes.is_none_or(|changes| changes.iter().all(|change| change.field == "spec.renewTime"))
}
