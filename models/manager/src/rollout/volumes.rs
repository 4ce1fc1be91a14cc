//! Backup targets, backing images and volumes: what is not brought back as it was, but made anew from the backups that the archive names.
//!
//! A volume is made from the backup that its saved status calls its last one. A volume whose status did not know it yet when it was saved
//! comes back empty (longhorn#10057).

use corral_kube_client::EventType;
use longhorn_api::kinds::backing_image_data_source::{
    BackingImageDataSourceType, PARAMETER_BACKUP_URL, PARAMETER_CONCURRENT_LIMIT,
};
use longhorn_api::kinds::engine_image::EngineImageState;
use longhorn_api::{BackingImage, BackupTarget, CustomResource, Volume, labels, settings};
use longhorn_backupstore::url;
use serde_json::Value;

use super::resources::name_of;
use super::{Rollout, Source};
use crate::controllers::capitalised;
use crate::runtime::backups::name;
use crate::runtime::store::Store;
use crate::runtime::{Error, Result};

impl Rollout {
    /// Targets that are gone; one that is there stays as it is.
    pub(super) async fn restore_backup_targets(&self, source: &Source) -> Result<()> {
        let store = &self.datastore.backup_targets;
        for saved in self.content.items("BackupTarget") {
            let saved: BackupTarget = read(saved)?;
            let mut target = BackupTarget { spec: saved.spec.clone(), ..BackupTarget::default() };
            target.metadata.name.clone_from(&saved.metadata.name);
            self.create_or_mark(store, target, source).await?;
        }
        Ok(())
    }

    /// Backing images, from their backups.
    pub(super) async fn restore_backing_images(&self, source: &Source) -> Result<()> {
        let limit = self.datastore.setting_number(settings::BACKUP_CONCURRENT_LIMIT)?;
        for saved in self.content.items("BackingImage") {
            let saved: BackingImage = read(saved)?;
            let image_name = name(&saved.metadata);
            let mut image = BackingImage::default();
            image.metadata.name = Some(image_name.to_owned());
            image.spec.checksum.clone_from(&saved.status.checksum);
            image.spec.source_type = BackingImageDataSourceType::Restore;
            let address = url::encode_backing_image(image_name, &source.client.url);
            image.spec.source_parameters.insert(PARAMETER_BACKUP_URL, address);
            image.spec.source_parameters.insert(PARAMETER_CONCURRENT_LIMIT, limit.to_string());
            self.create_or_mark(&self.datastore.backing_images, image, source).await?;
        }
        Ok(())
    }

    /// Volumes, from their last backups as far as the archive knows them. Waits for the engine images; passes attached volumes by.
    pub(super) async fn restore_volumes(&self, source: &Source) -> Result<()> {
        for image in self.content.items("EngineImage") {
            let image = self.datastore.engine_images.api().get(name_of(image)).await?;
            if image.metadata.deletion_timestamp.is_some() {
                return Err(Error::message("engine image is deleting"));
            }
            if image.status.state != EngineImageState::Deployed {
                return Err(Error::message(format!("engine image is in {} state", image.status.state)));
            }
        }
        for saved in self.content.items("Volume") {
            let mut volume: Volume = read(saved)?;
            let volume_name = name(&volume.metadata).to_owned();
            let existing = self.datastore.volumes.find(&volume_name);
            if existing.is_some_and(|existing| !existing.spec.node_id.is_empty()) {
                tracing::warn!("Failed to restore attached volume {volume_name}");
                continue;
            }
            volume.metadata.resource_version = None;
            volume.spec.node_id.clear();
            if !volume.status.last_backup.is_empty() && !volume.status.is_standby {
                let backup = Some(volume.status.last_backup.as_str());
                volume.spec.from_backup = url::encode_backup(backup, &volume_name, &source.client.url);
            }
            let annotations = volume.metadata.annotations.get_or_insert_default();
            annotations.insert(labels::LAST_SYSTEM_RESTORE_BACKUP.to_owned(), volume.spec.from_backup.clone());
            self.create_or_mark(&self.datastore.volumes, volume, source).await?;
        }
        Ok(())
    }

    /// Creates an object that the cache does not have; one that it has is only marked. An object that is refused is passed by with an event.
    async fn create_or_mark<K: CustomResource>(&self, store: &Store<K>, object: K, source: &Source) -> Result<()> {
        let object_name = name(object.meta()).to_owned();
        if let Some(existing) = store.find(&object_name) {
            let mut marked = to_value(&*existing);
            if self.is_marked(&marked) {
                return Ok(());
            }
            self.mark_as(&mut marked, &source.address, false);
            return store.update(&read(&marked)?).await.map(drop);
        }
        let mut marked = to_value(&object);
        if !self.is_marked(&marked) {
            self.mark(&mut marked, Some(&source.address));
            match store.create(&read(&marked)?).await {
                Err(error) if !error.is_already_exists() => {
                    let kind = K::kind(&());
                    let message = capitalised(&format!("failed to create item: {kind} {object_name}: {error}"));
                    tracing::warn!("{message}");
                    let restore = self.datastore.system_restores.get(&self.name)?;
                    let reason = format!("FailedCreating: {kind} {object_name}");
                    self.events.event(&*restore, EventType::Warning, &reason, message);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn read<K: CustomResource>(value: &Value) -> Result<K> {
    let kind = K::kind(&());
    serde_json::from_value(value.clone())
        .map_err(|error| Error::message(format!("cannot read a saved {kind}: {error}")))
}

fn to_value<K: CustomResource>(object: &K) -> Value {
    serde_json::to_value(object).expect("it came as JSON")
}
