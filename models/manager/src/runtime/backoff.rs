//! The back-off of one operation on one object: client-go's `flowcontrol.Backoff`, which the backup controller uses
//! to space its attempts to delete a backup in the store (1 min doubling to 24 h, `controller/backup_controller.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use host::time::Instant;

/// Delays per key that double with each failure.
#[derive(Debug)]
pub struct Backoff {
    initial: Duration,
    longest: Duration,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    updated_at: Instant,
}

impl Backoff {
    /// A back-off that starts with `initial` and doubles up to `longest`.
    pub fn new(initial: Duration, longest: Duration) -> Self {
        Self { initial, longest, entries: BTreeMap::new() }
    }

    /// Notes one more attempt for `key`: the delay starts, doubles, or starts anew after a silence of twice `longest`.
    pub fn next(&mut self, key: &str, now: Instant) {
        let delay = match self.entries.get(key) {
            Some(entry) if !self.has_expired(entry, now) => (entry.delay * 2).min(self.longest),
            _ => self.initial,
        };
        self.entries.insert(key.to_string(), Entry { delay, updated_at: now });
    }

    /// Whether less than the delay of `key` went by since its last attempt.
    pub fn is_waiting(&self, key: &str, now: Instant) -> bool {
        match self.entries.get(key) {
            Some(entry) if !self.has_expired(entry, now) => now - entry.updated_at < entry.delay,
            _ => false,
        }
    }

    /// The present delay of `key`, whether it is over or not.
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |entry| entry.delay)
    }

    /// Forgets `key`.
    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn has_expired(&self, entry: &Entry, now: Instant) -> bool {
        now - entry.updated_at > self.longest * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_bound_and_starts_anew_after_a_silence() {
        host::real::block_on(async {
            let (minute, start) = (Duration::from_secs(60), Instant::now());
            let mut backoff = Backoff::new(minute, minute * 3);
            assert!(!backoff.is_waiting("b", start));
            backoff.next("b", start);
            assert!(backoff.is_waiting("b", start + minute / 2));
            assert!(!backoff.is_waiting("b", start + minute));
            backoff.next("b", start + minute);
            assert!(backoff.is_waiting("b", start + minute * 2));
            assert!(!backoff.is_waiting("b", start + minute * 3));
            backoff.next("b", start + minute * 3);
            assert!(backoff.is_waiting("b", start + minute * 5), "capped at three minutes, not four");
            assert!(!backoff.is_waiting("b", start + minute * 6));
            backoff.next("b", start + minute * 20);
            assert!(!backoff.is_waiting("b", start + minute * 21), "after six silent minutes it begins with one");
            backoff.forget("b");
            assert!(!backoff.is_waiting("b", start + minute * 20));
        });
    }
}
