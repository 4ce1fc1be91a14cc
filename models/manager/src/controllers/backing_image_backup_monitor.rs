//! The backup of a backing image: one call to a manager that has the file, any of them, and a monitor that asks this manager how far the
//! backup of that name is (`checkMonitor` in `controller/backup_backing_image_controller.go`; `engineapi/backup_backing_image.go`).
//!
//! Fault model: the manager answers for the first backup of the image's name that it remembers, not for the one that was asked for. The
//! monitor queues only when the answer changed. A manager that takes a backup over asks a manager at random, which may know nothing of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::reads;
use host::JoinHandle;
use host::time::sleep;
use longhorn_api::kinds::backing_image::BackingImageState;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::{
    BackingImage, BackingImageManager, BackupBackingImage, BackupTarget, Build, Defect, Release, settings,
};
use tokio::sync::RwLock;

use super::backup_monitor::state;
use crate::engine::backing_image_manager::{BackingImageManagerClient, ImageBackupOrder};
use crate::runtime::backups::name;
use crate::runtime::controller::Queue;
use crate::runtime::{Datastore, Doubt, Error, Result};

/// Between two questions, of which the first is asked at once.
const INTERVAL: Duration = Duration::from_secs(2);

/// What is known of an upload.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Progress {
    pub(super) state: BackupState,
    pub(super) progress: i64,
    pub(super) url: String,
    pub(super) error: String,
}

/// A running monitor; it stops when it is dropped.
#[derive(Debug)]
pub(super) struct ImageBackupMonitor {
    progress: Arc<Mutex<Progress>>,
    task: JoinHandle<()>,
}

impl Drop for ImageBackupMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ImageBackupMonitor {
    /// What was seen last.
    pub(super) fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }

    fn start(watch: Watch) -> Self {
        let progress = watch.progress.clone();
        let scope = format!("longhorn-backup-backing-image monitor {}", watch.backup);
        Self { progress, task: host::spawn(reads::scope(scope, watch.run())) }
    }
}

struct Watch {
    build: Build,
    client: BackingImageManagerClient,
    image: String,
    backup: String,
    queue: Queue,
    progress: Arc<Mutex<Progress>>,
}

impl Watch {
    async fn run(mut self) {
        let in_doubt = lock(&self.progress).state == BackupState::Pending;
        if in_doubt && !self.resolve_doubt().await {
            return;
        }
        loop {
            let progress = match self.ask().await {
                Ok(progress) => progress,
                Err(error) => self.failed(error.to_string()),
            };
            self.report(progress);
            sleep(INTERVAL).await;
        }
    }

    async fn resolve_doubt(&mut self) -> bool {
        let doubt = Doubt::of(&self.build, INTERVAL);
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

    async fn ask(&mut self) -> Result<Progress> {
        let answer = self.client.backup_status(&self.image).await?;
        Ok(Progress {
            state: state(&answer.state),
            progress: answer.progress.into(),
            url: answer.backup_url,
            error: answer.error,
        })
    }

    fn failed(&self, error: String) -> Progress {
        Progress { state: BackupState::Error, error, ..lock(&self.progress).clone() }
    }

    fn report(&self, progress: Progress) {
        let mut known = lock(&self.progress);
        if *known != progress {
            *known = progress;
            self.queue.add(&self.backup);
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The monitors of a controller, by BackupBackingImage.
pub(super) type Monitors = RwLock<BTreeMap<String, Arc<ImageBackupMonitor>>>;

/// Asks a manager for the backup, unless that was done before, and starts to watch. `backup` becomes Pending in doubt.
///
/// Who asks holds the lock of all monitors until the manager has answered, as upstream does: it waits there for others' locks in the store, and
/// so do meanwhile all reconciles of this controller that look for a monitor.
pub(super) async fn begin(
    datastore: &Datastore,
    backup: &mut BackupBackingImage,
    image: &BackingImage,
    target: &BackupTarget,
    queue: &Queue,
    monitors: &Monitors,
) -> Result<Arc<ImageBackupMonitor>> {
    let limit = datastore.setting_number(settings::BACKUP_CONCURRENT_LIMIT)?;
    let target = datastore.backup_target_client(target)?;
    let backup_name = name(&backup.metadata).to_owned();
    let managers = managers_with(datastore, image);
    let manager = managers.first().ok_or_else(|| {
        Error::message(format!("failed to find backing image manager to backup backing image {backup_name}"))
    })?;
    let mut client = BackingImageManagerClient::of(manager)?;
    let compression_method = datastore.existing_setting_value(settings::BACKUP_COMPRESSION_METHOD)?;
    let image_name = name(&image.metadata).to_owned();
    let mut begun = Progress::default();
    let mut monitors = monitors.write().await;
    if backup.status.state != BackupState::New && !datastore.build.has(Defect::FoundAnyImageManager) {
        client = who_knows(&managers, &image_name).await.unwrap_or(client);
    }
    if backup.status.state == BackupState::New {
        let mut parameters = BTreeMap::new();
        if datastore.has_many_backup_targets() {
            parameters.insert("secret".to_owned(), image.spec.secret.clone());
            parameters.insert("secret-namespace".to_owned(), image.spec.secret_namespace.clone());
        }
        let order = ImageBackupOrder {
            name: image_name.clone(),
            uuid: image.status.uuid.clone(),
            checksum: backup.status.checksum.clone(),
            target: target.url.clone(),
            labels: (*backup.spec.labels).clone(),
            credential: target.credential.clone().unwrap_or_default(),
            compression_method,
            concurrent_limit: i32::try_from(limit).unwrap_or(i32::MAX),
            parameters,
        };
        match client.back_up(order).await {
            Err(error) if error.to_string().contains("DeadlineExceeded") => {
                tracing::warn!(%error, "backup backing image request timeout");
                backup.status.state = BackupState::Pending;
            }
            Err(error) => {
                fail(backup, &error);
                return Err(error);
            }
            Ok(()) => {}
        }
        let status = &backup.status;
        begun = Progress {
            state: status.state.clone(),
            progress: status.progress,
            url: status.url.clone(),
            error: status.error.clone(),
        };
    }
    let monitor = Arc::new(ImageBackupMonitor::start(Watch {
        build: datastore.build.clone(),
        client,
        image: image_name,
        backup: backup_name.clone(),
        queue: queue.clone(),
        progress: Arc::new(Mutex::new(begun)),
    }));
    monitors.insert(backup_name, monitor.clone());
    Ok(monitor)
}

fn fail(backup: &mut BackupBackingImage, error: &Error) {
    backup.status.error = error.to_string();
    backup.status.state = BackupState::Error;
    backup.status.last_synced_at = Some(crate::runtime::clock::now());
}

/// The first manager that knows of a backup of the image.
async fn who_knows(managers: &[Arc<BackingImageManager>], image: &str) -> Option<BackingImageManagerClient> {
    for manager in managers {
        let Ok(mut client) = BackingImageManagerClient::of(manager) else { continue };
        if client.backup_status(image).await.is_ok() {
            return Some(client);
        }
    }
    None
}

/// The managers that have the image's file; from v1.9.2 on the file must be ready. Upstream takes any, also to ask for a backup that it began
/// with another (c14).
fn managers_with(datastore: &Datastore, image: &BackingImage) -> Vec<Arc<BackingImageManager>> {
    let needs_ready = datastore.release().at_least(Release::V1_9_2);
    let has_file = |manager: &Arc<BackingImageManager>| {
        let file = manager.status.backing_image_file_map.get(name(&image.metadata));
        let is_fit = file.is_some_and(|file| {
            file.uuid == image.status.uuid && (!needs_ready || file.state == BackingImageState::Ready)
        });
        manager.metadata.deletion_timestamp.is_none() && is_fit
    };
    let disks = datastore.in_map_order(image.spec.disk_file_spec_map.keys());
    disks.into_iter().filter_map(|disk| datastore.managers_of_disk(disk).into_iter().find(has_file)).collect()
}
