//! Reading an informer's cache: what controllers decide on, and how old it is.
//!
//! A list comes in a random order, as from Go's maps, drawn from a stream of the informer: no controller may lean on an order that production does
//! not give. Every look is noted for the journal (see [`crate::reads`]).

use std::sync::Arc;

use kube_core::{Selector, SelectorExt};

use super::shared::Shared;
use crate::error::{Error, Result};
use crate::reads::{self, Note};
use crate::resource::{Object, key_of, version_number};
use crate::sync::lock;

/// Reads the cache of an informer.
pub struct Lister<K> {
    pub(super) shared: Arc<Shared<K>>,
}

impl<K> Clone for Lister<K> {
    fn clone(&self) -> Self {
        Lister { shared: self.shared.clone() }
    }
}

impl<K: Object> Lister<K> {
    /// The object of this key, `namespace/name` or `name`, as the cache has it.
    pub fn get(&self, key: &str) -> Option<Arc<K>> {
        let state = lock(&self.shared.state);
        let Some((key, cached)) = state.store.get(key) else {
            reads::note(|| self.note(key.into(), 0, state.arrived()));
            return None;
        };
        reads::note(|| self.note(key.clone(), version_number(cached.object.meta()), cached.arrived));
        Some(cached.object.clone())
    }

    /// The object of this key, or the NotFound that a lister of client-go returns.
    pub fn require(&self, key: &str) -> Result<Arc<K>> {
        let resource = self.shared.api.resource();
        let (_, name) = crate::resource::split_key(key);
        self.get(key).ok_or_else(|| Error::not_found(&resource.group, &resource.plural, name))
    }

    /// All objects.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.collect("*", |_| true)
    }

    /// All objects whose labels match.
    pub fn list_matching(&self, selector: &Selector) -> Vec<Arc<K>> {
        self.collect("*", |object| matches(object, selector))
    }

    /// The objects that an index has under a value.
    ///
    /// # Panics
    /// If the informer has no such index.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let mut state = lock(&self.shared.state);
        let mut found = state.store.by_index(index, value).unwrap_or_else(|| no_index(index));
        state.order.shuffle(&mut found);
        reads::note(|| self.note(format!("{index}={value}/*").into(), state.version_number(), state.arrived()));
        found
    }

    /// The values an index knows, sorted.
    ///
    /// # Panics
    /// If the informer has no such index.
    pub fn index_values(&self, index: &str) -> Vec<String> {
        lock(&self.shared.state).store.index_values(index).unwrap_or_else(|| no_index(index))
    }

    /// The same cache, seen from one namespace.
    pub fn namespaced(&self, namespace: &str) -> NamespaceLister<K> {
        NamespaceLister { lister: self.clone(), namespace: namespace.into() }
    }

    /// How many objects the cache holds.
    pub fn len(&self) -> usize {
        lock(&self.shared.state).store.len()
    }

    /// Whether the cache holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn collect(&self, name: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let mut state = lock(&self.shared.state);
        let mut found: Vec<_> = state.store.objects().filter(|object| wanted(object)).cloned().collect();
        state.order.shuffle(&mut found);
        reads::note(|| self.note(name.into(), state.version_number(), state.arrived()));
        found
    }

    fn note(&self, name: Arc<str>, resource_version: u64, arrived: host::time::Instant) -> Note {
        let kind = self.shared.api.resource().kind.clone();
        Note { kind, name, resource_version, arrived, cached: true }
    }
}

/// Reads the objects of one namespace in an informer's cache.
pub struct NamespaceLister<K> {
    lister: Lister<K>,
    namespace: Arc<str>,
}

impl<K> Clone for NamespaceLister<K> {
    fn clone(&self) -> Self {
        NamespaceLister { lister: self.lister.clone(), namespace: self.namespace.clone() }
    }
}

impl<K: Object> NamespaceLister<K> {
    /// The object of this name.
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.lister.get(&key_of(Some(&self.namespace), name))
    }

    /// The object of this name, or the NotFound that a lister of client-go returns.
    pub fn require(&self, name: &str) -> Result<Arc<K>> {
        self.lister.require(&key_of(Some(&self.namespace), name))
    }

    /// All objects of the namespace.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.collect(|_| true)
    }

    /// All objects of the namespace whose labels match.
    pub fn list_matching(&self, selector: &Selector) -> Vec<Arc<K>> {
        self.collect(|object| matches(object, selector))
    }

    fn collect(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let mut state = lock(&self.lister.shared.state);
        let objects = state.store.in_namespace(&self.namespace);
        let mut found: Vec<_> = objects.filter(|object| wanted(object)).cloned().collect();
        state.order.shuffle(&mut found);
        let name = || format!("{}/*", self.namespace).into();
        reads::note(|| self.lister.note(name(), state.version_number(), state.arrived()));
        found
    }
}

fn matches<K: Object>(object: &K, selector: &Selector) -> bool {
    match &object.meta().labels {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&Default::default()),
    }
}

fn no_index(index: &str) -> ! {
    panic!("the informer has no index {index:?}: add it before reading it")
}
