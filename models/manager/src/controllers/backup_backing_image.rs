//! The backup-backing-image controller: reads the configuration of a backing image's backup from the store, and deletes it there when
//! the resource is deleted (`controller/backup_backing_image_controller.go`).
//!
//! The half that makes such a backup needs backing images and their managers, which come with a later storey. Any manager may work on
//! it, whether its node has the engine image or not. A failing one is never dropped from the queue.

use std::sync::Arc;

use corral_kube_client::{EventRecorder, EventType};
use longhorn_api::go::Map;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::{BackupBackingImage, BackupTarget};

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
}

/// Starts it: BackupBackingImages with resync.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    manager.datastore.backup_backing_images.informer().add_handler(queue.handler());
    let events = manager.events(BackupBackingImageController::NAME);
    let controller = BackupBackingImageController { manager: manager.clone(), queue: queue.clone(), events };
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
        if matches!(backup.status.state, BackupState::Error | BackupState::Unknown) {
            let message =
                format!("Failed backup backing image {backup_name} has been deleted: {}", backup.status.error);
            self.events.event(&backup, EventType::Warning, backup.status.state.as_str(), message);
        }
        datastore.backup_backing_images.remove_finalizer(backup).await
    }

    /// A store that cannot be read is logged and is no failure of the reconcile.
    async fn follow_store(&self, backup: &mut BackupBackingImage, target: &BackupTarget) -> Result<()> {
        let datastore = &self.manager.datastore;
        let began = clock::now();
        let image = datastore.backing_image_of(backup).to_owned();
        let is_to_be_made = backup.status.last_synced_at.is_none() && backup.spec.user_created;
        if is_to_be_made && !backup.status.state.is_final() {
            // No backing image exists in this storey, so the look-up that upstream begins with always ends here.
            let message =
                format!("Cannot find the corresponding backing image: backingimages.longhorn.io {image:?} not found");
            tracing::error!("{message}");
            backup.status.error = message;
            backup.status.state = BackupState::Error;
            backup.status.last_synced_at = Some(began);
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
