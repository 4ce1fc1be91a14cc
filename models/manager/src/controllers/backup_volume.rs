//! The backup-volume controller: keeps the Backups of one volume in step with the store, notes what its configuration there says, and
//! deletes the volume's data when the resource is deleted (`controller/backup_volume_controller.go`).
//!
//! Until v1.7.2 a deletion first deletes all Backups with one request, then the data, then drops the finalizer. From v1.8.0-rc1 on the
//! Backups have owner references and go after the BackupVolume, by Kubernetes' garbage collector: what makes longhorn#10120 show.
//! A Backup gets its owner reference when it is pulled, or when a synchronisation finds it to be a new last backup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use longhorn_api::go::Map;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::kinds::backup_volume::BackupVolumeStatus;
use longhorn_api::{Backup, BackupTarget, BackupVolume, Defect, labels, settings};

use super::{difference, report_count};
use crate::engine::BackupTargetClient;
use crate::engine::answers::BackupVolumeInfo;
use crate::manager::Manager;
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Error, Result, clock, ownership};

/// The controller.
pub struct BackupVolumeController {
    manager: Arc<Manager>,
    queue: Queue,
}

/// Starts it: BackupVolumes with resync.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    manager.datastore.backup_volumes.informer().add_handler(queue.handler());
    let controller = BackupVolumeController { manager: manager.clone(), queue: queue.clone() };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for BackupVolumeController {
    const NAME: &'static str = "longhorn-backup-volume";

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(backup_volume) = datastore.backup_volumes.find(name) else { return Ok(()) };
        let me = self.manager.node();
        datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        if !datastore.is_responsible_for_backups(me, &backup_volume.status.owner_id).unwrap_or(false) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.backup_volumes, (*backup_volume).clone(), me).await?;
        let Some(mut backup_volume) = taken else { return Ok(()) };

        let target_name = datastore.target_of_backup_volume(&backup_volume);
        let target = datastore.backup_targets.find(target_name);
        if target.is_none() && !datastore.has_many_backup_targets() {
            return Ok(());
        }
        if backup_volume.metadata.deletion_timestamp.is_some() {
            return self.delete(backup_volume, target.as_deref()).await;
        }
        let target = target.ok_or_else(|| {
            Error::message(format!("failed to find the backup target {target_name} for the backup volume {name}"))
        })?;
        self.synchronise(&mut backup_volume, &target).await
    }
}

impl BackupVolumeController {
    async fn delete(&self, backup_volume: BackupVolume, target: Option<&BackupTarget>) -> Result<()> {
        let datastore = &self.manager.datastore;
        let volume = datastore.volume_of(&backup_volume).to_owned();
        if !datastore.has_many_backup_targets() {
            let deleted = datastore.backups.delete_labelled(&[(labels::BACKUP_VOLUME, &volume)]).await;
            deleted.context(|| "failed to delete backups")?;
        } else if !datastore.build.has(Defect::FoundBackupOfNobody) {
            // One that was never the last at a synchronisation has no owner.
            let of = [
                (labels::BACKUP_TARGET, backup_volume.spec.backup_target_name.as_str()),
                (labels::BACKUP_VOLUME, &volume),
            ];
            datastore.backups.delete_labelled(&of).await.context(|| "failed to delete backups")?;
        }
        if let Some(target) =
            target.filter(|target| datastore.deletes_remote_data(&backup_volume.metadata, Some(target)))
        {
            let client = match datastore.backup_target_client_on_node(target) {
                Ok(client) => client,
                Err(error) => {
                    tracing::error!(%error, "Failed to init backup target clients");
                    return Ok(());
                }
            };
            client.delete_backup_volume(&volume).await.context(|| "failed to delete remote backup volume")?;
        }
        datastore.backup_volumes.remove_finalizer(backup_volume).await
    }

    /// Reads the store if that is due, and writes the status if it changed.
    async fn synchronise(&self, backup_volume: &mut BackupVolume, target: &BackupTarget) -> Result<()> {
        let before = backup_volume.status.clone();
        self.follow_store(backup_volume, target).await?;
        if backup_volume.status == before {
            return Ok(());
        }
        match self.manager.datastore.backup_volumes.update_status(backup_volume).await {
            Err(error) if error.is_conflict() => self.queue.add(name(&backup_volume.metadata)),
            Err(error) => tracing::warn!(%error, "Failed to update the status of a backup volume"),
            Ok(_) => {}
        }
        Ok(())
    }

    /// A store that cannot be read is logged and is no failure of the reconcile.
    async fn follow_store(&self, backup_volume: &mut BackupVolume, target: &BackupTarget) -> Result<()> {
        let began = clock::now();
        let (requested, last) = (&backup_volume.spec.sync_requested_at, &backup_volume.status.last_synced_at);
        if !clock::sync_is_due(requested.as_ref(), last.as_ref()) {
            return Ok(());
        }
        let datastore = &self.manager.datastore;
        let volume = datastore.volume_of(backup_volume).to_owned();
        let Some(client) =
            logged(datastore.backup_target_client_on_node(target), "Failed to init backup target clients")
        else {
            return Ok(());
        };
        let Some(stored) = logged(client.backup_names(&volume).await, "Failed to list backups from backup target")
        else {
            return Ok(());
        };
        let stored = BTreeSet::from_iter(stored);
        let set_changed = self.follow_backups(backup_volume, target, &client, &stored).await?;

        let url = client.volume_url(&volume);
        let head = logged(
            client.config_metadata(&url).await,
            "Failed to get backup volume config metadata from backup target",
        );
        let Some(Some(head)) = head else { return Ok(()) };
        let known = backup_volume.status.last_modification_time.as_ref();
        let is_same_age = known.is_some_and(|known| known.0 == head.modification_time);
        if !set_changed && is_same_age && self.knows_last_backup(backup_volume, target, &stored) {
            backup_volume.status.last_synced_at = Some(began);
            return Ok(());
        }
        let info = logged(client.backup_volume(&url).await, "Failed to get backup volume config from backup target");
        let Some(Some(info)) = info else { return Ok(()) };
        if backup_volume.status.last_backup_name != info.last_backup_name {
            self.request_sync_of_last_backup(backup_volume, &info.last_backup_name, &began).await;
        }
        backup_volume.status.last_modification_time = Some(Time(head.modification_time));
        note(backup_volume, info);
        backup_volume.status.last_synced_at = Some(began);
        Ok(())
    }

    /// Whether the last backup that is known is the youngest there is. With defect 12542 the age of the configuration in the store, in whole
    /// seconds, answers for that: what was written a second time within the second in which it was read is never read again
    /// (`isLastBackupUpdateSafeToSkip`).
    fn knows_last_backup(
        &self,
        backup_volume: &BackupVolume,
        target: &BackupTarget,
        stored: &BTreeSet<String>,
    ) -> bool {
        let datastore = &self.manager.datastore;
        if datastore.build.has(Defect::Issue12542) {
            return true;
        }
        let backups = datastore.backups_of_volume(name(&target.metadata), datastore.volume_of(backup_volume));
        is_youngest(&backup_volume.status, &backups, stored)
    }

    /// Creates the Backups that only the store has, deletes those that only the cluster has; says whether there were any.
    async fn follow_backups(
        &self,
        backup_volume: &BackupVolume,
        target: &BackupTarget,
        client: &BackupTargetClient,
        stored: &BTreeSet<String>,
    ) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let volume = datastore.volume_of(backup_volume);
        let present = self.synchronised_backups(&datastore.backups_of_volume(name(&target.metadata), volume)).await;

        let missing = difference(stored, &present);
        report_count(
            missing.len(),
            "backups in the backup target that do not exist in the cluster and need to be pulled",
        );
        for backup in datastore.in_map_order(missing.iter()) {
            self.pull(backup, backup_volume, target, client).await?;
        }
        let vanished = difference(&present, stored);
        report_count(
            vanished.len(),
            "backups in the cluster that do not exist in the backup target and need to be deleted",
        );
        for backup in datastore.in_map_order(vanished.iter()) {
            if !datastore.build.has(Defect::Issue9530) {
                let labelled = datastore.backups.label_delete_custom_resource_only(backup).await;
                labelled.context(|| format!("failed to add label delete-custom-resource-only to backup {backup}"))?;
            }
            datastore
                .backups
                .delete(backup)
                .await
                .context(|| format!("failed to delete backup {backup} from cluster"))?;
        }
        Ok(!missing.is_empty() || !vanished.is_empty())
    }

    /// Names of the Backups that the store must have. One that is still uploaded, or failed to be, is not expected there; a failed
    /// one is deleted when its time (setting `failed-backup-ttl`) is over.
    async fn synchronised_backups(&self, backups: &[Arc<Backup>]) -> BTreeSet<String> {
        let datastore = &self.manager.datastore;
        let minutes = logged(datastore.setting_number(settings::FAILED_BACKUP_TTL), "failed backups are not deleted")
            .unwrap_or(0);
        let mut present = BTreeSet::new();
        for backup in backups {
            let backup_name = name(&backup.metadata);
            if backup.spec.snapshot_name.is_empty() || backup.status.state == BackupState::Completed {
                present.insert(backup_name.to_owned());
            } else if minutes > 0 && has_expired(backup, Duration::from_secs(60 * minutes.unsigned_abs())) {
                logged(datastore.backups.delete(backup_name).await, "Failed to delete failed backup");
            }
        }
        present
    }

    async fn pull(
        &self,
        backup_name: &str,
        of: &BackupVolume,
        target: &BackupTarget,
        client: &BackupTargetClient,
    ) -> Result<()> {
        let datastore = &self.manager.datastore;
        let volume = datastore.volume_of(of);
        let mut backup = Backup::default();
        backup.metadata.name = Some(backup_name.to_owned());
        labels::set(&mut backup.metadata, labels::BACKUP_VOLUME, volume);
        if datastore.has_many_backup_targets() {
            labels::set(&mut backup.metadata, labels::BACKUP_TARGET, name(&target.metadata));
            backup.metadata.owner_references = Some(vec![owner_reference(of)]);
        }
        backup.spec.labels = self.access_mode_in_store(&client.backup_url(backup_name, volume), client).await;
        match datastore.backups.create(&backup).await {
            Err(error) if !error.is_already_exists() => {
                Err(error).context(|| format!("Failed to create backup {backup_name} in the cluster"))
            }
            _ => Ok(()),
        }
    }

    /// The label that tells the volume's access mode, if the store knows it.
    async fn access_mode_in_store(&self, url: &str, client: &BackupTargetClient) -> Map<String> {
        let info = match client.backup(url).await {
            Ok(info) => info,
            Err(error) => {
                if !error.says_cannot_find() {
                    tracing::warn!(%error, url, "Failed to get backupInfo from remote backup target");
                }
                None
            }
        };
        let mode = info.and_then(|info| info.labels).and_then(|labels| labels.get(labels::VOLUME_ACCESS_MODE).cloned());
        Map::from(BTreeMap::from_iter(mode.map(|mode| (labels::VOLUME_ACCESS_MODE.to_owned(), mode))))
    }

    /// The last backup changed: its Backup is to read the store too, and gets its owner if it has none yet.
    async fn request_sync_of_last_backup(&self, owner: &BackupVolume, backup_name: &str, began: &Time) {
        let datastore = &self.manager.datastore;
        let Some(backup) = datastore.backups.find(backup_name) else { return };
        let mut backup = (*backup).clone();
        if datastore.has_many_backup_targets() {
            let references = backup.metadata.owner_references.get_or_insert_default();
            if !references.iter().any(|reference| Some(&reference.uid) == owner.metadata.uid.as_ref()) {
                references.push(owner_reference(owner));
            }
        }
        backup.spec.sync_requested_at = Some(began.clone());
        match datastore.backups.update(&backup).await {
            Err(error) if !error.is_conflict() => tracing::error!(%error, "Failed to update backup {backup_name} spec"),
            _ => {}
        }
    }
}

/// Whether the last backup of a status is the youngest that is complete and in the store.
fn is_youngest(status: &BackupVolumeStatus, backups: &[Arc<Backup>], stored: &BTreeSet<String>) -> bool {
    let last = &status.last_backup_name;
    if stored.is_empty() || last.is_empty() {
        return stored.is_empty() && last.is_empty();
    }
    if !stored.contains(last) {
        return false;
    }
    let counts = |backup: &&Arc<Backup>| {
        stored.contains(name(&backup.metadata)) && backup.status.state == BackupState::Completed
    };
    let mut youngest: Option<(jiff::Timestamp, &str)> = None;
    for backup in backups.iter().filter(counts) {
        let Ok(created) = backup.status.backup_created_at.parse::<jiff::Timestamp>() else { return false };
        if status.last_backup_at.is_empty() {
            return false;
        }
        if youngest.is_none_or(|(other, _)| created > other) {
            youngest = Some((created, name(&backup.metadata)));
        }
    }
    youngest.is_some_and(|(_, youngest)| youngest == last)
}

/// Whether a failed backup has been kept for `limit`. One that was never synchronised has been since ever.
fn has_expired(backup: &Backup, limit: Duration) -> bool {
    let failed = matches!(backup.status.state, BackupState::Error | BackupState::Unknown);
    failed && backup.status.last_synced_at.as_ref().is_none_or(|failed_at| clock::now().0 > failed_at.0 + limit)
}

/// Notes what the configuration in the store says.
fn note(backup_volume: &mut BackupVolume, info: BackupVolumeInfo) {
    let status = &mut backup_volume.status;
    status.size = info.size;
    status.labels = info.labels.map(Map::from).unwrap_or_default();
    status.created_at = info.created;
    status.last_backup_name = info.last_backup_name;
    status.last_backup_at = info.last_backup_at;
    status.data_stored = info.data_stored;
    status.messages = info.messages.map(Map::from).unwrap_or_default();
    status.backing_image_name = info.backing_image_name;
    status.backing_image_checksum = info.backing_image_checksum;
    status.storage_class_name = info.storage_class_name;
}

/// The value, or a line in the log.
fn logged<T>(result: Result<T>, message: &str) -> Option<T> {
    result.inspect_err(|error| tracing::error!(%error, "{message}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(state: BackupState, failed_before: Option<Duration>) -> Backup {
        let mut backup = Backup::default();
        backup.status.state = state;
        backup.status.last_synced_at = failed_before.map(|ago| Time(clock::now().0 - ago));
        backup
    }

    #[test]
    fn the_youngest_completed_backup_is_the_last() {
        let completed = |backup_name: &str, created: &str| {
            let mut backup = backup(BackupState::Completed, None);
            backup.metadata.name = Some(backup_name.to_owned());
            backup.status.backup_created_at = created.to_owned();
            Arc::new(backup)
        };
        let older = completed("older", "2026-01-01T00:00:00Z");
        let younger = completed("younger", "2026-01-01T00:00:01Z");
        let stored: BTreeSet<String> = ["older", "younger"].map(str::to_owned).into();
        let status = |last: &str| BackupVolumeStatus {
            last_backup_name: last.to_owned(),
            last_backup_at: "2026-01-01T00:00:00Z".to_owned(),
            ..BackupVolumeStatus::default()
        };
        let both = [older.clone(), younger];
        assert!(is_youngest(&status("younger"), &both, &stored));
        assert!(!is_youngest(&status("older"), &both, &stored));
        assert!(!is_youngest(&status(""), &both, &stored), "none is known");
        assert!(!is_youngest(&status("gone"), &both, &stored));
        assert!(!is_youngest(&status("older"), &[older, completed("younger", "")], &stored), "one was not read yet");
        assert!(is_youngest(&BackupVolumeStatus::default(), &[], &BTreeSet::new()));
    }

    #[test]
    fn only_failed_backups_expire() {
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
        assert!(has_expired(&backup(BackupState::Error, Some(day * 2)), day));
        assert!(!has_expired(&backup(BackupState::Error, Some(minute)), day));
        assert!(!has_expired(&backup(BackupState::InProgress, Some(day * 2)), day));
        assert!(has_expired(&backup(BackupState::Unknown, None), day));
    }
}
