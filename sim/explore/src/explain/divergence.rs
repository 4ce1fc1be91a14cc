//! Where a failing run parts from its passing twin: the first event that is not the same in both.

use corral_core::Nanos;
use corral_core::journal::{Event, JournalFile, Record};

use super::history::History;
use super::words;

/// Events told of each side: the first that the other has not.
const TOLD: usize = 2;
/// So many events from where they part are compared; later ones differ because these do.
const COMPARED: usize = 200;

/// The place where two runs part: an index into the records of both.
fn place(failing: &JournalFile, passing: &JournalFile) -> Option<usize> {
    let is_same = |one: &Record<'_>, other: &Record<'_>| {
        let is_title = matches!(one.event, Event::RunBegan { .. });
        is_title || (one.at, one.process, &one.event) == (other.at, other.process, &other.event)
    };
    let parts = failing.records.iter().zip(&passing.records).position(|(one, other)| !is_same(one, other));
    parts.or_else(|| {
        let (one, other) = (failing.records.len(), passing.records.len());
        (one != other).then_some(one.min(other))
    })
}

/// When two runs part, if they do.
pub fn parting(failing: &JournalFile, passing: &JournalFile) -> Option<Nanos> {
    let place = place(failing, passing)?;
    let at = [failing, passing].into_iter().filter_map(|file| file.records.get(place)).map(|record| record.at).min();
    Some(at.unwrap_or(failing.header.ended_at))
}

/// Lines that tell of it.
pub(super) fn told(failing: &JournalFile, passing: &JournalFile, differs: &str) -> Vec<String> {
    let Some(place) = place(failing, passing) else {
        return vec![format!("its twin {differs} is the same run")];
    };
    let at = parting(failing, passing).unwrap_or(failing.header.ended_at);
    let mut lines = vec![format!("parts from its passing twin {differs} at {at}, after {place} equal events:")];
    let sides: Vec<Vec<(Nanos, String)>> = [failing, passing].map(|file| side(file, place)).into();
    for (who, own, other) in [("fails", &sides[0], &sides[1]), ("passes", &sides[1], &sides[0])] {
        let is_new = |event: &&(Nanos, String)| !other.iter().any(|(_, text)| *text == event.1);
        let mut events = own.iter().filter(is_new).take(TOLD).peekable();
        if events.peek().is_none() {
            lines.push(format!("{:>15}  {who}: nothing that the other does not do, sooner or later", ""));
        }
        lines.extend(events.map(|(at, text)| format!("{:>15}  {who}: {text}", at.to_string())));
    }
    lines
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
