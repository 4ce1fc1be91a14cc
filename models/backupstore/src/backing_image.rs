//! Backing up and restoring backing images (backupbackingimage/backupbackingimage.go upstream).
//!
//! The configuration is written first, without a completion time, and last. A second backup of the same image finds it
//! and does nothing: it returns success, and in releases with longhorn#10740 its status stays "in progress, 0 %" for
//! ever, whatever becomes of the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use host::JoinHandle;

use crate::backup::BackupStatus;
use crate::block::{self, DEFAULT_BLOCK_SIZE_BYTES};
use crate::config::{BackingImageConfig, BlockMapping, Labels};
use crate::error::{Context as _, Error, Result};
use crate::layout;
use crate::lock::{FileLock, LockKind};
use crate::now;
use crate::store::Backupstore;
use crate::upload::{self, BlockSource, Extent, Upload};
use crate::url::{decode_backing_image, encode_backing_image, is_valid_name};

const PARAMETER_SECRET: &str = "secret";
const PARAMETER_SECRET_NAMESPACE: &str = "secret-namespace";

/// A backing image's file on the side that makes the backup, and the status that is asked for meanwhile.
pub trait BackingImageReader: Send + Sync + 'static {
    /// Reads from the file.
    fn read<'a>(&'a self, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>>;

    /// Closes it.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Takes note of how far the backup is.
    fn status(&self, status: BackupStatus);
}

/// What is to be backed up.
#[derive(Clone, Debug)]
pub struct BackingImageBackupRequest {
    /// Name, size, checksum, labels, compression method and time of creation of the image's backup.
    pub config: BackingImageConfig,
    /// The blocks that may hold data, each at most 2 MiB, the last one perhaps shorter.
    pub extents: Vec<Extent>,
    /// Parameters: name and namespace of the secret of an encrypted image.
    pub parameters: Labels,
    /// Uploading workers.
    pub workers: usize,
}

/// Where a backing image is restored to.
pub trait BackingImageWriter: Send + Sync + 'static {
    /// Makes the file with this size; what was there before is removed.
    fn create(&self, size: i64) -> BoxFuture<'_, Result<()>>;

    /// Writes data.
    fn write<'a>(&'a self, offset: i64, data: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Closes the file.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Takes note of the bytes that are done, and of the error that ended the restore.
    fn status(&self, bytes: i64, error: Option<&Error>);
}

impl Backupstore {
    /// Begins a backup; the task ends with it. `None` if the store has, or seems to have, a backup of this image
    /// already: then nothing is done.
    pub async fn create_backing_image_backup(
        &self,
        request: BackingImageBackupRequest,
        reader: Arc<dyn BackingImageReader>,
    ) -> Result<Option<JoinHandle<()>>> {
        let lock = FileLock::new(self, layout::BACKING_IMAGE_LOCKS, LockKind::CreateOrRestore);
        let started = async {
            lock.lock().await?;
            let started = self.start_backing_image_backup(request, &reader, &lock).await;
            lock.unlock_or_warn().await;
            started
        };
        let started = started.await;
        if let Err(error) = &started {
            reader.status(BackupStatus { error: error.to_string(), failed_to_start: true, ..BackupStatus::default() });
        }
        started
    }

    async fn start_backing_image_backup(
        &self,
        request: BackingImageBackupRequest,
        reader: &Arc<dyn BackingImageReader>,
        lock: &Arc<FileLock>,
    ) -> Result<Option<JoinHandle<()>>> {
        let name = request.config.name.clone();
        if self.exists(&layout::backing_image_config(&name)).await && !self.is_to_be_ended(&name).await {
            self.context.log.info(|| "Backup BackingImage already exists, no need to perform backup".to_owned());
            if self.context.behaviour.existing_backing_image_is_complete {
                let url = encode_backing_image(&name, self.url());
                reader.status(BackupStatus { percent: 100, url, ..BackupStatus::default() });
            }
            return Ok(None);
        }
        if !is_valid_name(&name) {
            return Err(Error::Invalid(format!("invalid backing image name {name}")));
        }
        let saved = self.save_backing_image(&request.config).await;
        saved.context(|| "failed to add backing image config to backupstore".to_owned())?;
        let config = self.load_backing_image(&name).await?;
        lock.lock().await?;
        let (store, reader, lock) = (self.clone(), Arc::clone(reader), Arc::clone(lock));
        Ok(Some(host::spawn(async move {
            reader.status(BackupStatus::default());
            let (percent, result) = store.perform_backing_image_backup(config, request, &reader).await;
            reader.status(match result {
                Ok(url) => BackupStatus { percent: 100, url, ..BackupStatus::default() },
                Err(error) => BackupStatus { percent, error: error.to_string(), ..BackupStatus::default() },
            });
            lock.unlock_or_warn().await;
            reader.close().await;
        })))
    }

    /// Whether a backup that was begun and not ended is to be made anew: without c11. What was uploaded of it is found by its content.
    async fn is_to_be_ended(&self, name: &str) -> bool {
        !self.context.behaviour.begun_backing_image_counts
            && self.load_backing_image(name).await.is_ok_and(|config| config.is_in_progress())
    }

    async fn perform_backing_image_backup(
        &self,
        mut config: BackingImageConfig,
        request: BackingImageBackupRequest,
        reader: &Arc<dyn BackingImageReader>,
    ) -> (i64, Result<String>) {
        let upload = Upload {
            store: self.clone(),
            compression: config.compression_method.clone(),
            block_size: DEFAULT_BLOCK_SIZE_BYTES,
            workers: request.workers,
            again: false,
            path: Box::new(layout::backing_image_block),
        };
        let block_count = i64::try_from(request.extents.len()).expect("extents fit in memory");
        let (uploaded, result) = upload::run(upload, Arc::new(Source(Arc::clone(reader))), request.extents).await;
        if let Err(error) = result.context(|| format!("failed to backup backing image {}", config.name)) {
            return (uploaded.percent, Err(error));
        }
        let parameter =
            |name: &str| request.parameters.as_ref().and_then(|all| all.get(name).cloned()).unwrap_or_default();
        config.blocks = uploaded.blocks;
        config.complete_time = now();
        config.block_count = block_count;
        config.secret = parameter(PARAMETER_SECRET);
        config.secret_namespace = parameter(PARAMETER_SECRET_NAMESPACE);
        let saved = self.save_backing_image(&config).await;
        (uploaded.percent, saved.map(|()| encode_backing_image(&config.name, self.url())))
    }

    /// Begins to restore a backing image; the task ends with it.
    pub async fn restore_backing_image(
        &self,
        address: &str,
        writer: Arc<dyn BackingImageWriter>,
        workers: usize,
    ) -> Result<JoinHandle<()>> {
        let (name, _) = decode_backing_image(address)?;
        let lock = FileLock::new(self, layout::BACKING_IMAGE_LOCKS, LockKind::CreateOrRestore);
        lock.lock().await?;
        let prepared = async {
            let config = self.load_backing_image(&name).await;
            let config = config.context(|| format!("backing image {name} doesn't exist in backup store"))?;
            if config.size == 0 {
                return Err(Error::Invalid(format!("read invalid backing image size {}", config.size)));
            }
            if config.is_in_progress() {
                let text = format!("BackupBackingImage {} is not completed, please check its status", config.name);
                return Err(Error::Invalid(text));
            }
            writer.create(config.size).await.context(|| "check backing image file failed".to_owned())?;
            lock.lock().await?;
            Ok(config)
        };
        let prepared = prepared.await;
        lock.unlock_or_warn().await;
        let (store, config) = (self.clone(), prepared?);
        Ok(host::spawn(async move {
            store.write_backing_image(&config, writer.as_ref(), workers).await;
            lock.unlock_or_warn().await;
            writer.close().await;
        }))
    }

    async fn write_backing_image(&self, config: &BackingImageConfig, writer: &dyn BackingImageWriter, workers: usize) {
        let done = AtomicI64::new(0);
        let bytes_done = |count: i64| count * DEFAULT_BLOCK_SIZE_BYTES;
        let restore = |mapping: &'_ BlockMapping| {
            let (mapping, done) = (mapping.clone(), &done);
            async move {
                let path = layout::backing_image_block(&mapping.block_checksum);
                let block =
                    block::read(self.driver.as_ref(), &path, &config.compression_method, &mapping.block_checksum).await;
                let written = match block {
                    Ok(block) => writer.write(mapping.offset, &block).await,
                    Err(error) => Err(error),
                };
                let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                writer.status(bytes_done(count), None);
                written
            }
        };
        let mut blocks = futures_util::stream::iter(config.blocks.iter().map(restore)).buffer_unordered(workers.max(1));
        while let Some(written) = blocks.next().await {
            if let Err(error) = written {
                writer.status(bytes_done(done.load(Ordering::Relaxed)), Some(&error));
                return;
            }
        }
        writer.status(config.size, None);
    }
}

/// The image's file as the source of an upload.
struct Source(Arc<dyn BackingImageReader>);

impl BlockSource for Source {
    fn read<'a>(&'a self, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        self.0.read(offset, block).boxed()
    }

    fn progress(&self, percent: i64) {
        self.0.status(BackupStatus { percent, ..BackupStatus::default() });
    }
}
