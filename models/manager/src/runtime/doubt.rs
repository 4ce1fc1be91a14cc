//! Questions about a call whose outcome is not known.

use std::time::Duration;

use host::time::Instant;

/// The longest pause, and how long doubt may last.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What is said when it has lasted that long.
pub const GIVEN_UP: &str = "max retry period 24h0m0s reached in exponential backoff timer";

/// The pauses before the questions, each twice as long as the one before, for a day (`wait.Backoff` of the backup monitors).
#[derive(Debug, Clone)]
pub struct Doubt {
    began: Instant,
    pause: Duration,
    patience: Duration,
}

impl Doubt {
    /// Begins now.
    pub fn new(first_pause: Duration) -> Self {
        Self { began: Instant::now(), pause: first_pause, patience: PATIENCE }
    }

    /// Begins now and ends sooner.
    pub fn within(first_pause: Duration, patience: Duration) -> Self {
        Self { patience, ..Self::new(first_pause) }
    }
}

impl Iterator for Doubt {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        (self.began.elapsed() < self.patience).then_some(pause)
    }
}
