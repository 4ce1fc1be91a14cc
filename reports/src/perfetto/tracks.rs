//! Processes and threads of a trace: who has which numbers, and who is free when.

use std::collections::BTreeMap;

use corral_core::journal::{Event, JournalFile};
use serde_json::{Value, json};

use crate::page::names;

/// The number of what belongs to the run and to no machine.
pub(super) const RUN: u32 = 1;
/// The number of the cluster's objects.
pub(super) const OBJECTS: u32 = 2;
const FIRST_MACHINE: u32 = 10;

/// A thread's name: its process' and what of it stands there.
type Name = (u32, String);

/// Numbers of processes and threads.
pub(super) struct Tracks {
    machines: BTreeMap<String, u32>,
    /// Machine's number and name by our process.
    processes: BTreeMap<u32, (u32, String)>,
    /// Threads for spans, each with the time until which it is taken.
    spans: BTreeMap<Name, Vec<Taken>>,
    moments: BTreeMap<Name, u32>,
    next: u32,
}

struct Taken {
    tid: u32,
    /// What stands in it, not overlapping.
    spans: Vec<(u64, u64)>,
}

impl Tracks {
    /// Machines and processes of a run.
    pub fn of(file: &JournalFile) -> Tracks {
        let mut tracks = Tracks {
            machines: BTreeMap::new(),
            processes: BTreeMap::new(),
            spans: BTreeMap::new(),
            moments: BTreeMap::new(),
            next: 1,
        };
        for record in &file.records {
            if let Event::ProcessBegan { process, name, machine, .. } = &record.event {
                let next = FIRST_MACHINE + tracks.machines.len() as u32;
                let pid = *tracks.machines.entry(machine.to_string()).or_insert(next);
                tracks.processes.insert(*process, (pid, names::process(name, "")));
            }
        }
        tracks
    }

    fn name(&self, process: u32, label: &str) -> Name {
        let (pid, name) = self.processes.get(&process).map_or((RUN, "the run"), |(pid, name)| (*pid, name.as_str()));
        (pid, if label.is_empty() { name.to_owned() } else { format!("{name}: {label}") })
    }

    /// The thread for what has no length.
    pub fn moments(&mut self, process: u32, label: &str) -> (u32, u32) {
        let name = self.name(process, label);
        let pid = name.0;
        let tid = *self.moments.entry(name).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        (pid, tid)
    }

    /// A thread of this name in which nothing stands at this time: spans of one thread may nest there, but not overlap.
    pub fn free(&mut self, process: u32, label: &str, from: u64, to: u64) -> (u32, u32) {
        let name = self.name(process, label);
        let pid = name.0;
        let threads = self.spans.entry(name).or_default();
        let is_free = |taken: &Taken| {
            let after = taken.spans.partition_point(|span| span.0 < from);
            let before_is_over = after == 0 || taken.spans[after - 1].1 <= from;
            before_is_over && taken.spans.get(after).is_none_or(|next| to <= next.0 && from < next.0)
        };
        let taken = match threads.iter().position(is_free) {
            Some(index) => &mut threads[index],
            None => {
                self.next += 1;
                threads.push(Taken { tid: self.next, spans: Vec::new() });
                threads.last_mut().expect("it was just pushed")
            }
        };
        let after = taken.spans.partition_point(|span| span.0 < from);
        taken.spans.insert(after, (from, to));
        (pid, taken.tid)
    }

    /// The events that name processes and threads.
    pub fn metadata(&self) -> Vec<Value> {
        let named = |ph: &str, pid: u32, tid: u32, name: &str| json!({ "ph": "M", "name": ph, "pid": pid, "tid": tid, "args": { "name": name } });
        let mut events = vec![named("process_name", RUN, 0, "run"), named("process_name", OBJECTS, 0, "objects")];
        events
            .extend(self.machines.iter().map(|(name, pid)| named("process_name", *pid, 0, &format!("machine {name}"))));
        for ((pid, name), threads) in &self.spans {
            events.extend(threads.iter().map(|taken| named("thread_name", *pid, taken.tid, name)));
        }
        events.extend(self.moments.iter().map(|((pid, name), tid)| named("thread_name", *pid, *tid, name)));
        events
    }
}
