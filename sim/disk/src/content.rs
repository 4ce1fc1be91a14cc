//! The content of one file: pages, which of them are dirty and what the device has in their place, and what a resize or a punched hole took away.
//!
//! A hole is a page that is not there. While a page is dirty the device's version of it is kept beside it, so that a power cut can choose.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use corral_core::Nanos;

use crate::Extent;
use crate::block::{Block, PAGE, PAGE_BYTES};
use crate::fault::Defect;

/// One page of a file.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) block: Block,
    /// The boot in which the page came into the page cache; 0 for "not there".
    pub(crate) cached_in: u32,
}

/// A page whose content a power cut may still take back.
#[derive(Clone, Debug)]
pub(crate) struct Dirty {
    /// When it first became dirty.
    pub(crate) since: Nanos,
    /// What the device has.
    pub(crate) old: Old,
    pub(crate) stage: Stage,
}

impl Dirty {
    /// Whether a block for the page is still to be allocated: one that was sent to the device has it.
    fn has_no_block(&self) -> bool {
        matches!(self.old, Old::Hole) && !matches!(self.stage, Stage::Sent(_))
    }
}

/// What the device has in the place of a dirty page.
#[derive(Clone, Debug)]
pub(crate) enum Old {
    /// No block: the page would read as zeros.
    Hole,
    /// A block with this content.
    Block(Block),
}

/// How far a dirty page is from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the page cache, to be written back.
    Cached,
    /// Written past the page cache; at the device for good at this time, or in its volatile cache from then on.
    Sent(Nanos),
    /// Written back in vain: an error was, or will be, reported, and nobody tries again.
    Failed,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// A disk that loses nothing: no record of what is dirty.
    Lasting { boot: u32 },
    /// The page cache.
    Cache { boot: u32, since: Nanos },
    /// The device.
    Device { since: Nanos, done: Nanos },
}

/// What a write did to a page, for those who keep the books.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageWrite {
    /// The page was a hole before.
    pub(crate) fresh: bool,
    /// The page became dirty in this stage just now.
    pub(crate) dirtied: bool,
    /// A block was allocated for a direct write; that allocation waits for the journal.
    pub(crate) allocated: bool,
    /// A direct write made what was in the page cache be written first.
    pub(crate) flushed: bool,
}

/// The content of a file.
#[derive(Debug, Default)]
pub(crate) struct FileData {
    /// Its size as processes see it.
    pub(crate) size: u64,
    /// Its size as the journal (committed or pending) has it.
    pub(crate) durable_size: u64,
    /// How many times the size was set, so that a sync under way sees that it was.
    pub(crate) resizes: u64,
    pub(crate) pages: BTreeMap<u64, Page>,
    pub(crate) dirty: BTreeMap<u64, Dirty>,
    /// Sectors that cannot be read.
    pub(crate) defects: Vec<Defect>,
    /// It was cut to nothing by an open: its new content is flushed when it is closed (ext4's and XFS's guard for replace-via-truncate).
    pub(crate) flush_on_close: bool,
    /// The last journal entry that fdatasync has to wait for.
    pub(crate) metadata_sequence: u64,
    /// The last journal entry that allocated blocks for what a direct write made be written from the page cache: fsync commits it too.
    pub(crate) flush_sequence: u64,
    /// The last journal entry that took pages, or parts of pages, away.
    pub(crate) removal_sequence: u64,
    /// Pages that entries up to that one zeroed in part.
    pub(crate) zeroed: BTreeSet<u64>,
    /// A write-back failed and nobody was told yet.
    pub(crate) writeback_failed: bool,
}

/// Pages and parts of pages that an operation took away, to be put back if the journal loses it.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// First and last page of the range that is as if it had never been written since.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) pages: BTreeMap<u64, (Page, Option<Dirty>)>,
    pub(crate) parts: Vec<Part>,
}

/// A part of a page that was zeroed.
#[derive(Debug)]
pub(crate) struct Part {
    page: u64,
    from: usize,
    current: Vec<u8>,
    old: Option<Vec<u8>>,
}

/// Splits a range of bytes into pages: page, first byte in it, first byte beyond it.
pub(crate) fn pages_of(offset: u64, len: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len;
    (offset / PAGE..end.div_ceil(PAGE)).map(move |page| {
        let start = page * PAGE;
        (page, offset.saturating_sub(start) as usize, (end - start).min(PAGE) as usize)
    })
}

impl Removed {
    /// Whether it took anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.parts.is_empty()
    }

    /// The pages that it zeroed in part.
    pub(crate) fn zeroed(&self) -> impl Iterator<Item = u64> {
        self.parts.iter().map(|part| part.page)
    }
}

impl FileData {
    /// Copies into `buffer`; how many bytes there were before the end of the file.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let count = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut rest = &mut buffer[..count];
        for (index, from, to) in pages_of(offset, count as u64) {
            let (here, after) = rest.split_at_mut(to - from);
            match self.pages.get(&index) {
                Some(page) => page.block.read(from, here),
                None => here.fill(0),
            }
            rest = after;
        }
        count
    }

    /// Writes within one page. Keeps the device's version when the page becomes dirty. Does not touch the size.
    pub(crate) fn write_page(&mut self, index: u64, from: usize, bytes: &[u8], target: Target) -> PageWrite {
        let (stage, since, cached_in) = match target {
            Target::Lasting { boot } => (None, Nanos::ZERO, boot),
            Target::Cache { boot, since } => (Some(Stage::Cached), since, boot),
            Target::Device { since, done } => (Some(Stage::Sent(done)), since, 0),
        };
        let before = self.dirty.get(&index).map(|dirty| dirty.stage);
        // A write on its way to the device counts as arrived once another follows: it may have, and the other may touch other sectors. And a
        // direct write lets what is in the page cache be written first.
        let replaces_old = match (stage, before) {
            (None, _) | (Some(_), Some(Stage::Failed)) | (Some(Stage::Cached), Some(Stage::Cached)) => false,
            (Some(_), _) => true,
        };
        let fresh = !self.pages.contains_key(&index);
        let old = self.overwrite(index, from, bytes, cached_in, replaces_old);
        let Some(stage) = stage else { return PageWrite { fresh, ..PageWrite::default() } };
        let had_block = !fresh && !self.dirty.get(&index).is_some_and(Dirty::has_no_block);
        let direct = matches!(stage, Stage::Sent(_));
        match (old, self.dirty.get_mut(&index)) {
            (Some(old), _) => drop(self.dirty.insert(index, Dirty { since, old, stage })),
            (None, Some(dirty)) if before == Some(Stage::Failed) => (dirty.since, dirty.stage) = (since, stage),
            _ => {}
        }
        PageWrite {
            fresh,
            dirtied: before != Some(stage),
            allocated: direct && !had_block,
            flushed: direct && before == Some(Stage::Cached),
        }
    }

    /// Of the pages that a write will touch, those that were zeroed in part and become durable by it, see [`FileData::write_page`].
    pub(crate) fn becoming_durable(&self, pages: Range<u64>, direct: bool) -> Vec<u64> {
        let sent = |page: &u64| self.dirty.get(page).is_some_and(|dirty| matches!(dirty.stage, Stage::Sent(_)));
        self.zeroed.range(pages).copied().filter(|page| direct || sent(page)).collect()
    }

    /// Changes a page or makes it; what it was before, if that is asked for.
    fn overwrite(&mut self, index: u64, from: usize, bytes: &[u8], cached_in: u32, replaces_old: bool) -> Option<Old> {
        match self.pages.entry(index) {
            Entry::Vacant(slot) => {
                slot.insert(Page { block: Block::containing(from, bytes), cached_in });
                Some(Old::Hole)
            }
            Entry::Occupied(slot) => {
                let page = slot.into_mut();
                page.cached_in = cached_in;
                if !replaces_old {
                    page.block.write(from, bytes);
                    None
                } else if bytes.len() == PAGE_BYTES {
                    Some(Old::Block(std::mem::replace(&mut page.block, Block::containing(0, bytes))))
                } else {
                    let old = page.block.clone();
                    page.block.write(from, bytes);
                    Some(Old::Block(old))
                }
            }
        }
    }

    /// Sets the size; what lies beyond is gone, also for the device.
    pub(crate) fn resize(&mut self, size: u64) -> Removed {
        let mut removed = Removed::default();
        if size < self.size {
            removed.range = Some((size.div_ceil(PAGE), u64::MAX));
            self.take_pages(&mut removed);
            if !size.is_multiple_of(PAGE) {
                self.zero_part(size / PAGE, (size % PAGE) as usize, PAGE_BYTES, &mut removed);
            }
        }
        self.size = size;
        removed
    }

    /// Frees the pages within a range and zeroes what it cuts of others.
    pub(crate) fn punch(&mut self, offset: u64, len: u64) -> Removed {
        // ext4 takes the whole last page if the range goes beyond the end of the file.
        let end = offset.saturating_add(len);
        let end = if end > self.size { self.size.next_multiple_of(PAGE) } else { end };
        let mut removed = Removed::default();
        if end <= offset {
            return removed;
        }
        let (first, beyond) = (offset.div_ceil(PAGE), end / PAGE);
        if first < beyond {
            removed.range = Some((first, beyond - 1));
            self.take_pages(&mut removed);
        }
        for (page, from, to) in pages_of(offset, end - offset) {
            if to - from < PAGE_BYTES {
                self.zero_part(page, from, to, &mut removed);
            }
        }
        removed
    }

    fn take_pages(&mut self, removed: &mut Removed) {
        let Some((first, last)) = removed.range else { return };
        while let Some((&index, _)) = self.pages.range(first..=last).next() {
            let page = self.pages.remove(&index).expect("just seen");
            removed.pages.insert(index, (page, self.dirty.remove(&index)));
        }
    }

    /// Zeroing the rest of a block is ordered before the commit of the operation that asks for it, so both versions are zeroed.
    fn zero_part(&mut self, index: u64, from: usize, to: usize, removed: &mut Removed) {
        let Some(page) = self.pages.get_mut(&index) else { return };
        // A write on its way to the device counts as arrived, as in `write_page`: otherwise it would arrive while the part waits to be put back.
        if self.dirty.get(&index).is_some_and(|dirty| matches!(dirty.stage, Stage::Sent(_))) {
            self.dirty.remove(&index);
        }
        let current = page.block.part(from, to);
        page.block.zero(from, to);
        let old = match self.dirty.get_mut(&index).map(|dirty| &mut dirty.old) {
            Some(Old::Block(block)) => {
                let part = block.part(from, to);
                block.zero(from, to);
                Some(part)
            }
            Some(Old::Hole) | None => None,
        };
        removed.parts.push(Part { page: index, from, current, old });
    }

    /// Puts back what an operation took, which the journal has lost. What was written there since is lost with it.
    pub(crate) fn put_back(&mut self, removed: Removed) {
        if let Some((first, last)) = removed.range {
            self.take_pages(&mut Removed { range: Some((first, last)), ..Removed::default() });
            for (index, (page, dirty)) in removed.pages {
                self.pages.insert(index, page);
                self.dirty.extend(dirty.map(|dirty| (index, dirty)));
            }
        }
        for part in removed.parts {
            match self.dirty.remove(&part.page) {
                None => {
                    if let Some(page) = self.pages.get_mut(&part.page) {
                        page.block.write(part.from, &part.current);
                    }
                }
                Some(Dirty { old: Old::Hole, .. }) => drop(self.pages.remove(&part.page)),
                Some(Dirty { old: Old::Block(mut block), .. }) => {
                    // It was clean when the part was taken if there is no older version of the part.
                    block.write(part.from, part.old.as_ref().unwrap_or(&part.current));
                    self.pages.insert(part.page, Page { block, cached_in: 0 });
                }
            }
        }
    }

    /// The device has this page now as it is.
    pub(crate) fn clean(&mut self, index: u64) {
        self.dirty.remove(&index);
        self.durable_size = self.durable_size.max(self.size.min((index + 1) * PAGE));
    }

    /// Whether a read or a partial write of this range needs the device.
    pub(crate) fn needs_device(&self, offset: u64, len: u64, boot: u32) -> bool {
        let end = self.size.min(offset.saturating_add(len));
        offset < end && self.pages.range(offset / PAGE..end.div_ceil(PAGE)).any(|(_, page)| page.cached_in != boot)
    }

    /// Notes that a range was read into the page cache.
    pub(crate) fn note_cached(&mut self, offset: u64, len: u64, boot: u32) {
        let end = self.size.min(offset.saturating_add(len));
        if offset < end {
            self.pages.range_mut(offset / PAGE..end.div_ceil(PAGE)).for_each(|(_, page)| page.cached_in = boot);
        }
    }

    /// The data extents that touch a range, clipped to it and to the size.
    pub(crate) fn extents(&self, offset: u64, len: u64) -> Vec<Extent> {
        let end = self.size.min(offset.saturating_add(len));
        let mut extents: Vec<Extent> = Vec::new();
        if offset >= end {
            return extents;
        }
        for &index in self.pages.range(offset / PAGE..end.div_ceil(PAGE)).map(|(index, _)| index) {
            let (start, stop) = ((index * PAGE).max(offset), ((index + 1) * PAGE).min(end));
            match extents.last_mut() {
                Some(last) if last.offset + last.len == start => last.len += stop - start,
                _ => extents.push(Extent { offset: start, len: stop - start }),
            }
        }
        extents
    }
}
