//! One file and how far it is (pkg/sync/sync_file.go).
//!
//! A new file is *pending* while it is looked whether the disk has it already (then it is *ready*), and *starting* once its place is cleared. It is
//! filled under a temporary name, *in progress* from the first byte on; then its checksum is computed and it gets its name. A file that stays
//! *starting* for a minute, or whose filling fails, is *failed* and removed. A *ready* file that was modified is *unknown* until its checksum has been
//! computed again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::time::sleep;

use crate::Process;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Result};
use crate::image;
use crate::info::{FileConfig, FileInfo, State, config_path, temporary_path};
use crate::ssync;

/// How long a file may wait for its first byte.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How often, and how many times, it is asked whether a file is still pending.
const PENDING_CHECK_INTERVAL: Duration = Duration::from_secs(1);
const PENDING_CHECKS: u32 = 600;
/// Copies that may be sent at once.
const SENDING_LIMIT: i32 = 3;
/// How long each request of a sending may take (`FileSyncHTTPClientTimeout`).
const SENDING_TIMEOUT: Duration = Duration::from_secs(5);

/// A file of the file service.
pub(crate) struct SyncingFile {
    pub(super) process: Process,
    /// Where it will be.
    pub path: String,
    /// Where it is filled.
    pub(super) temporary: String,
    /// The backing image's UUID.
    pub uuid: String,
    pub(super) cancel: Cancel,
    info: Mutex<FileInfo>,
}

impl SyncingFile {
    /// Takes a file on; whether it is on the disk already is found out meanwhile.
    pub fn begin(
        process: Process,
        path: &str,
        uuid: &str,
        disk_uuid: &str,
        expected_checksum: &str,
        size: i64,
    ) -> Arc<SyncingFile> {
        let info = FileInfo {
            disk_uuid: disk_uuid.to_owned(),
            expected_checksum: expected_checksum.to_owned(),
            file_path: path.to_owned(),
            uuid: uuid.to_owned(),
            size,
            ..FileInfo::default()
        };
        let file = Arc::new(SyncingFile {
            process,
            path: path.to_owned(),
            temporary: temporary_path(path),
            uuid: uuid.to_owned(),
            cancel: Cancel::default(),
            info: Mutex::new(info),
        });
        let task = file.clone();
        host::spawn(async move { task.prepare().await });
        file
    }

    pub(super) fn info(&self) -> MutexGuard<'_, FileInfo> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn prepare(self: Arc<Self>) {
        let Err(reason) = self.reuse().await else { return };
        tracing::info!(path = self.path, %reason, "cannot reuse the existing file");
        if let Err(error) = self.clear().await {
            tracing::info!(path = self.path, %error, "failed to init file syncing");
            self.info().state = State::Failed;
            return;
        }
        self.info().state = State::Starting;
        sleep(BEGIN_TIMEOUT).await;
        let state = self.info().state;
        if matches!(state, State::Pending | State::Starting) {
            let text = format!("failed to wait for processing begin in 60 seconds, current state {}", state.as_str());
            self.fail(&Error::Invalid(text)).await;
        }
    }

    /// Uses what is on the disk, if that is what is wanted.
    async fn reuse(&self) -> Result<()> {
        let used = self.try_to_reuse().await;
        if used.is_err()
            && let Err(error) = image::remove_if_there(&config_path(&self.path)).await
        {
            tracing::warn!(path = self.path, %error, "failed to clean up the config file after reuse failure");
        }
        used
    }

    async fn try_to_reuse(&self) -> Result<()> {
        let metadata = host::fs::metadata(&self.path).await.context(|| format!("stat {}", self.path))?;
        let len = i64::try_from(metadata.len).unwrap_or(i64::MAX);
        let (size, expected) = {
            let info = self.info();
            (info.size, info.expected_checksum.clone())
        };
        if size > 0 && size != len {
            let text = format!("sync file expected size {size} doesn't match the existing file size {len}");
            return Err(Error::Invalid(text));
        }
        let modified = image::go_time(metadata.modified);
        let checksum = match self.recorded_checksum(&modified).await {
            Some(checksum) => checksum,
            None => image::checksum(&self.path).await?,
        };
        if !expected.is_empty() && expected != checksum {
            let text = format!("file expected checksum {expected} doesn't match the existing file checksum {checksum}");
            return Err(Error::Invalid(text));
        }
        self.cancel.cancel();
        {
            let mut info = self.info();
            info.current_checksum = checksum;
            info.processed_size = len;
            info.modification_time = modified;
        }
        self.become_ready(&self.path).await;
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        let directory = self.path.rsplit_once('/').map_or("/", |(directory, _)| directory);
        host::fs::create_dir_all(directory).await.context(|| format!("mkdir {directory}"))?;
        image::remove_if_there(&self.temporary).await?;
        image::remove_if_there(&self.path).await
    }

    /// The checksum in the configuration, if that is of the file as it is.
    async fn recorded_checksum(&self, modified: &str) -> Option<String> {
        let content = host::fs::read(&config_path(&self.path)).await.ok()?;
        let config: FileConfig = serde_json::from_slice(&content).ok()?;
        (config.modification_time == modified).then_some(config.current_checksum)
    }

    /// How it is. A ready file is looked at first.
    pub async fn get(self: &Arc<Self>) -> FileInfo {
        self.validate().await;
        self.info().clone()
    }

    async fn validate(self: &Arc<Self>) {
        if self.info().state != State::Ready {
            return;
        }
        let modified = image::modification_time(&self.path).await;
        {
            let mut info = self.info();
            if info.state != State::Ready || info.modification_time == modified {
                return;
            }
            info.state = State::Unknown;
            info.message = format!("ready file is suddenly modified at {modified}, need to re-check the checksum");
            info.modification_time = modified.clone();
        }
        let file = self.clone();
        host::spawn(async move { file.check_again(&modified).await });
    }

    async fn check_again(&self, modified: &str) {
        let previous = self.info().current_checksum.clone();
        let failure = match image::checksum(&self.path).await {
            Ok(checksum) if checksum == previous => None,
            Ok(checksum) => Some(format!(
                "ready file is modified at {modified} with a different checksum {checksum}, previous checksum {previous}"
            )),
            Err(error) => Some(format!(
                "failed to re-calculate checksum after ready file being modified, will mark the file as failed: {error}"
            )),
        };
        let good = failure.is_none();
        {
            let mut info = self.info();
            info.state = if good { State::Ready } else { State::Failed };
            info.message = failure.unwrap_or_default();
        }
        if good {
            self.write_config().await;
        }
    }

    /// Refuses what needs a ready file.
    pub fn must_be_ready(&self) -> Result<()> {
        match self.info().state {
            State::Ready => Ok(()),
            state => {
                let text = format!("cannot get the reader for a non-ready file, current state {}", state.as_str());
                Err(Error::Invalid(text))
            }
        }
    }

    /// Stops filling it, and removes it.
    pub async fn delete(&self) {
        self.cancel.cancel();
        for path in [&self.temporary, &self.path, &config_path(&self.path)] {
            if let Err(error) = image::remove_if_there(path).await {
                tracing::warn!(path, %error, "failed to delete");
            }
        }
    }

    /// Begins to send it to a receiver.
    pub async fn send(self: &Arc<Self>, to: &str) -> Result<()> {
        let at_its_limit = |count: i32| count >= SENDING_LIMIT;
        let refusal = || {
            let what = format!("syncing file {} reaches to the simultaneous sending limit {SENDING_LIMIT}", self.path);
            Error::Invalid(what)
        };
        if at_its_limit(self.info().sending_reference) {
            return Err(refusal());
        }
        self.validate().await;
        {
            let mut info = self.info();
            if info.state != State::Ready {
                return Err(Error::Invalid(format!("invalid state {} for file sending", info.state.as_str())));
            }
            if at_its_limit(info.sending_reference) {
                return Err(refusal());
            }
            info.sending_reference += 1;
        }
        let (file, to) = (self.clone(), to.to_owned());
        host::spawn(async move {
            if let Err(error) = ssync::send(&file.path, &to, SENDING_TIMEOUT).await {
                tracing::error!(path = file.path, to, %error, "failed to send file");
            }
            file.info().sending_reference -= 1;
        });
        Ok(())
    }

    /// Waits until it is known whether the file must be filled.
    pub async fn wait_while_pending(&self) -> Result<()> {
        for _ in 0..PENDING_CHECKS {
            sleep(PENDING_CHECK_INTERVAL).await;
            if self.info().state != State::Pending {
                return Ok(());
            }
        }
        Err(Error::Invalid(format!("sync file is still in empty state after {PENDING_CHECKS} second")))
    }

    /// Does something with the file in a task of its own, once it is no longer pending.
    pub fn work<W, F>(self: &Arc<Self>, work: W)
    where
        W: FnOnce(Arc<Self>) -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let file = self.clone();
        host::spawn(async move {
            let path = file.path.clone();
            let worked = match file.wait_while_pending().await {
                Ok(()) => work(file).await,
                Err(error) => Err(error),
            };
            if let Err(error) = worked {
                tracing::error!(path, %error, "failed to process sync file");
            }
        });
    }

    /// So many bytes more are there.
    pub(super) fn advance(&self, bytes: i64) {
        let mut info = self.info();
        if info.state == State::Starting {
            info.state = State::InProgress;
        }
        if info.state == State::Ready {
            return;
        }
        info.processed_size = info.processed_size.saturating_add(bytes);
        set_progress(&mut info);
    }

    /// Fills the file, unless it is ready already, and concludes.
    pub(super) async fn process(
        self: &Arc<Self>,
        data_engine: &str,
        fill: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        match self.info().state {
            State::Ready => return Ok(()),
            State::Starting => {}
            state => return Err(Error::Invalid(format!("invalid state {} for actual processing", state.as_str()))),
        }
        let filled = fill.await;
        self.cancel.cancel();
        let concluded = match filled {
            Ok(()) => self.conclude(data_engine).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &concluded {
            self.fail(error).await;
        }
        concluded
    }

    async fn conclude(self: &Arc<Self>, data_engine: &str) -> Result<()> {
        {
            let info = self.info();
            if info.state != State::InProgress {
                tracing::warn!(path = self.path, state = info.state.as_str(), "invalid state after processing");
                return Ok(());
            }
            if info.size > 0 && info.processed_size != info.size {
                return Err(Error::Invalid(format!(
                    "processed data size {} does not match the expected file size {}",
                    info.processed_size, info.size
                )));
            }
        }
        let failed = || format!("failed to stat tmp file {} after getting the file from source", self.temporary);
        let metadata = host::fs::metadata(&self.temporary).await.context(failed)?;
        if data_engine == "v2" && image::info(&self.temporary).await?.is_qcow2 {
            let text = format!("failed to create raw image from qcow2 image {}: not supported", self.temporary);
            return Err(Error::Invalid(text));
        }
        let modified = image::go_time(metadata.modified);
        {
            let mut info = self.info();
            info.processed_size = i64::try_from(metadata.len).unwrap_or(i64::MAX);
            info.modification_time = modified.clone();
        }
        match self.recorded_checksum(&modified).await {
            Some(checksum) => {
                self.info().current_checksum = checksum;
                self.take_its_name().await
            }
            None => {
                // Reading it all takes long: the caller does not wait for it.
                let file = self.clone();
                host::spawn(async move {
                    if let Err(error) = file.check_and_take_its_name(&modified).await {
                        file.fail(&error).await;
                    }
                });
                Ok(())
            }
        }
    }

    async fn check_and_take_its_name(&self, modified: &str) -> Result<()> {
        let checksum = image::checksum(&self.temporary).await;
        let checksum = checksum.context(|| format!("failed to calculate checksum for tmp file {}", self.temporary))?;
        if image::modification_time(&self.temporary).await != modified {
            let text = format!("tmp file {} has been modified while calculating checksum", self.temporary);
            return Err(Error::Invalid(text));
        }
        {
            let mut info = self.info();
            info.current_checksum = checksum;
            if !info.expected_checksum.is_empty() && info.expected_checksum != info.current_checksum {
                return Err(Error::Invalid(format!(
                    "the expected checksum {} doesn't match the file actual checksum {}",
                    info.expected_checksum, info.current_checksum
                )));
            }
            if info.state == State::Failed {
                return Ok(());
            }
        }
        self.take_its_name().await
    }

    async fn take_its_name(&self) -> Result<()> {
        self.become_ready(&self.temporary).await;
        let renamed = host::fs::rename(&self.temporary, &self.path).await;
        renamed.context(|| format!("failed to rename tmp file {} to file {}", self.temporary, self.path))
    }

    /// Notes sizes of the file at `path`, which is complete, and writes the configuration.
    async fn become_ready(&self, path: &str) {
        let virtual_size = match image::info(path).await {
            Ok(info) => info.virtual_size,
            Err(error) => {
                tracing::warn!(path, %error, "failed to get backing image virtual size");
                0
            }
        };
        let real_size = match host::fs::metadata(path).await {
            Ok(metadata) if self.process.has_real_size() => i64::try_from(metadata.allocated_bytes).unwrap_or(i64::MAX),
            _ => 0,
        };
        {
            let mut info = self.info();
            info.progress = 100;
            info.size = info.processed_size;
            info.state = State::Ready;
            info.virtual_size = virtual_size;
            info.real_size = real_size;
        }
        self.write_config().await;
    }

    async fn write_config(&self) {
        let config = {
            let info = self.info();
            FileConfig {
                file_path: self.path.clone(),
                uuid: self.uuid.clone(),
                size: info.size,
                virtual_size: info.virtual_size,
                real_size: self.process.has_real_size().then_some(info.real_size),
                expected_checksum: info.expected_checksum.clone(),
                current_checksum: info.current_checksum.clone(),
                modification_time: info.modification_time.clone(),
            }
        };
        let path = config_path(&self.path);
        let content = serde_json::to_vec(&config).expect("strings and numbers are JSON");
        if let Err(error) = host::fs::write(&path, &content).await {
            tracing::warn!(path, %error, "failed to write config file when the file becomes ready");
            let _ = image::remove_if_there(&path).await;
        }
    }

    /// Gives the file up, unless it is ready or given up already.
    pub(super) async fn fail(&self, error: &Error) {
        {
            let mut info = self.info();
            if matches!(info.state, State::Failed | State::Ready) {
                return;
            }
            info.state = State::Failed;
            info.message = format!("failed to process sync file: {error}");
        }
        tracing::error!(path = self.path, %error, "failed to process sync file");
        for path in [&self.temporary, &self.path] {
            if let Err(error) = image::remove_if_there(path).await {
                tracing::warn!(path, %error, "failed to clean up after processing failure");
            }
        }
    }
}

/// The percentage, cut off as Go's conversion from a float of 32 bits does.
pub(super) fn set_progress(info: &mut FileInfo) {
    if info.size > 0 {
        info.progress = (info.processed_size as f32 / info.size as f32 * 100.0) as i64;
    }
}
