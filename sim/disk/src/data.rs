//! Operations on the content of files: positioned reads and writes, sizes, holes, and what has to be known about them before they begin.

use corral_core::Nanos;

use crate::block::PAGE;
use crate::content::{Removed, Target, pages_of};
use crate::errno::{Errno, Outcome};
use crate::fault::heal;
use crate::inode::InodeNumber;
use crate::journal::{Change, SizeBefore};
use crate::state::{Moment, State};

/// Largest file: 16 TiB less a block, as ext4 with blocks of 4 KiB.
const FILE_LIMIT_BYTES: u64 = (16 << 40) - PAGE;

/// Stale notes of dirty pages are swept out when there are more than this, and then twice as many as were left.
const NOTES_LIMIT: usize = 1024;

impl State {
    /// Writes as much as fits; ENOSPC or EFBIG if that is nothing. `done` is when a direct write is at the device; none for a write into
    /// the page cache.
    pub(crate) fn write(
        &mut self,
        number: InodeNumber,
        path: &str,
        offset: u64,
        bytes: &[u8],
        done: Option<Nanos>,
        now: Moment,
    ) -> Outcome<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let count = self.fitting(number, path, offset, bytes.len() as u64)?;
        let bytes = &bytes[..count as usize];
        let pages = offset / PAGE..(offset + count).div_ceil(PAGE);
        let lasting = self.inode(number).as_file()?.becoming_durable(pages, done.is_some());
        self.commit_zeroed(number, lasting, now.kernel);
        self.write_pages(number, offset, bytes, done, now)?;
        let sector = u64::from(self.options.sector_bytes);
        let data = self.file_mut(number)?;
        data.size = data.size.max(offset + count);
        heal(&mut data.defects, offset, count, sector);
        self.touch(number, true, now);
        Ok(bytes.len())
    }

    fn write_pages(
        &mut self,
        number: InodeNumber,
        offset: u64,
        bytes: &[u8],
        done: Option<Nanos>,
        now: Moment,
    ) -> Outcome<()> {
        let (boot, since, end) = (self.boot, now.kernel, offset + bytes.len() as u64);
        let target = match done {
            _ if !self.options.loses_power => Target::Lasting { boot },
            Some(done) => Target::Device { since, done },
            None => Target::Cache { boot, since },
        };
        let data = self.inodes.get_mut(&number).expect("whoever writes holds it").as_file_mut()?;
        let (mut allocated, mut flushed) = (Vec::new(), false);
        let mut rest = bytes;
        for (page, from, to) in pages_of(offset, bytes.len() as u64) {
            let (here, after) = rest.split_at(to - from);
            rest = after;
            let write = data.write_page(page, from, here, target);
            self.used_pages += u64::from(write.fresh);
            if write.allocated {
                allocated.push(page);
            }
            flushed |= write.flushed;
            if write.dirtied {
                match done {
                    Some(done) => drop(self.sent_notes.insert((done, number, page))),
                    None => self.cached_notes.push_back((since, number, page)),
                }
            }
        }
        let durable_size = data.durable_size;
        if done.is_some() && (!allocated.is_empty() || end > durable_size) {
            // A direct write past the end makes the size follow, in the same entry as the allocation.
            data.durable_size = durable_size.max(end);
            let sequence = self.push(now, Change::Allocated { inode: number, pages: allocated, durable_size });
            let data = self.file_mut(number)?;
            data.metadata_sequence = sequence;
            if flushed {
                data.flush_sequence = sequence;
            }
        }
        if self.cached_notes.len() > self.notes_limit.max(NOTES_LIMIT) {
            self.sweep_notes();
        }
        Ok(())
    }

    /// How many of these bytes can be written before the room or the largest file ends.
    fn fitting(&self, number: InodeNumber, path: &str, offset: u64, len: u64) -> Outcome<u64> {
        if offset >= FILE_LIMIT_BYTES {
            return Err(Errno::EFBIG);
        }
        let len = len.min(FILE_LIMIT_BYTES - offset);
        let data = self.inode(number).as_file()?;
        let pages = offset / PAGE..(offset + len).div_ceil(PAGE);
        let mut room = self.room(path);
        // Each page of the range could be new: only if they do not all fit is it worth to look which are.
        if pages.end - pages.start <= room {
            return Ok(len);
        }
        for page in pages {
            if !data.pages.contains_key(&page) {
                if room == 0 {
                    let count = (page * PAGE).saturating_sub(offset);
                    return if count == 0 { Err(Errno::ENOSPC) } else { Ok(count) };
                }
                room -= 1;
            }
        }
        Ok(len)
    }

    fn sweep_notes(&mut self) {
        let inodes = &self.inodes;
        self.cached_notes.retain(|&(since, number, page)| {
            let data = inodes.get(&number).and_then(|inode| inode.as_file().ok());
            data.and_then(|data| data.dirty.get(&page)).is_some_and(|dirty| dirty.since == since)
        });
        self.notes_limit = self.cached_notes.len() * 2;
    }

    /// Sets the size; a larger one adds a hole.
    pub(crate) fn resize(&mut self, number: InodeNumber, size: u64, now: Moment) -> Outcome<()> {
        if size > FILE_LIMIT_BYTES {
            return Err(Errno::EFBIG);
        }
        let data = self.file_mut(number)?;
        if data.size != size {
            data.resizes += 1;
            let durable_size = std::mem::replace(&mut data.durable_size, size);
            let before = SizeBefore { durable_size, ordinal: data.resizes };
            let removed = data.resize(size);
            self.note_removed(number, Some(before), removed, now)?;
        }
        self.touch(number, true, now);
        Ok(())
    }

    /// Frees the whole pages in a range and zeroes the rest of it; the size stays.
    pub(crate) fn punch(&mut self, number: InodeNumber, offset: u64, len: u64, now: Moment) -> Outcome<()> {
        if len == 0 || offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Errno::EINVAL);
        }
        let removed = self.file_mut(number)?.punch(offset, len);
        if !removed.is_empty() {
            self.note_removed(number, None, removed, now)?;
        }
        self.touch(number, true, now);
        Ok(())
    }

    fn note_removed(
        &mut self,
        number: InodeNumber,
        size: Option<SizeBefore>,
        removed: Removed,
        now: Moment,
    ) -> Outcome<()> {
        self.used_pages -= removed.pages.len() as u64;
        let committed = self.pending.committed();
        let zeroed: Vec<u64> = removed.zeroed().collect();
        let takes = !removed.is_empty();
        let sequence = self.push(now, Change::Resized { inode: number, size, removed });
        let data = self.file_mut(number)?;
        data.metadata_sequence = sequence;
        if takes {
            if data.removal_sequence <= committed {
                data.zeroed.clear();
            }
            data.removal_sequence = sequence;
            data.zeroed.extend(zeroed);
        }
        Ok(())
    }

    /// Whether a read, or the pages that a write changes in part, have to come from the device.
    pub(crate) fn needs_device(&self, number: InodeNumber, offset: u64, len: u64) -> Outcome<bool> {
        Ok(self.inode(number).as_file()?.needs_device(offset, len, self.boot))
    }

    /// EIO if a range cannot be read. Through the page cache whole pages are read, and what is cached needs no reading.
    pub(crate) fn readable(&self, number: InodeNumber, offset: u64, len: u64, direct: bool) -> Outcome<()> {
        let data = self.inode(number).as_file()?;
        if data.defects.is_empty() {
            return Ok(());
        }
        let end = data.size.min(offset.saturating_add(len));
        let unreadable = |from: u64, to: u64| data.defects.iter().any(|defect| defect.touches(from, to));
        let broken = if direct {
            offset < end && unreadable(offset, end)
        } else {
            let pages = data.pages.range(offset / PAGE..end.div_ceil(PAGE).max(offset / PAGE));
            pages
                .filter(|(_, page)| page.cached_in != self.boot)
                .any(|(&index, _)| unreadable(index * PAGE, (index + 1) * PAGE))
        };
        if broken { Err(Errno::EIO) } else { Ok(()) }
    }
}
