//! Go's ticker: a beat at a fixed rate, of which a slow listener misses all but one.

use std::time::Duration;

use host::time::Instant;

/// Beats once in an interval, first after one.
#[derive(Debug)]
pub struct Ticker {
    interval: Duration,
    next: Instant,
}

impl Ticker {
    /// Begins now.
    pub fn new(interval: Duration) -> Self {
        Self { interval, next: Instant::now() + interval }
    }

    /// The next beat; at once if one was missed.
    pub async fn tick(&mut self) {
        host::time::sleep_until(self.next).await;
        let missed = self.next.elapsed().as_nanos() / self.interval.as_nanos().max(1);
        self.next = self.next + self.interval * (u32::try_from(missed).unwrap_or(u32::MAX - 1) + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_listener_misses_beats_but_keeps_the_rate() {
        let run = corral_core::run(corral_core::Options::new(1), async {
            let began = Instant::now();
            let mut ticker = Ticker::new(Duration::from_secs(2));
            let mut beats = Vec::new();
            for pause in [0, 0, 5, 0, 0] {
                ticker.tick().await;
                beats.push(began.elapsed().as_secs());
                host::time::sleep(Duration::from_secs(pause)).await;
            }
            beats
        });
        assert_eq!(run.unwrap(), [2, 4, 6, 11, 12]);
    }
}
