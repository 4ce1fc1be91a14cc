//! The system-backup controller: makes a system backup step by step, reads one that was pulled from the store, and deletes it there when
//! the resource is deleted (`controller/system_backup_controller.go`).
//!
//! The steps that take time run beside the reconciles, in this process only: backups of volumes and of backing images
//! ([`super::system_backup_parts`]), the archive and its upload ([`super::system_backup_archive`]). They write the next state with the object
//! that their reconcile read; a conflict queues the object, whose state then begins its step once more. The handler has no resync: a step
//! that fails thrice waits for an event.

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::system_backup::{CONDITION_ERROR, REASON_SYNC, SystemBackupState};
use longhorn_api::{BackupTarget, Defect, Node, Release, SystemBackup, labels, names};

use super::system_backup_archive::remove_local_files;
use super::{again_on_engine_images, capitalised};
use crate::engine::BackupTargetClient;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Error, Result, clock, ownership};

/// The controller.
#[derive(Clone)]
pub struct SystemBackupController {
    pub(super) manager: Arc<Manager>,
    queue: Queue,
    events: Arc<EventRecorder>,
}

/// Where a step leads: the next state, or an error with its reason; and what people are told.
pub(super) enum Step {
    Next { state: SystemBackupState, reason: &'static str, message: String },
    Failed { reason: &'static str, message: String },
}

impl Step {
    pub(super) fn next(state: SystemBackupState, reason: &'static str, message: impl Into<String>) -> Self {
        Self::Next { state, reason, message: message.into() }
    }
}

/// The event of every step before the archive, and its message.
pub(super) const STARTED: (&str, &str) = ("Start", "Starting system backup");

/// Starts it: SystemBackups without resync. Without defect c2 EngineImages too: one that nobody could take waits for them.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    manager.datastore.system_backups.informer().add_handler_with_resync(Duration::ZERO, queue.handler());
    again_on_engine_images(manager, &queue, |datastore| {
        let backups = datastore.system_backups.list();
        let new = backups.iter().filter(|backup| backup.status.state == SystemBackupState::New);
        new.map(|backup| name(&backup.metadata).to_owned()).collect()
    });
    if !manager.datastore.build.has(Defect::FoundLostOwner) {
        let (of, to) = (manager.clone(), queue.clone());
        manager.datastore.nodes.informer().add_handler(move |event: Event<Node>| {
            let node = name(&event.object().metadata);
            if !of.datastore.is_node_unavailable(node) {
                return;
            }
            let all = of.datastore.system_backups.list();
            for backup in all.iter().filter(|backup| backup.status.owner_id == node && !is_over(&backup.status.state)) {
                to.add(name(&backup.metadata));
            }
        });
    }
    let events = Arc::new(manager.events(SystemBackupController::NAME));
    let controller = SystemBackupController { manager: manager.clone(), queue: queue.clone(), events };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for SystemBackupController {
    const NAME: &'static str = "longhorn-system-backup";

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let target = datastore.backup_targets.get(names::DEFAULT_BACKUP_TARGET);
        let target = match target {
            Err(error) if !(error.is_not_found() && datastore.has_many_backup_targets()) => return Err(error),
            found => found.ok(),
        };
        let client = target.as_deref().map(|target| datastore.backup_target_client(target)).transpose()?;
        let Some(backup) = datastore.system_backups.find(name) else { return Ok(()) };
        let me = self.manager.node();
        if !datastore.is_responsible_for(me, &backup.status.owner_id) {
            return Ok(());
        }
        if backup.status.state == SystemBackupState::New && !datastore.may_begin_on_system(me)? {
            return Ok(());
        }
        let taken = ownership::take(&datastore.system_backups, (*backup).clone(), me).await?;
        let Some(mut backup) = taken else { return Ok(()) };
        let before = backup.status.clone();
        let (step, result) = self.step(&mut backup, target.as_deref(), client.as_ref()).await;
        if let Some(step) = step {
            self.record(step, backup, &before).await;
        }
        result
    }
}

impl SystemBackupController {
    /// One step; whether it failed is said apart from where it leads.
    async fn step(
        &self,
        backup: &mut SystemBackup,
        target: Option<&BackupTarget>,
        client: Option<&BackupTargetClient>,
    ) -> (Option<Step>, Result<()>) {
        let state = backup.status.state.clone();
        if backup.metadata.deletion_timestamp.is_some() && state != SystemBackupState::Deleting {
            let message = "Deleting system backup in backup target";
            return (Some(Step::next(SystemBackupState::Deleting, "Deleting", message)), Ok(()));
        }
        if state == SystemBackupState::Deleting {
            self.delete_in_store(backup, target, client).await;
            remove_local_files(name(&backup.metadata)).await;
            return (None, self.manager.datastore.system_backups.remove_finalizer(backup.clone()).await);
        }
        if is_over(&state) {
            remove_local_files(name(&backup.metadata)).await;
            return (None, Ok(()));
        }
        let Some(client) = client else {
            let message = "failed to get backup target".to_owned();
            let error = Error::message(format!("{message}: {}", names::DEFAULT_BACKUP_TARGET));
            return (Some(Step::Failed { reason: "FailedStarting", message }), Err(error));
        };
        match state {
            SystemBackupState::New => self.begin(backup, client).await,
            SystemBackupState::Syncing => match read_from_store(backup, client).await {
                Ok(()) => {
                    let message = "Synced system backup from backup target";
                    (Some(Step::next(SystemBackupState::Ready, "Synced", message)), Ok(()))
                }
                Err(error) => {
                    let message = "failed to sync from backup target".to_owned();
                    (Some(Step::Failed { reason: REASON_SYNC, message }), Err(error))
                }
            },
            SystemBackupState::CreatingVolumeBackups => (self.begin_volumes(backup).await, Ok(())),
            SystemBackupState::CreatingBackingImageBackups => (self.begin_backing_images(backup).await, Ok(())),
            SystemBackupState::Generating => {
                self.begin_archive(backup);
                (None, Ok(()))
            }
            SystemBackupState::Uploading => {
                self.begin_upload(backup, client);
                (None, Ok(()))
            }
            _ => (None, Ok(())),
        }
    }

    /// A new one: it was pulled from the store, or the store knows it, or it is to be made.
    async fn begin(&self, backup: &mut SystemBackup, client: &BackupTargetClient) -> (Option<Step>, Result<()>) {
        if labels::get(&backup.metadata, labels::VERSION).is_some_and(|version| !version.is_empty()) {
            let message = "Syncing system backup from backup target";
            return (Some(Step::next(SystemBackupState::Syncing, "Syncing", message)), Ok(()));
        }
        let stored = match client.system_backups().await {
            Ok(stored) => stored,
            Err(error) => {
                let message = format!("failed to list system backups in backup target: {error}");
                return (Some(Step::Failed { reason: "Start", message }), Ok(()));
            }
        };
        let Some(path) = stored.get(name(&backup.metadata)) else {
            let release = self.manager.datastore.release();
            release.name().clone_into(&mut backup.status.version);
            git_commit(release).clone_into(&mut backup.status.git_commit);
            let (reason, message) = STARTED;
            return (Some(Step::next(SystemBackupState::CreatingVolumeBackups, reason, message)), Ok(()));
        };
        let version = path.rsplit('/').nth(1).unwrap_or_default().to_owned();
        labels::set(&mut backup.metadata, labels::VERSION, version);
        (None, self.manager.datastore.system_backups.update(backup).await.map(drop))
    }

    /// Deletes it in the store, as well as it goes: the resource goes anyway.
    async fn delete_in_store(
        &self,
        backup: &SystemBackup,
        target: Option<&BackupTarget>,
        client: Option<&BackupTargetClient>,
    ) {
        let (backup_name, version) = (name(&backup.metadata), backup.status.version.as_str());
        let Some(client) = client else { return };
        // Without a version it was never read from the store.
        if version.is_empty() || !self.manager.datastore.deletes_remote_data(&backup.metadata, target) {
            return;
        }
        match client.system_backups().await {
            Ok(stored) if stored.contains_key(backup_name) => {}
            Ok(_absent) => return,
            Err(error) => return tracing::warn!(%error, "Failed to list system backups in backup target"),
        }
        match client.delete_system_backup(backup_name, version).await {
            Err(error) if !error.says_cannot_find() => {
                return tracing::warn!(%error, "Failed to delete {backup_name} system backup in backup target");
            }
            _ => {}
        }
        match client.system_backup_config(backup_name, version).await {
            Ok(_config) => tracing::warn!("Failed to check the system backup deletion, because it's being deleted"),
            Err(error) if error.says_cannot_find() => tracing::info!("Deleted system backup in backup target"),
            Err(error) => tracing::warn!(%error, "failed to get system backup config"),
        }
    }

    /// Writes where a step led, and tells people.
    pub(super) async fn record(
        &self,
        step: Step,
        mut backup: SystemBackup,
        before: &longhorn_api::kinds::system_backup::SystemBackupStatus,
    ) {
        match &step {
            Step::Next { state, .. } => backup.status.state = state.clone(),
            Step::Failed { reason, message } => {
                backup.status.state = SystemBackupState::Error;
                let now = clock::now_text();
                backup.status.conditions.set_condition(CONDITION_ERROR, ConditionStatus::True, reason, message, &now);
            }
        }
        if backup.status != *before {
            backup.status.last_synced_at = Some(clock::now());
            if let Err(error) = self.manager.datastore.system_backups.update_status(&backup).await {
                tracing::debug!(%error, "Requeue {} due to error", name(&backup.metadata));
                return self.queue.add(name(&backup.metadata));
            }
        }
        match step {
            Step::Next { reason, message, .. } => self.events.event(&backup, EventType::Normal, reason, message),
            Step::Failed { message, .. } => {
                self.events.event(&backup, EventType::Warning, "Failed", capitalised(&message));
            }
        }
    }
}

/// Whether nothing more is done.
fn is_over(state: &SystemBackupState) -> bool {
    matches!(state, SystemBackupState::Ready | SystemBackupState::Error)
}

/// Reads the configuration in the store into the status.
async fn read_from_store(backup: &mut SystemBackup, client: &BackupTargetClient) -> Result<()> {
    let version = labels::get(&backup.metadata, labels::VERSION).unwrap_or_default();
    if version.is_empty() {
        return Err(Error::message(format!(
            "failed to sync from backup target: missing {} label value",
            labels::VERSION
        )));
    }
    let config = client.system_backup_config(name(&backup.metadata), version).await?;
    backup.status.version = config.longhorn_version;
    backup.status.git_commit = config.longhorn_git_commit;
    backup.status.manager_image = config.manager_image;
    backup.status.created_at = Some(Time(config.created_at));
    Ok(())
}

/// The commit of longhorn-manager that a release was built from: the tag's, or the one in the name.
fn git_commit(release: Release) -> &'static str {
    match release {
        Release::V1_7_2 => "fd2ef9c5ee891fdbc787e475359a48b3f6b0e094",
        Release::V1_8_0_RC1 => "b59110d2488208f4f15ebc3bf3ce5e66eb344ffb",
        Release::V1_8_0_RC2 => "37ad98fb5d33e8a907c4e1770933e95a862ab6d9",
        Release::V1_8_0 => "1f343ee4c467de1264682ecb069d8f2a62850977",
        Release::V1_8_1 => "7b9d2aa08a572b2b8bce35b3ff0e90dfaa1b0eaf",
        Release::V1_8_2 => "5859e849c445b6144e8ab12db1472e26dc1ad4bd",
        Release::V1_9_0_DEV_00886872C => "00886872c4553fdd1a20854d8c4cf02b15cdcb09",
        Release::V1_9_2 => "63c6de30129bb45abe9f10c2d61a869fc6d2ed23",
    }
}
