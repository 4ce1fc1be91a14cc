//! Which fault an end belongs to. A journal says what ends, not which one of several: of equal ones it is the oldest, as of most.

use std::collections::{BTreeMap, VecDeque};

/// Faults that have begun and not ended, by kind and target, and what is kept of each beginning.
pub(crate) struct OpenFaults<T>(BTreeMap<(String, String), VecDeque<T>>);

impl<T> Default for OpenFaults<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> OpenFaults<T> {
    /// One more has begun.
    pub fn begin(&mut self, kind: &str, target: &str, kept: T) {
        self.0.entry((kind.to_owned(), target.to_owned())).or_default().push_back(kept);
    }

    /// One has ended: what was kept of its beginning.
    pub fn end(&mut self, kind: &str, target: &str) -> Option<T> {
        self.0.get_mut(&(kind.to_owned(), target.to_owned()))?.pop_front()
    }

    /// Those that have not ended: kind, target, what was kept.
    pub fn rest(self) -> impl Iterator<Item = (String, String, T)> {
        let each = |((kind, target), open): ((String, String), VecDeque<T>)| {
            open.into_iter().map(move |kept| (kind.clone(), target.clone(), kept))
        };
        self.0.into_iter().flat_map(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_equal_ones_ends() {
        let mut open = OpenFaults::default();
        open.begin("slow-store", "stores", 10);
        open.begin("slow-store", "stores", 15);
        open.begin("slow-api", "server", 16);
        assert_eq!(open.end("slow-store", "stores"), Some(10));
        assert_eq!(open.end("slow-store", "others"), None);
        let rest: Vec<u32> = open.rest().map(|(_, _, kept)| kept).collect();
        assert_eq!(rest, [16, 15]);
    }
}
