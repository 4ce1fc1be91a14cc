//! One sender, many listeners: a listener that falls behind is dropped rather than waited for (`pkg/util/broadcaster`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// What a listener may leave unread before it is dropped.
const CAPACITY: usize = 100;

/// Sends each message to all listeners.
#[derive(Debug)]
pub struct Broadcaster<T> {
    listeners: Mutex<Vec<mpsc::Sender<T>>>,
}

impl<T> Default for Broadcaster<T> {
    fn default() -> Self {
        Self { listeners: Mutex::default() }
    }
}

impl<T: Clone> Broadcaster<T> {
    fn listeners(&self) -> MutexGuard<'_, Vec<mpsc::Sender<T>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A listener of what is sent from now on. Its stream ends if it falls behind.
    pub fn subscribe(&self) -> mpsc::Receiver<T> {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        self.listeners().push(sender);
        receiver
    }

    /// Sends to all listeners.
    pub fn send(&self, message: &T) {
        self.listeners().retain(|listener| listener.try_send(message.clone()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_falls_behind_is_dropped() {
        let broadcaster = Broadcaster::default();
        let (mut slow, mut quick) = (broadcaster.subscribe(), broadcaster.subscribe());
        for number in 0..150 {
            broadcaster.send(&number);
            assert_eq!(quick.try_recv().unwrap(), number);
        }
        let received = std::iter::from_fn(|| slow.try_recv().ok()).count();
        assert_eq!((received, slow.is_closed()), (CAPACITY, true));
    }
}
