//! Questions about a call whose outcome is not known.

use std::time::Duration;

use host::time::Instant;
use longhorn_api::{Build, Defect, go};

/// The longest pause, and how long doubt may last.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// The same where the cure of c4 is in force.
const SHORT_PATIENCE: Duration = Duration::from_secs(300);

/// The pauses before the questions, each twice as long as the one before, for a day (`wait.Backoff` of the backup monitors).
#[derive(Debug, Clone)]
pub struct Doubt {
    began: Instant,
    pause: Duration,
    patience: Duration,
}

impl Doubt {
    /// Begins now; without c4 it ends sooner.
    pub fn of(build: &Build, first_pause: Duration) -> Self {
        let patience = if build.has(Defect::FoundDayInDoubt) { PATIENCE } else { SHORT_PATIENCE };
        Self { began: Instant::now(), pause: first_pause, patience }
    }

    /// What is said when it has lasted as long as it may.
    pub fn given_up(&self) -> String {
        let patience = go::Duration::from_seconds(self.patience.as_secs() as i64);
        format!("max retry period {patience} reached in exponential backoff timer")
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
