//! Backing up a snapshot of a volume, in full or against the last backup (deltablock.go upstream).
//!
//! The order of writes is what other operations can see: lock, `volume.cfg` if there is none, `backup_<name>.cfg`
//! without a creation time, blocks, `backup_<name>.cfg` in full, `volume.cfg` with the new last backup, lock gone. A
//! backup that fails leaves its unfinished configuration behind, which keeps blocks from being cleaned up until
//! somebody deletes that backup.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::JoinHandle;

use crate::block::DEFAULT_BLOCK_SIZE_BYTES;
use crate::config::{BackupConfig, BlockMapping, Labels, Opaque, VolumeConfig};
use crate::error::{Error, Result};
use crate::lock::{FileLock, LockKind};
use crate::store::Backupstore;
use crate::upload::{self, BlockSource, Extent, Upload, Uploaded};
use crate::url::encode_backup;
use crate::{layout, now};

const PARAMETER_MODE: &str = "backup-mode";
const PARAMETER_BLOCK_SIZE: &str = "backup-block-size";

/// A volume's snapshots on the side that makes the backup, and the status that is asked for meanwhile.
pub trait SnapshotReader: Send + Sync + 'static {
    /// Whether there is such a snapshot here.
    fn has_snapshot<'a>(&'a self, snapshot: &'a str) -> BoxFuture<'a, bool>;

    /// Opens the snapshot that will be read.
    fn open<'a>(&'a self, snapshot: &'a str) -> BoxFuture<'a, Result<()>>;

    /// The blocks that may differ between a snapshot and an older one, or that may hold data at all, by offset.
    fn compare<'a>(
        &'a self,
        snapshot: &'a str,
        older: Option<&'a str>,
        block_size: i64,
    ) -> BoxFuture<'a, Result<Vec<Extent>>>;

    /// Reads from the open snapshot.
    fn read<'a>(&'a self, snapshot: &'a str, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>>;

    /// Closes the snapshot.
    fn close<'a>(&'a self, snapshot: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Takes note of how far the backup is.
    fn status(&self, status: BackupStatus);
}

/// How far a backup is, as it is told step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupStatus {
    /// Up to 95 while blocks are uploaded, 100 when the backup is complete.
    pub percent: i64,
    /// The backup's address, once it is complete.
    pub url: String,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// Whether the failure came before the upload began.
    pub failed_to_start: bool,
}

/// What is to be backed up.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// Name of the backup.
    pub name: String,
    /// The volume as it is now. Compression and data engine of an earlier backup win over what is said here.
    pub volume: VolumeConfig,
    /// The snapshot.
    pub snapshot: String,
    /// When the backup was asked for, which will stand as the snapshot's time.
    pub began_at: String,
    /// Labels for the backup, and the volume's from then on.
    pub labels: Labels,
    /// Parameters, of which `backup-mode` (`full` or `incremental`) and, in newer releases, `backup-block-size` mean
    /// something here.
    pub parameters: Labels,
    /// Uploading workers.
    pub workers: usize,
}

impl BackupRequest {
    fn is_full(&self) -> bool {
        parameter(&self.parameters, PARAMETER_MODE) == Some("full")
    }
}

/// A backup that is under way.
pub struct StartedBackup {
    /// Whether it builds on the one before it.
    pub is_incremental: bool,
    /// Ends with the backup; need not be waited for.
    pub upload: JoinHandle<()>,
}

impl Backupstore {
    /// Begins a backup. What fails from here on is told through the reader's status only.
    pub async fn create_backup(
        &self,
        request: BackupRequest,
        reader: Arc<dyn SnapshotReader>,
    ) -> Result<StartedBackup> {
        let lock = FileLock::new(self, &request.volume.name, LockKind::CreateOrRestore);
        let started = self.start_backup(request, &reader, &lock).await;
        lock.unlock_or_warn().await;
        if let Err(error) = &started {
            reader.status(BackupStatus { error: error.to_string(), failed_to_start: true, ..BackupStatus::default() });
        }
        started
    }

    async fn start_backup(
        &self,
        mut request: BackupRequest,
        reader: &Arc<dyn SnapshotReader>,
        lock: &Arc<FileLock>,
    ) -> Result<StartedBackup> {
        let block_size = self.block_size(&request.parameters)?;
        lock.lock().await?;
        self.add_volume(&request.volume).await?;
        let in_store = self.load_volume(&request.volume.name).await?;
        request.volume.compression_method.clone_from(&in_store.compression_method);
        request.volume.data_engine.clone_from(&in_store.data_engine);
        reader.open(&request.snapshot).await?;
        let prepared = async {
            let base = self.base_of(&request, &in_store, reader.as_ref()).await;
            let older = base.as_ref().map(|base| base.snapshot_name.as_str());
            let extents = reader.compare(&request.snapshot, older, block_size).await?;
            lock.lock().await?;
            Ok((base, extents))
        };
        let (base, extents) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                close(reader.as_ref(), &request.snapshot, self).await;
                return Err(error);
            }
        };
        let is_incremental = base.is_some();
        let running = Running { store: self.clone(), request, reader: Arc::clone(reader), base, extents, block_size };
        let lock = Arc::clone(lock);
        let upload = host::spawn(async move {
            running.run().await;
            lock.unlock_or_warn().await;
            close(running.reader.as_ref(), &running.request.snapshot, &running.store).await;
        });
        Ok(StartedBackup { is_incremental, upload })
    }

    /// The last backup, if this one can build on it: its configuration can be read, and its snapshot is another one
    /// that is still here.
    async fn base_of(
        &self,
        request: &BackupRequest,
        volume: &VolumeConfig,
        reader: &dyn SnapshotReader,
    ) -> Option<BackupConfig> {
        if volume.last_backup_name.is_empty() || request.is_full() {
            return None;
        }
        let last = match self.load_backup(&volume.last_backup_name, &volume.name).await {
            Ok(last) => last,
            Err(error) => {
                let what = format!("Cannot find previous backup {} in backupstore", volume.last_backup_name);
                self.context.log.warn(&what, &error);
                return None;
            }
        };
        let is_other = last.snapshot_name != request.snapshot;
        let is_here = last.snapshot_name.is_empty() || reader.has_snapshot(&last.snapshot_name).await;
        (is_other && is_here).then_some(last)
    }

    /// The size of a backup's blocks.
    pub(crate) fn block_size(&self, parameters: &Labels) -> Result<i64> {
        match parameter(parameters, PARAMETER_BLOCK_SIZE).filter(|text| !text.is_empty()) {
            Some(text) if self.context.behaviour.block_size_parameter => match quantity(text) {
                Some(0) => Ok(DEFAULT_BLOCK_SIZE_BYTES),
                Some(size) if size > 0 => Ok(size),
                _ => Err(Error::Invalid(format!("invalid block size {text} from parameter {PARAMETER_BLOCK_SIZE}"))),
            },
            _ => Ok(DEFAULT_BLOCK_SIZE_BYTES),
        }
    }
}

async fn close(reader: &dyn SnapshotReader, snapshot: &str, store: &Backupstore) {
    if let Err(error) = reader.close(snapshot).await {
        store.context.log.warn("Failed to close snapshot", &error);
    }
}

fn parameter<'a>(parameters: &'a Labels, name: &str) -> Option<&'a str> {
    parameters.as_ref()?.get(name).map(String::as_str)
}

/// A whole Kubernetes quantity: a number, and perhaps a unit.
fn quantity(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(unit)
}

/// The part of a backup that goes on after it was begun.
struct Running {
    store: Backupstore,
    request: BackupRequest,
    reader: Arc<dyn SnapshotReader>,
    base: Option<BackupConfig>,
    extents: Vec<Extent>,
    block_size: i64,
}

/// The snapshot as the source of an upload.
struct Source {
    reader: Arc<dyn SnapshotReader>,
    snapshot: String,
}

impl BlockSource for Source {
    fn read<'a>(&'a self, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        self.reader.read(&self.snapshot, offset, block).boxed()
    }

    fn progress(&self, percent: i64) {
        self.reader.status(BackupStatus { percent, ..BackupStatus::default() });
    }
}

impl Running {
    async fn run(&self) {
        self.reader.status(BackupStatus::default());
        let (percent, result) = self.perform().await;
        self.reader.status(match result {
            Ok(url) => BackupStatus { percent: 100, url, ..BackupStatus::default() },
            Err(error) => BackupStatus { percent, error: error.to_string(), ..BackupStatus::default() },
        });
    }

    /// The backup's address, or what went wrong, and how far it was then.
    async fn perform(&self) -> (i64, Result<String>) {
        if let Err(error) = self.begin().await {
            return (0, Err(error));
        }
        let source = Source { reader: Arc::clone(&self.reader), snapshot: self.request.snapshot.clone() };
        let (uploaded, result) = upload::run(self.upload(), Arc::new(source), self.extents.clone()).await;
        let percent = uploaded.percent;
        match result {
            Ok(()) => (percent, self.finish(uploaded).await),
            Err(error) => (percent, Err(error)),
        }
    }

    async fn begin(&self) -> Result<()> {
        let unfinished = BackupConfig {
            name: self.request.name.clone(),
            volume_name: self.request.volume.name.clone(),
            compression_method: self.request.volume.compression_method.clone(),
            ..BackupConfig::default()
        };
        self.store.save_backup(&unfinished).await?;
        upload::check_whole_blocks(&self.extents, self.block_size)
    }

    fn upload(&self) -> Upload {
        let volume = self.request.volume.name.clone();
        Upload {
            store: self.store.clone(),
            compression: self.request.volume.compression_method.clone(),
            block_size: self.block_size,
            workers: self.request.workers,
            again: self.request.is_full(),
            path: Box::new(move |sum| layout::block(&volume, sum)),
        }
    }

    async fn finish(&self, uploaded: Uploaded) -> Result<String> {
        let request = &self.request;
        let blocks = match &self.base {
            Some(base) => merge(&uploaded.blocks, &base.blocks),
            None => uploaded.blocks,
        };
        let count = i64::try_from(blocks.len()).expect("blocks fit in memory");
        let backup = BackupConfig {
            name: request.name.clone(),
            volume_name: request.volume.name.clone(),
            snapshot_name: request.snapshot.clone(),
            snapshot_created_at: request.began_at.clone(),
            created_time: now(),
            size: count * self.block_size,
            labels: request.labels.clone(),
            parameters: request.parameters.clone(),
            is_incremental: self.base.is_some(),
            compression_method: request.volume.compression_method.clone(),
            newly_uploaded_data_size: uploaded.new_bytes,
            re_uploaded_data_size: uploaded.repeated_bytes,
            processing_blocks: self.base.is_none().then_some(Opaque {}),
            blocks,
            ..BackupConfig::default()
        };
        self.store.save_backup(&backup).await?;
        self.update_volume(&backup, uploaded.new_blocks).await?;
        Ok(encode_backup(Some(&backup.name), &backup.volume_name, self.store.url()))
    }

    /// Reads the volume's configuration again, since other backups of the volume may have ended meanwhile; one that
    /// ends just now is overwritten.
    async fn update_volume(&self, backup: &BackupConfig, new_blocks: i64) -> Result<()> {
        let volume = &self.request.volume;
        let mut config = self.store.load_volume(&volume.name).await?;
        let is_younger = parse_time(&config.last_backup_at) <= parse_time(&backup.snapshot_created_at);
        if is_younger || self.store.context.behaviour.last_to_end_is_last {
            config.last_backup_name.clone_from(&backup.name);
            config.last_backup_at.clone_from(&backup.snapshot_created_at);
        }
        config.block_count += new_blocks;
        config.size = volume.size;
        config.labels.clone_from(&self.request.labels);
        config.backing_image_name.clone_from(&volume.backing_image_name);
        config.backing_image_checksum.clone_from(&volume.backing_image_checksum);
        config.compression_method.clone_from(&volume.compression_method);
        config.storage_class_name.clone_from(&volume.storage_class_name);
        config.data_engine.clone_from(&volume.data_engine);
        self.store.save_volume(&config).await
    }
}

/// A time of a configuration; what is none is before all others.
fn parse_time(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok()
}

/// Two lists of blocks as one, by offset; where both have a block, the newer one's counts.
fn merge(newer: &[BlockMapping], older: &[BlockMapping]) -> Vec<BlockMapping> {
    let by_offset: BTreeMap<i64, &BlockMapping> =
        older.iter().chain(newer).map(|block| (block.offset, block)).collect();
    by_offset.into_values().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_may_have_units() {
        assert_eq!(quantity("2097152"), Some(2 << 20));
        assert_eq!(quantity("16Mi"), Some(16 << 20));
        assert_eq!(quantity("0"), Some(0));
        for text in ["Mi", "", "1.5x", "9999999999999Gi"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn the_newer_block_wins_where_both_have_one() {
        let block = |offset, sum: &str| BlockMapping { offset, block_checksum: sum.to_owned() };
        let merged = merge(&[block(0, "new"), block(4, "new")], &[block(0, "old"), block(2, "old"), block(6, "old")]);
        assert_eq!(merged, [block(0, "new"), block(2, "old"), block(4, "new"), block(6, "old")]);
    }
}
