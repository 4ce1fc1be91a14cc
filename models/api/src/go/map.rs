//! Go's `map[string]V`: nil and empty are two values.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A map that is nil (written `null`) or made (written `{...}`).
///
/// Reading a nil map is reading an empty one. Writing goes through methods that keep the difference visible: [`Map::insert`] makes
/// a nil map, [`Map::remove`] leaves it nil. `==` tells nil from empty, as `reflect.DeepEqual` does.
#[derive(Clone, PartialEq, Eq)]
pub struct Map<V>(Option<BTreeMap<String, V>>);

impl<V: 'static> Map<V> {
    const EMPTY: &'static BTreeMap<String, V> = &BTreeMap::new();
}

impl<V> Map<V> {
    /// The nil map.
    pub const fn nil() -> Self {
        Self(None)
    }

    /// Whether the map was never made.
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// The map to write into, made first if it is nil.
    pub fn make(&mut self) -> &mut BTreeMap<String, V> {
        self.0.get_or_insert_default()
    }

    /// Sets a key; makes a nil map.
    pub fn insert(&mut self, key: impl Into<String>, value: V) -> Option<V> {
        self.make().insert(key.into(), value)
    }

    /// Removes a key; a nil map stays nil, as after Go's `delete`.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.0.as_mut()?.remove(key)
    }

    /// The value of a key, to change it in place.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.0.as_mut()?.get_mut(key)
    }

    /// The values, to change them in place; none of a nil map.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().flat_map(BTreeMap::values_mut)
    }

    /// Keeps the entries for which `keep` says so; a nil map stays nil.
    pub fn retain(&mut self, keep: impl FnMut(&String, &mut V) -> bool) {
        if let Some(map) = &mut self.0 {
            map.retain(keep);
        }
    }
}

impl Map<String> {
    /// The text of a key; "" where it is absent, as a Go program reads it.
    pub fn text<Q>(&self, key: &Q) -> &str
    where
        String: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.get(key).map_or("", String::as_str)
    }
}

impl<V: 'static> Deref for Map<V> {
    type Target = BTreeMap<String, V>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().unwrap_or(Self::EMPTY)
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self::nil()
    }
}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(map) => map.fmt(formatter),
            None => formatter.write_str("nil"),
        }
    }
}

impl<V> From<BTreeMap<String, V>> for Map<V> {
    fn from(map: BTreeMap<String, V>) -> Self {
        Self(Some(map))
    }
}

impl<K: Into<String>, V, const N: usize> From<[(K, V); N]> for Map<V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Into<String>, V> FromIterator<(K, V)> for Map<V> {
    /// A made map, even if there is no entry.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(Some(entries.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }
}

impl<'a, V: 'static> IntoIterator for &'a Map<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = btree_map::Iter<'a, String, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, V: Deserialize<'de> + Default> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(MapVisitor(PhantomData))
    }
}

struct MapVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de> + Default> Visitor<'de> for MapVisitor<V> {
    type Value = Map<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or null")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Map::nil())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Map::nil())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        // A null entry is the zero value, as in Go.
        while let Some((key, value)) = access.next_entry::<String, Option<V>>()? {
            map.insert(key, value.unwrap_or_default());
        }
        Ok(Map(Some(map)))
    }
}
