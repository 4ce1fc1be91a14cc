//! The past of a resource: a log of changes, cut off by compaction.
//!
//! Two horizons, as in the real server: etcd's compaction (lists of the past and continue tokens) and the watch cache's window (watches may
//! start from there even after a compaction). Both are kept lazily, at commits and reads; nothing ticks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use host::time::Instant;

use super::HistoryOptions;
use super::object::{Record, Tell};
use super::watcher::Pending;

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Change {
    pub revision: u64,
    pub tell: Tell,
    /// The version that was written; at a deletion the last one, under the deletion's revision.
    pub record: Arc<Record>,
    pub before: Option<Arc<Record>>,
}

impl Change {
    /// What a watch is told that saw the object before, and is to see it after.
    pub fn tell_to(&self, old: bool, new: bool) -> Option<Pending> {
        let (tell, record) = match (old, new) {
            (false, false) => return None,
            (false, true) => (Tell::Added, self.record.clone()),
            (true, true) => (Tell::Modified, self.record.clone()),
            (true, false) if self.tell == Tell::Deleted => (Tell::Deleted, self.record.clone()),
            // It changed and no longer fits: the old state under the new version.
            (true, false) => {
                let before = self.before.as_ref().expect("what was seen before was there before");
                (Tell::Deleted, Arc::new(before.at_revision(self.revision)))
            }
        };
        Some(Pending { tell, record, not_before: None })
    }
}

/// The log of one resource.
#[derive(Debug, Default)]
pub(crate) struct Log {
    changes: VecDeque<Change>,
    bytes: usize,
    /// The last revision that is no longer in the log.
    pub truncated: u64,
}

impl Log {
    /// Adds a change and drops what nobody may ask for any more.
    pub fn push(&mut self, change: Change, options: &HistoryOptions, compacted: u64) {
        self.bytes += change.record.bytes.len();
        self.changes.push_back(change);
        while let Some(first) = self.changes.front() {
            let outdated = first.revision <= compacted && self.changes.len() > options.watch_window;
            if !outdated && self.bytes <= options.max_bytes {
                break;
            }
            self.truncated = first.revision;
            self.bytes -= first.record.bytes.len();
            self.changes.pop_front();
        }
    }

    /// The changes after a revision, oldest first.
    pub fn after(&self, revision: u64) -> impl DoubleEndedIterator<Item = &Change> {
        let start = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.range(start..)
    }
}

/// Up to where history is compacted.
#[derive(Debug)]
pub(crate) struct Horizon {
    interval: Duration,
    last_tick: Instant,
    revision_at_tick: u64,
    /// Lists of a revision below this one are gone.
    pub compacted: u64,
}

impl Horizon {
    pub fn new(interval: Duration) -> Horizon {
        Horizon { interval, last_tick: Instant::now(), revision_at_tick: 0, compacted: 0 }
    }

    /// Catches up with the clock; `revision` is the last one before now. At each tick everything older than the tick before goes.
    pub fn advance(&mut self, revision: u64) {
        let elapsed = super::since(self.last_tick);
        if elapsed < self.interval {
            return;
        }
        let ticks = (elapsed.as_nanos() / self.interval.as_nanos().max(1)).min(u128::from(u32::MAX)) as u32;
        self.last_tick = self.last_tick + self.interval * ticks;
        self.compacted = if ticks > 1 { revision } else { self.revision_at_tick };
        self.revision_at_tick = revision;
    }
}
