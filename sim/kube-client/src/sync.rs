//! Small pieces of synchronisation that the rest shares: a mutex that survives a panic, and a stop signal.
//!
//! A panic in a model ends its process, and the unwinding passes through our guards; what they protect stays usable until the process is gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Locks, also after a holder panicked.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells any number of listeners to stop, once and for good; client-go's stop channel.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    changed: Notify,
}

impl Stop {
    /// A signal that nobody has given yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Gives the signal. Giving it again changes nothing.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    /// Whether the signal was given.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::SeqCst)
    }

    /// Waits for the signal.
    pub async fn stopped(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if self.is_stopped() {
                return;
            }
            changed.await;
        }
    }
}
