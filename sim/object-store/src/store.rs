//! Buckets and objects in memory, and the faults in force over them.
//!
//! The store is shared: the server's process serves it, a plan's faults change its policy, oracles read it. It outlives
//! all of them. Reading and writing here, in process, is not an operation of a client: no fault meets it and nothing of
//! it is journalled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use host::time::Instant;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::faults::{Effect, Fault, FaultId, Policy, Subject};

/// A store's buckets, shared by whoever serves, breaks or judges them.
#[derive(Default)]
pub struct BucketStore {
    state: Mutex<State>,
}

/// An object as an oracle sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectView {
    /// The object's key.
    pub key: String,
    /// Its content.
    pub bytes: Bytes,
    /// When it was stored, by the server's wall clock, in whole seconds as clients see it.
    pub modified: Timestamp,
    /// Its entity tag, without quotation marks.
    pub etag: String,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<String, Bucket>,
    policy: Policy,
}

#[derive(Default)]
pub(crate) struct Bucket {
    pub created: Timestamp,
    objects: BTreeMap<String, Object>,
    /// Deleted objects that lists still show.
    ghosts: BTreeMap<String, (Object, Instant)>,
}

#[derive(Clone)]
pub(crate) struct Object {
    pub bytes: Bytes,
    pub modified: Timestamp,
    pub etag: String,
    /// Lists do not show it before.
    listed_from: Option<Instant>,
}

/// Digest that serves as entity tag: strong and deterministic; of MD5's length, since clients look at that.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl BucketStore {
    /// An empty store.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the store's state is held")
    }

    /// Adds a fault; it is in force until it is removed.
    pub fn add_fault(&self, fault: Fault) -> FaultId {
        self.state().policy.add(fault)
    }

    /// Takes a fault away; false if it was not in force.
    pub fn remove_fault(&self, id: FaultId) -> bool {
        self.state().policy.remove(id)
    }

    /// Takes all faults away. Windows that are open in lists stay open until they end.
    pub fn heal(&self) {
        self.state().policy.clear();
    }

    pub(crate) fn effects_on(&self, subject: &Subject<'_>) -> (Vec<Effect>, Duration) {
        self.state().policy.effects_on(subject)
    }

    /// The names of the buckets.
    pub fn buckets(&self) -> Vec<String> {
        self.state().buckets.keys().cloned().collect()
    }

    pub(crate) fn buckets_with_creation(&self) -> Vec<(String, Timestamp)> {
        self.state().buckets.iter().map(|(name, bucket)| (name.clone(), bucket.created)).collect()
    }

    /// Whether there is such a bucket.
    pub fn has_bucket(&self, bucket: &str) -> bool {
        self.state().buckets.contains_key(bucket)
    }

    /// Creates a bucket; false if it is there already.
    pub fn create_bucket(&self, bucket: &str) -> bool {
        let created = whole_second(host::wall_clock::now());
        let mut state = self.state();
        if state.buckets.contains_key(bucket) {
            return false;
        }
        state.buckets.insert(bucket.to_owned(), Bucket { created, ..Bucket::default() });
        true
    }

    /// Removes a bucket if it holds no object; `None` if there is no such bucket, `Some(false)` if it is not empty.
    pub fn remove_bucket(&self, bucket: &str) -> Option<bool> {
        let mut state = self.state();
        let empty = state.buckets.get(bucket)?.objects.is_empty();
        if empty {
            state.buckets.remove(bucket);
        }
        Some(empty)
    }

    /// All objects of a bucket whose key starts with the prefix, in key order, hidden ones included.
    pub fn objects(&self, bucket: &str, prefix: &str) -> Vec<ObjectView> {
        let state = self.state();
        let Some(bucket) = state.buckets.get(bucket) else { return Vec::new() };
        from_prefix(&bucket.objects, prefix).map(|(key, object)| object.view(key)).collect()
    }

    /// One object.
    pub fn object(&self, bucket: &str, key: &str) -> Option<ObjectView> {
        Some(self.state().buckets.get(bucket)?.objects.get(key)?.view(key))
    }

    /// Stores an object from outside, as set-up and corruption do; the bucket is created if need be.
    pub fn insert(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) {
        self.create_bucket(bucket);
        self.put(bucket, key, bytes.into(), None, None);
    }

    /// Removes an object from outside; false if there was none.
    pub fn remove(&self, bucket: &str, key: &str) -> bool {
        self.delete(bucket, key, None).unwrap_or(false)
    }

    /// Stores an object; `None` if there is no such bucket, otherwise its tag. `digest` spares hashing bytes that were
    /// hashed already.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: Bytes,
        digest_known: Option<String>,
        list_late: Option<Duration>,
    ) -> Option<String> {
        let mut etag = digest_known.unwrap_or_else(|| digest(&bytes));
        etag.truncate(32);
        let modified = whole_second(host::wall_clock::now());
        let now = Instant::now();
        let mut state = self.state();
        let bucket = state.buckets.get_mut(bucket)?;
        bucket.ghosts.retain(|_, (_, until)| now < *until);
        let was_listed = bucket.ghosts.remove(key).is_some();
        let listed_from = match bucket.objects.get(key) {
            Some(previous) => previous.listed_from,
            None if was_listed => None,
            None => list_late.map(|window| now + window),
        };
        bucket.objects.insert(key.to_owned(), Object { bytes, modified, etag: etag.clone(), listed_from });
        Some(etag)
    }

    /// Deletes an object; `None` if there is no such bucket, otherwise whether the object was there.
    pub(crate) fn delete(&self, bucket: &str, key: &str, list_deleted: Option<Duration>) -> Option<bool> {
        let now = Instant::now();
        let mut state = self.state();
        let bucket = state.buckets.get_mut(bucket)?;
        bucket.ghosts.retain(|_, (_, until)| now < *until);
        let removed = bucket.objects.remove(key);
        let was_there = removed.is_some();
        if let (Some(object), Some(window)) = (removed, list_deleted)
            && object.is_listed(now)
        {
            bucket.ghosts.insert(key.to_owned(), (object, now + window));
        }
        Some(was_there)
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> Option<Object> {
        self.state().buckets.get(bucket)?.objects.get(key).cloned()
    }

    /// What a list of this prefix sees now, in key order: live objects whose window has passed, and ghosts whose window
    /// has not.
    pub(crate) fn listed(&self, bucket: &str, prefix: &str) -> Option<Vec<(String, ListedObject)>> {
        let now = Instant::now();
        let state = self.state();
        let bucket = state.buckets.get(bucket)?;
        let live = from_prefix(&bucket.objects, prefix).filter(|(_, object)| object.is_listed(now));
        let ghosts = from_prefix(&bucket.ghosts, prefix).filter(|(_, (_, until))| now < *until);
        let mut seen: BTreeMap<&String, &Object> = ghosts.map(|(key, (object, _))| (key, object)).collect();
        seen.extend(live);
        Some(seen.into_iter().map(|(key, object)| (key.clone(), object.listed())).collect())
    }
}

/// An object's line in a list.
#[derive(Clone, Debug)]
pub(crate) struct ListedObject {
    pub size: usize,
    pub modified: Timestamp,
    pub etag: String,
}

impl Object {
    fn view(&self, key: &str) -> ObjectView {
        ObjectView { key: key.to_owned(), bytes: self.bytes.clone(), modified: self.modified, etag: self.etag.clone() }
    }

    fn listed(&self) -> ListedObject {
        ListedObject { size: self.bytes.len(), modified: self.modified, etag: self.etag.clone() }
    }

    fn is_listed(&self, now: Instant) -> bool {
        self.listed_from.is_none_or(|from| from <= now)
    }
}

fn from_prefix<'a, V>(map: &'a BTreeMap<String, V>, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a V)> {
    map.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix))
}

/// S3 knows whole seconds only; two writes within one second look alike.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("a timestamp's own second is in range")
}
