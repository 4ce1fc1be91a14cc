//! Monotonic time: virtual in the simulated world (exact to the nanosecond), the kernel's in the real one.

use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// A point in monotonic time. Only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// Now.
    pub fn now() -> Instant {
        #[cfg(madsim)]
        if let Some(world) = corral_core::try_world() {
            return Instant(world.now().as_duration());
        }
        Instant(crate::real::uptime())
    }

    /// Time passed since the run began; in the real world since this process first looked at the clock.
    pub fn since_start(self) -> Duration {
        self.0
    }

    /// Time passed since this point.
    pub fn elapsed(self) -> Duration {
        Instant::now() - self
    }

    /// Time passed since `earlier`; zero if that is later.
    pub fn duration_since(self, earlier: Instant) -> Duration {
        self - earlier
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(duration))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(duration))
    }
}

/// Completes at its deadline; leaves nothing behind when dropped.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep(Backend);

enum Backend {
    #[cfg(madsim)]
    Simulated(corral_core::Sleep),
    Real(Pin<Box<tokio_real::time::Sleep>>),
}

/// Completes after this long.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Completes at this point in time.
pub fn sleep_until(deadline: Instant) -> Sleep {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        return Sleep(Backend::Simulated(world.sleep_until(corral_core::Nanos::ZERO + deadline.0)));
    }
    Sleep(Backend::Real(Box::pin(tokio_real::time::sleep_until(crate::real::instant(deadline.0)))))
}

impl Sleep {
    /// Moves the deadline.
    pub fn reset(&mut self, deadline: Instant) {
        match &mut self.0 {
            #[cfg(madsim)]
            Backend::Simulated(sleep) => sleep.reset(corral_core::Nanos::ZERO + deadline.0),
            Backend::Real(sleep) => sleep.as_mut().reset(crate::real::instant(deadline.0)),
        }
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            #[cfg(madsim)]
            Backend::Simulated(sleep) => Pin::new(sleep).poll(context),
            Backend::Real(sleep) => sleep.as_mut().poll(context),
        }
    }
}

/// A deadline passed before the future was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline has elapsed")]
pub struct Elapsed;

/// The future's result, unless it takes longer than this. The future is polled first, as tokio's.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    timeout_at(Instant::now() + duration, future).await
}

/// The future's result, unless it is not done by then.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = sleep_until(deadline);
    std::future::poll_fn(move |context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// Ticks at a fixed pace; the first tick is immediate and a missed tick is made up for at once (tokio's `Burst`).
pub struct Interval {
    period: Duration,
    next: Instant,
}

/// An interval of this period, beginning now.
///
/// # Panics
/// If the period is zero.
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// An interval of this period, beginning at `start`.
///
/// # Panics
/// If the period is zero.
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval needs a period");
    Interval { period, next: start }
}

impl Interval {
    /// Completes at the next tick, and says when that was due.
    pub async fn tick(&mut self) -> Instant {
        sleep_until(self.next).await;
        let due = self.next;
        self.next = due + self.period;
        due
    }
}
