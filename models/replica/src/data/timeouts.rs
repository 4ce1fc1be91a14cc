//! The time-outs that the clients of one engine share (pkg/util/shared_timeouts.go): all but the last of them give up
//! soon, the last one late.

use std::sync::Mutex;
use std::time::Duration;

/// Shared by an engine's clients.
#[derive(Debug)]
pub struct SharedTimeouts {
    short: Duration,
    long: Duration,
    clients: Mutex<usize>,
}

impl SharedTimeouts {
    /// Time-outs for all but the last, and for the last.
    pub fn new(short: Duration, long: Duration) -> SharedTimeouts {
        SharedTimeouts { short, long, clients: Mutex::new(0) }
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, usize> {
        self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One client more.
    pub fn join(&self) {
        *self.clients() += 1;
    }

    /// One client less.
    pub fn leave(&self) {
        *self.clients() -= 1;
    }

    /// Whether a client that has waited for so long has to give up; if so, it counts as gone.
    pub fn give_up_after(&self, waited: Duration) -> bool {
        let mut clients = self.clients();
        let gives_up = waited > self.long || (waited > self.short && *clients > 1);
        *clients -= usize::from(gives_up);
        gives_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_client_is_patient() {
        let timeouts = SharedTimeouts::new(Duration::from_secs(8), Duration::from_secs(16));
        timeouts.join();
        timeouts.join();
        assert!(!timeouts.give_up_after(Duration::from_secs(8)));
        assert!(timeouts.give_up_after(Duration::from_secs(9)));
        assert!(!timeouts.give_up_after(Duration::from_secs(16)));
        assert!(timeouts.give_up_after(Duration::from_secs(17)));
    }
}
