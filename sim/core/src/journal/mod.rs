//! The journal: what a run is. A hash chain over typed events always, the full record on request.
//!
//! Two runs are the same run exactly if their digests are equal. Events are encoded once (postcard) into a scratch buffer; the digest
//! chains xxh3-128 over those bytes, and the full record is the same bytes kept. What is too frequent to be an event is folded into the
//! next one by [`Journal::fold`].

mod event;
pub mod file;

pub use file::{Header, JournalFile, JournalFileError, LogEntry};

pub use event::{End, Event, FaultPhase, Read, Record, Text, full_name};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::nanos::Nanos;

/// Called for each record as it is made; must not block, and may record further events.
pub type Subscriber = Arc<dyn Fn(&Record<'_>) + Send + Sync>;

/// The journal of one run.
#[derive(Default)]
pub struct Journal {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    digest: u128,
    sequence: u64,
    folded: u64,
    scratch: Vec<u8>,
    kept: Option<Kept>,
    subscribers: Arc<Vec<Subscriber>>,
}

/// A full record: encoded events, one after another, and where each ends.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    changes: BTreeMap<u64, Vec<Change>>,
}

/// What a write changed in its object, for people. It stands beside the journal: digests are the same whether anybody reads it or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where, with dots: `status.state`.
    pub field: String,
    /// What it is now; empty if it is gone.
    pub value: String,
}

impl Kept {
    /// How many events.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All records in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'static>> + '_ {
        (0..self.ends.len()).map(|index| {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            postcard::from_bytes(&self.bytes[start..self.ends[index]]).expect("what the journal encoded, it can decode")
        })
    }

    /// What the event of this sequence changed, if it is a write.
    pub fn changes(&self, sequence: u64) -> &[Change] {
        self.changes.get(&sequence).map_or(&[], Vec::as_slice)
    }

    /// The digest that the kept bytes give: equal to the run's, or the record is not of that run.
    pub fn digest(&self) -> u128 {
        let mut start = 0;
        self.ends.iter().fold(0, |digest, &end| {
            let next = chain(digest, &self.bytes[start..end]);
            start = end;
            next
        })
    }
}

/// The digest of a run with these events.
fn digest_of(records: &[Record<'_>]) -> u128 {
    records.iter().fold(0, |digest, record| chain(digest, &encoded(record, Vec::new())))
}

fn encoded(record: &Record<'_>, buffer: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(record, buffer).expect("encoding into memory cannot fail")
}

fn chain(digest: u128, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, (digest as u64) ^ (digest >> 64) as u64)
}

impl Journal {
    /// A new journal; `keep` asks for the full record.
    pub fn new(keep: bool) -> Journal {
        let journal = Journal::default();
        journal.state().kept = keep.then(Kept::default);
        journal
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chains an event at this time by this process; returns its sequence, to be named as a cause later.
    pub fn record(&self, at: Nanos, process: u32, cause: u64, event: Event<'_>) -> u64 {
        let mut state = self.state();
        state.sequence += 1;
        let record =
            Record { sequence: state.sequence, at, process, cause, folded: std::mem::take(&mut state.folded), event };
        let mut scratch = std::mem::take(&mut state.scratch);
        scratch.clear();
        scratch = encoded(&record, scratch);
        state.digest = chain(state.digest, &scratch);
        if let Some(kept) = &mut state.kept {
            kept.bytes.extend_from_slice(&scratch);
            kept.ends.push(kept.bytes.len());
        }
        state.scratch = scratch;
        let subscribers = state.subscribers.clone();
        drop(state);
        for subscriber in subscribers.iter() {
            subscriber(&record);
        }
        record.sequence
    }

    /// Notes what the event of this sequence changed, if the full record was asked for.
    pub fn note_changes(&self, sequence: u64, changes: impl FnOnce() -> Vec<Change>) {
        if self.state().kept.is_none() {
            return;
        }
        let changes = changes();
        if let Some(kept) = &mut self.state().kept {
            kept.changes.insert(sequence, changes);
        }
    }

    /// Mixes something too frequent to be an event (a segment, a file operation) into the next event's hash.
    pub fn fold(&self, value: u64) {
        let mut state = self.state();
        state.folded = (state.folded.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// Calls `subscriber` for every record from now on.
    pub fn subscribe(&self, subscriber: Subscriber) {
        let mut state = self.state();
        Arc::make_mut(&mut state.subscribers).push(subscriber);
    }

    /// The digest so far.
    pub fn digest(&self) -> u128 {
        self.state().digest
    }

    /// How many events so far.
    pub fn events(&self) -> u64 {
        self.state().sequence
    }

    /// The full record, if one was asked for; the journal keeps none from then on.
    pub fn take_kept(&self) -> Option<Kept> {
        self.state().kept.take()
    }

    /// Drops the subscribers, which may hold whatever the run built.
    pub fn forget_subscribers(&self) {
        let subscribers = std::mem::take(&mut self.state().subscribers);
        drop(subscribers);
    }
}

/// A 64-bit hash of content, for events that name what they do not carry.
pub fn content_hash(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event<'_> {
        Event::Note { text: text.into() }
    }

    #[test]
    fn the_digest_depends_on_every_field_and_on_what_was_folded() {
        let digest = |at, process, text, fold| {
            let journal = Journal::new(false);
            journal.record(Nanos(1), 1, 0, note("before"));
            journal.fold(fold);
            journal.record(Nanos(at), process, 0, note(text));
            journal.digest()
        };
        let base = digest(5, 1, "a", 9);
        assert_eq!(base, digest(5, 1, "a", 9));
        for other in [digest(6, 1, "a", 9), digest(5, 2, "a", 9), digest(5, 1, "b", 9), digest(5, 1, "a", 8)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_kept_record_reads_back_and_gives_the_same_digest() {
        let journal = Journal::new(true);
        journal.record(Nanos(1), 3, 0, note("one"));
        journal.record(Nanos(2), 0, 1, Event::ProcessEnded { process: 3, end: End::Killed });
        let digest = journal.digest();
        let kept = journal.take_kept().unwrap();
        assert_eq!(kept.digest(), digest);
        let records: Vec<_> = kept.iter().collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[1].cause, 1);
        assert_eq!(records[0].event, note("one"));
    }

    #[test]
    fn a_subscriber_may_record() {
        let journal = Arc::new(Journal::new(false));
        let inner = Arc::downgrade(&journal);
        journal.subscribe(Arc::new(move |record: &Record<'_>| {
            if let (Event::Note { .. }, Some(journal)) = (&record.event, inner.upgrade()) {
                journal.record(record.at, 0, record.sequence, Event::Probe { name: "seen".into() });
            }
        }));
        journal.record(Nanos(1), 1, 0, note("x"));
        assert_eq!(journal.events(), 2);
    }
}
