//! Simulated time as a number: nanoseconds since the run began.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in simulated time, in nanoseconds since the run began. Its `Display` is what people read in reports: `12m30.250s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The start of the run.
    pub const ZERO: Nanos = Nanos(0);
    /// Later than everything; used for "never".
    pub const MAX: Nanos = Nanos(u64::MAX);

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// As a duration since the run began.
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// A duration in whole nanoseconds, saturating at 584 years.
pub fn nanos_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Nanos {
    type Output = Nanos;
    fn add(self, duration: Duration) -> Nanos {
        Nanos(self.0.saturating_add(nanos_of(duration)))
    }
}

impl Sub<Duration> for Nanos {
    type Output = Nanos;
    fn sub(self, duration: Duration) -> Nanos {
        Nanos(self.0.saturating_sub(nanos_of(duration)))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}.{micros:06}s"),
            (0, _) => write!(f, "{minutes}m{seconds:02}.{micros:06}s"),
            _ => write!(f, "{hours}h{minutes:02}m{seconds:02}.{micros:06}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_hours_minutes_and_microseconds() {
        assert_eq!(Nanos(1_500_000).to_string(), "0.001500s");
        assert_eq!(Nanos(750_250_000_000).to_string(), "12m30.250000s");
        assert_eq!(Nanos(3_600_000_000_000).to_string(), "1h00m00.000000s");
    }
}
