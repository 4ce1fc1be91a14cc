//! The monitor of one upload: asks the replica, through the engine, how far it is, and queues the Backup when the answer changed
//! (`engineapi/backup_monitor.go`).
//!
//! Fault model: it lives in the process that began or took over the upload. A replica that does not answer, or no longer knows the backup,
//! makes it Error, though the upload may go on. After a call whose outcome is not known it asks ever more rarely, for a day.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::reads;
use host::JoinHandle;
use host::time::sleep;
use longhorn_api::kinds::backup::{BackupState, BackupStatus};
use longhorn_api::{Backup, Build};

use crate::engine::proxy::EngineProxy;
use crate::runtime::backups::name;
use crate::runtime::controller::Queue;
use crate::runtime::{Doubt, Error, Result, Ticker};

/// Between two questions (`BackupMonitorSyncPeriod`).
const INTERVAL: Duration = Duration::from_secs(2);

/// What is watched.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    backup: String,
    snapshot: String,
    /// The replica that uploads; empty if another process began it: then the engine looks for it.
    pub(super) replica: String,
    /// The call that began it was not answered in time.
    doubt: Option<Doubt>,
    /// What is known when it begins.
    pub(super) status: BackupStatus,
}

impl Upload {
    /// The upload of a Backup, of which nothing is known yet.
    pub(super) fn of(backup: &Backup) -> Self {
        Self {
            backup: name(&backup.metadata).to_owned(),
            snapshot: backup.spec.snapshot_name.clone(),
            replica: String::new(),
            doubt: None,
            status: BackupStatus::default(),
        }
    }

    /// The call that was to begin it was not answered in time: it may have begun.
    pub(super) fn doubt(&mut self, build: &Build) {
        self.doubt = Some(Doubt::of(build, INTERVAL));
    }
}

/// A running monitor; it stops when it is dropped.
#[derive(Debug)]
pub(super) struct BackupMonitor {
    status: Arc<Mutex<BackupStatus>>,
    task: JoinHandle<()>,
}

impl Drop for BackupMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BackupMonitor {
    /// Begins to ask.
    pub(super) fn start(proxy: EngineProxy, upload: Upload, queue: Queue) -> Self {
        let status = Arc::new(Mutex::new(upload.status.clone()));
        let scope = format!("longhorn-backup monitor {}", upload.backup);
        let watch = Watch { proxy, upload, queue, status: status.clone() };
        Self { status, task: host::spawn(reads::scope(scope, watch.run())) }
    }

    /// What was seen last.
    pub(super) fn status(&self) -> BackupStatus {
        lock(&self.status).clone()
    }
}

struct Watch {
    proxy: EngineProxy,
    upload: Upload,
    queue: Queue,
    status: Arc<Mutex<BackupStatus>>,
}

impl Watch {
    async fn run(mut self) {
        if let Some(doubt) = self.upload.doubt.take()
            && !self.resolve(doubt).await
        {
            return;
        }
        let mut questions = Ticker::new(INTERVAL);
        loop {
            questions.tick().await;
            let status = match self.ask().await {
                Ok(status) => status,
                Err(error) => self.failed(error.to_string()),
            };
            self.report(status);
        }
    }

    /// Asks until there is an answer; false if none came for a day, or however long this doubt may last.
    async fn resolve(&mut self, doubt: Doubt) -> bool {
        let given_up = doubt.given_up();
        for pause in doubt {
            sleep(pause).await;
            if self.ask().await.is_ok() {
                return true;
            }
        }
        self.report(self.failed(given_up));
        false
    }

    async fn ask(&mut self) -> Result<BackupStatus> {
        let upload = &self.upload;
        let answer = self.proxy.backup_status(&upload.backup, &upload.replica, "").await?;
        if answer.snapshot_name != upload.snapshot {
            return Err(Error::message(format!(
                "cannot find matched snapshot {}/{} of backup {} status in longhorn engine",
                answer.snapshot_name, upload.snapshot, upload.backup
            )));
        }
        let mut status = lock(&self.status).clone();
        status.progress = answer.progress.into();
        status.url = answer.backup_url;
        status.error = answer.error;
        status.snapshot_name = answer.snapshot_name;
        status.state = state(&answer.state);
        status.replica_address = answer.replica_address;
        Ok(status)
    }

    fn failed(&self, error: String) -> BackupStatus {
        BackupStatus { state: BackupState::Error, error, ..lock(&self.status).clone() }
    }

    fn report(&self, status: BackupStatus) {
        let mut known = lock(&self.status);
        if *known != status {
            *known = status;
            self.queue.add(&self.upload.backup);
        }
    }
}

fn lock(status: &Mutex<BackupStatus>) -> MutexGuard<'_, BackupStatus> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine's word for how far it is (`ConvertEngineBackupState`).
pub(super) fn state(word: &str) -> BackupState {
    match word {
        "in_progress" => BackupState::InProgress,
        "complete" => BackupState::Completed,
        "error" => BackupState::Error,
        _ => BackupState::Unknown,
    }
}
