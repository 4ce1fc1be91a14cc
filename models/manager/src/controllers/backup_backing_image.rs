//! The backup-backing-image controller: has a backing image backed up, reads the backup's configuration from the store, and deletes it there
//! when the resource is deleted (`controller/backup_backing_image_controller.go`).
//!
//! Any manager may work on it, whether its node has the engine image or not. A failing one is never dropped from the queue. An upload
//! whose resource is deleted goes on.

use std::sync::Arc;

use corral_kube_client::{EventRecorder, EventType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use longhorn_api::go::Map;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::{BackingImage, BackupBackingImage, BackupTarget, Release};

use super::backing_image_backup_monitor::{self, ImageBackupMonitor, Monitors};
use crate::engine::answers::BackupBackingImageInfo;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Retries, Runner};
use crate::runtime::{Context, Result, clock, ownership};

/// The controller.
pub struct BackupBackingImageController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
    monitors: Monitors,
}

/// Starts it: BackupBackingImages with resync.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    manager.datastore.backup_backing_images.informer().add_handler(queue.handler());
    let events = manager.events(BackupBackingImageController::NAME);
    let controller = BackupBackingImageController {
        manager: manager.clone(),
        queue: queue.clone(),
        events,
        monitors: Monitors::default(),
    };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for BackupBackingImageController {
    const NAME: &'static str = "longhorn-backup-backing-image";
    const RETRIES: Retries = Retries::Forever;

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(backup) = datastore.backup_backing_images.find(name) else { return Ok(()) };
        let me = self.manager.node();
        if !datastore.is_responsible_for(me, &backup.status.owner_id) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.backup_backing_images, (*backup).clone(), me).await?;
        let Some(mut backup) = taken else { return Ok(()) };
        let target = datastore.backup_targets.find(datastore.target_of_backing_image(&backup));
        let Some(target) = target else { return Ok(()) };
        if backup.metadata.deletion_timestamp.is_some() {
            return self.delete(backup, &target).await;
        }
        let before = backup.status.clone();
        self.follow_store(&mut backup, &target).await?;
        if backup.status == before {
            return Ok(());
        }
        match datastore.backup_backing_images.update_status(&backup).await {
            Err(error) if error.is_conflict() => self.queue.add(name),
            Err(error) => tracing::warn!(%error, "Failed to update the status of a backing image's backup"),
            Ok(_) => {}
        }
        Ok(())
    }
}

impl BackupBackingImageController {
    async fn delete(&self, backup: BackupBackingImage, target: &BackupTarget) -> Result<()> {
        let datastore = &self.manager.datastore;
        let backup_name = name(&backup.metadata);
        if datastore.deletes_remote_data(&backup.metadata, Some(target)) {
            let client = match datastore.backup_target_client(target) {
                Ok(client) => client,
                Err(error) => {
                    tracing::warn!(%error, "Failed to init backup target clients");
                    return Ok(());
                }
            };
            tracing::info!("Deleting backup backing image {backup_name}");
            let url = client.backing_image_url(datastore.backing_image_of(&backup));
            client.delete_backing_image(&url).await.context(|| "failed to delete remote backup backing image")?;
        }
        self.end_monitor(backup_name).await;
        if matches!(backup.status.state, BackupState::Error | BackupState::Unknown) {
            let message =
                format!("Failed backup backing image {backup_name} has been deleted: {}", backup.status.error);
            self.events.event(&backup, EventType::Warning, backup.status.state.as_str(), message);
        }
        datastore.backup_backing_images.remove_finalizer(backup).await
    }

    /// The next step of making the backup; whether the upload has ended well and the store can be asked.
    async fn advance_upload(
        &self,
        backup: &mut BackupBackingImage,
        image: &str,
        target: &BackupTarget,
        began: &Time,
    ) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let image = match datastore.backing_images.get(image) {
            Err(error) if error.is_not_found() => {
                let lower = datastore.release().at_least(Release::V1_9_0_DEV_00886872C);
                let message =
                    format!("{}annot find the corresponding backing image: {error}", if lower { "c" } else { "C" });
                tracing::error!("{message}");
                backup.status.error = message;
                backup.status.state = BackupState::Error;
                backup.status.last_synced_at = Some(began.clone());
                return Ok(false);
            }
            found => found?,
        };
        backup.status.backing_image = name(&image.metadata).to_owned();
        backup.status.size = image.status.size;
        backup.status.checksum.clone_from(&image.status.checksum);
        let backup_name = name(&backup.metadata).to_owned();
        let running = self.monitors.read().await.get(&backup_name).cloned();
        let monitor = match running {
            Some(monitor) => monitor,
            None => {
                let (queue, monitors) = (&self.queue, &self.monitors);
                match backing_image_backup_monitor::begin(datastore, backup, &image, target, queue, monitors).await {
                    Ok(monitor) => monitor,
                    Err(error) if backup.status.state == BackupState::Error => {
                        tracing::warn!(%error, "Failed to enable the backup monitor for backup backing image {backup_name}");
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        self.follow_monitor(backup, &image, &monitor);
        match backup.status.state {
            BackupState::Completed => {
                self.end_monitor(&backup_name).await;
                Ok(true)
            }
            BackupState::Error | BackupState::Unknown => {
                backup.status.last_synced_at = Some(began.clone());
                self.end_monitor(&backup_name).await;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Takes over what the monitor saw, and tells people when the state changed.
    fn follow_monitor(&self, backup: &mut BackupBackingImage, image: &BackingImage, monitor: &ImageBackupMonitor) {
        let seen = monitor.progress();
        let before = backup.status.state.clone();
        backup.status.progress = seen.progress;
        backup.status.url = seen.url;
        backup.status.error = seen.error;
        backup.status.state = seen.state;
        if backup.status.state == before {
            return;
        }
        let labels: Vec<String> = backup.spec.labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let (image_name, backup_name) = (name(&image.metadata), name(&backup.metadata));
        let message = format!("BackingIamge {image_name} backup {backup_name} label map[{}]", labels.join(" "));
        let state = backup.status.state.as_str();
        if backup.status.error.is_empty() {
            self.events.event(image, EventType::Normal, state, message);
        } else {
            self.events.event(image, EventType::Warning, state, format!("{message}: {}", backup.status.error));
        }
    }

    async fn end_monitor(&self, backup_name: &str) {
        let is_running = self.monitors.read().await.contains_key(backup_name);
        if is_running {
            self.monitors.write().await.remove(backup_name);
        }
    }

    /// A store that cannot be read is logged and is no failure of the reconcile.
    async fn follow_store(&self, backup: &mut BackupBackingImage, target: &BackupTarget) -> Result<()> {
        let datastore = &self.manager.datastore;
        let began = clock::now();
        let image = datastore.backing_image_of(backup).to_owned();
        let is_to_be_made = backup.status.last_synced_at.is_none() && backup.spec.user_created;
        if is_to_be_made
            && !backup.status.state.is_final()
            && !self.advance_upload(backup, &image, target, &began).await?
        {
            return Ok(());
        }
        if !clock::sync_is_due(backup.spec.sync_requested_at.as_ref(), backup.status.last_synced_at.as_ref()) {
            return Ok(());
        }
        let client = match datastore.backup_target_client(target) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "Error init backup target clients");
                return Ok(());
            }
        };
        let info = match client.backing_image(&client.backing_image_url(&image)).await {
            Ok(Some(info)) => info,
            Ok(None) => {
                tracing::warn!("Backup backing image info is nil");
                return Ok(());
            }
            Err(error) => {
                if !error.says_in_progress() {
                    tracing::error!(%error, "Error inspecting backup config");
                }
                return Ok(());
            }
        };
        note(backup, info, datastore.has_many_backup_targets());
        backup.status.last_synced_at = Some(began);
        Ok(())
    }
}

/// Notes what the configuration in the store says; the secret of an encrypted image since v1.8.0-rc1.
fn note(backup: &mut BackupBackingImage, info: BackupBackingImageInfo, with_secret: bool) {
    let status = &mut backup.status;
    status.state = BackupState::Completed;
    status.backing_image = info.name;
    status.url = info.url;
    status.backup_created_at = info.complete_at;
    status.checksum = info.checksum;
    status.size = info.size;
    status.labels = info.labels.map(Map::from).unwrap_or_default();
    if with_secret {
        status.secret = info.secret;
        status.secret_namespace = info.secret_namespace;
    }
    status.compression_method = info.compression_method.as_str().into();
}
