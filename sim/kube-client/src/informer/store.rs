//! What an informer's cache holds: shared objects by key, when each version arrived, and indices over them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::time::Instant;

/// Computes the values under which an object is found in an index.
pub(crate) type IndexFunction<K> = Arc<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// One cached object.
pub(crate) struct Cached<K> {
    pub(crate) object: Arc<K>,
    /// When this version reached the cache.
    pub(crate) arrived: Instant,
}

struct Index<K> {
    function: IndexFunction<K>,
    keys: BTreeMap<String, BTreeSet<Arc<str>>>,
}

/// The objects of a cache.
pub(crate) struct Store<K> {
    objects: BTreeMap<Arc<str>, Cached<K>>,
    indices: BTreeMap<&'static str, Index<K>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Store { objects: BTreeMap::new(), indices: BTreeMap::new() }
    }
}

impl<K> Store<K> {
    /// Adds an index; objects that are there already are indexed too.
    pub(crate) fn add_index(&mut self, name: &'static str, function: IndexFunction<K>) {
        let mut index = Index { function, keys: BTreeMap::new() };
        for (key, cached) in &self.objects {
            index.insert(key, &cached.object);
        }
        self.indices.insert(name, index);
    }

    /// Puts an object in; returns the one it replaces.
    pub(crate) fn insert(&mut self, key: &str, object: Arc<K>, arrived: Instant) -> Option<Arc<K>> {
        let Some(cached) = self.objects.get_mut(key) else {
            let key: Arc<str> = key.into();
            for index in self.indices.values_mut() {
                index.insert(&key, &object);
            }
            self.objects.insert(key, Cached { object, arrived });
            return None;
        };
        let old = std::mem::replace(cached, Cached { object: object.clone(), arrived }).object;
        if !self.indices.is_empty() {
            let (key, _) = self.objects.get_key_value(key).expect("just replaced");
            for index in self.indices.values_mut() {
                index.replace(key, &old, &object);
            }
        }
        Some(old)
    }

    /// Takes an object out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Arc<K>> {
        let (key, cached) = self.objects.remove_entry(key)?;
        for index in self.indices.values_mut() {
            index.remove(&key, &cached.object);
        }
        Some(cached.object)
    }

    pub(crate) fn get(&self, key: &str) -> Option<(&Arc<str>, &Cached<K>)> {
        self.objects.get_key_value(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.objects.keys()
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values().map(|cached| &cached.object)
    }

    /// The objects of a namespace: keys sort by namespace.
    pub(crate) fn in_namespace<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<K>> + use<'a, K> {
        let prefix = format!("{namespace}/");
        self.objects
            .range::<str, _>((std::ops::Bound::Included(&*prefix), std::ops::Bound::Unbounded))
            .take_while({
                let prefix = prefix.clone();
                move |(key, _)| key.starts_with(&prefix)
            })
            .map(|(_, cached)| &cached.object)
    }

    /// The objects that an index has under a value; `None` if there is no such index.
    pub(crate) fn by_index(&self, name: &str, value: &str) -> Option<Vec<Arc<K>>> {
        let keys = self.indices.get(name)?.keys.get(value);
        let object = |key: &Arc<str>| self.objects.get(key).expect("an index holds keys of the cache").object.clone();
        Some(keys.into_iter().flatten().map(object).collect())
    }

    /// The values an index knows.
    pub(crate) fn index_values(&self, name: &str) -> Option<Vec<String>> {
        Some(self.indices.get(name)?.keys.keys().cloned().collect())
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Arc<str>, object: &K) {
        for value in (self.function)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn replace(&mut self, key: &Arc<str>, old: &K, new: &K) {
        if (self.function)(old) != (self.function)(new) {
            self.remove(key, old);
            self.insert(key, new);
        }
    }

    fn remove(&mut self, key: &Arc<str>, object: &K) {
        for value in (self.function)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}
