//! Restoring a backup into this replica: in full into a snapshot's disk, or the difference to the backup restored last
//! into a file that is folded into that disk (pkg/sync/rpc/server.go, pkg/replica/restore.go).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::fs::{File, OpenOptions};
use longhorn_backupstore::url::{decode_backup, unescape_ampersand};
use longhorn_backupstore::{Backupstore, Error as StoreError, RestoreTarget, Result as StoreResult};
use longhorn_rpc::ptypes;

use crate::error::go_text;
use crate::format::names::{META_SUFFIX, RESTORE_SUFFIX, delta_disk};
use crate::format::{Directory, coalesce};
use crate::sync::agent::{Agent, Progress, lock};
use crate::sync::backup::credentials;

/// How often it is looked whether all data has come.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How a restore is going, and what was restored last.
#[derive(Clone, Debug, Default)]
pub(crate) struct RestoreStatus {
    pub percent: i32,
    pub error: String,
    pub url: String,
    pub state: Progress,
    /// The file that the data goes into.
    file: String,
    /// The disk that has the data in the end.
    pub disk: String,
    pub last_restored: String,
    pub restoring: String,
}

struct Target {
    directory: Directory,
    name: String,
    file: Mutex<Option<Arc<File>>>,
    status: Arc<Mutex<RestoreStatus>>,
}

impl Target {
    fn path(&self) -> String {
        self.directory.path(&self.name)
    }

    fn file(&self) -> StoreResult<Arc<File>> {
        lock(&self.file).clone().ok_or_else(|| StoreError::Invalid(format!("{} is not open", self.path())))
    }

    fn failed(&self, operation: &str, error: &std::io::Error) -> StoreError {
        StoreError::Invalid(format!("{operation} {}: {}", self.path(), go_text(error)))
    }
}

impl RestoreTarget for Target {
    fn open(&self) -> BoxFuture<'_, StoreResult<()>> {
        async move {
            self.directory.remove(&self.name).await.map_err(|error| StoreError::Invalid(error.to_string()))?;
            let options = OpenOptions::new().read(true).write(true).create(true).truncate(true);
            let file = options.open(&self.path()).await.map_err(|error| self.failed("open", &error))?;
            *lock(&self.file) = Some(Arc::new(file));
            Ok(())
        }
        .boxed()
    }

    fn set_size(&self, size: i64) -> BoxFuture<'_, StoreResult<()>> {
        async move {
            let file = self.file()?;
            file.set_len(size.unsigned_abs()).await.map_err(|error| self.failed("truncate", &error))
        }
        .boxed()
    }

    fn write<'a>(&'a self, offset: i64, data: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        async move {
            let file = self.file()?;
            file.write_all_at(data, offset.unsigned_abs()).await.map_err(|error| self.failed("write", &error))
        }
        .boxed()
    }

    fn write_zeros(&self, offset: i64, size: i64) -> BoxFuture<'_, StoreResult<()>> {
        async move {
            let (file, zeros) = (self.file()?, vec![0; size.unsigned_abs() as usize]);
            file.write_all_at(&zeros, offset.unsigned_abs()).await.map_err(|error| self.failed("write", &error))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, StoreResult<()>> {
        async move {
            *lock(&self.file) = None;
            Ok(())
        }
        .boxed()
    }

    fn status(&self, percent: i64, error: Option<&StoreError>) {
        let mut status = lock(&self.status);
        status.percent = i32::try_from(percent).unwrap_or(100);
        if let Some(error) = error {
            status.fail(&error.to_string());
        }
    }

    fn is_stopped(&self) -> bool {
        false
    }
}

impl RestoreStatus {
    fn fail(&mut self, error: &str) {
        self.error = if self.error.is_empty() { error.to_owned() } else { format!("{error}: {}", self.error) };
        self.state = Progress::Error;
        self.restoring.clear();
    }
}

impl Agent {
    /// Begins to restore a backup.
    pub(crate) async fn start_restore(&self, request: ptypes::BackupRestoreRequest) -> Result<(), String> {
        if request.snapshot_disk_name.is_empty() {
            return Err("empty snapshot disk name for the restore".to_owned());
        }
        if request.backup.is_empty() {
            return Err("empty backup URL for the restore".to_owned());
        }
        let address = unescape_ampersand(&request.backup);
        let name = decode_backup(&address).map_err(|error| error.to_string())?.backup.unwrap_or_default();
        self.begin_restore(&request, &address, &name)
            .await
            .map_err(|error| format!("error starting backup restore: {error}"))?;
        let agent = self.clone();
        host::spawn(async move { agent.complete_restore().await });
        Ok(())
    }

    async fn begin_restore(
        &self,
        request: &ptypes::BackupRestoreRequest,
        address: &str,
        name: &str,
    ) -> Result<(), String> {
        let mut running = self.0.running.write().await;
        if running.restoring {
            return Err("cannot initiate backup restore as there is one already in progress".to_owned());
        }
        let before = lock(&self.0.statuses.restore).clone();
        if before.state == Progress::Error {
            return Err("cannot start backup restore of the previous restore fails".to_owned());
        }
        if before.last_restored == name {
            return Err(format!("already restored backup {name}"));
        }
        let store = Backupstore::open(address, &credentials(&request.credential), &self.0.backups).await;
        let store = store.map_err(|error| error.to_string())?;
        let disk = request.snapshot_disk_name.clone();
        let mut status = RestoreStatus {
            url: request.backup.clone(),
            state: Progress::Running,
            disk: disk.clone(),
            restoring: name.to_owned(),
            ..RestoreStatus::default()
        };
        if before.last_restored.is_empty() && before.state == Progress::None {
            status.file = disk;
        } else if !before.last_restored.is_empty() && has_backup(&store, address, name, &before.last_restored).await {
            status.file = delta_disk(&before.last_restored);
            status.last_restored.clone_from(&before.last_restored);
        } else {
            status.file = format!("{disk}{RESTORE_SUFFIX}");
        }
        *lock(&self.0.statuses.restore) = status.clone();
        match self.fetch(&store, address, &status, request.concurrent_limit).await {
            Ok(()) => {
                running.restoring = true;
                Ok(())
            }
            Err(error) => {
                if status.file != status.disk {
                    let _ = self.directory().remove(&status.file).await;
                }
                *lock(&self.0.statuses.restore) = before;
                Err(error)
            }
        }
    }

    async fn fetch(
        &self,
        store: &Backupstore,
        address: &str,
        status: &RestoreStatus,
        workers: i32,
    ) -> Result<(), String> {
        let target = Arc::new(Target {
            directory: self.directory().clone(),
            name: status.file.clone(),
            file: Mutex::default(),
            status: Arc::clone(&self.0.statuses.restore),
        });
        let workers = usize::try_from(workers).unwrap_or(1).max(1);
        if status.last_restored.is_empty() {
            let begun = store.restore(address, target, workers).await;
            begun.map(drop).map_err(|error| format!("error initiating full backup restore: {error}"))
        } else {
            let begun = store.restore_incrementally(address, &status.last_restored, target, workers).await;
            begun.map(drop).map_err(|error| format!("error initiating incremental backup restore: {error}"))
        }
    }

    /// Waits for the data, and takes it into the replica.
    async fn complete_restore(&self) {
        let completed = async {
            self.wait_for_data().await?;
            let status = lock(&self.0.statuses.restore).clone();
            if status.last_restored.is_empty() {
                self.adopt_full(&status).await
            } else {
                self.adopt_difference(&status).await
            }
        };
        let completed = completed.await;
        let mut running = self.0.running.write().await;
        running.restoring = false;
        let mut status = lock(&self.0.statuses.restore);
        match completed {
            Err(error) => {
                status.percent = 0;
                status.fail(&error);
            }
            Ok(()) if status.state != Progress::Error => {
                status.state = Progress::Complete;
                status.last_restored = std::mem::take(&mut status.restoring);
            }
            Ok(()) => {}
        }
    }

    async fn wait_for_data(&self) -> Result<(), String> {
        loop {
            host::time::sleep(CHECK_INTERVAL).await;
            let status = lock(&self.0.statuses.restore);
            if status.percent == 100 {
                return Ok(());
            }
            if !status.error.is_empty() {
                return Err(format!("failed to wait for restore complete: {}", status.error));
            }
        }
    }

    async fn adopt_full(&self, status: &RestoreStatus) -> Result<(), String> {
        let directory = self.directory();
        if status.file == status.disk {
            let adopted = self.adopt_snapshot(&status.file).await;
            return adopted.map_err(|error| format!("failed to adopt {}: {error}", status.file));
        }
        // It replaces what an earlier restore left, because the difference to that could not be had.
        let replaced = async {
            self.write_snapshot_meta(&status.file).await.map_err(|error| error.to_string())?;
            for suffix in ["", META_SUFFIX] {
                let from = directory.path(&format!("{}{suffix}", status.file));
                let to = directory.path(&format!("{}{suffix}", status.disk));
                let renamed = host::fs::rename(&from, &to).await;
                renamed.map_err(|error| format!("failed to replace old snapshot {to}: {}", go_text(&error)))?;
            }
            self.0.server.reload().await.map_err(|error| error.to_string())
        };
        let replaced = replaced.await;
        for suffix in ["", META_SUFFIX] {
            let _ = directory.remove(&format!("{}{suffix}", status.file)).await;
        }
        replaced
    }

    async fn adopt_difference(&self, status: &RestoreStatus) -> Result<(), String> {
        let directory = self.directory();
        let adopted = async {
            coalesce(directory, &status.file, &status.disk, &mut |_| {}).await?;
            self.0.server.reload().await
        };
        let adopted = adopted.await;
        let _ = directory.remove(&status.file).await;
        adopted.map_err(|error| error.to_string())
    }

    /// How the restore is going.
    pub(crate) async fn restore_status(&self) -> ptypes::RestoreStatusResponse {
        let is_restoring = self.0.running.read().await.restoring;
        let status = lock(&self.0.statuses.restore).clone();
        ptypes::RestoreStatusResponse {
            is_restoring,
            last_restored: status.last_restored,
            progress: status.percent,
            error: status.error,
            dest_file_name: status.disk,
            state: status.state.as_str().to_owned(),
            backup_url: status.url,
            current_restoring_backup: status.restoring,
        }
    }
}

/// Whether the backup that was restored last is still there to be compared with.
async fn has_backup(store: &Backupstore, address: &str, name: &str, last: &str) -> bool {
    store.inspect_backup(&address.replacen(name, last, 1)).await.is_ok()
}
