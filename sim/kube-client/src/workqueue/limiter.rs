//! How long a failed key waits before it is tried again. Source: client-go util/workqueue/default_rate_limiters.go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::token_bucket::TokenBucket;

/// Decides how long a key waits.
pub trait RateLimiter<T>: Send {
    /// Counts a failure of the key and tells how long it waits.
    fn when(&mut self, key: &T) -> Duration;
    /// Forgets the failures of the key.
    fn forget(&mut self, key: &T);
    /// How many failures of the key are counted.
    fn requeues(&self, key: &T) -> u32;
}

/// A wait for each key that doubles with each of its failures.
#[derive(Debug)]
pub struct ItemExponential<T> {
    base: Duration,
    maximum: Duration,
    failures: BTreeMap<T, u32>,
}

impl<T: Ord> ItemExponential<T> {
    /// Begins at `base` and doubles up to `maximum`.
    pub fn new(base: Duration, maximum: Duration) -> ItemExponential<T> {
        ItemExponential { base, maximum, failures: BTreeMap::new() }
    }
}

impl<T: Ord + Clone + Send> RateLimiter<T> for ItemExponential<T> {
    fn when(&mut self, key: &T) -> Duration {
        let failures = match self.failures.get_mut(key) {
            Some(failures) => failures,
            None => self.failures.entry(key.clone()).or_default(),
        };
        let doubled = 1_u32.checked_shl(*failures).and_then(|factor| self.base.checked_mul(factor));
        *failures += 1;
        doubled.map_or(self.maximum, |wait| wait.min(self.maximum))
    }

    fn forget(&mut self, key: &T) {
        self.failures.remove(key);
    }

    fn requeues(&self, key: &T) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }
}

/// One token bucket for all keys.
#[derive(Debug)]
pub struct Bucket(pub TokenBucket);

impl<T> RateLimiter<T> for Bucket {
    fn when(&mut self, _key: &T) -> Duration {
        self.0.reserve()
    }

    fn forget(&mut self, _key: &T) {}

    fn requeues(&self, _key: &T) -> u32 {
        0
    }
}

/// The longest of several waits.
pub struct MaximumOf<T>(pub Vec<Box<dyn RateLimiter<T>>>);

impl<T> RateLimiter<T> for MaximumOf<T> {
    fn when(&mut self, key: &T) -> Duration {
        // Every one of them counts the failure, also those that decide nothing.
        self.0.iter_mut().map(|limiter| limiter.when(key)).max().unwrap_or_default()
    }

    fn forget(&mut self, key: &T) {
        for limiter in &mut self.0 {
            limiter.forget(key);
        }
    }

    fn requeues(&self, key: &T) -> u32 {
        self.0.iter().map(|limiter| limiter.requeues(key)).max().unwrap_or(0)
    }
}

/// What controllers use: 5 ms doubling to 1000 s for each key, and a bucket for all. client-go's default bucket is 10 a second with a burst of 100;
/// Longhorn's is 100 and 1000.
pub fn controller_rate_limiter<T: Ord + Clone + Send + 'static>(rate: f64, burst: u32) -> Box<dyn RateLimiter<T>> {
    let item = ItemExponential::new(Duration::from_millis(5), Duration::from_secs(1000));
    let bucket = Bucket(TokenBucket::per_second(rate, burst));
    Box::new(MaximumOf(vec![Box::new(item), Box::new(bucket)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_key_waits_twice_as_long_each_time_up_to_the_maximum() {
        let mut limiter = ItemExponential::new(Duration::from_millis(5), Duration::from_secs(1000));
        let waits: Vec<u64> = (0..20).map(|_| limiter.when(&"a").as_millis() as u64).collect();
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(waits[17], 655_360);
        assert_eq!(waits[18..], [1_000_000, 1_000_000]);
        assert_eq!(limiter.when(&"b"), Duration::from_millis(5), "each key has its own count");
        assert_eq!(limiter.requeues(&"a"), 20);
        limiter.forget(&"a");
        assert_eq!(limiter.when(&"a"), Duration::from_millis(5));
    }

    #[test]
    fn counts_beyond_any_shift_stay_at_the_maximum() {
        let mut limiter = ItemExponential::new(Duration::from_millis(5), Duration::from_secs(1000));
        assert!((0..100).map(|_| limiter.when(&())).skip(18).all(|wait| wait == Duration::from_secs(1000)));
    }
}
