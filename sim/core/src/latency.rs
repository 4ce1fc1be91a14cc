//! Latencies as the field has them: a floor that is always paid, an exponential body, and a rare long tail.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos::nanos_of;
use crate::random::Stream;

/// A distribution of delays. Integer arithmetic only, so that debug and release builds draw the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Paid by every draw, in nanoseconds.
    pub floor_ns: u64,
    /// Mean of the exponential part above the floor, in nanoseconds.
    pub mean_ns: u64,
    /// One draw in so many falls into the tail; 0 for no tail.
    pub tail_one_in: u64,
    /// The exponential part of a tail draw is multiplied by a uniform factor from 2 up to this.
    pub tail_factor: u64,
}

impl Latency {
    /// No delay at all.
    pub const ZERO: Latency = Latency { floor_ns: 0, mean_ns: 0, tail_one_in: 0, tail_factor: 0 };

    /// Always the same delay.
    pub const fn fixed(delay: Duration) -> Latency {
        Latency { floor_ns: delay.as_nanos() as u64, ..Latency::ZERO }
    }

    /// A floor and an exponential part with this mean; one draw in a hundred is up to twenty times longer.
    pub const fn heavy(floor: Duration, mean: Duration) -> Latency {
        Latency {
            floor_ns: floor.as_nanos() as u64,
            mean_ns: mean.as_nanos() as u64,
            tail_one_in: 100,
            tail_factor: 20,
        }
    }

    /// The same shape, stretched: how a seed draws "a slow day".
    pub fn scaled(self, numerator: u64, denominator: u64) -> Latency {
        let scale = |ns: u64| (u128::from(ns) * u128::from(numerator) / u128::from(denominator.max(1))) as u64;
        Latency { floor_ns: scale(self.floor_ns), mean_ns: scale(self.mean_ns), ..self }
    }

    /// Longer by this much in every draw.
    pub fn plus(self, extra: Duration) -> Latency {
        Latency { floor_ns: self.floor_ns.saturating_add(nanos_of(extra)), ..self }
    }

    /// One delay.
    pub fn draw(&self, random: &mut Stream) -> Duration {
        if self.mean_ns == 0 {
            return Duration::from_nanos(self.floor_ns);
        }
        let mut body = exponential(self.mean_ns, random);
        if self.tail_one_in > 0 && random.chance(1, self.tail_one_in) {
            body = body.saturating_mul(random.between(2, self.tail_factor.max(2)));
        }
        Duration::from_nanos(self.floor_ns.saturating_add(body))
    }
}

/// An exponential of this mean from integers: the number of tails before the first head, plus a uniform fraction, is within 3 % of
/// exponential with half-life one; a half-life is mean x ln 2.
fn exponential(mean_ns: u64, random: &mut Stream) -> u64 {
    let bits = random.next_u64();
    let half_lives = u128::from(bits.trailing_ones());
    let fraction = u128::from(bits >> 32);
    let half_life_ns = u128::from(mean_ns) * 2 / 3;
    ((((half_lives << 32) | fraction) * half_life_ns) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_the_mean_and_the_tail_is_long() {
        let mut random = Stream::new(3, "latency");
        let plain = Latency { floor_ns: 0, mean_ns: 1_000_000, tail_one_in: 0, tail_factor: 0 };
        let total: u128 = (0..100_000).map(|_| plain.draw(&mut random).as_nanos()).sum();
        let mean = total / 100_000;
        assert!((900_000..1_100_000).contains(&mean), "mean {mean}");
        let heavy = Latency::heavy(Duration::from_micros(50), Duration::from_micros(100));
        let longest = (0..10_000).map(|_| heavy.draw(&mut random)).max().unwrap();
        assert!(longest > Duration::from_millis(2), "longest {longest:?}");
    }
}
