//! The run's journal; there is none in the real world.

pub use corral_core::journal::{Change, End, Event, Read, Text, content_hash};

/// Records an event of this process; returns its sequence, to be named as a cause, or 0 in the real world.
pub fn record(event: Event<'_>) -> u64 {
    record_caused_by(0, event)
}

/// Records an event that an earlier one led to.
pub fn record_caused_by(cause: u64, event: Event<'_>) -> u64 {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        return world.record_caused_by(cause, event);
    }
    let _ = (cause, event);
    0
}

/// Notes what the event of this sequence changed, if anybody reads the journal.
pub fn note_changes(sequence: u64, changes: impl FnOnce() -> Vec<Change>) {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        return world.journal().note_changes(sequence, changes);
    }
    let _ = (sequence, changes);
}

/// Whether anybody keeps a journal here: lets a caller skip gathering what nobody would see.
pub fn is_kept() -> bool {
    crate::simulated()
}
