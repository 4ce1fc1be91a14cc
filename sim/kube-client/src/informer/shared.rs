//! What an informer's reflector, readers and handlers share: the cache, the listeners, and how an event passes from one to the other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::random::Stream;
use host::time::Instant;

use super::listener::{Event, Listener};
use super::store::Store;
use crate::api::Api;
use crate::resource::{Object, object_key};
use crate::sync::lock;
use crate::watch::WatchEvent;

/// The shared half of an informer.
pub(super) struct Shared<K> {
    pub(super) api: Api<K>,
    pub(super) selection: Selection,
    pub(super) default_resync: Duration,
    /// Part of a period, in 2^-32, that the first resync comes after.
    pub(super) phase: u64,
    pub(super) state: Mutex<State<K>>,
}

/// Which objects are watched.
pub(super) struct Selection {
    pub(super) labels: Option<String>,
    pub(super) fields: Option<String>,
}

/// What changes in it, under one lock that nobody holds across a wait.
pub(super) struct State<K> {
    pub(super) store: Store<K>,
    pub(super) listeners: Vec<Arc<Listener<K>>>,
    /// The version up to which the cache is complete; empty before the first list.
    pub(super) version: String,
    /// When the server was last heard of.
    pub(super) heard: Option<Instant>,
    pub(super) synced: bool,
    pub(super) started: bool,
    pub(super) stopped: bool,
    pub(super) check_period: Duration,
    /// When the first resync is due, counted from the first list; taken by it.
    pub(super) first_resync: Option<Duration>,
    /// The order that Go's maps would give.
    pub(super) order: Stream,
}

impl<K> State<K> {
    pub(super) fn version_number(&self) -> u64 {
        self.version.parse().unwrap_or(0)
    }

    /// When the cache last heard from the server.
    pub(super) fn arrived(&self) -> Instant {
        self.heard.unwrap_or_else(Instant::now)
    }
}

impl<K> Drop for Shared<K> {
    fn drop(&mut self) {
        // Nobody can reach the cache any more; the handlers' tasks end after what they have queued.
        for listener in &lock(&self.state).listeners {
            listener.close();
        }
    }
}

impl<K> State<K> {
    /// The resync period that a handler gets: an informer that has begun does not check more often than it does.
    pub(super) fn admit(&mut self, requested: Duration) -> Duration {
        if self.started {
            return requested.max(self.check_period);
        }
        if requested < self.check_period {
            self.check_period = requested;
            for listener in &self.listeners {
                listener.check_period_changed(requested);
            }
        }
        requested
    }
}

impl<K: Object> Shared<K> {
    /// The part of a period that the phase makes of it.
    pub(super) fn part_of(&self, period: Duration) -> Duration {
        let nanos = (period.as_nanos() * u128::from(self.phase)) >> 32;
        Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
    }

    /// Ends the handlers.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        for listener in state.listeners.drain(..) {
            listener.close();
        }
    }

    /// The version up to which the cache is complete; empty before the first list.
    pub(super) fn version(&self) -> String {
        lock(&self.state).version.clone()
    }

    /// Puts one event of the watch into the cache and hands it on.
    pub(super) fn apply(&self, event: WatchEvent<K>) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.heard = Some(now);
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                state.saw(&object);
                state.put(object, now);
            }
            WatchEvent::Deleted(object) => {
                state.saw(&object);
                if state.store.remove(&object_key(object.meta())).is_some() {
                    state.distribute(Event::Deleted { object: Arc::new(object), final_state_known: true }, false);
                }
            }
            WatchEvent::Bookmark { resource_version, .. } => state.version = resource_version,
            WatchEvent::Error(_) => unreachable!("the reflector keeps errors to itself"),
        }
    }

    /// Replaces what the cache holds by a list.
    pub(super) fn replace(&self, items: Vec<K>, version: String) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let mut listed = BTreeSet::new();
        for object in items {
            listed.insert(object_key(object.meta()));
            state.put(object, now);
        }
        let vanished: Vec<_> = state.store.keys().filter(|key| !listed.contains(&***key)).cloned().collect();
        for key in vanished {
            let object = state.store.remove(&key).expect("just seen under this lock");
            state.distribute(Event::Deleted { object, final_state_known: false }, false);
        }
        state.version = version;
        state.heard = Some(now);
        state.synced = true;
    }

    /// Tells the listeners that are due of every object.
    pub(super) fn resync(&self) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        // Not `any`: each listener decides, and notes its decision.
        let due = state.listeners.iter().filter(|listener| listener.begin_resync(now)).count();
        if due == 0 {
            return;
        }
        let mut objects: Vec<_> = state.store.objects().cloned().collect();
        state.order.shuffle(&mut objects);
        for object in objects {
            state.distribute(Event::Updated { old: object.clone(), new: object }, true);
        }
    }
}

impl<K: Object> State<K> {
    fn saw(&mut self, object: &K) {
        self.version.clear();
        self.version.push_str(object.meta().resource_version.as_deref().unwrap_or_default());
    }

    fn put(&mut self, object: K, now: Instant) {
        let key = object_key(object.meta());
        let new = Arc::new(object);
        match self.store.insert(&key, new.clone(), now) {
            Some(old) => {
                let unchanged = old.meta().resource_version == new.meta().resource_version;
                self.distribute(Event::Updated { old, new }, unchanged);
            }
            None => self.distribute(Event::Added { object: new, in_initial_list: !self.synced }, false),
        }
    }

    /// An event that changed nothing goes only to those who are being resynced.
    fn distribute(&self, event: Event<K>, unchanged: bool) {
        for listener in &self.listeners {
            if !unchanged || listener.is_syncing() {
                listener.push(event.clone());
            }
        }
    }
}
