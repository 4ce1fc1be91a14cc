//! Waits that double with each failure and are forgotten after a good time.
//!
//! Used for restarts of containers (CrashLoopBackOff) and for image pulls: 10 s doubling to 300 s, anew after 10 min.
//! Source: client-go util/flowcontrol/backoff.go; kubelet MaxCrashLoopBackOff, baseBackOff.

use std::collections::BTreeMap;
use std::time::Duration;

use host::time::Instant;

const INITIAL: Duration = Duration::from_secs(10);
const MAXIMUM: Duration = Duration::from_secs(300);

/// The waits of a kubelet, by key.
#[derive(Debug, Default)]
pub(crate) struct Backoffs {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    wait: Duration,
    updated: Instant,
}

impl Backoffs {
    /// How long a new try must still wait for a failure at `since`; none if it may be made now.
    pub fn remaining(&self, key: &str, since: Instant) -> Option<Remaining> {
        let entry = self.entries.get(key)?;
        if since - entry.updated > MAXIMUM * 2 {
            return None;
        }
        let waited = since.elapsed();
        (waited < entry.wait).then(|| Remaining { whole: entry.wait, left: entry.wait - waited })
    }

    /// How long a new try must still wait since the last one that was counted.
    pub fn remaining_since_count(&self, key: &str) -> Option<Remaining> {
        let entry = self.entries.get(key)?;
        let waited = entry.updated.elapsed();
        (waited < entry.wait).then(|| Remaining { whole: entry.wait, left: entry.wait - waited })
    }

    /// Counts a try after a failure at `since`: the next one waits longer.
    pub fn count(&mut self, key: &str, since: Instant) {
        let now = Instant::now();
        let wait = match self.entries.get(key) {
            Some(entry) if since - entry.updated <= MAXIMUM * 2 => (entry.wait * 2).min(MAXIMUM),
            _ => INITIAL,
        };
        self.entries.insert(key.to_owned(), Entry { wait, updated: now });
    }

    /// Forgets all keys with this prefix: their pod is gone.
    pub fn forget(&mut self, prefix: &str) {
        self.entries.retain(|key, _| !key.starts_with(prefix));
    }
}

/// A wait that is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// The whole of it, for the message.
    pub whole: Duration,
    /// What is left.
    pub left: Duration,
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_five_minutes_and_begin_anew_after_ten() {
        corral_core::run(corral_core::Options::new(1), async {
            let mut backoffs = Backoffs::default();
            let mut waits = Vec::new();
            for _ in 0..7 {
                let failed = Instant::now();
                if let Some(remaining) = backoffs.remaining("a", failed) {
                    waits.push(remaining.whole.as_secs());
                    host::time::sleep(remaining.left).await;
                }
                assert_eq!(backoffs.remaining("a", failed), None, "waited long enough");
                backoffs.count("a", failed);
            }
            assert_eq!(waits, [10, 20, 40, 80, 160, 300]);
            host::time::sleep(Duration::from_secs(601)).await;
            let failed = Instant::now();
            assert_eq!(backoffs.remaining("a", failed), None);
            backoffs.count("a", failed);
            assert_eq!(backoffs.remaining("a", Instant::now()).map(|remaining| remaining.whole), Some(INITIAL));
        })
        .unwrap();
    }

    #[test]
    fn tries_that_fail_at_once_wait_from_their_own_time_on() {
        corral_core::run(corral_core::Options::new(2), async {
            let mut backoffs = Backoffs::default();
            assert_eq!(backoffs.remaining_since_count("a"), None);
            for expected in [10, 20, 40] {
                backoffs.count("a", Instant::now());
                host::time::sleep(Duration::from_secs(expected - 1)).await;
                let remaining = backoffs.remaining_since_count("a").expect("a second is left");
                assert_eq!(remaining.whole.as_secs(), expected);
                // Polls take some nanoseconds.
                assert!((990..=1000).contains(&remaining.left.as_millis()), "{remaining:?}");
                host::time::sleep(remaining.left).await;
                assert_eq!(backoffs.remaining_since_count("a"), None);
            }
        })
        .unwrap();
    }

    #[test]
    fn durations_are_printed_as_go_does() {
        let print = |seconds| go_duration(Duration::from_secs(seconds));
        assert_eq!([print(10), print(80), print(300), print(3661)], ["10s", "1m20s", "5m0s", "1h1m1s"]);
    }
}
