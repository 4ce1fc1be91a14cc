//! Owners that are known not to exist, so that not every dependent asks the server again. Uids are never used twice, so nothing here gets old.

use std::collections::BTreeMap;

use super::node::Identity;

/// Source: graph_builder.go, NewReferenceCache(500).
const CAPACITY: usize = 500;

/// A bounded set that forgets what was not used for the longest time.
#[derive(Debug, Default)]
pub(crate) struct AbsentOwners {
    last_use: BTreeMap<Identity, u64>,
    by_use: BTreeMap<u64, Identity>,
    uses: u64,
}

impl AbsentOwners {
    pub fn insert(&mut self, owner: Identity) {
        self.touch(owner);
        if self.by_use.len() > CAPACITY
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.last_use.remove(&oldest);
        }
    }

    pub fn contains(&mut self, owner: &Identity) -> bool {
        let known = self.last_use.contains_key(owner);
        if known {
            self.touch(owner.clone());
        }
        known
    }

    fn touch(&mut self, owner: Identity) {
        self.uses += 1;
        if let Some(before) = self.last_use.insert(owner.clone(), self.uses) {
            self.by_use.remove(&before);
        }
        self.by_use.insert(self.uses, owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(number: usize) -> Identity {
        let text = |text: &str| std::sync::Arc::from(text);
        Identity {
            kind: text("Kind"),
            api_version: text("v1"),
            namespace: text("n"),
            name: text("o"),
            uid: text(&number.to_string()),
        }
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut absent = AbsentOwners::default();
        for number in 0..CAPACITY {
            absent.insert(owner(number));
        }
        assert!(absent.contains(&owner(0)));
        absent.insert(owner(CAPACITY));
        assert!(absent.contains(&owner(0)), "just used");
        assert!(!absent.contains(&owner(1)), "the one that nobody asked for");
        assert!(absent.contains(&owner(CAPACITY)));
    }
}
