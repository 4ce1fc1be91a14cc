//! The heart of a work queue, without waiting: what is queued, what is dirty, what is being worked on.
//!
//! A key is at most once in the queue and at most once in work. Added while it is in work, it is kept dirty and queued again when the work is done;
//! added while it is queued, nothing changes. Source: client-go util/workqueue/queue.go.

use std::collections::{BTreeSet, VecDeque};

/// The sets of a work queue.
pub(crate) struct Core<T> {
    /// In order; all of them dirty, none of them in work.
    queue: VecDeque<T>,
    /// To be worked on, now or after the work that is going on.
    dirty: BTreeSet<T>,
    /// In work.
    processing: BTreeSet<T>,
    shutting_down: bool,
}

impl<T> Default for Core<T> {
    fn default() -> Self {
        Core { queue: VecDeque::new(), dirty: BTreeSet::new(), processing: BTreeSet::new(), shutting_down: false }
    }
}

impl<T: Ord + Clone> Core<T> {
    /// Marks a key as to be worked on; true if a worker is to be woken.
    pub(crate) fn add(&mut self, key: T) -> bool {
        if self.shutting_down || !self.dirty.insert(key.clone()) {
            return false;
        }
        let queued = !self.processing.contains(&key);
        if queued {
            self.queue.push_back(key);
        }
        queued
    }

    /// Gives out the first key.
    pub(crate) fn take(&mut self) -> Option<T> {
        let key = self.queue.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }

    /// Ends the work on a key; true if it is queued again and a worker is to be woken.
    pub(crate) fn done(&mut self, key: &T) -> bool {
        self.processing.remove(key);
        let again = self.dirty.contains(key);
        if again {
            self.queue.push_back(key.clone());
        }
        again
    }

    pub(crate) fn shut_down(&mut self) {
        self.shutting_down = true;
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// Whether nobody works on anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.processing.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add(u8),
        Take,
        /// Ends the n-th oldest work that is going on.
        Done(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u8..6).prop_map(Step::Add),
            2 => Just(Step::Take),
            2 => any::<prop::sample::Index>().prop_map(Step::Done),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against a model that only counts: an add that nobody has taken up since must be given out once more, and never to two workers at once.
        #[test]
        fn no_key_is_lost_doubled_or_worked_on_twice_at_once(steps in steps()) {
            let mut core = Core::default();
            let mut wanted: BTreeMap<u8, bool> = BTreeMap::new();
            let mut working: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Add(key) => {
                        core.add(key);
                        wanted.insert(key, true);
                    }
                    Step::Take => match core.take() {
                        Some(key) => {
                            prop_assert!(!working.contains(&key), "two workers on {key}");
                            prop_assert_eq!(wanted.insert(key, false), Some(true), "{} was not asked for", key);
                            working.push(key);
                        }
                        None => {
                            let lost = wanted.iter().find(|(key, wanted)| **wanted && !working.contains(key));
                            prop_assert!(lost.is_none(), "lost {:?}", lost);
                        }
                    },
                    Step::Done(index) if !working.is_empty() => {
                        let key = working.remove(index.index(working.len()));
                        let again = core.done(&key);
                        prop_assert_eq!(again, wanted[&key], "{} added during its work", key);
                    }
                    Step::Done(_) => {}
                }
            }
            // Whatever is still wanted comes out when everything in work is done and the queue is emptied.
            for key in working.drain(..) {
                core.done(&key);
            }
            while let Some(key) = core.take() {
                prop_assert_eq!(wanted.insert(key, false), Some(true));
                prop_assert!(!core.done(&key));
            }
            prop_assert!(wanted.values().all(|wanted| !wanted));
            prop_assert!(core.is_idle());
        }
    }

    #[test]
    fn keys_come_out_in_the_order_of_their_first_add() {
        let mut core = Core::default();
        for key in ["b", "a", "b", "c", "a"] {
            core.add(key);
        }
        assert_eq!(core.len(), 3);
        assert_eq!([core.take(), core.take(), core.take(), core.take()], [Some("b"), Some("a"), Some("c"), None]);
    }

    #[test]
    fn a_queue_that_shuts_down_takes_nothing_new_and_gives_out_the_rest() {
        let mut core = Core::default();
        core.add(1);
        core.shut_down();
        assert!(!core.add(2));
        assert_eq!(core.take(), Some(1));
        assert_eq!(core.take(), None);
    }
}
