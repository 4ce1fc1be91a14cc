//! A token bucket as golang.org/x/time/rate has it: reservations may run ahead of the refill, and each tells how long to wait.
//!
//! Integer nanoseconds instead of floating tokens: the bucket is fully described by the instant at which it will be full again.

use std::time::Duration;

use host::time::Instant;

/// A bucket of `burst` tokens, refilled by one each `interval`; it starts full.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    interval: Duration,
    burst: u32,
    born: Instant,
    /// Age of the bucket at which it will be full, if nothing more is taken.
    full_at: Duration,
}

impl TokenBucket {
    /// A full bucket that regains one token each `interval`.
    pub fn new(interval: Duration, burst: u32) -> TokenBucket {
        TokenBucket { interval, burst, born: Instant::now(), full_at: Duration::ZERO }
    }

    /// A full bucket with a rate in tokens a second, which must be above zero.
    pub fn per_second(rate: f64, burst: u32) -> TokenBucket {
        assert!(rate > 0.0, "a token bucket needs a positive rate");
        TokenBucket::new(Duration::from_secs_f64(1.0 / rate), burst)
    }

    /// Takes a token now or in advance, and tells how long its owner must wait for it.
    pub fn reserve(&mut self) -> Duration {
        self.reserve_at(self.born.elapsed())
    }

    /// Takes a token only if one is there.
    pub fn try_take(&mut self) -> bool {
        self.try_take_at(self.born.elapsed())
    }

    fn depth(&self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }

    fn reserve_at(&mut self, age: Duration) -> Duration {
        self.full_at = self.full_at.max(age).saturating_add(self.interval);
        self.full_at.saturating_sub(age).saturating_sub(self.depth())
    }

    fn try_take_at(&mut self, age: Duration) -> bool {
        let full_at = self.full_at.max(age).saturating_add(self.interval);
        let there = full_at.saturating_sub(age) <= self.depth();
        if there {
            self.full_at = full_at;
        }
        there
    }
}
