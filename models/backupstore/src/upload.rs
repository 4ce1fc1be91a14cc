//! Uploading blocks with several workers: the part that backups of volumes and of backing images have in common
//! (deltablock.go, common/backup.go).
//!
//! Workers take extents from one queue. When one of them fails, the others stop before their next extent; the operation
//! does not wait for them, so a block may still arrive in the store after the backup was reported as failed and its
//! lock was left.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::block;
use crate::config::BlockMapping;
use crate::error::{Context as _, Error, Result};
use crate::store::Backupstore;

/// Share of the progress that stands for blocks; the rest is the final configuration.
const PERCENT_OF_BLOCKS: f64 = 95.0;

/// A stretch that may hold data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: i64,
    /// How long it is, in bytes.
    pub size: i64,
}

/// Where blocks come from and whom their progress is told.
pub(crate) trait BlockSource: Send + Sync + 'static {
    fn read<'a>(&'a self, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>>;
    fn progress(&self, percent: i64);
}

/// What is to be uploaded, and how.
pub(crate) struct Upload {
    pub store: Backupstore,
    pub compression: String,
    pub block_size: i64,
    pub workers: usize,
    /// Whether blocks that are in the store already are uploaded again.
    pub again: bool,
    /// Where a block of this checksum belongs.
    pub path: Box<dyn Fn(&str) -> String + Send + Sync>,
}

/// What came of an upload, so far or in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uploaded {
    /// All blocks by offset.
    pub blocks: Vec<BlockMapping>,
    /// Blocks that were not in the store before.
    pub new_blocks: i64,
    pub new_bytes: i64,
    pub repeated_bytes: i64,
    pub percent: i64,
}

/// What the workers share.
struct Job {
    upload: Upload,
    source: Arc<dyn BlockSource>,
    total_blocks: i64,
    extents: Mutex<VecDeque<Extent>>,
    progress: Mutex<Progress>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Progress {
    uploaded: Uploaded,
    processed_blocks: i64,
    by_offset: BTreeMap<i64, String>,
    /// Offsets that wait for a block of this checksum, which one worker is dealing with.
    in_hand: BTreeMap<String, Vec<i64>>,
}

/// Uploads the blocks of these extents. An error comes with the progress that was made.
pub(crate) async fn run(upload: Upload, source: Arc<dyn BlockSource>, extents: Vec<Extent>) -> (Uploaded, Result<()>) {
    let total_blocks = extents.iter().map(|extent| blocks_in(extent, upload.block_size)).sum();
    let workers = upload.workers;
    let job = Arc::new(Job {
        upload,
        source,
        total_blocks,
        extents: Mutex::new(extents.into()),
        progress: Mutex::default(),
        stopped: AtomicBool::new(false),
    });
    let (sender, mut results) = mpsc::channel(workers.max(1));
    for _ in 0..workers {
        let (job, sender) = (Arc::clone(&job), sender.clone());
        drop(host::spawn(async move {
            if let Err(error) = job.work().await {
                let _ = sender.send(error).await;
            }
        }));
    }
    drop(sender);
    let failure = results.recv().await;
    job.stopped.store(true, Ordering::Relaxed);
    let mut uploaded = job.progress().uploaded.clone();
    uploaded.blocks = job.sorted_blocks();
    (uploaded, failure.map_or(Ok(()), Err))
}

/// A backing image's last block may be short; a volume's blocks are all whole.
fn blocks_in(extent: &Extent, block_size: i64) -> i64 {
    (extent.size + block_size - 1) / block_size
}

impl Job {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nothing panics while progress is held")
    }

    fn next_extent(&self) -> Option<Extent> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        self.extents.lock().expect("nothing panics while extents are held").pop_front()
    }

    async fn work(&self) -> Result<()> {
        while let Some(extent) = self.next_extent() {
            for index in 0..blocks_in(&extent, self.upload.block_size) {
                let offset = extent.offset + index * self.upload.block_size;
                let length = self.upload.block_size.min(extent.offset + extent.size - offset);
                let mut block = vec![0; usize::try_from(length).expect("a block's length is positive")];
                self.source.read(offset, &mut block).await?;
                self.store_block(offset, &block).await?;
            }
        }
        Ok(())
    }

    async fn store_block(&self, offset: i64, block: &[u8]) -> Result<()> {
        let sum = block::checksum(block);
        // Equal blocks at several offsets are uploaded by the first worker that meets one.
        match self.progress().in_hand.entry(sum.clone()) {
            std::collections::btree_map::Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(offset);
                return Ok(());
            }
            std::collections::btree_map::Entry::Vacant(first) => drop(first.insert(vec![offset])),
        }
        let stored = self.upload_block(&sum, block).await;
        if stored.is_ok() || !self.upload.store.context.behaviour.failed_block_is_not_done {
            let is_new = matches!(stored, Ok(Stored::New(_)) | Err(_));
            self.finish(&sum, is_new);
        }
        let mut progress = self.progress();
        match stored? {
            Stored::New(bytes) => progress.uploaded.new_bytes += bytes,
            Stored::Again(bytes) => progress.uploaded.repeated_bytes += bytes,
            Stored::Before => {}
        }
        Ok(())
    }

    async fn upload_block(&self, sum: &str, block: &[u8]) -> Result<Stored> {
        let path = (self.upload.path)(sum);
        let there = self.upload.store.exists(&path).await;
        if there && !self.upload.again {
            return Ok(Stored::Before);
        }
        let packed = block::compress(&self.upload.compression, block)?;
        let bytes = i64::try_from(packed.len()).expect("a block fits in memory");
        let written = self.upload.store.driver.write(&path, packed).await;
        written.context(|| "failed to write data during saving blocks".to_owned())?;
        Ok(if there { Stored::Again(bytes) } else { Stored::New(bytes) })
    }

    /// Enters a block for all offsets that waited for it, and tells the progress.
    fn finish(&self, sum: &str, is_new: bool) {
        let mut progress = self.progress();
        let offsets = progress.in_hand.remove(sum).unwrap_or_default();
        progress.processed_blocks += i64::try_from(offsets.len()).expect("offsets fit in memory");
        progress.by_offset.extend(offsets.into_iter().map(|offset| (offset, sum.to_owned())));
        progress.uploaded.new_blocks += i64::from(is_new);
        progress.uploaded.percent = percent(progress.processed_blocks, self.total_blocks);
        let percent = progress.uploaded.percent;
        drop(progress);
        self.source.progress(percent);
    }

    fn sorted_blocks(&self) -> Vec<BlockMapping> {
        let by_offset = &self.progress().by_offset;
        by_offset.iter().map(|(offset, sum)| BlockMapping { offset: *offset, block_checksum: sum.clone() }).collect()
    }
}

enum Stored {
    New(i64),
    Again(i64),
    Before,
}

/// Progress in upstream's floating-point arithmetic, which counts one block more than is done: it passes 95 with the
/// last block, and 100 if there are few. With 19 blocks it is 100 exactly, which the status takes for the end of the
/// backup.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as upstream computes it")]
pub(crate) fn percent(processed: i64, total: i64) -> i64 {
    if total == 0 {
        PERCENT_OF_BLOCKS as i64
    } else {
        ((processed + 1) as f64 / total as f64 * PERCENT_OF_BLOCKS) as i64
    }
}

/// Refuses extents that do not consist of whole blocks.
pub(crate) fn check_whole_blocks(extents: &[Extent], block_size: i64) -> Result<()> {
    match extents.iter().find(|extent| extent.size % block_size != 0) {
        None => Ok(()),
        Some(extent) => Err(Error::Invalid(format!(
            "mapping's size {} is not multiples of backup block size {block_size}",
            extent.size
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_runs_ahead_by_one_block() {
        assert_eq!([percent(0, 100), percent(50, 100), percent(99, 100)], [0, 48, 95]);
        assert_eq!([percent(1, 1), percent(2, 2), percent(19, 19)], [190, 142, 100]);
    }
}
