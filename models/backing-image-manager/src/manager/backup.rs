//! Backing up a backing image's file (pkg/backup/backup.go and pkg/backingimage).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::fs::File;
use longhorn_backupstore::config::BackingImageConfig;
use longhorn_backupstore::url::is_valid_name;
use longhorn_backupstore::{
    BackingImageBackupRequest, BackingImageReader, BackupStatus, Backupstore, Credentials, Extent, now,
};
use longhorn_rpc::bimrpc::BackupCreateRequest;

use super::backup_list::{BackupList, SharedStatus};
use crate::Process;
use crate::error::{Context, Error, Result};
use crate::image;
use crate::info::image_path;

/// Size of a block of a backing image's backup.
const BLOCK_BYTES: i64 = 2 << 20;
const SECTOR_BYTES: i64 = 512;
const NAME_LIMIT: usize = 64;

/// Begins a backup, and returns when the store has taken it or refused it. Its entry is in the list before the store is asked.
pub(super) async fn create(process: &Process, list: &BackupList, request: BackupCreateRequest) -> Result<()> {
    let name = request.name.clone();
    let prepared = Prepared::new(&request).await.context(|| format!("failed to initialize backup {name}"))?;
    let status = prepared.reader.status.clone();
    list.add(&name, status);
    prepared.start(process, request).await.context(|| format!("failed to create backup {name}"))
}

struct Prepared {
    labels: Option<BTreeMap<String, String>>,
    reader: Arc<Reader>,
    size: i64,
    is_qcow2: bool,
    created: String,
}

impl Prepared {
    async fn new(request: &BackupCreateRequest) -> Result<Prepared> {
        if request.backup_target.is_empty() {
            return Err(Error::invalid("missing input parameter"));
        }
        if request.name.len() > NAME_LIMIT || !is_valid_name(&request.name) {
            let text = format!("invalid backing image name {} for it is longer than {NAME_LIMIT}", request.name);
            return Err(Error::Invalid(text));
        }
        let labels = labels(&request.labels)
            .context(|| format!("failed to parse backup labels for backup backing image {}", request.name))?;
        let path = image_path(&request.name, &request.uuid);
        let file = File::open(&path).await.context(|| format!("stat {path}"))?;
        let info = image::info(&path).await?;
        let size = file.metadata().await.context(|| format!("stat {path}"))?.len;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        if size % SECTOR_BYTES != 0 {
            return Err(Error::Invalid(format!(
                "the backing file size {size} should be a multiple of 512 bytes since Longhorn uses directIO by default"
            )));
        }
        let reader = Arc::new(Reader { file: Mutex::new(Some(Arc::new(file))), status: SharedStatus::new() });
        Ok(Prepared { labels, reader, size, is_qcow2: info.is_qcow2, created: now() })
    }

    async fn start(self, process: &Process, request: BackupCreateRequest) -> Result<()> {
        let extents = self.blocks().await?;
        let credentials: Credentials = request.credential.into_iter().collect();
        let store = Backupstore::open(&request.backup_target, &credentials, &process.store).await?;
        let config = BackingImageConfig {
            name: request.name,
            size: self.size,
            checksum: request.checksum,
            labels: self.labels,
            compression_method: request.compression_method,
            created_time: self.created,
            ..BackingImageConfig::default()
        };
        let backup = BackingImageBackupRequest {
            config,
            extents,
            parameters: Some(request.parameters),
            workers: usize::try_from(request.concurrent_limit).unwrap_or(1).max(1),
        };
        store.create_backing_image_backup(backup, self.reader).await?;
        Ok(())
    }

    /// The blocks that hold data; of a qcow2 image all, since holes in it mean nothing.
    async fn blocks(&self) -> Result<Vec<Extent>> {
        let block = |index: i64| {
            let offset = index * BLOCK_BYTES;
            Extent { offset, size: BLOCK_BYTES.min(self.size - offset) }
        };
        let count = blocks_up_to(self.size);
        if self.is_qcow2 {
            return Ok((0..count).map(block).collect());
        }
        let file = self.reader.file()?;
        let extents = file.extents().await.context(|| "failed to read the extents".to_owned())?;
        let mut blocks: Vec<i64> = Vec::new();
        for extent in extents {
            let begin = i64::try_from(extent.offset).unwrap_or(i64::MAX);
            let end = i64::try_from(extent.offset + extent.len).unwrap_or(i64::MAX).min(self.size);
            let from = (begin / BLOCK_BYTES).max(blocks.last().map_or(0, |last| last + 1));
            blocks.extend(from..blocks_up_to(end));
        }
        Ok(blocks.into_iter().map(block).collect())
    }
}

/// How many blocks so many bytes take.
fn blocks_up_to(bytes: i64) -> i64 {
    (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES
}

fn labels(given: &[String]) -> Result<Option<BTreeMap<String, String>>> {
    if given.is_empty() {
        return Ok(None);
    }
    let pair = |label: &String| match label.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.contains('=') => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::Invalid(format!("invalid label not in <key>=<value> format {label}"))),
    };
    given.iter().map(pair).collect::<Result<_>>().map(Some)
}

struct Reader {
    file: Mutex<Option<Arc<File>>>,
    status: SharedStatus,
}

impl Reader {
    fn file(&self) -> Result<Arc<File>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.clone().ok_or_else(|| Error::invalid("the file is closed"))
    }
}

impl BackingImageReader for Reader {
    fn read<'a>(&'a self, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, longhorn_backupstore::Result<()>> {
        async move {
            let invalid = |error: String| longhorn_backupstore::Error::Invalid(error);
            let file = self.file().map_err(|error| invalid(error.to_string()))?;
            let offset = u64::try_from(offset).map_err(|error| invalid(error.to_string()))?;
            file.read_exact_at(block, offset).await.map_err(|error| invalid(error.to_string()))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(()).boxed()
    }

    fn status(&self, status: BackupStatus) {
        self.status.update(status);
    }
}
