//! The backup controller: reads a finished backup's configuration from the store into its Backup, and deletes the backup there when
//! the resource is deleted (the deletion is in [`super::backup_deletion`]; `controller/backup_controller.go`).
//!
//! The half that makes a backup is in [`super::backup_creation`]. A failing Backup is never dropped from the queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::EventRecorder;
use host::time::sleep;
use longhorn_api::go::Map;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::kinds::volume_attachment::AttacherType;
use longhorn_api::{Backup, BackupTarget, Defect, labels, names, settings};
use tokio::sync::RwLock;

use super::backup_creation::Upstream;
use super::backup_deletion::Deletions;
use super::backup_monitor::BackupMonitor;
use crate::engine::answers::BackupInfo;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Retries, Runner};
use crate::runtime::timed_counter::TimedCounter;
use crate::runtime::{Error, Result, clock, ownership};

/// How long a Backup's waiting is remembered, and how often old ones are forgotten.
const WAITS_LIFETIME: Duration = Duration::from_secs(600);
const WAITS_SWEEP: Duration = Duration::from_secs(45);
/// Between two requests for a synchronisation where the first was not taken and the cure of c10 is in force.
const SYNC_REQUEST_INTERVAL: Duration = Duration::from_secs(1);

/// The controller.
pub struct BackupController {
    pub(super) manager: Arc<Manager>,
    pub(super) queue: Queue,
    pub(super) events: EventRecorder,
    pub(super) deletions: Arc<Deletions>,
    /// How often a Backup was found waiting for its engine or snapshot.
    pub(super) waits: TimedCounter,
    /// The monitors, by Backup. Who asks an engine for a backup holds the lock until the engine has answered, as upstream does.
    pub(super) monitors: RwLock<BTreeMap<String, Arc<BackupMonitor>>>,
}

/// Where a Backup belongs.
pub(super) struct Place {
    /// Name of its target, which may be gone.
    pub(super) target_name: String,
    pub(super) target: Option<Arc<BackupTarget>>,
    pub(super) volume: String,
}

/// Starts it: Backups with resync.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    manager.datastore.backups.informer().add_handler(queue.handler());
    let controller = BackupController {
        manager: manager.clone(),
        queue: queue.clone(),
        events: manager.events(BackupController::NAME),
        deletions: Arc::default(),
        waits: TimedCounter::new(WAITS_LIFETIME, WAITS_SWEEP),
        monitors: RwLock::default(),
    };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for BackupController {
    const NAME: &'static str = "longhorn-backup";
    const RETRIES: Retries = Retries::Forever;

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(backup) = datastore.backups.find(name) else { return Ok(()) };
        let me = self.manager.node();
        datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        if !datastore.is_responsible_for_backups(me, &backup.status.owner_id).unwrap_or(false) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.backups, (*backup).clone(), me).await?;
        let Some(mut backup) = taken else { return Ok(()) };
        let Some(place) = self.place_of(&backup)? else { return Ok(()) };
        if datastore.has_many_backup_targets() {
            backup.status.messages.make();
        }
        if backup.metadata.deletion_timestamp.is_some() {
            return self.delete(backup, place).await;
        }
        self.synchronise(&mut backup, &place).await
    }
}

impl BackupController {
    /// Where the Backup belongs; nothing if that cannot be said (until v1.7.2: without the target).
    fn place_of(&self, backup: &Backup) -> Result<Option<Place>> {
        let datastore = &self.manager.datastore;
        let target_name = if datastore.has_many_backup_targets() {
            // Upstream looks for a label-less Backup's target through its snapshot and volume; its mutator puts the label on all.
            let target = labels::get(&backup.metadata, labels::BACKUP_TARGET);
            target.ok_or_else(|| Error::message("cannot find the backup target label"))?
        } else {
            names::DEFAULT_BACKUP_TARGET
        };
        let target = datastore.backup_targets.find(target_name);
        if target.is_none() {
            if !datastore.has_many_backup_targets() {
                return Ok(None);
            }
            if backup.metadata.deletion_timestamp.is_none() {
                let backup_name = name(&backup.metadata);
                return Err(Error::message(format!(
                    "Failed to find the backup target {target_name} for the backup {backup_name}"
                )));
            }
        }
        let Some(volume) = labels::get(&backup.metadata, labels::BACKUP_VOLUME) else {
            tracing::warn!("cannot find the backup volume label");
            return Ok(None);
        };
        Ok(Some(Place { target_name: target_name.to_owned(), target, volume: volume.to_owned() }))
    }

    /// Brings the status up to date and writes it if it changed; a backup that became complete asks its volume to look too.
    async fn synchronise(&self, backup: &mut Backup, place: &Place) -> Result<()> {
        let before = backup.status.clone();
        self.follow_store(backup, place).await?;
        // The ticket's failure is the reconcile's, but only after the status is written.
        let mut result = Ok(());
        if backup.status.state.is_final()
            && (backup.status.last_synced_at.is_some() || backup.spec.snapshot_name.is_empty())
        {
            result = self.give_ticket_back(name(&backup.metadata), &place.volume).await;
        }
        if backup.status == before {
            return result;
        }
        match self.manager.datastore.backups.update_status(backup).await {
            Err(error) if error.is_conflict() => {
                self.queue.add(name(&backup.metadata));
                return result;
            }
            Err(error) => tracing::warn!(%error, "Failed to update the status of a backup"),
            Ok(_) => {}
        }
        if backup.status.state == BackupState::Completed && before.state != BackupState::Completed {
            self.request_sync_of_volume(place).await;
            self.delete_snapshot_of_completed(backup).await;
        }
        result
    }

    /// A store that cannot be read is logged and is no failure of the reconcile.
    async fn follow_store(&self, backup: &mut Backup, place: &Place) -> Result<()> {
        let datastore = &self.manager.datastore;
        let began = clock::now();
        let is_to_be_made = backup.status.last_synced_at.is_none() && !backup.spec.snapshot_name.is_empty();
        if is_to_be_made
            && !is_final(backup, datastore.has_many_backup_targets())
            && self.advance_upload(backup, place, &began).await? == Upstream::Goes
        {
            return Ok(());
        }
        if !clock::sync_is_due(backup.spec.sync_requested_at.as_ref(), backup.status.last_synced_at.as_ref()) {
            return Ok(());
        }
        let Some(target) = &place.target else { return Ok(()) };
        let client = match datastore.backup_target_client(target) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "Error init backup target clients");
                return Ok(());
            }
        };
        let info = match client.backup(&client.backup_url(name(&backup.metadata), &place.volume)).await {
            Ok(info) => info,
            Err(error) if error.says_cannot_find() => None,
            Err(error) => {
                if !error.says_in_progress() {
                    tracing::error!(%error, "Error inspecting backup config");
                }
                return Ok(());
            }
        };
        let Some(info) = info else {
            tracing::warn!("Backup info is nil");
            return Ok(());
        };
        note(backup, info);
        if datastore.has_many_backup_targets() {
            backup.status.backup_target_name.clone_from(&place.target_name);
        }
        backup.status.last_synced_at = Some(began);
        Ok(())
    }

    /// The monitor of an upload that this process watches.
    pub(super) async fn running_monitor(&self, backup_name: &str) -> Option<Arc<BackupMonitor>> {
        self.monitors.read().await.get(backup_name).cloned()
    }

    pub(super) async fn end_monitor(&self, backup_name: &str) {
        if self.running_monitor(backup_name).await.is_some() {
            self.monitors.write().await.remove(backup_name);
        }
    }

    /// Removes the ticket by which a backup keeps its volume attached.
    pub(super) async fn give_ticket_back(&self, backup_name: &str, volume: &str) -> Result<()> {
        let store = &self.manager.datastore.volume_attachments;
        let Some(attachment) = store.find(volume) else { return Ok(()) };
        let ticket = AttacherType::BackupController.ticket_id(backup_name);
        if !attachment.spec.attachment_tickets.contains_key(&ticket) {
            return Ok(());
        }
        let mut attachment = (*attachment).clone();
        attachment.spec.attachment_tickets.remove(&ticket);
        store.update(&attachment).await.map(drop)
    }

    /// Asks for a synchronisation of the backup's volume; of its target if the cluster does not know the volume's backups yet.
    /// Upstream asks once (c10).
    pub(super) async fn request_sync_of_volume(&self, place: &Place) {
        loop {
            let result = self.try_to_request_sync_of_volume(place).await;
            let again = result.is_err() && !self.manager.datastore.build.has(Defect::FoundLostSyncRequest);
            match result {
                Err(error) if !error.is_conflict() => {
                    tracing::warn!(%error, "failed to sync backup volume {} for backup target {}", place.volume, place.target_name);
                }
                _ => {}
            }
            if !again {
                return;
            }
            sleep(SYNC_REQUEST_INTERVAL).await;
        }
    }

    async fn try_to_request_sync_of_volume(&self, place: &Place) -> Result<()> {
        let datastore = &self.manager.datastore;
        match datastore.backup_volume_of(&place.target_name, &place.volume) {
            Ok(backup_volume) => {
                let mut backup_volume = (*backup_volume).clone();
                let mut asked = clock::now();
                if let Some(last) = &backup_volume.status.last_synced_at
                    && !datastore.build.has(Defect::FoundLostSyncRequest)
                {
                    asked = clock::after(asked, last);
                }
                backup_volume.spec.sync_requested_at = Some(asked);
                datastore.backup_volumes.update(&backup_volume).await.map(drop)
            }
            Err(error) if error.is_not_found() => match datastore.backup_targets.get(&place.target_name) {
                Ok(target) => {
                    let mut target = (*target).clone();
                    target.spec.sync_requested_at = Some(clock::now());
                    datastore.backup_targets.update(&target).await.map(drop)
                }
                Err(error) => Err(error),
            },
            Err(_ambiguous) => Ok(()),
        }
    }
}

/// Whether nothing more will happen to the upload; `Deleting` exists since v1.8.0-rc1.
fn is_final(backup: &Backup, deletes_asynchronously: bool) -> bool {
    backup.status.state.is_final() && (deletes_asynchronously || backup.status.state != BackupState::Deleting)
}

/// Notes what the configuration in the store says.
fn note(backup: &mut Backup, info: BackupInfo) {
    let status = &mut backup.status;
    status.state = BackupState::Completed;
    status.url = info.url;
    status.snapshot_name = info.snapshot_name;
    status.snapshot_created_at = info.snapshot_created;
    status.backup_created_at = info.created;
    status.size = info.size;
    status.labels = info.labels.map(Map::from).unwrap_or_default();
    // The recurring jobs are of the volume, whose BackupVolume shows them.
    status.labels.remove(labels::VOLUME_RECURRING_JOB_INFO);
    status.messages = info.messages.map(Map::from).unwrap_or_default();
    status.volume_name = info.volume_name;
    status.volume_size = info.volume_size;
    status.volume_created = info.volume_created;
    status.volume_backing_image_name = info.volume_backing_image_name;
    status.compression_method = info.compression_method.as_str().into();
    status.newly_uploaded_data_size = info.newly_uploaded_data_size;
    status.re_uploaded_data_size = info.re_uploaded_data_size;
}
