//! The file system's journal: what changed in names, sizes and allocations and is not yet committed, in the order in which it happened.
//!
//! The tree that processes see is always the newest; each entry here holds how to take its change back. A commit forgets the oldest entries, a
//! power cut takes back the newest. Nothing ticks: what the periodic commit and the write-back would have done by now is worked out from the
//! entries' times whenever the disk is used, and before a cut ([`State::settle`]).

use std::collections::VecDeque;

use corral_core::Nanos;

use crate::content::{Dirty, FileData, Removed, Stage};
use crate::fault::FaultKind;
use crate::inode::{InodeNumber, Kind, Times};
use crate::state::{Moment, State};

/// How to take a change back.
#[derive(Debug)]
pub(crate) enum Change {
    /// A new name: of a new file or directory, or a hard link.
    Added { parent: InodeNumber, name: String },
    /// A name that is gone. The inode is retained until this is committed.
    Removed { parent: InodeNumber, name: String, inode: InodeNumber },
    /// A name that moved; what it replaced is retained.
    Renamed {
        from_parent: InodeNumber,
        from_name: String,
        to_parent: InodeNumber,
        to_name: String,
        replaced: Option<InodeNumber>,
    },
    /// A truncation or an extension, or a punched hole, which leaves the size alone.
    Resized { inode: InodeNumber, size: Option<SizeBefore>, removed: Removed },
    /// Blocks allocated by a direct write, with the size the journal had before.
    Allocated { inode: InodeNumber, pages: Vec<u64>, durable_size: u64 },
    /// New times: the previous ones.
    Touched { inode: InodeNumber, times: Times },
}

/// The size that the journal had before it was set.
#[derive(Debug)]
pub(crate) struct SizeBefore {
    pub(crate) durable_size: u64,
    /// Which setting of the file's size it was, from 1.
    pub(crate) ordinal: u64,
}

/// A file's size when it was synced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyncedSize {
    pub(crate) size: u64,
    /// How many times the size had been set.
    pub(crate) resizes: u64,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    at: Nanos,
    change: Change,
}

/// The entries that are not committed.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    entries: VecDeque<Entry>,
    last: u64,
}

impl Pending {
    /// The number of the last entry, committed or not.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The number of the last committed entry.
    pub(crate) fn committed(&self) -> u64 {
        self.last - self.entries.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes the newest entry, to be undone.
    pub(crate) fn pop_newest(&mut self) -> Option<Change> {
        self.entries.pop_back().map(|entry| entry.change)
    }

    /// Pages that entries hold.
    pub(crate) fn removed_pages(&self) -> u64 {
        let pages = |entry: &Entry| match &entry.change {
            Change::Resized { removed, .. } => removed.pages.len() as u64,
            _ => 0,
        };
        self.entries.iter().map(pages).sum()
    }

    /// Pages of this inode that entries after `sequence` took away.
    pub(crate) fn removals_after(&mut self, inode: InodeNumber, sequence: u64) -> impl Iterator<Item = &mut Removed> {
        self.entries.iter_mut().filter_map(move |entry| match &mut entry.change {
            Change::Resized { inode: of, removed, .. } if *of == inode && entry.sequence > sequence => Some(removed),
            _ => None,
        })
    }
}

impl State {
    /// Adds an entry; on a disk that loses nothing it is committed at once. Returns its number.
    pub(crate) fn push(&mut self, now: Moment, change: Change) -> u64 {
        self.pending.last += 1;
        let sequence = self.pending.last;
        if self.options.loses_power {
            self.pending.entries.push_back(Entry { sequence, at: now.kernel, change });
        } else {
            self.forget(change);
        }
        sequence
    }

    /// A change can no longer be lost.
    fn forget(&mut self, change: Change) {
        let retained = match change {
            Change::Removed { inode, .. } => Some(inode),
            Change::Renamed { replaced, .. } => replaced,
            _ => None,
        };
        if let Some(number) = retained {
            self.inode_mut(number).retained -= 1;
            self.reap(number);
        }
    }

    /// Commits all entries up to this one, at this time; the device's volatile cache is flushed by it.
    pub(crate) fn commit(&mut self, upto: u64, at: Nanos) {
        while self.pending.entries.front().is_some_and(|entry| entry.sequence <= upto) {
            let entry = self.pending.entries.pop_front().expect("just seen");
            self.forget(entry.change);
        }
        self.flush_device(at);
    }

    /// To be called before pages become durable by another way than the journal's. If an entry that is not committed zeroed a part of one
    /// of them, that entry is committed now, as if somebody had called sync: the block stays the same, so taking the zeroes back later would
    /// mix the new content with what was there before them.
    pub(crate) fn commit_zeroed(&mut self, number: InodeNumber, pages: impl IntoIterator<Item = u64>, at: Nanos) {
        if let Some(Kind::File(data)) = self.inodes.get(&number).map(|inode| &inode.kind)
            && data.removal_sequence > self.pending.committed()
            && pages.into_iter().any(|page| data.zeroed.contains(&page))
        {
            let upto = data.removal_sequence;
            self.commit(upto, at);
        }
    }

    /// Brings the disk's durable side up to now: finished device writes, expired dirty pages, due commits.
    pub(crate) fn settle(&mut self, now: Nanos) {
        if !self.options.volatile_write_cache {
            self.flush_device(now);
        }
        let interval = self.options.file_system.commit_interval;
        while let Some(first) = self.pending.entries.front()
            && first.at + interval <= now
        {
            // A transaction takes in what happens until it is committed.
            let commit_at = first.at + interval;
            let in_time = self.pending.entries.partition_point(|entry| entry.at < commit_at);
            let upto = self.pending.entries[in_time - 1].sequence;
            self.commit(upto, commit_at);
        }
        let write_back = self.options.file_system.write_back;
        while let Some(&(since, number, page)) = self.cached_notes.front()
            && since + write_back <= now
        {
            self.cached_notes.pop_front();
            self.write_back(number, page, since, now);
        }
    }

    fn write_back(&mut self, number: InodeNumber, page: u64, since: Nanos, now: Nanos) {
        let fails = self.write_fails(number);
        let Some(Kind::File(data)) = self.inodes.get_mut(&number).map(|inode| &mut inode.kind) else { return };
        match data.dirty.get_mut(&page) {
            Some(dirty) if dirty.since == since && dirty.stage == Stage::Cached => {
                if fails {
                    dirty.stage = Stage::Failed;
                    data.writeback_failed = true;
                } else {
                    self.commit_zeroed(number, [page], now);
                    self.file_mut(number).expect("a file").clean(page);
                }
            }
            _ => {}
        }
    }

    /// Whether a fault lets writes of this inode's pages fail, asked by the path it was last opened or created by.
    fn write_fails(&self, number: InodeNumber) -> bool {
        let hits =
            |path: &str| self.faults.values().any(|rule| rule.kind == FaultKind::WriteError && rule.matches(path));
        !self.faults.is_empty() && self.inodes.get(&number).is_some_and(|inode| hits(&inode.path))
    }

    /// Direct writes that were done by this time are on the medium.
    fn flush_device(&mut self, at: Nanos) {
        self.flushed_until = self.flushed_until.max(at);
        while let Some(&(done, number, page)) = self.sent_notes.first()
            && done <= at
        {
            self.sent_notes.pop_first();
            if let Some(Kind::File(data)) = self.inodes.get_mut(&number).map(|inode| &mut inode.kind)
                && data.dirty.get(&page).is_some_and(|dirty| dirty.stage == Stage::Sent(done))
            {
                data.dirty.remove(&page);
            }
        }
    }

    /// Starts the write-back of a file's cached pages and takes it as done.
    pub(crate) fn flush(&mut self, number: InodeNumber) {
        if !self.options.loses_power || self.write_fails(number) {
            return;
        }
        let Ok(data) = self.inode(number).as_file() else { return };
        let since = |dirty: &Dirty| dirty.stage == Stage::Cached;
        let cached: Vec<u64> = data.dirty.iter().filter(|(_, dirty)| since(dirty)).map(|(&page, _)| page).collect();
        if cached.is_empty() {
            return;
        }
        // Not a flush of the device: nothing waits for it.
        self.commit_zeroed(number, cached.iter().copied(), Nanos::ZERO);
        let data = self.file_mut(number).expect("a file, as seen above");
        cached.into_iter().for_each(|page| data.clean(page));
        data.durable_size = data.size;
    }

    /// What fsync promises when it returns: the pages dirtied until it was called, the size and the journal as they were then.
    pub(crate) fn synced(&mut self, number: InodeNumber, size: SyncedSize, called_at: Nanos, upto: u64) {
        let mut upto = upto;
        if let Kind::File(data) = &self.inode(number).kind {
            upto = upto.max(data.flush_sequence);
            let written = |dirty: &Dirty| dirty.since <= called_at && dirty.stage == Stage::Cached;
            let pages: Vec<u64> =
                data.dirty.iter().filter(|(_, dirty)| written(dirty)).map(|(&page, _)| page).collect();
            self.commit_zeroed(number, pages.iter().copied(), called_at);
            let data = self.file_mut(number).expect("a file, as seen above");
            pages.into_iter().for_each(|page| data.clean(page));
        }
        self.keep_size(number, size, upto);
        // What was truncated away while the sync was under way had been written all the same, if the truncation is lost.
        for removed in self.pending.removals_after(number, upto) {
            for (_, dirty) in removed.pages.values_mut() {
                if dirty.as_ref().is_some_and(|dirty| dirty.since <= called_at && dirty.stage == Stage::Cached) {
                    *dirty = None;
                }
            }
        }
        self.commit(upto, called_at);
    }

    /// A synced size survives, whichever of the entries after `upto` are lost: none of them shrank the file, up to the first that set its size
    /// since. (What grew the file may have been punched out again, so that no page tells its size.)
    fn keep_size(&mut self, number: InodeNumber, synced: SyncedSize, upto: u64) {
        let Kind::File(data) = &mut self.inodes.get_mut(&number).expect("it is open").kind else { return };
        let since = self.pending.entries.partition_point(|entry| entry.sequence <= upto);
        let later = self.pending.entries.range_mut(since..).map(|entry| &mut entry.change);
        let mut sizes = Vec::new();
        let mut set_again = false;
        for change in later {
            match change {
                Change::Allocated { inode, durable_size, .. } if *inode == number => sizes.push(durable_size),
                Change::Resized { inode, size: Some(before), .. } if *inode == number => {
                    set_again = before.ordinal == synced.resizes + 1;
                    sizes.extend(set_again.then_some(&mut before.durable_size));
                    break;
                }
                _ => {}
            }
        }
        if data.resizes == synced.resizes {
            data.durable_size = data.durable_size.max(synced.size);
        } else if !set_again {
            // The size was set again, and that is committed.
            return;
        }
        sizes.into_iter().for_each(|size| *size = synced.size.max(*size));
    }

    /// Takes a change back.
    pub(crate) fn undo(&mut self, change: Change) {
        match change {
            Change::Added { parent, name } => drop(self.remove_entry(parent, &name)),
            Change::Removed { parent, name, inode } => {
                self.insert_entry(parent, &name, inode);
                self.inode_mut(inode).retained -= 1;
            }
            Change::Renamed { from_parent, from_name, to_parent, to_name, replaced } => {
                let inode = self.remove_entry(to_parent, &to_name);
                self.insert_entry(from_parent, &from_name, inode);
                if let Some(replaced) = replaced {
                    self.insert_entry(to_parent, &to_name, replaced);
                    self.inode_mut(replaced).retained -= 1;
                }
            }
            // The inode may be gone by now: the removal of its last name was committed, and its last handle closed later.
            Change::Resized { inode, size, removed } => self.undo_in_file(inode, |data| {
                data.durable_size = size.map_or(data.durable_size, |size| size.durable_size);
                data.put_back(removed);
            }),
            Change::Allocated { inode, pages, durable_size } => self.undo_in_file(inode, |data| {
                data.durable_size = durable_size;
                for page in pages {
                    data.pages.remove(&page);
                    data.dirty.remove(&page);
                }
            }),
            Change::Touched { inode, times } => {
                if let Some(inode) = self.inodes.get_mut(&inode) {
                    inode.times = times;
                }
            }
        }
    }

    fn undo_in_file(&mut self, number: InodeNumber, undo: impl FnOnce(&mut FileData)) {
        if let Some(Kind::File(data)) = self.inodes.get_mut(&number).map(|inode| &mut inode.kind) {
            undo(data);
        }
    }
}
