//! Go's `[]T`: nil and empty are two values.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list that is nil (written `null`) or made (written `[...]`).
///
/// Reading a nil list is reading an empty one. `==` tells nil from empty, as `reflect.DeepEqual` does.
#[derive(Clone, PartialEq, Eq)]
pub struct List<T>(Option<Vec<T>>);

impl<T> List<T> {
    /// The nil list.
    pub const fn nil() -> Self {
        Self(None)
    }

    /// Whether the list was never made.
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// The list to write into, made first if it is nil.
    pub fn make(&mut self) -> &mut Vec<T> {
        self.0.get_or_insert_default()
    }

    /// Appends; makes a nil list.
    pub fn push(&mut self, item: T) {
        self.make().push(item);
    }

    /// Keeps the items for which `keep` says so; a nil list stays nil.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        if let Some(list) = &mut self.0 {
            list.retain(keep);
        }
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::nil()
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(list) => list.fmt(formatter),
            None => formatter.write_str("nil"),
        }
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(list: Vec<T>) -> Self {
        Self(Some(list))
    }
}

impl<T> FromIterator<T> for List<T> {
    /// A made list, even if there is no item.
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(Some(items.into_iter().collect()))
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Option::deserialize(deserializer)?))
    }
}
