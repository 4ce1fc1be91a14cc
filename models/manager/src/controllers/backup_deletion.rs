//! The deletion of a Backup: its data in the store, unless its BackupVolume goes too or a label says otherwise; then the finalizer
//! (`controller/backup_controller.go`).
//!
//! Until v1.7.2 the reconcile waits for the store. From v1.8.0-rc1 on the engine binary deletes in the background: the Backup is
//! `Deleting` until an inspection no longer finds it; a failed attempt makes it `Error` and is repeated after 1 min doubling to 24 h.
//! What runs is known to this process only, so a manager that takes over while the data are still there starts anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::{Api, DeleteParams, DynamicApi, EventType, ResourceDescriptor, reads};
use host::time::Instant;
use longhorn_api::go::Map;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::{Backup, BackupTarget, BackupVolume, Defect, GROUP, VERSION, settings};

use super::backup::{BackupController, Place};
use crate::engine::BackupTargetClient;
use crate::runtime::backoff::Backoff;
use crate::runtime::backups::name;
use crate::runtime::{Context, Result, clock};

/// Key of `status.messages` for what went wrong.
const MESSAGE_ERROR: &str = "error";
const SHORTEST_BACKOFF: Duration = Duration::from_secs(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(24 * 3600);

/// The deletions that this process has begun, by the backup's address in the store.
pub struct Deletions {
    state: Mutex<State>,
}

struct State {
    /// What became of each: nothing yet, or why it failed.
    begun: BTreeMap<String, Option<String>>,
    backoff: Backoff,
}

impl Default for Deletions {
    fn default() -> Self {
        let backoff = Backoff::new(SHORTEST_BACKOFF, LONGEST_BACKOFF);
        Self { state: Mutex::new(State { begun: BTreeMap::new(), backoff }) }
    }
}

impl Deletions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the engine binary's deletion in the background.
    fn begin(self: &Arc<Self>, backup_name: &str, url: String, client: BackupTargetClient) {
        self.lock().begun.insert(url.clone(), None);
        let deletions = self.clone();
        let scope = format!("longhorn-backup deletion {backup_name}");
        host::spawn(reads::scope(scope, async move {
            if let Err(error) = client.delete_backup(&url).await {
                let message = format!("Failed to delete the backup {url} in the backupstore, err {error}");
                if let Some(outcome) = deletions.lock().begun.get_mut(&url) {
                    *outcome = Some(message);
                }
            }
        }));
    }
}

impl BackupController {
    /// One step of the deletion of a terminating Backup.
    pub(super) async fn delete(&self, mut backup: Backup, place: Place) -> Result<()> {
        let datastore = &self.manager.datastore;
        let backup_name = name(&backup.metadata).to_owned();
        self.give_ticket_back(&backup_name, &place.volume).await?;
        let backup_volume = match datastore.backup_volume_of(&place.target_name, &place.volume) {
            Ok(backup_volume) => Some(backup_volume),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        // A terminating BackupVolume deletes the whole volume in the store.
        let living = backup_volume.as_deref().filter(|volume| volume.metadata.deletion_timestamp.is_none());
        let target =
            place.target.as_deref().filter(|target| datastore.deletes_remote_data(&backup.metadata, Some(target)));
        if let (Some(target), Some(_)) = (target, living)
            && !self.delete_in_store(&mut backup, target, &place.volume).await?
        {
            return Ok(());
        }
        let counts = if datastore.has_many_backup_targets() { living } else { backup_volume.as_deref() };
        if let Some(volume) = counts.filter(|volume| volume.status.last_backup_name == backup_name) {
            self.request_sync_of_rest(volume, &place).await;
        }
        self.end_monitor(&backup_name).await;
        self.waits.forget(&backup_name);
        if matches!(backup.status.state, BackupState::Error | BackupState::Unknown) {
            let message = format!("Failed backup {backup_name} has been deleted: {}", backup.status.error);
            self.events.event(&backup, EventType::Warning, backup.status.state.as_str(), message);
        }
        self.delete_snapshot_if_wanted(&backup).await;
        datastore.backups.remove_finalizer(backup).await
    }

    /// Deletes the backup in the store; says whether it is gone from there.
    async fn delete_in_store(&self, backup: &mut Backup, target: &BackupTarget, volume: &str) -> Result<bool> {
        let client = match self.manager.datastore.backup_target_client(target) {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(%error, "Failed to init backup target clients");
                return Ok(false);
            }
        };
        let url = client.backup_url(name(&backup.metadata), volume);
        let is_restored = self.is_restored_from(volume);
        if is_restored && backup.status.state != BackupState::Deleting {
            tracing::warn!("backup {} cannot be deleted due to an ongoing restoration", name(&backup.metadata));
            return Ok(false);
        }
        if !self.manager.datastore.has_many_backup_targets() {
            client.delete_backup(&url).await.context(|| "failed to delete remote backup")?;
            return Ok(true);
        }
        if backup.status.state == BackupState::Deleting {
            return Ok(self.is_deleted_in_store(backup, &url, &client).await);
        }
        self.begin_deletion(backup, url, client).await;
        Ok(false)
    }

    async fn begin_deletion(&self, backup: &mut Backup, url: String, client: BackupTargetClient) {
        let backup_name = name(&backup.metadata).to_owned();
        if self.deletions.lock().backoff.is_waiting(&backup_name, Instant::now()) {
            return;
        }
        self.deletions.begin(&backup_name, url, client);
        backup.status.state = BackupState::Deleting;
        backup.status.messages = Map::from(BTreeMap::new());
        if let Err(error) = self.manager.datastore.backups.update_status(backup).await {
            tracing::debug!(%error, "Backup {backup_name} update status error");
        }
        self.deletions.lock().backoff.next(&backup_name, Instant::now());
        self.queue.add(&backup_name);
    }

    /// Whether the store no longer has a backup whose deletion was begun. One whose deletion failed, or was begun by a process that is
    /// gone, becomes `Error`, from which the deletion is tried again.
    async fn is_deleted_in_store(&self, backup: &mut Backup, url: &str, client: &BackupTargetClient) -> bool {
        let backup_name = name(&backup.metadata).to_owned();
        let is_there = match client.backup(url).await {
            Ok(info) => info.is_some(),
            Err(error) if error.says_cannot_find() => false,
            Err(error) if error.says_in_progress() => true,
            Err(error) => {
                tracing::debug!(%error, "Failed to check backup {backup_name} in the backupstore");
                self.queue.add(&backup_name);
                return false;
            }
        };
        if !is_there {
            let mut state = self.deletions.lock();
            state.backoff.forget(&backup_name);
            state.begun.remove(url);
            return true;
        }
        let outcome = self.deletions.lock().begun.get(url).cloned();
        let message = match outcome {
            Some(None) => return false,
            Some(Some(failure)) => format!("Failed to delete the backup {url} in the backupstore, err {failure}"),
            None => "No deletion in progress record, retry the deletion command".to_owned(),
        };
        tracing::warn!("{message}");
        backup.status.state = BackupState::Error;
        backup.status.messages.insert(MESSAGE_ERROR, message);
        if let Err(error) = self.manager.datastore.backups.update_status(backup).await {
            tracing::error!(%error, "Backup {backup_name} update status error");
        }
        false
    }

    /// The last backup goes: its volume is to look which one is the last now. Upstream asks once (c10).
    async fn request_sync_of_rest(&self, volume: &BackupVolume, place: &Place) {
        if !self.manager.datastore.build.has(Defect::FoundLostSyncRequest) {
            return self.request_sync_of_volume(place).await;
        }
        let mut volume = volume.clone();
        volume.spec.sync_requested_at = Some(clock::now());
        match self.manager.datastore.backup_volumes.update(&volume).await {
            Err(error) if !error.is_conflict() => {
                tracing::error!(%error, "Failed to update backup volume {} spec", name(&volume.metadata));
            }
            _ => {}
        }
    }

    /// Deletes the backup's snapshot if setting `auto-cleanup-when-delete-backup` says so; as well as it goes.
    async fn delete_snapshot_if_wanted(&self, backup: &Backup) {
        let datastore = &self.manager.datastore;
        if !datastore.setting_flag(settings::AUTO_CLEANUP_WHEN_DELETE_BACKUP).unwrap_or(false) {
            return;
        }
        let snapshots = ResourceDescriptor::new(GROUP, VERSION, "Snapshot", "snapshots");
        let api: DynamicApi = Api::namespaced_of(datastore.backups.api().client(), &datastore.namespace, &snapshots);
        if let Err(error) = api.delete(&backup.spec.snapshot_name, &DeleteParams::default()).await {
            tracing::warn!(%error, snapshot = backup.spec.snapshot_name, "Failed to delete snapshot");
        }
    }
}
