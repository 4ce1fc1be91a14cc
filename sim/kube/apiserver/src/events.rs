//! Events live for an hour, as `--event-ttl` has it: they are what would fill a store that never forgets.
//!
//! Nothing ticks for them: those whose time is over go when the next request about events comes, so that nobody sees them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::time::Instant;

use crate::server::Inner;
use crate::store::{Commit, Write};

/// The resource.
pub(crate) const EVENTS: &str = "events";

/// Which events were written when, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    written: Mutex<VecDeque<(Instant, Arc<str>, u64)>>,
}

impl Expiry {
    fn written(&self) -> std::sync::MutexGuard<'_, VecDeque<(Instant, Arc<str>, u64)>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a write; it begins the event's hour anew.
    pub fn note(&self, commit: &Commit) {
        if let Some(event) = &commit.new {
            self.written().push_back((Instant::now(), event.record.key.clone(), event.revision()));
        }
    }

    fn next_due(&self, life: Duration) -> Option<(Arc<str>, u64)> {
        let mut written = self.written();
        written.front().filter(|(at, ..)| at.elapsed() >= life)?;
        written.pop_front().map(|(_, key, revision)| (key, revision))
    }
}

impl Inner {
    /// Takes up the events that an earlier server process has left.
    pub fn load_events(&self) {
        let mut written = self.expiry.written();
        let now = Instant::now();
        written.extend(self.store.objects(EVENTS).map(|event| (now, event.record.key.clone(), event.revision())));
    }

    /// Removes the events whose time is over.
    pub fn expire_events(&self) {
        let resource: Arc<str> = Arc::from(EVENTS);
        while let Some((key, revision)) = self.expiry.next_due(self.options.event_life) {
            // One that was written again has a later place in the queue.
            let _ = self.commit_own(&resource, &key, Some(revision), Write::Delete);
        }
    }
}
