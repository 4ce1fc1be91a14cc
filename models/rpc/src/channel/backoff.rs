//! The pauses between attempts to connect (grpc-go backoff package and internal/backoff, `Exponential.Backoff`).

use std::time::Duration;

use host::random::Stream;

/// The pause after the n-th failed attempt in a row: `first`, then growing, never beyond `longest`, each but the first varied at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// Growth, in tenths.
    pub growth_tenths: u64,
    /// The longest pause.
    pub longest: Duration,
    /// How far a pause may be off, in parts of a thousand either way.
    pub jitter_per_mille: u64,
}

impl Backoff {
    /// grpc-go's default: 1 s, times 1.6, up to 120 s, give or take 20 %.
    pub const GRPC: Backoff = Backoff {
        first: Duration::from_secs(1),
        growth_tenths: 16,
        longest: Duration::from_secs(120),
        jitter_per_mille: 200,
    };

    /// One second, always.
    pub const CONSTANT_SECOND: Backoff = Backoff {
        first: Duration::from_secs(1),
        growth_tenths: 10,
        longest: Duration::from_secs(1),
        jitter_per_mille: 0,
    };

    /// The pause after `failures` earlier attempts failed.
    pub(crate) fn pause(&self, failures: u32, random: &mut Stream) -> Duration {
        if failures == 0 {
            return self.first;
        }
        let longest = nanoseconds(self.longest);
        let mut pause = nanoseconds(self.first);
        for _ in 0..failures {
            if pause >= longest {
                break;
            }
            pause = pause.saturating_mul(self.growth_tenths) / 10;
        }
        let pause = pause.min(longest);
        let swing = pause / 1000 * self.jitter_per_mille;
        Duration::from_nanos(random.between(pause - swing, pause + swing))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_minutes_and_vary_by_a_fifth() {
        let mut random = host::random::stream("test");
        assert_eq!(Backoff::GRPC.pause(0, &mut random), Duration::from_secs(1));
        for failures in 1..30 {
            let middle = 1.6f64.powi(failures as i32).min(120.0);
            let pause = Backoff::GRPC.pause(failures, &mut random).as_secs_f64();
            assert!((middle * 0.799..=middle * 1.201).contains(&pause), "{failures}: {pause}");
        }
        for failures in 0..5 {
            assert_eq!(Backoff::CONSTANT_SECOND.pause(failures, &mut random), Duration::from_secs(1));
        }
    }
}
