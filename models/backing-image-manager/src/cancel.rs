//! Calling work off, as a Go context does.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Set once; whoever works looks at it.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    set: AtomicBool,
    changed: Notify,
}

impl Cancel {
    /// Calls the work off.
    pub fn cancel(&self) {
        self.set.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Resolves when the work is called off.
    pub async fn cancelled(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.set.load(Ordering::Relaxed) {
                return;
            }
            changed.await;
        }
    }
}
