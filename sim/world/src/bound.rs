//! The bound of a run in events. Of a system that goes round in circles there is no end to wait for; that is damage, and it is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Events after which a run is ended: five times those of the longest that come to rest.
const MOST_EVENTS: u64 = 100_000;
/// Of the last so many of them, writes are counted.
const COUNTED: u64 = 50_000;

/// Counts the events of a run.
#[derive(Default)]
pub(crate) struct Bound {
    counts: Mutex<Counts>,
    over: Notify,
}

#[derive(Default)]
struct Counts {
    events: u64,
    /// Writes by kind and client.
    writes: BTreeMap<(String, String), u64>,
}

impl Bound {
    /// Counts an event, which may be a change: of what kind, by whom. The one that is too many says what is written most, and ends the wait for it.
    pub fn count(&self, change: Option<(&str, &str)>) -> Option<(String, String)> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.events += 1;
        if counts.events > MOST_EVENTS - COUNTED
            && let Some((kind, client)) = change
        {
            *counts.writes.entry((kind.to_owned(), client.to_owned())).or_default() += 1;
        }
        if counts.events != MOST_EVENTS {
            return None;
        }
        self.over.notify_one();
        let most = counts.writes.iter().max_by_key(|(_, count)| **count);
        Some(most.map(|(who, _)| who.clone()).unwrap_or_default())
    }

    /// Waits until there are too many events.
    pub async fn over(&self) {
        self.over.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_that_is_too_many_says_who_goes_on_and_on() {
        let bound = Bound::default();
        // Much was written before, and is no more.
        let writer = |event: u64| match (event, event % 3) {
            (0..50_000, _) => Some(("Node", "kubelet")),
            (_, 0) => Some(("Volume", "longhorn-manager")),
            _ => Some(("Replica", "longhorn-manager")),
        };
        let told: Vec<_> =
            (1..=MOST_EVENTS + 10).filter_map(|event| bound.count(writer(event)).map(|who| (event, who))).collect();
        assert_eq!(told, [(MOST_EVENTS, ("Replica".to_owned(), "longhorn-manager".to_owned()))]);
    }
}
