//! One handler of an informer: its own queue, its own task, its own resync period.
//!
//! The queue has no bound, as in client-go: a slow handler lags behind the cache and sees every event, in order.
//! Source: client-go tools/cache/shared_informer.go (processorListener).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::time::Instant;
use tokio::sync::Notify;

use crate::sync::lock;

/// What a handler is told. Objects are shared with the cache and with other handlers.
#[derive(Debug)]
pub enum Event<K> {
    /// An object the cache did not have.
    Added {
        /// The object.
        object: Arc<K>,
        /// Whether it was there when the informer, or the handler, began.
        in_initial_list: bool,
    },
    /// An object of which the cache had an older version, or the same one: then this is a resync, or a relist found nothing new.
    Updated {
        /// What the cache had.
        old: Arc<K>,
        /// What it has now.
        new: Arc<K>,
    },
    /// An object is gone.
    Deleted {
        /// Its last known state.
        object: Arc<K>,
        /// False if the deletion itself was missed and found at a relist: then the state may be an old one (DeletedFinalStateUnknown).
        final_state_known: bool,
    },
}

impl<K> Clone for Event<K> {
    fn clone(&self) -> Self {
        match self {
            Event::Added { object, in_initial_list } => {
                Event::Added { object: object.clone(), in_initial_list: *in_initial_list }
            }
            Event::Updated { old, new } => Event::Updated { old: old.clone(), new: new.clone() },
            Event::Deleted { object, final_state_known } => {
                Event::Deleted { object: object.clone(), final_state_known: *final_state_known }
            }
        }
    }
}

impl<K> Event<K> {
    /// The object as it is now, or was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Event::Added { object, .. } | Event::Deleted { object, .. } => object,
            Event::Updated { new, .. } => new,
        }
    }
}

/// A handler that hears of wanted objects only: one that begins to be wanted is added, one that ceases to be is deleted
/// (cache.FilteringResourceEventHandler).
pub fn filtered<K>(
    wanted: impl Fn(&K) -> bool + Send + 'static,
    mut handler: impl FnMut(Event<K>) + Send + 'static,
) -> impl FnMut(Event<K>) + Send + 'static {
    move |event| match event {
        Event::Updated { old, new } => match (wanted(&old), wanted(&new)) {
            (true, true) => handler(Event::Updated { old, new }),
            (false, true) => handler(Event::Added { object: new, in_initial_list: false }),
            (true, false) => handler(Event::Deleted { object: old, final_state_known: true }),
            (false, false) => {}
        },
        event if wanted(event.object()) => handler(event),
        _ => {}
    }
}

/// The queue between an informer and one handler.
pub(crate) struct Listener<K> {
    queue: Mutex<VecDeque<Event<K>>>,
    ready: Notify,
    closed: AtomicBool,
    /// Events of the initial list that the handler has not seen yet.
    initial: AtomicUsize,
    schedule: Mutex<Schedule>,
}

/// When a listener resyncs.
struct Schedule {
    /// Zero: never.
    requested: Duration,
    /// What the informer makes of it: never below its check period, zero if it does no resyncs.
    period: Duration,
    next: Instant,
    /// Whether events that changed nothing go to this listener. True until the first check, also for those that asked for no resync.
    syncing: bool,
}

impl<K: Send + Sync + 'static> Listener<K> {
    /// Starts the handler's task.
    pub(crate) fn start(
        requested: Duration,
        check_period: Duration,
        first: Duration,
        handler: impl FnMut(Event<K>) + Send + 'static,
    ) -> Arc<Listener<K>> {
        let schedule = Schedule {
            requested,
            period: effective_period(requested, check_period),
            next: Instant::now() + first,
            syncing: true,
        };
        let listener = Arc::new(Listener {
            queue: Mutex::default(),
            ready: Notify::new(),
            closed: AtomicBool::new(false),
            initial: AtomicUsize::new(0),
            schedule: Mutex::new(schedule),
        });
        host::spawn(deliver(listener.clone(), handler));
        listener
    }
}

impl<K> Listener<K> {
    pub(crate) fn push(&self, event: Event<K>) {
        if matches!(event, Event::Added { in_initial_list: true, .. }) {
            self.initial.fetch_add(1, Ordering::SeqCst);
        }
        lock(&self.queue).push_back(event);
        self.ready.notify_one();
    }

    /// Ends the task after what is queued.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.ready.notify_one();
    }

    pub(crate) fn has_seen_initial_list(&self) -> bool {
        self.initial.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn is_syncing(&self) -> bool {
        lock(&self.schedule).syncing
    }

    /// Decides whether this listener takes part in a resync now.
    pub(crate) fn begin_resync(&self, now: Instant) -> bool {
        let mut schedule = lock(&self.schedule);
        schedule.syncing = !schedule.period.is_zero() && now >= schedule.next;
        if schedule.syncing {
            schedule.next = now + schedule.period;
        }
        schedule.syncing
    }

    pub(crate) fn check_period_changed(&self, check_period: Duration) {
        let mut schedule = lock(&self.schedule);
        schedule.period = effective_period(schedule.requested, check_period);
    }
}

fn effective_period(requested: Duration, check_period: Duration) -> Duration {
    if requested.is_zero() || check_period.is_zero() { Duration::ZERO } else { requested.max(check_period) }
}

async fn deliver<K>(listener: Arc<Listener<K>>, mut handler: impl FnMut(Event<K>)) {
    let mut batch = VecDeque::new();
    loop {
        // Swapped, so that both queues keep their memory.
        std::mem::swap(&mut batch, &mut *lock(&listener.queue));
        if batch.is_empty() {
            if listener.closed.load(Ordering::SeqCst) {
                return;
            }
            listener.ready.notified().await;
        }
        for event in batch.drain(..) {
            let initial = matches!(event, Event::Added { in_initial_list: true, .. });
            handler(event);
            if initial {
                listener.initial.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_turns_changes_of_what_is_wanted_into_coming_and_going() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        let mut handler = filtered(|number: &u32| *number < 10, move |event| lock(&log).push(format!("{event:?}")));
        let updated = |old: u32, new: u32| Event::Updated { old: old.into(), new: new.into() };
        handler(Event::Added { object: 1.into(), in_initial_list: true });
        handler(Event::Added { object: 11.into(), in_initial_list: true });
        handler(updated(1, 2));
        handler(updated(2, 12));
        handler(updated(12, 13));
        handler(updated(13, 3));
        handler(Event::Deleted { object: 14.into(), final_state_known: true });
        assert_eq!(
            *lock(&told),
            [
                "Added { object: 1, in_initial_list: true }",
                "Updated { old: 1, new: 2 }",
                "Deleted { object: 2, final_state_known: true }",
                "Added { object: 3, in_initial_list: false }",
            ]
        );
    }
}
