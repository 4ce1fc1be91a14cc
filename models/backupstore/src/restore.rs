//! Restoring a backup of a volume, in full or on top of an older one (deltablock.go upstream).
//!
//! A full restore gives the target the size that the volume's configuration has now, which may be another than at the
//! backup's time, and leaves what the backup has no block for as a hole. An incremental one writes blocks that differ
//! between the two backups into an empty target, and marks as zeros what only the older one had. The blocks are written
//! after the call has returned; how it ends is told through the target's status.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use host::JoinHandle;
use tokio::sync::mpsc;

use crate::block::{self, DEFAULT_BLOCK_SIZE_BYTES};
use crate::config::{BackupConfig, BlockMapping};
use crate::error::{Context as _, Error, Result};
use crate::layout;
use crate::lock::{FileLock, LockKind};
use crate::store::Backupstore;
use crate::upload::percent;
use crate::url::{BackupAddress, decode_backup, is_valid_name};

/// What a backup is restored into.
pub trait RestoreTarget: Send + Sync + 'static {
    /// Makes the target, empty; what was there before is removed.
    fn open(&self) -> BoxFuture<'_, Result<()>>;

    /// Gives it its size, all of it holes.
    fn set_size(&self, size: i64) -> BoxFuture<'_, Result<()>>;

    /// Writes data.
    fn write<'a>(&'a self, offset: i64, data: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Makes a stretch data that is zero: not a hole, so that it hides what lies below.
    fn write_zeros(&self, offset: i64, size: i64) -> BoxFuture<'_, Result<()>>;

    /// Closes it.
    fn close(&self) -> BoxFuture<'_, Result<()>>;

    /// Takes note of the progress in percent, and of the error that ended the restore.
    fn status(&self, percent: i64, error: Option<&Error>);

    /// Whether the restore is to stop.
    fn is_stopped(&self) -> bool;
}

/// What is to be done at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Block(BlockMapping),
    Zeros { offset: i64 },
}

/// What a restore consists of.
struct Plan {
    /// The volume whose blocks are read: the address's, whatever the configuration says.
    volume: String,
    backup: BackupConfig,
    /// Size of the restored volume.
    size: i64,
    block_size: i64,
    pieces: Vec<Piece>,
    /// What the progress is measured by: more than the pieces, if some blocks need not be restored.
    total: usize,
}

/// A restore that is under way.
struct Running {
    store: Backupstore,
    target: Arc<dyn RestoreTarget>,
    volume: String,
    compression: String,
    block_size: i64,
    total: i64,
    pieces: Mutex<VecDeque<Piece>>,
    done: AtomicI64,
    stopped: AtomicBool,
}

impl Backupstore {
    /// Begins to restore the backup of this address.
    pub async fn restore(
        &self,
        address: &str,
        target: Arc<dyn RestoreTarget>,
        workers: usize,
    ) -> Result<JoinHandle<()>> {
        let BackupAddress { volume, backup, .. } = decode_backup(address)?;
        let lock = FileLock::new(self, &volume, LockKind::CreateOrRestore);
        let started = async {
            lock.lock().await?;
            let size = self.restored_size(&volume).await?;
            if size == 0 || (!self.context.behaviour.block_size_parameter && size % DEFAULT_BLOCK_SIZE_BYTES != 0) {
                return Err(Error::Invalid(format!("invalid volume size {size}")));
            }
            open(target.as_ref()).await?;
            let plan = async {
                let backup = self.load_backup(backup.as_deref().unwrap_or_default(), &volume).await?;
                let block_size = self.whole_blocks(&backup, size)?;
                lock.lock().await?;
                let pieces: Vec<_> = backup.blocks.iter().cloned().map(Piece::Block).collect();
                Ok(Plan { volume: volume.clone(), total: pieces.len(), pieces, backup, size, block_size })
            };
            let plan = close_on_error(target.as_ref(), plan.await, self).await?;
            Ok(self.spawn_restore(plan, target, workers, &lock))
        };
        let started = started.await;
        lock.unlock_or_warn().await;
        started
    }

    /// Begins to restore what the backup of this address changes against an older backup of the volume.
    pub async fn restore_incrementally(
        &self,
        address: &str,
        older: &str,
        target: Arc<dyn RestoreTarget>,
        workers: usize,
    ) -> Result<JoinHandle<()>> {
        let BackupAddress { volume, backup, .. } = decode_backup(address)?;
        let lock = FileLock::new(self, &volume, LockKind::CreateOrRestore);
        lock.lock().await?;
        let started = async {
            let size = self.restored_size(&volume).await?;
            if size == 0 || size % DEFAULT_BLOCK_SIZE_BYTES != 0 {
                return Err(Error::Invalid(format!("read invalid volume size {size}")));
            }
            if !is_valid_name(older) {
                return Err(Error::Invalid(format!("invalid parameter lastBackupName {older}")));
            }
            open(target.as_ref()).await?;
            let plan = async {
                let older = self.load_backup(older, &volume).await?;
                let backup = self.load_backup(backup.as_deref().unwrap_or_default(), &volume).await?;
                let (before, block_size) = (self.block_size(&older.parameters)?, self.whole_blocks(&backup, size)?);
                if before != block_size {
                    return Err(Error::Invalid(format!("backup block size is changed from {before} to {block_size}")));
                }
                lock.lock().await?;
                let total = older.blocks.len() + backup.blocks.len();
                Ok(Plan {
                    volume: volume.clone(),
                    pieces: pieces_that_differ(&older, &backup),
                    total,
                    backup,
                    size,
                    block_size,
                })
            };
            let plan = close_on_error(target.as_ref(), plan.await, self).await?;
            Ok(self.spawn_restore(plan, target, workers, &lock))
        };
        let started = started.await;
        lock.unlock_or_warn().await;
        started
    }

    async fn restored_size(&self, volume: &str) -> Result<i64> {
        let whose = if self.context.behaviour.block_size_parameter { "Source volume" } else { "Volume" };
        let config = self.load_volume(volume).await;
        config
            .map(|config| config.size)
            .map_err(|error| Error::Invalid(format!("{whose} doesn't exist in backupstore: {error}")))
    }

    fn whole_blocks(&self, backup: &BackupConfig, size: i64) -> Result<i64> {
        let block_size = self.block_size(&backup.parameters)?;
        if size % block_size != 0 {
            return Err(Error::Invalid(format!("volume size {size} is not a multiple of block size {block_size}")));
        }
        Ok(block_size)
    }

    fn spawn_restore(
        &self,
        plan: Plan,
        target: Arc<dyn RestoreTarget>,
        workers: usize,
        lock: &Arc<FileLock>,
    ) -> JoinHandle<()> {
        let running = Arc::new(Running {
            store: self.clone(),
            target,
            volume: plan.volume,
            compression: plan.backup.compression_method,
            block_size: plan.block_size,
            total: i64::try_from(plan.total).expect("blocks fit in memory"),
            pieces: Mutex::new(plan.pieces.into()),
            done: AtomicI64::new(0),
            stopped: AtomicBool::new(false),
        });
        let lock = Arc::clone(lock);
        host::spawn(async move {
            let result = running.run(plan.size, workers).await;
            if let Err(error) = running.target.close().await {
                running.store.context.log.warn("Failed to close volume device", &error);
            }
            let reached = if result.is_ok() { 100 } else { running.percent() };
            running.target.status(reached, result.as_ref().err());
            lock.unlock_or_warn().await;
        })
    }
}

async fn open(target: &dyn RestoreTarget) -> Result<()> {
    target.open().await.context(|| "failed to open volume device".to_owned())
}

async fn close_on_error<T>(target: &dyn RestoreTarget, prepared: Result<T>, store: &Backupstore) -> Result<T> {
    if prepared.is_err()
        && let Err(error) = target.close().await
    {
        store.context.log.warn("Failed to close volume device", &error);
    }
    prepared
}

/// By offset: blocks that are new or have another content, and zeros where only the older backup has a block.
fn pieces_that_differ(older: &BackupConfig, backup: &BackupConfig) -> Vec<Piece> {
    let before: BTreeMap<i64, &str> =
        older.blocks.iter().map(|block| (block.offset, block.block_checksum.as_str())).collect();
    let mut pieces: BTreeMap<i64, Piece> =
        before.keys().map(|offset| (*offset, Piece::Zeros { offset: *offset })).collect();
    for block in &backup.blocks {
        if before.get(&block.offset) == Some(&block.block_checksum.as_str()) {
            pieces.remove(&block.offset);
        } else {
            pieces.insert(block.offset, Piece::Block(block.clone()));
        }
    }
    pieces.into_values().collect()
}

impl Running {
    async fn run(self: &Arc<Self>, size: i64, workers: usize) -> Result<()> {
        self.target.set_size(size).await?;
        let (sender, mut failures) = mpsc::channel(workers.max(1));
        for _ in 0..workers {
            let (running, sender) = (Arc::clone(self), sender.clone());
            drop(host::spawn(async move {
                if let Err(error) = running.work().await {
                    let _ = sender.send(error).await;
                }
            }));
        }
        drop(sender);
        let failure = failures.recv().await;
        self.stopped.store(true, Ordering::Relaxed);
        failure.map_or(Ok(()), Err)
    }

    async fn work(&self) -> Result<()> {
        while !self.stopped.load(Ordering::Relaxed) {
            if self.target.is_stopped() {
                let volume = &self.volume;
                let text = format!("backup restoration is cancelled since received stop signal for volume {volume}");
                return Err(Error::Invalid(text));
            }
            let piece = self.pieces.lock().expect("nothing panics while pieces are held").pop_front();
            let Some(piece) = piece else { break };
            let restored = self.restore(&piece).await;
            self.done.fetch_add(1, Ordering::Relaxed);
            self.target.status(self.percent(), None);
            restored?;
        }
        Ok(())
    }

    fn percent(&self) -> i64 {
        percent(self.done.load(Ordering::Relaxed), self.total)
    }

    async fn restore(&self, piece: &Piece) -> Result<()> {
        let mapping = match piece {
            Piece::Zeros { offset } => return self.target.write_zeros(*offset, self.block_size).await,
            Piece::Block(mapping) => mapping,
        };
        let sum = &mapping.block_checksum;
        let path = layout::block(&self.volume, sum);
        let data = block::read(self.store.driver.as_ref(), &path, &self.compression, sum).await;
        let data = data.context(|| format!("failed to decompress and verify block {path} with checksum {sum}"))?;
        let length = usize::try_from(self.block_size).expect("block sizes are positive");
        let doing = || format!("failed to write decompressed block {path} to volume {}", self.volume);
        let data = data.get(..length).ok_or_else(|| Error::Invalid("EOF".to_owned())).context(doing)?;
        self.target.write(mapping.offset, data).await.context(doing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(blocks: &[(i64, &str)]) -> BackupConfig {
        let blocks =
            blocks.iter().map(|(offset, sum)| BlockMapping { offset: *offset, block_checksum: (*sum).to_owned() });
        BackupConfig { blocks: blocks.collect(), ..BackupConfig::default() }
    }

    #[test]
    fn only_what_differs_is_restored_and_what_is_gone_becomes_zeros() {
        let older = backup(&[(0, "same"), (2, "old"), (4, "gone")]);
        let newer = backup(&[(0, "same"), (2, "new"), (6, "added")]);
        let block = |offset, sum: &str| Piece::Block(BlockMapping { offset, block_checksum: sum.to_owned() });
        let expected = [block(2, "new"), Piece::Zeros { offset: 4 }, block(6, "added")];
        assert_eq!(pieces_that_differ(&older, &newer), expected);
    }
}
