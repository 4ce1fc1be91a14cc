//! What hyper needs of a runtime, on this host: tasks and timers. HTTP/2 (and gRPC on it) is built with these.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::time::{Instant, Sleep, sleep, sleep_until};

/// Starts hyper's tasks as tasks of the current process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        crate::spawn(future);
    }
}

/// Gives hyper this host's timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

// hyper wants its timers to be Sync; a lock nobody contends for makes a sleep so.
struct HyperSleep(Arc<Mutex<Sleep>>);

impl Future for HyperSleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll(context)
    }
}

impl hyper::rt::Sleep for HyperSleep {}

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep(Arc::new(Mutex::new(sleep(duration)))))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        #[expect(clippy::disallowed_methods, reason = "hyper counts in std's instants, which madsim makes virtual")]
        let ahead = deadline.saturating_duration_since(std::time::Instant::now());
        Box::pin(HyperSleep(Arc::new(Mutex::new(sleep_until(Instant::now() + ahead)))))
    }
}
