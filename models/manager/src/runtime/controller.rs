//! The frame of every controller: a rate-limited queue of names, five workers, three retries (`controller/base_controller.go`,
//! `controller/controller_manager.go`).
//!
//! A name is queued once however often it is added, and never worked on twice at a time in one process. A failure is tried again
//! after 5, 10 and 20 ms and then dropped until the next event or resync; the controllers of backups never drop. Everything that a
//! reconcile reads is noted, so that the journal can say what its next write was based on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Event, Object, WorkQueue, controller_rate_limiter, object_key, reads, split_key};

use super::error::{Error, Result};

/// How often a failing name is tried again before it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// `maxRetries`: after 5, 10 and 20 ms.
    Three,
    /// Until it succeeds, after up to 1000 s.
    Forever,
}

const MAXIMUM_RETRIES: u32 = 3;

/// What a controller does with one name.
pub trait Reconcile: Send + Sync + 'static {
    /// Name of the controller, as in upstream's logs: `longhorn-backup-volume`.
    const NAME: &'static str;
    /// What happens to a failing name.
    const RETRIES: Retries = Retries::Three;
    /// How many names are worked on at once.
    const WORKERS: usize = 5;

    /// Brings the object of this name closer to what it should be.
    fn reconcile(&self, name: &str) -> impl Future<Output = Result<()>> + Send;
}

/// The queue of a controller: keys are `namespace/name`, those of other namespaces are ignored.
#[derive(Clone)]
pub struct Queue {
    keys: WorkQueue<String>,
    namespace: Arc<str>,
}

impl Queue {
    /// An empty queue for objects of `namespace`.
    pub fn new(namespace: &str) -> Self {
        Self { keys: WorkQueue::new(controller_rate_limiter(100.0, 1000)), namespace: namespace.into() }
    }

    /// Queues the object of this name.
    pub fn add(&self, name: &str) {
        self.keys.add(format!("{}/{name}", self.namespace));
    }

    /// Queues the object of this name after a while.
    pub fn add_after(&self, name: &str, delay: Duration) {
        self.keys.add_after(format!("{}/{name}", self.namespace), delay);
    }

    /// Queues an object.
    pub fn add_object<K: Object>(&self, object: &K) {
        self.keys.add(object_key(object.meta()));
    }

    /// A handler of an informer that queues every object it hears of.
    pub fn handler<K: Object>(&self) -> impl FnMut(Event<K>) + Send + 'static + use<K> {
        let queue = self.clone();
        move |event| queue.add_object(&**event.object())
    }
}

/// A controller with its queue.
pub struct Runner<R> {
    queue: Queue,
    reconciler: Arc<R>,
}

impl<R: Reconcile> Runner<R> {
    /// A controller that has not begun yet.
    pub fn new(queue: Queue, reconciler: Arc<R>) -> Self {
        Self { queue, reconciler }
    }

    /// Starts the workers; they run until the process ends.
    pub fn start(&self) {
        tracing::info!("Starting {} controller", R::NAME);
        for _worker in 0..R::WORKERS {
            let (queue, reconciler) = (self.queue.clone(), self.reconciler.clone());
            host::spawn(async move {
                while let Some(key) = queue.keys.get().await {
                    work(&queue, &*reconciler, &key).await;
                    queue.keys.done(&key);
                }
            });
        }
    }
}

async fn work<R: Reconcile>(queue: &Queue, reconciler: &R, key: &String) {
    let (namespace, name) = split_key(key);
    if namespace.is_some_and(|namespace| namespace != &*queue.namespace) {
        queue.keys.forget(key);
        return;
    }
    let result = reads::scope(format!("{} {name}", R::NAME), reconciler.reconcile(name)).await;
    let Err(error) = result else {
        queue.keys.forget(key);
        return;
    };
    let tries_again = match R::RETRIES {
        Retries::Forever => true,
        Retries::Three => queue.keys.requeues(key) < MAXIMUM_RETRIES,
    };
    report(R::NAME, key, &error, tries_again);
    if tries_again {
        queue.keys.add_rate_limited(key.clone());
    } else {
        queue.keys.forget(key);
    }
}

/// Logs a failure as loudly as upstream does: what another resource's state forbids is expected, a conflict is a warning.
fn report(controller: &str, key: &str, error: &Error, tries_again: bool) {
    let message = if tries_again { "Failed to sync" } else { "Dropping out of the queue" };
    if error.is_invalid_state() {
        tracing::trace!(controller, key, %error, message);
    } else if error.is_conflict() {
        tracing::warn!(controller, key, %error, message);
    } else {
        tracing::error!(controller, key, %error, message);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// Fails as often as it was told to, and counts.
    struct Failing<const FOREVER: bool> {
        failures: usize,
        tries: Mutex<usize>,
    }

    impl<const FOREVER: bool> Reconcile for Failing<FOREVER> {
        const NAME: &'static str = "failing";
        const RETRIES: Retries = if FOREVER { Retries::Forever } else { Retries::Three };

        async fn reconcile(&self, _name: &str) -> Result<()> {
            let mut tries = self.tries.lock().unwrap();
            *tries += 1;
            if *tries > self.failures { Ok(()) } else { Err(Error::message("not yet")) }
        }
    }

    fn tries_of<const FOREVER: bool>(failures: usize) -> usize {
        host::real::block_on(async move {
            let queue = Queue::new("longhorn-system");
            let reconciler = Arc::new(Failing::<FOREVER> { failures, tries: Mutex::new(0) });
            Runner::new(queue.clone(), reconciler.clone()).start();
            queue.add("a");
            host::time::sleep(Duration::from_millis(400)).await;
            *reconciler.tries.lock().unwrap()
        })
    }

    #[test]
    fn a_failing_name_is_dropped_after_three_retries() {
        assert_eq!(tries_of::<false>(usize::MAX), 4);
        assert_eq!(tries_of::<false>(2), 3, "a success ends the retries");
    }

    #[test]
    fn backups_are_never_dropped() {
        assert_eq!(tries_of::<true>(5), 6, "after 5, 10, 20, 40 and 80 ms");
    }

    #[test]
    fn objects_of_other_namespaces_are_ignored() {
        let tries = host::real::block_on(async {
            let queue = Queue::new("longhorn-system");
            let reconciler = Arc::new(Failing::<false> { failures: 0, tries: Mutex::new(0) });
            Runner::new(queue.clone(), reconciler.clone()).start();
            queue.keys.add("default/a".to_owned());
            host::time::sleep(Duration::from_millis(50)).await;
            *reconciler.tries.lock().unwrap()
        });
        assert_eq!(tries, 0);
    }
}
