//! A store of the past: its objects are those of one revision, its log goes on after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::history::{Change, Horizon};
use super::object::{Object, Record, Tell};
use super::{HistoryOptions, Shelf, State, Store};
use crate::past::Past;

/// What was recorded is kept whole.
const ALL: HistoryOptions =
    HistoryOptions { compaction_interval: Duration::MAX, watch_window: usize::MAX, max_bytes: usize::MAX };

impl Store {
    /// The objects as they were at a revision. Watches are told at once what followed.
    pub(crate) fn of_the_past(past: &Past, revision: u64) -> Arc<Store> {
        let mut shelves: BTreeMap<Arc<str>, Shelf> = BTreeMap::new();
        // The newest version of each object: while the log is filled, and as the revision has it.
        let mut newest: BTreeMap<(Arc<str>, Arc<str>), Arc<Record>> = BTreeMap::new();
        let mut shown = None;
        for version in past.versions() {
            if version.revision > revision {
                shown.get_or_insert_with(|| newest.clone());
            }
            let at = (version.resource.clone(), version.record.key.clone());
            let (record, before) = match version.tell {
                Tell::Deleted => (Arc::new(version.record.at_revision(version.revision)), newest.remove(&at)),
                _ => (version.record.clone(), newest.insert(at, version.record.clone())),
            };
            let change = Change { revision: version.revision, tell: version.tell, record, before };
            shelves.entry(version.resource.clone()).or_default().log.push(change, &ALL, 0);
        }
        for ((resource, key), record) in shown.unwrap_or(newest) {
            let object = Object { value: record.parse(), record };
            shelves.entry(resource).or_default().objects.insert(key, Arc::new(object));
        }
        let last_told = past.versions().last().map_or(revision, |version| version.revision);
        Store::with(State { revision, last_told, shelves, horizon: Horizon::new(ALL.compaction_interval) }, ALL)
    }
}
