//! What a power cut leaves of a disk.
//!
//! Fault model. The journal's entries that are not committed are lost from some point on, in the order in which they happened, each whole or
//! not at all; any point is possible, because anybody's fsync commits them all. Of the dirty pages of what is left, each comes through,
//! is lost, or is torn: sectors old and new. A page that had no block comes through whole or is a hole, because file systems show new
//! blocks only when they are written. What fsync returned for is not touched. A cut has a mood, drawn first, so that clean cuts (all lost,
//! all kept) are as common as mixed ones.

use corral_core::Nanos;
use corral_core::random::Stream;

use crate::block::{Block, PAGE};
use crate::content::{Dirty, FileData, Old, Stage};
use crate::inode::Kind;
use crate::options::DiskOptions;
use crate::state::State;

/// What the last power cut did to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutSummary {
    /// Journal entries (changes of names, sizes, allocations, times) that had not been committed and came through.
    pub entries_kept: u64,
    /// Journal entries that were lost.
    pub entries_lost: u64,
    /// Dirty pages that came through.
    pub pages_kept: u64,
    /// Dirty pages that were lost.
    pub pages_lost: u64,
    /// Dirty pages of which some sectors came through.
    pub pages_torn: u64,
}

/// How much a cut takes.
#[derive(Clone, Copy)]
enum Mood {
    LosesAll,
    KeepsAll,
    /// So many of four dirty pages come through.
    Mixed(u64),
}

impl State {
    /// The power goes. `now` is the kernel's time.
    pub(crate) fn cut_power(&mut self, now: Nanos) {
        self.settle(now);
        if !self.options.volatile_write_cache {
            debug_assert!(self.sent_notes.first().is_none_or(|note| note.0 > now), "what has arrived is settled");
        }
        self.handles.clear();
        let mut random = self.chance.clone();
        let mood = match random.below(4) {
            0 => Mood::LosesAll,
            1 => Mood::KeepsAll,
            _ => Mood::Mixed(random.between(1, 3)),
        };
        let mut summary = CutSummary::default();
        self.cut_journal(mood, &mut random, &mut summary);
        self.inodes.retain(|_, inode| inode.links > 0);
        let flushed_until = self.flushed_until;
        for inode in self.inodes.values_mut() {
            (inode.opens, inode.retained, inode.released) = (0, 0, false);
            if let Kind::File(data) = &mut inode.kind {
                // What a lost truncation had taken out of sight had arrived all the same.
                data.dirty.retain(|_, dirty| !matches!(dirty.stage, Stage::Sent(done) if done <= flushed_until));
                cut_file(data, mood, &self.options, &mut random, &mut summary);
            }
        }
        self.used_pages = self.inodes.values().map(crate::inode::Inode::pages).sum();
        self.cached_notes.clear();
        self.sent_notes.clear();
        self.busy_until = Nanos::ZERO;
        self.boot += 1;
        self.chance = random;
        self.last_cut = Some(summary);
    }

    fn cut_journal(&mut self, mood: Mood, random: &mut Stream, summary: &mut CutSummary) {
        let pending = self.pending.len() as u64;
        let kept = match mood {
            Mood::LosesAll => 0,
            Mood::KeepsAll => pending,
            Mood::Mixed(_) => random.between(0, pending),
        };
        (summary.entries_kept, summary.entries_lost) = (kept, pending - kept);
        for _ in kept..pending {
            let change = self.pending.pop_newest().expect("counted");
            self.undo(change);
        }
        // Not `commit`: the device's cache is as it is, and what is without a name goes below.
        while self.pending.pop_newest().is_some() {}
    }
}

fn cut_file(data: &mut FileData, mood: Mood, options: &DiskOptions, random: &mut Stream, summary: &mut CutSummary) {
    for (index, dirty) in std::mem::take(&mut data.dirty) {
        let end = data.size.min((index + 1) * PAGE);
        let fate = if dirty.stage == Stage::Failed { Fate::Lost } else { Fate::draw(mood, &dirty, random) };
        let size_follows = match fate {
            Fate::Kept => true,
            Fate::Torn => {
                tear(data, index, dirty, options.sector_bytes as usize, random);
                true
            }
            Fate::Lost => {
                lose(data, index, dirty);
                matches!(mood, Mood::Mixed(_)) && options.file_system.size_before_data && random.chance(1, 2)
            }
        };
        if size_follows {
            data.durable_size = data.durable_size.max(end);
        }
        *match fate {
            Fate::Kept => &mut summary.pages_kept,
            Fate::Lost => &mut summary.pages_lost,
            Fate::Torn => &mut summary.pages_torn,
        } += 1;
    }
    data.size = data.durable_size;
    let _beyond = data.pages.split_off(&data.size.div_ceil(PAGE));
    if !data.size.is_multiple_of(PAGE)
        && let Some(page) = data.pages.get_mut(&(data.size / PAGE))
    {
        page.block.zero((data.size % PAGE) as usize, PAGE as usize);
    }
    data.zeroed.clear();
    data.flush_on_close = false;
    data.writeback_failed = false;
}

/// What becomes of a dirty page.
#[derive(Clone, Copy)]
enum Fate {
    Kept,
    Lost,
    Torn,
}

impl Fate {
    fn draw(mood: Mood, dirty: &Dirty, random: &mut Stream) -> Fate {
        match mood {
            Mood::LosesAll => Fate::Lost,
            Mood::KeepsAll => Fate::Kept,
            Mood::Mixed(_) if matches!(dirty.old, Old::Block(_)) && random.chance(1, 4) => Fate::Torn,
            Mood::Mixed(kept_of_four) if random.chance(kept_of_four, 4) => Fate::Kept,
            Mood::Mixed(_) => Fate::Lost,
        }
    }
}

fn lose(data: &mut FileData, index: u64, dirty: Dirty) {
    match dirty.old {
        Old::Hole => drop(data.pages.remove(&index)),
        Old::Block(block) => set_block(data, index, block),
    }
}

fn tear(data: &mut FileData, index: u64, dirty: Dirty, sector: usize, random: &mut Stream) {
    let Old::Block(mut block) = dirty.old else { unreachable!("only a page with a block is torn") };
    let Some(page) = data.pages.get(&index) else { return };
    let mut bytes = vec![0; sector];
    for from in (0..PAGE as usize).step_by(sector) {
        if random.chance(1, 2) {
            page.block.read(from, &mut bytes);
            block.write(from, &bytes);
        }
    }
    set_block(data, index, block);
}

fn set_block(data: &mut FileData, index: u64, block: Block) {
    if let Some(page) = data.pages.get_mut(&index) {
        page.block = block;
    }
}
