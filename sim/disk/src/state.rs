//! Everything on one disk: inodes, the journal's pending entries, handles, faults, and the books of space and dirty pages.
//!
//! Operations here are synchronous and complete; [`crate::device`] gives them their time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Waker;
use std::time::Duration;

use corral_core::Nanos;
use corral_core::ProcessId;
use corral_core::random::Stream;

use crate::block::PAGE;
use crate::content::FileData;
use crate::errno::{Errno, Outcome};
use crate::fault::{Access, FaultId, FaultKind, FaultRule};
use crate::inode::{Inode, InodeNumber, Kind, ROOT, Times};
use crate::journal::{Change, Pending};
use crate::options::DiskOptions;
use crate::power::CutSummary;

/// When an operation happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// By the machine's kernel, which does not age while it is frozen.
    pub(crate) kernel: Nanos,
    /// By the machine's wall clock as files are stamped, in nanoseconds since 1970.
    pub(crate) wall_ns: i128,
}

/// An open file or directory.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) inode: InodeNumber,
    pub(crate) process: ProcessId,
}

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Room for data in all.
    pub capacity_bytes: u64,
    /// What files and directories take.
    pub used_bytes: u64,
}

impl Space {
    /// What is left.
    pub fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes)
    }
}

/// A dirty page in the order in which pages became dirty; stale if the page does not say the same.
pub(crate) type DirtyNote = (Nanos, InodeNumber, u64);

pub(crate) struct State {
    pub(crate) options: DiskOptions,
    pub(crate) inodes: BTreeMap<InodeNumber, Inode>,
    next_inode: InodeNumber,
    pub(crate) used_pages: u64,
    pub(crate) pending: Pending,
    /// Pages in the page cache, by the time they became dirty.
    pub(crate) cached_notes: VecDeque<DirtyNote>,
    /// Pages sent to the device, by the time they are there.
    pub(crate) sent_notes: BTreeSet<DirtyNote>,
    pub(crate) notes_limit: usize,
    /// Direct writes that were done by then are on the medium.
    pub(crate) flushed_until: Nanos,
    pub(crate) handles: BTreeMap<u64, Handle>,
    next_handle: u64,
    pub(crate) faults: BTreeMap<FaultId, FaultRule>,
    pub(crate) next_fault: u64,
    pub(crate) stalled: BTreeMap<u64, Waker>,
    pub(crate) next_stalled: u64,
    /// When the device has done what it was asked for so far.
    pub(crate) busy_until: Nanos,
    /// Counts power cuts, from 1: what an earlier boot cached is not cached.
    pub(crate) boot: u32,
    pub(crate) frozen_since: Option<Nanos>,
    pub(crate) frozen_for: Duration,
    pub(crate) directory_order: u64,
    pub(crate) timing: Stream,
    pub(crate) chance: Stream,
    pub(crate) last_cut: Option<CutSummary>,
}

impl State {
    pub(crate) fn new(options: DiskOptions, now: Moment, mut chance: Stream, timing: Stream) -> State {
        let times = Times { modified: now.wall_ns, changed: now.wall_ns };
        let mut root = Inode::directory(0o755, times, "");
        root.links = 1;
        State {
            options,
            inodes: BTreeMap::from([(ROOT, root)]),
            // ext4 keeps the numbers up to 10 for itself, and 11 is its lost+found.
            next_inode: 12,
            used_pages: 1,
            pending: Pending::default(),
            cached_notes: VecDeque::new(),
            sent_notes: BTreeSet::new(),
            notes_limit: 0,
            flushed_until: Nanos::ZERO,
            handles: BTreeMap::new(),
            next_handle: 0,
            faults: BTreeMap::new(),
            next_fault: 0,
            stalled: BTreeMap::new(),
            next_stalled: 0,
            busy_until: Nanos::ZERO,
            boot: 1,
            frozen_since: None,
            frozen_for: Duration::ZERO,
            directory_order: chance.next_u64(),
            timing,
            chance,
            last_cut: None,
        }
    }

    // ---- inodes

    /// An inode that a name, a handle or a journal entry holds.
    pub(crate) fn inode(&self, number: InodeNumber) -> &Inode {
        self.inodes.get(&number).expect("whoever holds an inode's number keeps the inode")
    }

    pub(crate) fn inode_mut(&mut self, number: InodeNumber) -> &mut Inode {
        self.inodes.get_mut(&number).expect("whoever holds an inode's number keeps the inode")
    }

    /// The file behind a handle; EISDIR for a directory.
    pub(crate) fn file_mut(&mut self, number: InodeNumber) -> Outcome<&mut FileData> {
        self.inode_mut(number).as_file_mut()
    }

    pub(crate) fn add_inode(&mut self, inode: Inode) -> InodeNumber {
        let number = self.next_inode;
        self.next_inode += 1;
        self.used_pages += inode.pages();
        self.inodes.insert(number, inode);
        number
    }

    /// Frees what has neither name nor handle; forgets it once no journal entry could bring a name back.
    pub(crate) fn reap(&mut self, number: InodeNumber) {
        let Some(inode) = self.inodes.get_mut(&number) else { return };
        if inode.links > 0 || inode.opens > 0 {
            return;
        }
        if !inode.released {
            inode.released = true;
            self.used_pages -= inode.pages();
        }
        if inode.retained == 0 {
            self.inodes.remove(&number);
        }
    }

    /// Stamps a change: of content too, or of metadata only.
    pub(crate) fn touch(&mut self, number: InodeNumber, content: bool, now: Moment) {
        let committed = self.pending.committed();
        let inode = self.inode_mut(number);
        let before = inode.times;
        let modified = if content { now.wall_ns } else { before.modified };
        if before == (Times { modified, changed: now.wall_ns }) {
            return;
        }
        inode.times = Times { modified, changed: now.wall_ns };
        if inode.times_sequence <= committed {
            let sequence = self.push(now, Change::Touched { inode: number, times: before });
            self.inode_mut(number).times_sequence = sequence;
        }
    }

    /// Room on the disk.
    pub(crate) fn space(&self) -> Space {
        Space { capacity_bytes: self.options.capacity_bytes, used_bytes: self.used_pages * PAGE }
    }

    /// How many more pages may be taken by a file of this path.
    pub(crate) fn room(&self, path: &str) -> u64 {
        if self.faults.values().any(|rule| rule.kind == FaultKind::NoSpace && rule.matches(path)) {
            return 0;
        }
        (self.options.capacity_bytes / PAGE).saturating_sub(self.used_pages)
    }

    // ---- handles

    pub(crate) fn open(&mut self, inode: InodeNumber, process: ProcessId) -> u64 {
        self.next_handle += 1;
        self.inode_mut(inode).opens += 1;
        self.handles.insert(self.next_handle, Handle { inode, process });
        self.next_handle
    }

    /// The inode of a handle; EBADF after its process has ended or its machine has lost power.
    pub(crate) fn handle(&self, handle: u64) -> Outcome<InodeNumber> {
        self.handles.get(&handle).map(|handle| handle.inode).ok_or(Errno::EBADF)
    }

    /// Closes a handle, if it is still open.
    pub(crate) fn close(&mut self, handle: u64) {
        let Some(Handle { inode: number, .. }) = self.handles.remove(&handle) else { return };
        let inode = self.inode_mut(number);
        inode.opens -= 1;
        if let Kind::File(data) = &mut inode.kind
            && std::mem::take(&mut data.flush_on_close)
        {
            self.flush(number);
        }
        self.reap(number);
    }

    /// Closes what a process has open.
    pub(crate) fn close_all_of(&mut self, process: ProcessId) {
        let mine: Vec<u64> =
            self.handles.iter().filter(|(_, handle)| handle.process == process).map(|(&number, _)| number).collect();
        mine.into_iter().for_each(|handle| self.close(handle));
    }

    // ---- faults

    /// The error that a fault has for this access, if any; of several, that of the first set.
    pub(crate) fn injected(&self, path: &str, access: Access) -> Outcome<()> {
        let hits = |rule: &&FaultRule| rule.kind.error(access).is_some() && rule.matches(path);
        match self.faults.values().find(hits).and_then(|rule| rule.kind.error(access)) {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }

    /// Whether an operation on this path hangs.
    pub(crate) fn is_stalled(&self, path: &str) -> bool {
        self.faults.values().any(|rule| rule.kind == FaultKind::Stall && rule.matches(path))
    }

    /// What slow-disk faults add to an operation on this path.
    pub(crate) fn slowness(&mut self, path: &str) -> Duration {
        let mut total = Duration::ZERO;
        for rule in self.faults.values() {
            if let FaultKind::Slow { extra } = rule.kind
                && rule.matches(path)
            {
                total += extra.draw(&mut self.timing);
            }
        }
        total
    }
}
