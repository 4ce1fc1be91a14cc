//! What etcd is to the real server: one revision counter, ordered objects, and enough history for watches and for lists of the past.
//!
//! The store outlives server processes. Everything that is decided is decided by [`Store::commit`], which compares the version that the
//! writer has seen with the current one, as an etcd transaction does. Oracles and triggers read it from inside ([`Store::objects`],
//! [`Store::subscribe`]); clients come through [`crate::Server`].

mod history;
mod object;
mod past;
mod watcher;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::time::Instant;
use serde_json::Value;

use history::{Change, Horizon, Log};
pub use object::{Object, Record, Tell};
pub use watcher::Delivery;
pub(crate) use watcher::{Close, Next, Pending, Watcher};

use crate::selector::Filter;

/// What happened at a commit.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The resource: `pods`, `volumes.longhorn.io`.
    pub resource: Arc<str>,
    /// The revision of this write.
    pub revision: u64,
    /// The version before; none at a create.
    pub old: Option<Arc<Object>>,
    /// The version after; none at a delete.
    pub new: Option<Arc<Object>>,
}

impl Commit {
    /// The object: as it is, or as it was last.
    pub fn object(&self) -> &Arc<Object> {
        self.new.as_ref().or(self.old.as_ref()).expect("a commit has an object before or after it")
    }
}

/// How much history is kept.
#[derive(Clone, Copy, Debug)]
pub struct HistoryOptions {
    /// Between two compactions; what is older than one interval at a compaction goes. The real server: 5 min.
    pub compaction_interval: Duration,
    /// Changes of one resource that watches may start from even after a compaction. The real watch cache: 100 and up.
    pub watch_window: usize,
    /// Bytes of history of one resource at most.
    pub max_bytes: usize,
}

impl Default for HistoryOptions {
    fn default() -> HistoryOptions {
        HistoryOptions { compaction_interval: Duration::from_secs(300), watch_window: 100, max_bytes: 16 << 20 }
    }
}

/// Why a commit did not happen: somebody else wrote the object since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raced;

/// Why the past cannot be shown: it has been compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted;

pub(crate) enum Write {
    Put(Value),
    Delete,
}

/// An object of a list: parsed if it is the current version.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub record: Arc<Record>,
    object: Option<Arc<Object>>,
}

impl Item {
    pub fn matches(&self, filter: &Filter) -> bool {
        filter.is_everything() || self.with_value(|value| filter.matches(value))
    }

    pub fn with_value<T>(&self, f: impl FnOnce(&Value) -> T) -> T {
        match &self.object {
            Some(object) => f(&object.value),
            None => f(&self.record.parse()),
        }
    }
}

#[derive(Debug, Default)]
struct Shelf {
    objects: BTreeMap<Arc<str>, Arc<Object>>,
    log: Log,
    watchers: Vec<Arc<Watcher>>,
}

#[derive(Debug)]
struct State {
    revision: u64,
    /// The last revision that watches are told: later than `revision` where the past is shown.
    last_told: u64,
    shelves: BTreeMap<Arc<str>, Shelf>,
    horizon: Horizon,
}

type Subscriber = Arc<dyn Fn(&Commit) + Send + Sync>;

/// The state of a cluster. See the module's header.
pub struct Store {
    state: Mutex<State>,
    subscribers: Mutex<Arc<Vec<(u64, Subscriber)>>>,
    options: HistoryOptions,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

/// Keeps a subscription; dropping it ends it.
pub struct Subscription {
    store: Arc<Store>,
    id: u64,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Subscription({})", self.id)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = self.store.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut subscribers).retain(|(id, _)| *id != self.id);
    }
}

/// The key of an object: what lists are sorted by.
pub(crate) fn key_of(namespace: &str, name: &str) -> Arc<str> {
    if namespace.is_empty() { Arc::from(name) } else { Arc::from(format!("{namespace}/{name}")) }
}

impl Store {
    /// An empty store.
    pub fn new(options: HistoryOptions) -> Arc<Store> {
        let horizon = Horizon::new(options.compaction_interval);
        Store::with(State { revision: 1, last_told: 1, shelves: BTreeMap::new(), horizon }, options)
    }

    fn with(state: State, options: HistoryOptions) -> Arc<Store> {
        Arc::new(Store { state: Mutex::new(state), subscribers: Mutex::default(), options })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision of the last commit.
    pub fn revision(&self) -> u64 {
        self.state().revision
    }

    /// The revision up to which a watch to which nothing more comes has seen everything.
    pub(crate) fn last_told(&self) -> u64 {
        self.state().last_told
    }

    /// All objects of a resource (`pods`, `volumes.longhorn.io`) as they are now, in the order of their keys.
    pub fn objects(&self, resource: &str) -> impl Iterator<Item = Arc<Object>> + use<> {
        let state = self.state();
        let objects: Vec<_> =
            state.shelves.get(resource).into_iter().flat_map(|shelf| shelf.objects.values().cloned()).collect();
        objects.into_iter()
    }

    /// One object as it is now; the namespace of a cluster-scoped one is empty.
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.at_key(resource, &key_of(namespace, name))
    }

    pub(crate) fn at_key(&self, resource: &str, key: &str) -> Option<Arc<Object>> {
        self.state().shelves.get(resource)?.objects.get(key).cloned()
    }

    /// The resources that have or had objects.
    pub fn resources(&self) -> Vec<Arc<str>> {
        self.state().shelves.keys().cloned().collect()
    }

    /// Calls `f` after each commit, in the order of commits where one thread writes (the simulation). `f` may read the store and must not
    /// write to it.
    pub fn subscribe(self: &Arc<Store>, f: impl Fn(&Commit) + Send + Sync + 'static) -> Subscription {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let id = subscribers.last().map_or(0, |(id, _)| id + 1);
        Arc::make_mut(&mut subscribers).push((id, Arc::new(f)));
        Subscription { store: self.clone(), id }
    }

    /// Writes, if the object is still at the revision that the writer has seen (none: absent).
    pub(crate) fn commit(
        &self,
        resource: &Arc<str>,
        key: &Arc<str>,
        seen: Option<u64>,
        write: Write,
    ) -> Result<Commit, Raced> {
        let commit = self.state().commit(&self.options, resource, key, seen, write)?;
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (_, subscriber) in subscribers.iter() {
            subscriber(&commit);
        }
        Ok(commit)
    }

    /// The objects of a resource as they are, or as they were at a revision; with the revision that this is true for.
    pub(crate) fn list(&self, resource: &str, filter: &Filter, at: Option<u64>) -> Result<(u64, Vec<Item>), Compacted> {
        let mut state = self.state();
        let now = state.revision;
        state.horizon.advance(now);
        let horizon = state.horizon.compacted;
        let Some(shelf) = state.shelves.get(resource) else { return Ok((at.unwrap_or(now), Vec::new())) };
        let at = match at {
            Some(at) if at < horizon || at < shelf.log.truncated => return Err(Compacted),
            Some(at) if at < now => at,
            _ => return Ok((now, shelf.current(filter))),
        };
        Ok((at, shelf.past(filter, at)))
    }

    /// Begins a watch: what has happened after `watcher.after` and is to be told first. The error is the oldest version to start from.
    pub(crate) fn watch(&self, resource: &Arc<str>, watcher: &Arc<Watcher>, floor: u64) -> Result<Vec<Pending>, u64> {
        let mut state = self.state();
        let shelf = state.shelves.entry(resource.clone()).or_default();
        let oldest = floor.max(shelf.log.truncated);
        if watcher.after < oldest {
            return Err(oldest);
        }
        let replay = shelf.replay(&watcher.filter, watcher.after).collect();
        shelf.watchers.push(watcher.clone());
        Ok(replay)
    }

    /// What is there, and a watch on what follows, without a gap between them.
    pub(crate) fn list_and_watch(
        &self,
        resource: &Arc<str>,
        make: impl FnOnce(u64) -> Arc<Watcher>,
    ) -> (u64, Vec<Item>, Arc<Watcher>) {
        let mut state = self.state();
        let revision = state.revision;
        let shelf = state.shelves.entry(resource.clone()).or_default();
        let watcher = make(revision);
        let items = shelf.current(&watcher.filter);
        // Nothing, unless it is the past that is listed.
        shelf.replay(&watcher.filter, revision).for_each(|pending| watcher.push(pending.tell, pending.record));
        shelf.watchers.push(watcher.clone());
        (revision, items, watcher)
    }

    /// Forgets a watch.
    pub(crate) fn unwatch(&self, resource: &str, watcher: &Arc<Watcher>) {
        if let Some(shelf) = self.state().shelves.get_mut(resource) {
            shelf.watchers.retain(|one| !Arc::ptr_eq(one, watcher));
        }
    }

    /// Ends all watches of a resource.
    pub(crate) fn close_watches(&self, resource: &str, how: &Close) {
        self.watches(resource).iter().for_each(|watcher| watcher.close(how.clone()));
    }

    /// The open watches of a resource.
    pub(crate) fn watches(&self, resource: &str) -> Vec<Arc<Watcher>> {
        self.state().shelves.get(resource).map(|shelf| shelf.watchers.clone()).unwrap_or_default()
    }

    /// How many watches are open.
    pub fn open_watches(&self) -> usize {
        self.state().shelves.values().map(|shelf| shelf.watchers.len()).sum()
    }
}

impl State {
    fn commit(
        &mut self,
        options: &HistoryOptions,
        resource: &Arc<str>,
        key: &Arc<str>,
        seen: Option<u64>,
        write: Write,
    ) -> Result<Commit, Raced> {
        let State { revision: counter, last_told, shelves, horizon } = self;
        assert_eq!(counter, last_told, "the past is not written");
        let shelf = match shelves.get_mut(resource) {
            Some(shelf) => shelf,
            None => shelves.entry(resource.clone()).or_default(),
        };
        let old = shelf.objects.get(key);
        if old.map(|object| object.revision()) != seen {
            return Err(Raced);
        }
        horizon.advance(*counter);
        *counter += 1;
        *last_told = *counter;
        let revision = *counter;
        let before = old.map(|object| object.record.clone());
        let (old, new, tell, record) = match write {
            Write::Put(value) => {
                let object = Arc::new(Object::new(value, key, revision));
                let tell = if before.is_none() { Tell::Added } else { Tell::Modified };
                let record = object.record.clone();
                (shelf.objects.insert(key.clone(), object.clone()), Some(object), tell, record)
            }
            Write::Delete => {
                let old = shelf.objects.remove(key).ok_or(Raced)?;
                let record = Arc::new(old.record.at_revision(revision));
                (Some(old), None, Tell::Deleted, record)
            }
        };
        let change = Change { revision, tell, record, before };
        shelf.tell_watchers(&change, old.as_deref(), new.as_deref());
        shelf.log.push(change, options, horizon.compacted);
        Ok(Commit { resource: resource.clone(), revision, old, new })
    }
}

impl Shelf {
    /// What a watch is told of the changes after a revision.
    fn replay(&self, filter: &Filter, after: u64) -> impl Iterator<Item = Pending> {
        self.log.after(after).filter(|change| filter.has_key(&change.record.key)).filter_map(|change| {
            let seen = filter.is_everything();
            let old = change.before.as_ref().is_some_and(|record| seen || filter.matches(&record.parse()));
            let new = change.tell != Tell::Deleted && (seen || filter.matches(&change.record.parse()));
            change.tell_to(old, new)
        })
    }

    fn tell_watchers(&self, change: &Change, old: Option<&Object>, new: Option<&Object>) {
        for watcher in &self.watchers {
            if change.revision <= watcher.after || !watcher.filter.has_key(&change.record.key) {
                continue;
            }
            let seen = watcher.filter.is_everything();
            let old = old.is_some_and(|object| seen || watcher.filter.matches(&object.value));
            let new = new.is_some_and(|object| seen || watcher.filter.matches(&object.value));
            if let Some(pending) = change.tell_to(old, new) {
                watcher.push(pending.tell, pending.record);
            }
        }
    }

    fn in_namespace<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Object>)> {
        let start = filter.namespace.as_ref().map(|namespace| format!("{namespace}/"));
        let from = start.as_ref().map_or(Bound::Unbounded, |start| Bound::Included(start.as_str()));
        let range = self.objects.range::<str, _>((from, Bound::Unbounded));
        range.take_while(move |(key, _)| start.as_ref().is_none_or(|start| key.starts_with(start.as_str())))
    }

    fn current(&self, filter: &Filter) -> Vec<Item> {
        self.in_namespace(filter)
            .filter(|(_, object)| filter.is_everything() || filter.matches(&object.value))
            .map(|(_, object)| Item { record: object.record.clone(), object: Some(object.clone()) })
            .collect()
    }

    fn past(&self, filter: &Filter, at: u64) -> Vec<Item> {
        let mut items: BTreeMap<Arc<str>, Item> = self
            .in_namespace(filter)
            .map(|(key, object)| (key.clone(), Item { record: object.record.clone(), object: Some(object.clone()) }))
            .collect();
        for change in self.log.after(at).rev().filter(|change| filter.has_key(&change.record.key)) {
            match &change.before {
                Some(record) => items.insert(record.key.clone(), Item { record: record.clone(), object: None }),
                None => items.remove(&change.record.key),
            };
        }
        items.into_values().filter(|item| item.matches(filter)).collect()
    }
}

/// The time since a moment; here so that the history needs no clock of its own.
fn since(moment: Instant) -> Duration {
    moment.elapsed()
}
