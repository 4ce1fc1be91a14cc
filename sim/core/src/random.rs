//! Named random streams, split from the run's seed.
//!
//! Each subsystem and each process draws from streams of its own, so that a new draw in one place changes no other. The schedule's own
//! generator is madsim's and is used for nothing else. Probabilities are integer ratios, so that no rounding decides a run.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use rand::{Rng, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::nanos::nanos_of;

thread_local! {
    /// Which of the run's futures this thread is in; see [`crate::Fork`]. 0 is the run itself.
    static BRANCH: Cell<u64> = const { Cell::new(0) };
}

/// Makes all streams of this thread draw what they would not have drawn.
#[cfg(madsim)]
pub(crate) fn set_branch(branch: u64) {
    BRANCH.set(branch);
}

/// One stream of random numbers: ChaCha8, keyed by SHA-256 of seed and name.
#[derive(Clone, Debug)]
pub struct Stream {
    generator: ChaCha8Rng,
    branch: u64,
}

impl Stream {
    /// The stream of this name under this seed; the same pair gives the same numbers on every machine.
    pub fn new(seed: u64, name: &str) -> Stream {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(name.as_bytes());
        Stream { generator: ChaCha8Rng::from_seed(hash.finalize().into()), branch: 0 }
    }

    fn generator(&mut self) -> &mut ChaCha8Rng {
        let branch = BRANCH.get();
        if self.branch != branch {
            // The key's other sequences are as far from this one as those of another key.
            self.generator.set_stream(branch);
            self.branch = branch;
        }
        &mut self.generator
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.generator().next_u64()
    }

    /// Uniform in `0..bound`.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw below zero has no answer");
        // Multiply-shift; the bias is below 2^-32 for every bound used here, and it is the same bias in every run.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    ///
    /// # Panics
    /// If `low > high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty interval has no draw: {low}..={high}");
        match (high - low).checked_add(1) {
            Some(width) => low + self.below(width),
            None => self.next_u64(),
        }
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// So many lower-case hexadecimal digits.
    pub fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from_digit(self.below(16) as u32, 16).expect("below 16")).collect()
    }

    /// One of the items, or none of none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }

    /// All items in a random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// Uniform between two durations, both included.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(nanos_of(low), nanos_of(high)))
    }
}

impl TryRng for Stream {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.generator().next_u32())
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.generator().next_u64())
    }
    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        self.generator().fill_bytes(target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_a_seed_and_a_name_repeats_itself() {
        let draw = |seed, name: &str| Stream::new(seed, name).next_u64();
        assert_eq!(draw(7, "net"), draw(7, "net"));
        assert_ne!(draw(7, "net"), draw(7, "disk"));
        assert_ne!(draw(7, "net"), draw(8, "net"));
    }

    #[test]
    fn intervals_are_closed_and_reached() {
        let mut stream = Stream::new(1, "test");
        let draws: Vec<u64> = (0..1000).map(|_| stream.between(3, 5)).collect();
        assert_eq!(draws.iter().min(), Some(&3));
        assert_eq!(draws.iter().max(), Some(&5));
        assert_eq!(Stream::new(1, "test").between(0, u64::MAX), Stream::new(1, "test").next_u64());
    }
}
