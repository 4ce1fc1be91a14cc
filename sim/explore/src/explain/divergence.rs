//! Where a failing run parts from its passing twin.
//!
//! Twins that differ in a silenced defect or in a fault are the same run to the nanosecond, up to a first event that is not the same. Those that
//! differ from the beginning (another seed) are compared by what is done since the workload began, whenever that was.

use corral_core::Nanos;
use corral_core::journal::{Event, JournalFile, Record};

use super::history::{History, workload};
use super::words;

/// Where a failing run parts from its twin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Divergence {
    /// What is told of it.
    pub lines: Vec<String>,
    /// The first thing that the failing run alone does, and when; none if the two differ from the beginning.
    pub first: Option<(Nanos, String)>,
}

/// Events told of each side: the first that the other has not.
const TOLD: usize = 2;
/// So many events from where they part are compared; later ones differ because these do.
const COMPARED: usize = 200;

/// Where two runs part: indices into the records of each.
struct Place {
    failing: usize,
    passing: usize,
    /// Whether all before is the same.
    is_exact: bool,
}

/// When two runs part, in the first and in the second, if they do.
pub fn parting(failing: &JournalFile, passing: &JournalFile) -> Option<(Nanos, Nanos)> {
    place(failing, passing).map(|place| (at(failing, place.failing), at(passing, place.passing)))
}

fn at(file: &JournalFile, index: usize) -> Nanos {
    file.records.get(index).map_or(file.header.ended_at, |record| record.at)
}

fn place(failing: &JournalFile, passing: &JournalFile) -> Option<Place> {
    let is_same = |one: &Record<'_>, other: &Record<'_>| {
        let is_title = matches!(one.event, Event::RunBegan { .. });
        is_title || (one.at, one.process, &one.event) == (other.at, other.process, &other.event)
    };
    let (ours, theirs) = (&failing.records, &passing.records);
    let exact = ours.iter().zip(theirs).position(|(one, other)| !is_same(one, other));
    let exact = exact.or_else(|| (ours.len() != theirs.len()).then_some(ours.len().min(theirs.len())))?;
    if exact >= workload(failing) {
        return Some(Place { failing: exact, passing: exact, is_exact: true });
    }
    let (mut one, mut other) = (deeds(failing), deeds(passing));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return None,
            (one, other) if one.as_ref().map(|(_, deed)| deed) == other.as_ref().map(|(_, deed)| deed) => {}
            (one, other) => {
                let index = |deed: Option<(usize, String)>, all: &[_]| deed.map_or(all.len(), |(index, _)| index);
                return Some(Place { failing: index(one, ours), passing: index(other, theirs), is_exact: false });
            }
        }
    }
}

/// What is done since the workload began, without when and in which version. Programs and connections come and go with everything else; heartbeats
/// keep their own time.
fn deeds(file: &JournalFile) -> impl Iterator<Item = (usize, String)> {
    let deed = |(index, record): (usize, &Record<'_>)| {
        let deed = match &record.event {
            Event::ProcessBegan { .. } | Event::ProcessEnded { .. } | Event::Executed { .. } => return None,
            Event::Connected { .. } | Event::ScheduleDraw { .. } => return None,
            Event::ApiWrite { kind, .. } | Event::ApiRequest { kind, .. } if kind == "Lease" || kind == "Event" => {
                return None;
            }
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
        };
        Some((index, deed))
    };
    file.records.iter().enumerate().skip(workload(file)).filter_map(deed)
}

/// Tells of it.
pub(super) fn told(failing: &JournalFile, passing: &JournalFile, differs: &str) -> Divergence {
    let Some(place) = place(failing, passing) else {
        return Divergence { lines: vec![format!("its twin {differs} is the same run")], first: None };
    };
    let (ours, theirs) = (at(failing, place.failing), at(passing, place.passing));
    let mut lines = vec![if place.is_exact {
        let at = ours.min(theirs);
        format!("parts from its passing twin {differs} at {at}, after {} equal events:", place.failing)
    } else {
        format!("does otherwise than its passing twin {differs} from {ours} on ({theirs} in the twin):")
    }];
    let (one, other) = (side(failing, place.failing), side(passing, place.passing));
    let (fails, passes) = (only(&one, &other), only(&other, &one));
    for (who, events) in [("fails", &fails), ("passes", &passes)] {
        if events.is_empty() {
            lines.push(format!("{:>15}  {who}: nothing that the other does not do, sooner or later", ""));
        }
        lines.extend(events.iter().map(|(at, text)| format!("{:>15}  {who}: {text}", at.to_string())));
    }
    let first = fails.first().filter(|_| place.is_exact).map(|event| (*event).clone());
    Divergence { lines, first }
}

/// The first events that one side has and the other has not.
fn only<'a>(own: &'a [(Nanos, String)], other: &[(Nanos, String)]) -> Vec<&'a (Nanos, String)> {
    let is_new = |event: &&(Nanos, String)| !other.iter().any(|(_, text)| *text == event.1);
    own.iter().filter(is_new).take(TOLD).collect()
}

/// What a run does from a place on, in words.
fn side(file: &JournalFile, place: usize) -> Vec<(Nanos, String)> {
    let history = History::of(file);
    let events = file.records.iter().skip(place).take(COMPARED).filter(|record| words::is_telling(&record.event));
    let of = |record: &Record<'_>| {
        let text = format!("{}: {}", history.whereabouts(record.process), words::tell(record, file, &history));
        (record.at, text)
    };
    events.map(of).collect()
}
