//! Shared informers: one reflector and one cache for a kind, any number of handlers and readers.
//!
//! The way of an event: the reflector takes it from the watch, puts it into the cache, and then queues it for every handler; each handler works
//! through its queue in a task of its own. So a handler sees events in order and late, and may find the cache ahead of the event it handles.
//!
//! **Resync.** A handler with a resync period gets an Updated for every cached object each period, though nothing changed: many a controller's safety
//! net. client-go has one timer per informer, started when a LIST is complete and restarted after every relist; its period is the smallest that any
//! handler asked for. Handlers whose own time has come take part. So the phase is when the process's list was answered, and in a cluster that has run
//! for a while that is anything. A simulated cluster boots all at once and its workload starts at a fixed time after; to meet every phase all the same,
//! [`ResyncPhase::Random`] draws it once per factory (or informer). [`ResyncPhase::AfterList`] is client-go to the letter.
//!
//! Fault model: all of the reflector's (stale cache for any time, events merged or missed by a relist); handlers never miss an object's last state.
//! Source: client-go tools/cache/shared_informer.go, delta_fifo.go.

mod factory;
mod listener;
mod lister;
mod reflector;
mod shared;
mod store;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use host::random::Stream;

pub use self::factory::InformerFactory;
use self::listener::Listener;
pub use self::listener::{Event, filtered};
pub use self::lister::{Lister, NamespaceLister};
use self::reflector::Reflector;
use self::shared::{Selection, Shared, State};
use self::store::Store;
use crate::api::Api;
use crate::resource::Object;
use crate::sync::{Stop, lock};

/// No handler is resynced more often.
const MINIMUM_RESYNC_PERIOD: Duration = Duration::from_secs(1);
/// How often a waiting controller looks whether caches are filled.
const SYNCED_POLL_PERIOD: Duration = Duration::from_millis(100);

/// When the first resync of an informer falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResyncPhase {
    /// One whole period after the list, as client-go does.
    AfterList,
    /// A random part of a period after the list: the informer of a process that has run for a while.
    #[default]
    Random,
}

/// How an informer behaves.
#[derive(Clone, Debug, Default)]
pub struct InformerOptions {
    /// Resync period of handlers that name none of their own; zero is none.
    pub resync: Duration,
    /// When the first resync falls.
    pub phase: ResyncPhase,
    /// Only objects whose labels match.
    pub label_selector: Option<String>,
    /// Only objects whose fields match.
    pub field_selector: Option<String>,
}

impl InformerOptions {
    /// With this resync period for handlers that name none.
    pub fn resync(period: Duration) -> InformerOptions {
        InformerOptions { resync: period, ..InformerOptions::default() }
    }
}

/// How far a cache has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The version up to which the cache is complete; empty before the first list.
    pub resource_version: String,
    /// Since when nothing was heard from the server, bookmarks included; `None` before the first list.
    pub silence: Option<Duration>,
}

/// One cache for a kind, kept in step with the server, with handlers that hear of every change. Clones are the same informer.
pub struct SharedInformer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for SharedInformer<K> {
    fn clone(&self) -> Self {
        SharedInformer { shared: self.shared.clone() }
    }
}

/// Anything that is filled after a while.
pub trait Synced {
    /// Whether it is filled.
    fn has_synced(&self) -> bool;
}

/// Waits until all of them are filled, looking each 100 ms as client-go does (cache.WaitForCacheSync).
pub async fn wait_for_cache_sync(informers: &[&(dyn Synced + Sync)]) {
    while !informers.iter().all(|informer| informer.has_synced()) {
        host::time::sleep(SYNCED_POLL_PERIOD).await;
    }
}

impl<K: Object> Synced for SharedInformer<K> {
    fn has_synced(&self) -> bool {
        lock(&self.shared.state).synced
    }
}

/// A handler of an informer. Dropping it leaves the handler where it is.
pub struct Registration<K> {
    shared: Weak<Shared<K>>,
    listener: Arc<Listener<K>>,
}

impl<K: Object> Synced for Registration<K> {
    /// Whether the cache is filled and the handler has seen what it was filled with.
    fn has_synced(&self) -> bool {
        let filled = self.shared.upgrade().is_some_and(|shared| lock(&shared.state).synced);
        filled && self.listener.has_seen_initial_list()
    }
}

impl<K: Object> Registration<K> {
    /// Takes the handler off the informer; what is queued for it is still delivered.
    pub fn remove(self) {
        if let Some(shared) = self.shared.upgrade() {
            lock(&shared.state).listeners.retain(|listener| !Arc::ptr_eq(listener, &self.listener));
        }
        self.listener.close();
    }
}

impl<K: Object> SharedInformer<K> {
    /// An informer that has not begun yet.
    pub fn new(api: Api<K>, options: InformerOptions) -> SharedInformer<K> {
        let mut random = api.client().random(&format!("informer {}", api.resource().kind));
        let phase = match options.phase {
            ResyncPhase::AfterList => 1 << 32,
            ResyncPhase::Random => random.between(1, 1 << 32),
        };
        SharedInformer::with_phase(api, options, phase, random)
    }

    fn with_phase(api: Api<K>, options: InformerOptions, phase: u64, order: Stream) -> SharedInformer<K> {
        let state = State {
            store: Store::default(),
            listeners: Vec::new(),
            version: String::new(),
            heard: None,
            synced: false,
            started: false,
            stopped: false,
            check_period: options.resync,
            first_resync: None,
            order,
        };
        let shared = Shared {
            api,
            selection: Selection { labels: options.label_selector, fields: options.field_selector },
            default_resync: options.resync,
            phase,
            state: Mutex::new(state),
        };
        SharedInformer { shared: Arc::new(shared) }
    }

    /// What it informs about.
    pub fn api(&self) -> &Api<K> {
        &self.shared.api
    }

    /// Reads the cache.
    pub fn lister(&self) -> Lister<K> {
        Lister { shared: self.shared.clone() }
    }

    /// Adds an index: the values under which an object is found.
    pub fn add_index(&self, name: &'static str, values: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        lock(&self.shared.state).store.add_index(name, Arc::new(values));
    }

    /// Adds an index by the value of a label.
    pub fn add_label_index(&self, name: &'static str, label: &'static str) {
        self.add_index(name, move |object| {
            object.meta().labels.as_ref().and_then(|labels| labels.get(label)).into_iter().cloned().collect()
        });
    }

    /// Adds a handler with the informer's own resync period.
    pub fn add_handler(&self, handler: impl FnMut(Event<K>) + Send + 'static) -> Registration<K> {
        self.add_handler_with_resync(self.shared.default_resync, handler)
    }

    /// Adds a handler with a resync period of its own; zero is none. An informer that has begun tells it of everything it has.
    pub fn add_handler_with_resync(
        &self,
        resync: Duration,
        handler: impl FnMut(Event<K>) + Send + 'static,
    ) -> Registration<K> {
        let mut state = lock(&self.shared.state);
        let requested = if resync.is_zero() { resync } else { state.admit(resync.max(MINIMUM_RESYNC_PERIOD)) };
        let first = self.shared.part_of(requested);
        let listener = Listener::start(requested, state.check_period, first, handler);
        for object in state.store.objects() {
            listener.push(Event::Added { object: object.clone(), in_initial_list: true });
        }
        state.listeners.push(listener.clone());
        Registration { shared: Arc::downgrade(&self.shared), listener }
    }

    /// Begins to list and watch, until told to stop. A second start changes nothing.
    pub fn start(&self, stop: &Stop) {
        {
            let mut state = lock(&self.shared.state);
            if std::mem::replace(&mut state.started, true) {
                return;
            }
            state.first_resync = Some(self.shared.part_of(state.check_period));
        }
        let shared = self.shared.clone();
        let stop = stop.clone();
        host::spawn(async move {
            let reflector = Reflector::new(shared.clone());
            tokio::select! {
                biased;
                () = stop.stopped() => shared.close(),
                never = reflector.run() => match never {},
            }
        });
    }

    /// Whether it was told to stop.
    pub fn is_stopped(&self) -> bool {
        lock(&self.shared.state).stopped
    }

    /// How far the cache has come. A watch that is dead but not known to be shows as silence, and so does a quiet kind between bookmarks.
    pub fn lag(&self) -> Lag {
        let state = lock(&self.shared.state);
        Lag { resource_version: state.version.clone(), silence: state.heard.map(|heard| heard.elapsed()) }
    }
}
