//! Forks of a run: the same up to a time, and from there on other draws.
//!
//! What may still come of a run at some time is what its forks at that time come to: if all of them fail, it was lost by then.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::nanos::Nanos;

/// From a time on, every random stream and the schedule draw other numbers. Up to then the run is the same to the last bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// The time.
    pub at: Nanos,
    /// Which of the run's forks at that time.
    pub number: u32,
}

/// As `--fork` takes it: `111.040184123s/2`.
impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.at.0 / 1_000_000_000, self.at.0 % 1_000_000_000);
        write!(f, "{seconds}.{nanos:09}s/{}", self.number)
    }
}

#[cfg(madsim)]
impl Fork {
    /// Makes the world that is on this thread take it.
    pub(crate) fn take(self, world: &crate::World) {
        world.queue().run_at(self.at, move || {
            crate::random::set_branch(u64::from(self.number) + 1);
            // The schedule's generator is madsim's and cannot be sown anew; what it gives next is another part of its sequence.
            for _ in 0..=self.number {
                madsim::rand::random::<u64>();
            }
        });
    }
}
