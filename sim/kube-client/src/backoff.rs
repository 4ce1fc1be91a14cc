//! Waiting times between tries, as apimachinery's `wait` package computes them: steps, factor, cap, jitter.

use std::time::Duration;

use host::random::Stream;
use host::time::Instant;

/// `duration` lengthened by a random part of up to `factor` times itself (wait.Jitter).
pub fn jitter(duration: Duration, factor: f64, random: &mut Stream) -> Duration {
    let most = duration.mul_f64(factor.max(0.0));
    if most.is_zero() { duration } else { duration + random.duration(Duration::ZERO, most) }
}

/// A growing waiting time (wait.Backoff). A copy starts anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// The next wait, before jitter.
    pub duration: Duration,
    /// What each step multiplies the wait by; 0 leaves it as it is.
    pub factor: f64,
    /// Up to this many times the wait is added at random.
    pub jitter: f64,
    /// How many steps still grow; a retry loop makes at most this many tries.
    pub steps: u32,
    /// The wait never grows above this; zero means no limit.
    pub cap: Duration,
}

impl Backoff {
    /// The wait of this step; the next one is longer.
    pub fn step(&mut self, random: &mut Stream) -> Duration {
        let now = self.duration;
        if self.steps > 0 {
            self.steps -= 1;
            self.grow();
        }
        jitter(now, self.jitter, random)
    }

    fn grow(&mut self) {
        if self.factor == 0.0 {
            return;
        }
        self.duration = self.duration.mul_f64(self.factor);
        if !self.cap.is_zero() && self.duration > self.cap {
            self.duration = self.cap;
            self.steps = 0;
        }
    }
}

/// A [`Backoff`] that starts anew after a quiet time (wait.NewExponentialBackoffManager); a reflector has one.
#[derive(Debug)]
pub struct BackoffManager {
    initial: Backoff,
    current: Backoff,
    reset_after: Duration,
    last: Instant,
    random: Stream,
}

impl BackoffManager {
    /// Starts with `initial`, and again with it when no wait was asked for during `reset_after`.
    pub fn new(initial: Backoff, reset_after: Duration, random: Stream) -> BackoffManager {
        BackoffManager { current: initial.clone(), initial, reset_after, last: Instant::now(), random }
    }

    /// The reflector's numbers: 800 ms doubling to 30 s, up to the same again as jitter, anew after 2 min of quiet.
    /// Source: client-go tools/cache/reflector.go.
    pub fn for_reflector(random: Stream) -> BackoffManager {
        let initial = Backoff {
            duration: Duration::from_millis(800),
            factor: 2.0,
            jitter: 1.0,
            steps: u32::MAX,
            cap: Duration::from_secs(30),
        };
        BackoffManager::new(initial, Duration::from_secs(120), random)
    }

    /// How long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let now = Instant::now();
        if now - self.last > self.reset_after {
            self.current = self.initial.clone();
        }
        self.last = now;
        self.current.step(&mut self.random)
    }
}
