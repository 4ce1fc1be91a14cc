//! What the run did not do: whoever is alive when it ends, its teardown kills, and the journal has that.

use corral_core::Nanos;
use corral_core::journal::{End, Event, Record};

/// Whether a record is the end of a process that was alive when the run ended.
pub(crate) fn is_teardown(record: &Record<'_>, ended_at: Nanos) -> bool {
    record.at >= ended_at && matches!(record.event, Event::ProcessEnded { end: End::Killed, .. })
}
