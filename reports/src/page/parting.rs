//! Where a run parts from its twin: the first thing since the workload began that one did and the other did not.

use corral_core::Nanos;
use corral_core::journal::{Event, JournalFile, Record};

/// When that was, in the run and in its twin; none if both did the same to the end.
pub(super) fn parting(run: &JournalFile, twin: &JournalFile) -> Option<(Nanos, Nanos)> {
    let (mut ours, mut theirs) = (since_workload(run), since_workload(twin));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (one, other) if one.map(|record| deed(&record.event)) == other.map(|record| deed(&record.event)) => {}
            (one, other) => {
                let at =
                    |record: Option<&Record<'_>>, file: &JournalFile| record.map_or(file.header.ended_at, |r| r.at);
                return Some((at(one, run), at(other, twin)));
            }
        }
    }
}

/// What is compared. Programs and connections come and go with everything else; heartbeats keep their own time.
fn since_workload(file: &JournalFile) -> impl Iterator<Item = &Record<'static>> {
    let is_workload = |record: &&Record<'_>| matches!(&record.event, Event::Phase { name } if name == "workload");
    let began = file.records.iter().find(is_workload).map_or(0, |record| record.sequence);
    file.records.iter().filter(move |record| {
        let is_told = match &record.event {
            Event::ProcessBegan { .. } | Event::ProcessEnded { .. } | Event::Executed { .. } => false,
            Event::Connected { .. } | Event::ScheduleDraw { .. } | Event::RunBegan { .. } => false,
            Event::ApiWrite { kind, .. } | Event::ApiRequest { kind, .. } => kind != "Lease" && kind != "Event",
            _ => true,
        };
        record.sequence >= began && is_told
    })
}

/// What an event did, without when and in which version.
fn deed(event: &Event<'_>) -> String {
    match event {
        Event::ApiRequest { verb, kind, subresource, name, code, within, .. } => {
            format!("{verb} {kind} {subresource} {name} {code} {within}")
        }
        Event::ApiWrite { verb, kind, subresource, namespace, name, deleting, .. } => {
            format!("{verb} {kind} {subresource} {namespace} {name} {deleting}")
        }
        Event::Call { method, peer, outcome, .. } => format!("{method} {peer} {outcome}"),
        // What it had read, and how old that was, is no deed.
        Event::Hazard { name, object, .. } => format!("{name} {object}"),
        other => format!("{other:?}"),
    }
}
