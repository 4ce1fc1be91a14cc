//! Time: what operations take, the queue before the device, stalls, and fsync.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use corral_core::{Nanos, world};

use crate::block::PAGE;
use crate::content::Stage;
use crate::disk::Disk;
use crate::errno::{Errno, Outcome};
use crate::fault::{Access, FaultKind};
use crate::inode::{InodeNumber, Kind};
use crate::journal::SyncedSize;
use crate::state::{Moment, State};

/// What an operation on names takes at least and at most: a few microseconds of the kernel's work in memory; the journal is written later.
const NAME_OPERATION_NS: (u64, u64) = (2_000, 10_000);
/// What the page cache takes for any access.
const CACHE_ACCESS_NS: u64 = 500;
/// Bytes a nanosecond that copying to and from the page cache moves.
const CACHE_BYTES_PER_NS: u64 = 8;

/// An operation as the digest knows it.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Operation {
    Open = 1,
    Read,
    Write,
    Resize,
    Punch,
    Sync,
    Stat,
    Extents,
    List,
    CreateDirectory,
    RemoveFile,
    RemoveDirectory,
    Rename,
    Link,
}

/// Waits while a path is stalled; forgets its waker when dropped.
struct Stall<'a> {
    disk: &'a Disk,
    path: &'a str,
    ticket: Option<u64>,
}

impl Stall<'_> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.disk.state();
        if let Some(ticket) = self.ticket.take() {
            state.stalled.remove(&ticket);
        }
        if !state.is_stalled(self.path) {
            return Poll::Ready(());
        }
        state.next_stalled += 1;
        let ticket = state.next_stalled;
        state.stalled.insert(ticket, context.waker().clone());
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = self.disk.state().stalled.remove(&ticket);
            drop(waker);
        }
    }
}

/// What copying so many bytes to or from the page cache takes.
pub(crate) fn cache_time_ns(bytes: usize) -> u64 {
    CACHE_ACCESS_NS + bytes as u64 / CACHE_BYTES_PER_NS
}

impl Disk {
    /// Returns once no fault stalls this path.
    pub(crate) async fn not_stalled(&self, path: &str) {
        let mut stall = Stall { disk: self, path, ticket: None };
        poll_fn(|context| stall.poll(context)).await;
    }

    /// Puts accesses into the device's queue; when they are done.
    pub(crate) fn book(&self, state: &mut State, path: &str, accesses: u64, bytes: u64) -> Nanos {
        let mut service: Duration = (0..accesses).map(|_| state.options.latency.draw(&mut state.timing)).sum();
        if let Some(rate) = state.options.bytes_per_second {
            service += Duration::from_nanos((u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1))) as u64);
        }
        let start = self.now().max(state.busy_until);
        state.busy_until = start + service;
        // A slow file does not hold up the others.
        state.busy_until + state.slowness(path)
    }

    /// An operation on names or metadata of one path or two: waits out stalls, meets faults, acts in one step, takes its time.
    pub(crate) async fn operate<T>(
        &self,
        operation: Operation,
        paths: [&str; 2],
        access: Access,
        action: impl FnOnce(&mut State, Moment) -> Outcome<T>,
    ) -> io::Result<T> {
        let [path, other] = paths;
        self.not_stalled(path).await;
        if other != path {
            self.not_stalled(other).await;
        }
        let (result, until) = {
            let mut state = self.state();
            let now = self.moment(&state);
            state.settle(now.kernel);
            let allowed = state.injected(path, access).and_then(|()| state.injected(other, access));
            let result = allowed.and_then(|()| action(&mut state, now));
            let subject = corral_core::journal::content_hash(path.as_bytes());
            let detail = if other == path { 0 } else { corral_core::journal::content_hash(other.as_bytes()) };
            self.fold(operation as u64, subject, detail, result.as_ref().map(|_| 0).map_err(|&errno| errno));
            let (least, most) = NAME_OPERATION_NS;
            let work = Duration::from_nanos(state.timing.between(least, most));
            (result, self.now() + work + state.slowness(path))
        };
        world().sleep_until(until).await;
        self.not_stalled(path).await;
        Ok(result?)
    }

    /// fsync, or fdatasync with `data_only`: what was written and done when it was called is durable when it returns.
    pub(crate) async fn sync(&self, handle: u64, path: &str, data_only: bool) -> io::Result<()> {
        self.not_stalled(path).await;
        let (plan, until) = {
            let mut state = self.state();
            let now = self.moment(&state);
            state.settle(now.kernel);
            let plan = SyncPlan::of(&state, state.handle(handle)?, data_only, now);
            (plan, self.book(&mut state, path, plan.accesses, plan.bytes))
        };
        world().sleep_until(until).await;
        self.not_stalled(path).await;
        let mut state = self.state();
        state.handle(handle)?;
        let result = state.finish_sync(path, plan);
        self.fold(Operation::Sync as u64, plan.inode, plan.bytes, result.map(|()| 0));
        Ok(result?)
    }
}

/// What an fsync has to do, as it was when it was called.
#[derive(Clone, Copy)]
struct SyncPlan {
    inode: InodeNumber,
    called_at: Nanos,
    size: SyncedSize,
    /// The last journal entry that it commits.
    upto: u64,
    accesses: u64,
    bytes: u64,
    /// There is something to write.
    writes: bool,
}

impl SyncPlan {
    fn of(state: &State, inode: InodeNumber, data_only: bool, now: Moment) -> SyncPlan {
        let committed = state.pending.committed();
        let (dirty, size, needs_metadata) = match &state.inode(inode).kind {
            Kind::File(data) => {
                let cached = || data.dirty.values().filter(|dirty| dirty.stage == Stage::Cached);
                let grows = data.size > data.durable_size
                    || cached().any(|dirty| matches!(dirty.old, crate::content::Old::Hole));
                let size = SyncedSize { size: data.size, resizes: data.resizes };
                (cached().count() as u64, size, grows || data.metadata_sequence > committed)
            }
            Kind::Directory(_) => (0, SyncedSize::default(), true),
        };
        // Without a change that is needed to find the data, fdatasync leaves the journal alone, and new times may be lost.
        let commits = (!data_only || needs_metadata) && state.pending.len() > 0;
        SyncPlan {
            inode,
            called_at: now.kernel,
            size,
            upto: if commits { state.pending.last() } else { committed },
            // The data, then the journal with its flush; with nothing to write still a flush.
            accesses: (u64::from(dirty > 0) + u64::from(commits)).max(1),
            bytes: dirty * PAGE + if commits { PAGE } else { 0 },
            writes: dirty > 0 || commits,
        }
    }
}

impl State {
    fn finish_sync(&mut self, path: &str, plan: SyncPlan) -> Outcome<()> {
        let meets = |kind| self.faults.values().any(|rule| rule.kind == kind && rule.matches(path));
        if plan.writes && meets(FaultKind::ReadOnly) {
            return Err(Errno::EROFS);
        }
        let fails = plan.writes && meets(FaultKind::WriteError);
        if let Kind::File(data) = &mut self.inode_mut(plan.inode).kind {
            if fails {
                let tried = data
                    .dirty
                    .values_mut()
                    .filter(|dirty| dirty.since <= plan.called_at && dirty.stage == Stage::Cached);
                tried.for_each(|dirty| dirty.stage = Stage::Failed);
            }
            if std::mem::take(&mut data.writeback_failed) {
                return Err(Errno::EIO);
            }
        }
        if fails {
            return Err(Errno::EIO);
        }
        self.synced(plan.inode, plan.size, plan.called_at, plan.upto);
        Ok(())
    }
}
