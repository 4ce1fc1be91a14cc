//! Keys that wait for their time. Source: client-go util/workqueue/delaying_queue.go.

use std::collections::BTreeMap;

use host::time::Instant;

/// Keys by the instant at which they are due; each waits at most once, for the earliest of its instants.
pub(crate) struct Delays<T> {
    due: BTreeMap<(Instant, u64), T>,
    waiting: BTreeMap<T, (Instant, u64)>,
    sequence: u64,
}

impl<T> Default for Delays<T> {
    fn default() -> Self {
        Delays { due: BTreeMap::new(), waiting: BTreeMap::new(), sequence: 0 }
    }
}

impl<T: Ord + Clone> Delays<T> {
    /// Lets a key wait until `at`, or less long if it waits already; true if it is now the first that is due.
    pub(crate) fn insert(&mut self, key: T, at: Instant) -> bool {
        if let Some(waits) = self.waiting.get(&key) {
            if waits.0 <= at {
                return false;
            }
            self.due.remove(waits);
        }
        self.sequence += 1;
        let place = (at, self.sequence);
        self.waiting.insert(key.clone(), place);
        self.due.insert(place, key);
        self.due.first_key_value().is_some_and(|(first, _)| *first == place)
    }

    /// Takes out the next key that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<T> {
        let first = self.due.first_entry().filter(|first| first.key().0 <= now)?;
        let key = first.remove();
        self.waiting.remove(&key);
        Some(key)
    }

    /// When the next key is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn clear(&mut self) {
        self.due.clear();
        self.waiting.clear();
    }
}
