//! Open files: positioned reads and writes, sizes, holes, extents, sync.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corral_core::journal::content_hash;
use corral_core::{Nanos, world};

use crate::block::PAGE;
use crate::device::{Operation, cache_time_ns};
use crate::disk::Disk;
use crate::errno::{Errno, Outcome};
use crate::fault::Access;
use crate::inode::{InodeNumber, Metadata};
use crate::open::OpenOptions;
use crate::state::{Moment, State};

/// One in so many accesses of the page cache gives way to other tasks and pays for all since the last that did: an event each would cost
/// more than the access.
const ACCESSES_PER_PAUSE: u64 = 8;

/// A range of a file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

/// An open file. Closed when dropped, or when its process ends.
pub struct File {
    disk: Arc<Disk>,
    /// 0 until it is open.
    handle: u64,
    /// The path on the disk by which it was opened; faults go by it.
    path: String,
    options: OpenOptions,
    /// Time that accesses of the page cache took and that was not waited for yet.
    owed_ns: AtomicU64,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {:?}", self.path, self.disk)
    }
}

impl Drop for File {
    // After the end of its process the handle is gone already, and this has no effect.
    fn drop(&mut self) {
        self.disk.state().close(self.handle);
    }
}

/// What an access has to wait for before it can be done.
enum Step {
    /// Nothing: it is done, with so many bytes; wait until then.
    Done(usize, Nanos),
    /// The device reads first.
    Fetch(Nanos),
}

impl File {
    /// Not open yet: the handle goes into its slot.
    pub(crate) fn unopened(disk: Arc<Disk>, path: String, options: OpenOptions) -> File {
        File { disk, handle: 0, path, options, owed_ns: AtomicU64::new(0) }
    }

    /// Where the handle goes, and the path.
    pub(crate) fn slot(&mut self) -> (&mut u64, &str) {
        (&mut self.handle, &self.path)
    }

    /// Reads from an offset; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// EBADF, EISDIR, EINVAL (O_DIRECT alignment), EIO.
    pub async fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.not_stalled(&self.path).await;
        let mut fetched = false;
        loop {
            let step = self.try_read(buffer, offset, fetched);
            match step? {
                Step::Done(count, until) => {
                    self.wait_until(until).await;
                    return Ok(count);
                }
                Step::Fetch(until) => {
                    world().sleep_until(until).await;
                    self.disk.not_stalled(&self.path).await;
                    fetched = true;
                }
            }
        }
    }

    fn try_read(&self, buffer: &mut [u8], offset: u64, fetched: bool) -> Outcome<Step> {
        let mut state = self.disk.state();
        let now = self.disk.moment(&state);
        state.settle(now.kernel);
        let result = self.begin_read(&mut state, offset, buffer.len()).and_then(|(inode, device)| {
            let len = buffer.len() as u64;
            if device && !fetched {
                let there = state.inode(inode).as_file()?.size.saturating_sub(offset).min(len);
                return Ok(Step::Fetch(self.disk.book(&mut state, &self.path, 1, there)));
            }
            state.readable(inode, offset, len, self.options.direct)?;
            let boot = state.boot;
            let data = state.file_mut(inode)?;
            let count = data.read(offset, buffer);
            if device && !self.options.direct {
                data.note_cached(offset, len, boot);
            }
            // What came from the device was waited for.
            let until = if fetched { Nanos::ZERO } else { self.cache_access(&mut state, count) };
            Ok(Step::Done(count, until))
        });
        if !matches!(result, Ok(Step::Fetch(_))) {
            let count = result.as_ref().map(|step| if let Step::Done(count, _) = step { *count as u64 } else { 0 });
            self.disk.fold(Operation::Read as u64, self.handle, offset, count.map_err(|&errno| errno));
        }
        result
    }

    /// The inode, and whether the device has to be asked.
    fn begin_read(&self, state: &mut State, offset: u64, len: usize) -> Outcome<(InodeNumber, bool)> {
        let inode = state.handle(self.handle)?;
        if !self.options.read {
            return Err(Errno::EBADF);
        }
        state.inode(inode).as_file()?;
        self.check_alignment(state, offset, len)?;
        state.injected(&self.path, Access::Read)?;
        // A direct read finds nothing in the page cache: no boot has this number.
        let boot = if self.options.direct { u32::MAX } else { state.boot };
        Ok((inode, state.inode(inode).as_file()?.needs_device(offset, len as u64, boot)))
    }

    fn check_alignment(&self, state: &State, offset: u64, len: usize) -> Outcome<()> {
        let sector = u64::from(state.options.sector_bytes);
        let aligned = offset.is_multiple_of(sector) && (len as u64).is_multiple_of(sector);
        if self.options.direct && !aligned { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Accounts for an access of the page cache; until when to wait, if this is the one that does.
    fn cache_access(&self, state: &mut State, bytes: usize) -> Nanos {
        let mut owed = self.owed_ns.load(Ordering::Relaxed) + cache_time_ns(bytes);
        let slowness = state.slowness(&self.path);
        owed += slowness.as_nanos() as u64;
        let pause = !slowness.is_zero() || state.timing.chance(1, ACCESSES_PER_PAUSE);
        self.owed_ns.store(if pause { 0 } else { owed }, Ordering::Relaxed);
        if pause { Nanos(self.disk.now().0 + owed) } else { Nanos::ZERO }
    }

    async fn wait_until(&self, until: Nanos) {
        if until > Nanos::ZERO {
            world().sleep_until(until).await;
            self.disk.not_stalled(&self.path).await;
        }
    }

    /// Fills the buffer from an offset.
    ///
    /// # Errors
    /// As [`File::read_at`]; `UnexpectedEof` if the file ends before the buffer does.
    pub async fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Writes at an offset (at the end, if opened to append); fewer bytes than asked for only if the disk is nearly full.
    ///
    /// # Errors
    /// EBADF, EINVAL (O_DIRECT alignment), ENOSPC, EFBIG, EROFS, EIO.
    pub async fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.not_stalled(&self.path).await;
        let mut fetched = false;
        loop {
            let step = self.try_write(bytes, offset, fetched);
            match step? {
                Step::Done(count, until) => {
                    self.wait_until(until).await;
                    return Ok(count);
                }
                Step::Fetch(until) => {
                    world().sleep_until(until).await;
                    self.disk.not_stalled(&self.path).await;
                    fetched = true;
                }
            }
        }
    }

    fn try_write(&self, bytes: &[u8], offset: u64, fetched: bool) -> Outcome<Step> {
        let mut state = self.disk.state();
        let now = self.disk.moment(&state);
        state.settle(now.kernel);
        let result = self.begin_write(&state, offset, bytes.len()).and_then(|(inode, offset)| {
            if !self.options.direct
                && let Some(step) = self.fetch_edges(&mut state, inode, offset, bytes.len() as u64, fetched)?
            {
                return Ok(step);
            }
            if self.options.direct {
                // Refused before it takes its place in the device's queue.
                let until = self.disk.book(&mut state, &self.path, 1, bytes.len() as u64);
                let done = self.disk.kernel_time(&state, until);
                let count = state.write(inode, &self.path, offset, bytes, Some(done), now)?;
                return Ok(Step::Done(count, until));
            }
            let count = state.write(inode, &self.path, offset, bytes, None, now)?;
            Ok(Step::Done(count, self.cache_access(&mut state, count)))
        });
        if !matches!(result, Ok(Step::Fetch(_))) {
            // The ends of what is written stand for all of it: hashing 4 KiB costs as much as writing it.
            let (head, tail) = (&bytes[..bytes.len().min(64)], &bytes[bytes.len().saturating_sub(64)..]);
            let content = content_hash(head) ^ content_hash(tail).rotate_left(1);
            let count = result.as_ref().map(|step| if let Step::Done(count, _) = step { *count as u64 } else { 0 });
            self.disk.fold(Operation::Write as u64, self.handle ^ content, offset, count.map_err(|&errno| errno));
        }
        result
    }

    fn begin_write(&self, state: &State, offset: u64, len: usize) -> Outcome<(InodeNumber, u64)> {
        let inode = state.handle(self.handle)?;
        if !self.options.writes() {
            return Err(Errno::EBADF);
        }
        // Linux appends even where an offset is given.
        let offset = if self.options.append { state.inode(inode).as_file()?.size } else { offset };
        if offset.checked_add(len as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Errno::EINVAL);
        }
        self.check_alignment(state, offset, len)?;
        let access = if self.options.direct { Access::WriteDirect } else { Access::WriteCached };
        state.injected(&self.path, access)?;
        Ok((inode, offset))
    }

    /// Pages that a buffered write changes only in part have to be read first, if they are not cached.
    fn fetch_edges(
        &self,
        state: &mut State,
        inode: InodeNumber,
        offset: u64,
        len: u64,
        fetched: bool,
    ) -> Outcome<Option<Step>> {
        let end = offset + len;
        let boot = state.boot;
        for edge in [offset, end] {
            if edge % PAGE == 0 || len == 0 {
                continue;
            }
            let start = edge / PAGE * PAGE;
            if !state.needs_device(inode, start, PAGE)? {
                continue;
            }
            if !fetched {
                return Ok(Some(Step::Fetch(self.disk.book(state, &self.path, 1, PAGE))));
            }
            state.readable(inode, start, PAGE, false)?;
            state.file_mut(inode)?.note_cached(start, PAGE, boot);
        }
        Ok(None)
    }

    /// Writes all of it, in as many writes as it takes.
    ///
    /// # Errors
    /// As [`File::write_at`]; what fitted before the error is written.
    pub async fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            done += self.write_at(&bytes[done..], offset + done as u64).await?;
        }
        Ok(())
    }

    /// An operation on the inode behind the handle.
    async fn on_inode<T>(
        &self,
        operation: Operation,
        access: Access,
        action: impl FnOnce(&mut State, InodeNumber, Moment) -> Outcome<T>,
    ) -> io::Result<T> {
        let on_handle = |state: &mut State, now| {
            let inode = state.handle(self.handle)?;
            action(state, inode, now)
        };
        self.disk.operate(operation, [&self.path; 2], access, on_handle).await
    }

    /// Sets the size: cuts, or adds a hole.
    ///
    /// # Errors
    /// EINVAL if not open for writing, EFBIG, EROFS, EIO, EBADF.
    pub async fn set_len(&self, size: u64) -> io::Result<()> {
        if !self.options.writes() || size > i64::MAX as u64 {
            return Err(Errno::EINVAL.into());
        }
        self.on_inode(Operation::Resize, Access::Change, |state, inode, now| state.resize(inode, size, now)).await
    }

    /// Makes a hole without changing the size: pages wholly within the range are freed, the rest of it is zeroed.
    ///
    /// # Errors
    /// EBADF if not open for writing, EINVAL for an empty or impossible range, EROFS, EIO.
    pub async fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Err(Errno::EINVAL.into());
        }
        if !self.options.writes() {
            return Err(Errno::EBADF.into());
        }
        self.on_inode(Operation::Punch, Access::Change, |state, inode, now| state.punch(inode, offset, len, now)).await
    }

    /// fsync: when it returns, the file's content, size and all changes of names made before on this disk survive a power cut.
    ///
    /// # Errors
    /// EIO if something could not be written (reported once), EROFS, EBADF.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.disk.sync(self.handle, &self.path, false).await
    }

    /// fdatasync: content and size survive; times, and changes of names, need not.
    ///
    /// # Errors
    /// As [`File::sync_all`].
    pub async fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(self.handle, &self.path, true).await
    }

    /// fstat.
    ///
    /// # Errors
    /// EBADF.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        self.on_inode(Operation::Stat, Access::Look, |state, inode, _| Ok(state.inode(inode).metadata(inode))).await
    }

    /// All ranges that have data, as SEEK_DATA and SEEK_HOLE find them: in blocks of 4 KiB, clipped at the end of the file.
    ///
    /// # Errors
    /// EBADF, EISDIR.
    pub async fn extents(&self) -> io::Result<Vec<Extent>> {
        self.extents_in(0, u64::MAX).await
    }

    /// The parts of a range that have data.
    ///
    /// # Errors
    /// As [`File::extents`].
    pub async fn extents_in(&self, offset: u64, len: u64) -> io::Result<Vec<Extent>> {
        self.on_inode(Operation::Extents, Access::Look, |state, inode, _| {
            Ok(state.inode(inode).as_file()?.extents(offset, len))
        })
        .await
    }
}
