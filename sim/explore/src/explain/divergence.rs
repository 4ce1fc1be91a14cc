//! Where a failing run parts from its passing twin: the first event that is not the same in both.

use corral_core::Nanos;
use corral_core::journal::{Event, JournalFile, Record};

use super::history::History;
use super::words;

/// Events told of each side, from the first that differs.
const TOLD: usize = 3;

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
    for (who, file) in [("fails", failing), ("passes", passing)] {
        let history = History::of(file);
        let of = |record: &Record<'_>| {
            let where_ = history.whereabouts(record.process);
            format!("{:>15}  {who}: {where_}: {}", record.at.to_string(), words::tell(record, file, &history))
        };
        let events = file.records.iter().skip(place).filter(|record| words::is_telling(&record.event));
        let mut of_side: Vec<String> = events.take(TOLD).map(of).collect();
        if of_side.is_empty() {
            of_side.push(format!("{:>15}  {who}: its end", file.header.ended_at.to_string()));
        }
        lines.extend(of_side);
    }
    lines
}
