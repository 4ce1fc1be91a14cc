//! A work queue as every controller of Kubernetes has one: de-duplicating, delaying, rate-limited, shared by several workers.
//!
//! ```text
//! while let Some(key) = queue.get().await {
//!     match reconcile(&key).await {
//!         Ok(()) => queue.forget(&key),
//!         Err(_) => queue.add_rate_limited(key.clone()),
//!     }
//!     queue.done(&key);
//! }
//! ```
//!
//! A key is never given to two workers at once, and an add is never lost. A queue without delayed keys has no timer.
//! Source: client-go util/workqueue.

pub(crate) mod core;
mod delays;
mod limiter;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::time::Instant;
use tokio::sync::Notify;

use self::core::Core;
use self::delays::Delays;
pub use self::limiter::{Bucket, ItemExponential, MaximumOf, RateLimiter, controller_rate_limiter};
use crate::sync::lock;

/// A key of a work queue.
pub trait Key: Ord + Clone + Send + 'static {}

impl<T: Ord + Clone + Send + 'static> Key for T {}

/// A work queue. Clones are the same queue.
pub struct WorkQueue<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    limiter: Mutex<Box<dyn RateLimiter<T>>>,
    /// A key was queued, or the queue shuts down.
    changed: Notify,
    /// Another key is the first to be due.
    rescheduled: Notify,
    /// The last work has ended.
    idle: Notify,
}

struct State<T> {
    core: Core<T>,
    delays: Delays<T>,
    /// Whether a task waits for the first delayed key.
    timer_runs: bool,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        WorkQueue { shared: self.shared.clone() }
    }
}

impl<T: Key> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkQueue({} queued)", self.len())
    }
}

impl<T: Key> Default for WorkQueue<T> {
    /// With client-go's default limiter.
    fn default() -> Self {
        WorkQueue::new(controller_rate_limiter(10.0, 100))
    }
}

impl<T: Key> WorkQueue<T> {
    /// An empty queue whose failures wait as the limiter says.
    pub fn new(limiter: Box<dyn RateLimiter<T>>) -> WorkQueue<T> {
        let state = State { core: Core::default(), delays: Delays::default(), timer_runs: false };
        WorkQueue {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                limiter: Mutex::new(limiter),
                changed: Notify::new(),
                rescheduled: Notify::new(),
                idle: Notify::new(),
            }),
        }
    }

    /// Queues a key, unless it is queued already; if it is in work, it is queued when that is done.
    pub fn add(&self, key: T) {
        if lock(&self.shared.state).core.add(key) {
            self.shared.changed.notify_one();
        }
    }

    /// Queues a key after a while. A key that waits already waits for the earlier of the two instants.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = lock(&self.shared.state);
        if state.core.is_shutting_down() {
            return;
        }
        let first = state.delays.insert(key, Instant::now() + delay);
        if !state.timer_runs {
            state.timer_runs = true;
            host::spawn(queue_due_keys(self.shared.clone()));
        } else if first {
            self.shared.rescheduled.notify_one();
        }
    }

    /// Counts a failure of the key and queues it when the limiter allows.
    pub fn add_rate_limited(&self, key: T) {
        let delay = lock(&self.shared.limiter).when(&key);
        self.add_after(key, delay);
    }

    /// Forgets the failures of a key. Does not end its work: see [`WorkQueue::done`].
    pub fn forget(&self, key: &T) {
        lock(&self.shared.limiter).forget(key);
    }

    /// How many failures of a key are counted.
    pub fn requeues(&self, key: &T) -> u32 {
        lock(&self.shared.limiter).requeues(key)
    }

    /// The next key; `None` once the queue shuts down and is empty. Call [`WorkQueue::done`] when its work has ended.
    pub async fn get(&self) -> Option<T> {
        loop {
            {
                let mut state = lock(&self.shared.state);
                if let Some(key) = state.core.take() {
                    return Some(key);
                }
                if state.core.is_shutting_down() {
                    return None;
                }
            }
            // A wake-up between the look and this wait is kept by the Notify; one that comes too often costs a look.
            self.shared.changed.notified().await;
            if lock(&self.shared.state).core.is_shutting_down() {
                // The next worker must wake too: a Notify keeps one wake-up only.
                self.shared.changed.notify_one();
            }
        }
    }

    /// Ends the work on a key that [`WorkQueue::get`] gave out.
    pub fn done(&self, key: &T) {
        let mut state = lock(&self.shared.state);
        if state.core.done(key) {
            self.shared.changed.notify_one();
        }
        if state.core.is_idle() {
            self.shared.idle.notify_waiters();
        }
    }

    /// How many keys are queued; keys in work and waiting keys do not count.
    pub fn len(&self) -> usize {
        lock(&self.shared.state).core.len()
    }

    /// Whether no key is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes nothing more; workers end when the queue is empty. Waiting keys are dropped.
    pub fn shut_down(&self) {
        let mut state = lock(&self.shared.state);
        state.core.shut_down();
        state.delays.clear();
        self.shared.changed.notify_one();
        self.shared.rescheduled.notify_one();
    }

    /// Takes nothing more, and waits until everything that is in work, and what it queues again, is done.
    pub async fn shut_down_with_drain(&self) {
        self.shut_down();
        loop {
            let idle = self.shared.idle.notified();
            if lock(&self.shared.state).core.is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// Whether it takes nothing more.
    pub fn is_shutting_down(&self) -> bool {
        lock(&self.shared.state).core.is_shutting_down()
    }
}

/// Queues delayed keys as they come due; ends when none waits.
async fn queue_due_keys<T: Key>(shared: Arc<Shared<T>>) {
    loop {
        let next = {
            let mut state = lock(&shared.state);
            let now = Instant::now();
            while let Some(key) = state.delays.take_due(now) {
                if state.core.add(key) {
                    shared.changed.notify_one();
                }
            }
            let next = state.delays.next();
            state.timer_runs = next.is_some();
            next
        };
        let Some(next) = next else { return };
        tokio::select! {
            biased;
            () = shared.rescheduled.notified() => {}
            () = host::time::sleep_until(next) => {}
        }
    }
}
