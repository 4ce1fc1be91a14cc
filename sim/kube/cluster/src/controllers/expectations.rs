//! What a controller has asked for and not yet seen: until its cache shows it, the controller does not act on the cache again.
//!
//! Source: kubernetes pkg/controller/controller_utils.go (ControllerExpectations).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::time::Instant;

/// What was not seen after this is no longer waited for.
const TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Expected {
    creations: u32,
    /// Keys of the pods to be seen deleted: a deletion is often seen twice.
    deletions: BTreeSet<String>,
    since: Instant,
}

/// The expectations of a controller, by key of the object it works for.
#[derive(Debug, Default)]
pub(crate) struct Expectations {
    by_key: Mutex<BTreeMap<String, Expected>>,
}

impl Expectations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Expected>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Expects these creations and deletions, and nothing else any more.
    pub fn expect(&self, key: &str, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let expected =
            Expected { creations: creations as u32, deletions: deletions.into_iter().collect(), since: Instant::now() };
        self.lock().insert(key.to_owned(), expected);
    }

    /// A creation was seen, or has failed.
    pub fn creation_observed(&self, key: &str) {
        if let Some(expected) = self.lock().get_mut(key) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    /// A deletion was seen, or has failed.
    pub fn deletion_observed(&self, key: &str, pod: &str) {
        if let Some(expected) = self.lock().get_mut(key) {
            expected.deletions.remove(pod);
        }
    }

    /// Whether everything was seen, or has been waited for long enough.
    pub fn are_met(&self, key: &str) -> bool {
        self.lock().get(key).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty()) || expected.since.elapsed() > TIMEOUT
        })
    }

    pub fn forget(&self, key: &str) {
        self.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_waits_for_what_it_has_asked_for() {
        let expectations = Expectations::default();
        assert!(expectations.are_met("a"));
        expectations.expect("a", 2, ["p".to_owned()]);
        expectations.creation_observed("a");
        expectations.creation_observed("a");
        assert!(!expectations.are_met("a"));
        expectations.deletion_observed("a", "p");
        expectations.deletion_observed("a", "p");
        assert!(expectations.are_met("a"));
        assert!(expectations.are_met("b"), "keys are apart");
    }
}
