//! Counts of things that should not happen too often, forgotten when nothing was counted for a while (`util/timed_counter.go`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::time::Instant;

/// A count a name.
#[derive(Debug)]
pub struct TimedCounter {
    entries: Mutex<BTreeMap<String, Entry>>,
    lifetime: Duration,
    sweep: Duration,
    born: Instant,
}

#[derive(Debug)]
struct Entry {
    count: u32,
    last: Instant,
}

impl TimedCounter {
    /// Forgets a name `lifetime` after its last count, at the next beat of `sweep`.
    pub fn new(lifetime: Duration, sweep: Duration) -> Self {
        Self { entries: Mutex::default(), lifetime, sweep, born: Instant::now() }
    }

    /// Counts, and gives the count.
    pub fn increase(&self, name: &str) -> u32 {
        let now = Instant::now();
        let mut entries = self.swept(now);
        let entry = entries.entry(name.to_owned()).or_insert(Entry { count: 0, last: now });
        entry.count += 1;
        entry.last = now;
        entry.count
    }

    /// Forgets a name.
    pub fn forget(&self, name: &str) {
        self.swept(Instant::now()).remove(name);
    }

    /// The entries as the last beat of the sweep left them.
    fn swept(&self, now: Instant) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        let beats = (now - self.born).as_nanos() / self.sweep.as_nanos().max(1);
        let last_sweep = self.born + self.sweep * u32::try_from(beats).unwrap_or(u32::MAX);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| last_sweep < entry.last || last_sweep - entry.last <= self.lifetime);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_forgotten_at_the_first_beat_after_its_life() {
        let run = corral_core::run(corral_core::Options::new(1), async {
            let counter = TimedCounter::new(Duration::from_secs(600), Duration::from_secs(45));
            let wait = |seconds| host::time::sleep(Duration::from_secs(seconds));
            let mut counts = vec![counter.increase("a"), counter.increase("a"), counter.increase("b")];
            wait(604).await;
            // The beat at 585 s found it young enough, the next one comes at 630 s.
            counts.push(counter.increase("a"));
            wait(600).await;
            counts.push(counter.increase("a"));
            wait(660).await;
            counts.push(counter.increase("a"));
            counter.forget("a");
            counts.push(counter.increase("a"));
            counts
        });
        assert_eq!(run.unwrap(), [1, 2, 1, 3, 4, 1, 1]);
    }
}
