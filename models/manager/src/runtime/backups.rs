//! The kinds of backups across releases: how a volume is found in one, which target it belongs to, and how to reach the store.
//!
//! Until v1.7.2 there is one target and an object is named after its volume or backing image. From v1.8.0 on a spec names both,
//! objects have random suffixes and are found by labels (`datastore/longhorn.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use longhorn_api::{
    API_VERSION, Backup, BackupBackingImage, BackupTarget, BackupVolume, CustomResource, Defect, labels, names,
    settings,
};

use super::datastore::Datastore;
use super::error::{Error, Result};
use crate::engine::{BackupTargetClient, credentials};

/// A plain reference to an owner, as those of backups are: neither controlling nor blocking its deletion.
pub fn owner_reference<K: CustomResource>(owner: &K) -> OwnerReference {
    let metadata = owner.meta();
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: K::kind(&()).into_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

impl Datastore {
    /// The volume that a BackupVolume holds backups of.
    pub fn volume_of<'a>(&self, backup_volume: &'a BackupVolume) -> &'a str {
        if self.has_many_backup_targets() { &backup_volume.spec.volume_name } else { name(&backup_volume.metadata) }
    }

    /// The target that a BackupVolume is in.
    pub fn target_of_backup_volume<'a>(&self, backup_volume: &'a BackupVolume) -> &'a str {
        if self.has_many_backup_targets() {
            &backup_volume.spec.backup_target_name
        } else {
            names::DEFAULT_BACKUP_TARGET
        }
    }

    /// The backing image that a BackupBackingImage is the backup of.
    pub fn backing_image_of<'a>(&self, backup: &'a BackupBackingImage) -> &'a str {
        if self.has_many_backup_targets() { &backup.spec.backing_image } else { name(&backup.metadata) }
    }

    /// The target that a BackupBackingImage is in.
    pub fn target_of_backing_image<'a>(&self, backup: &'a BackupBackingImage) -> &'a str {
        if self.has_many_backup_targets() { &backup.spec.backup_target_name } else { names::DEFAULT_BACKUP_TARGET }
    }

    /// The BackupVolumes of a target, in an order that means nothing.
    pub fn backup_volumes_of_target(&self, target: &str) -> Vec<Arc<BackupVolume>> {
        if self.has_many_backup_targets() {
            self.backup_volumes.list_labelled(&[(labels::BACKUP_TARGET, target)])
        } else {
            self.backup_volumes.list()
        }
    }

    /// The backups of backing images in a target, in an order that means nothing.
    pub fn backing_images_of_target(&self, target: &str) -> Vec<Arc<BackupBackingImage>> {
        if self.has_many_backup_targets() {
            self.backup_backing_images.list_labelled(&[(labels::BACKUP_TARGET, target)])
        } else {
            self.backup_backing_images.list()
        }
    }

    /// The Backups of a volume in a target, in an order that means nothing.
    pub fn backups_of_volume(&self, target: &str, volume: &str) -> Vec<Arc<Backup>> {
        if self.has_many_backup_targets() {
            self.backups.list_labelled(&[(labels::BACKUP_VOLUME, volume), (labels::BACKUP_TARGET, target)])
        } else {
            self.backups.list_labelled(&[(labels::BACKUP_VOLUME, volume)])
        }
    }

    /// The BackupVolume of a volume in a target; an error other than NotFound if there are several.
    pub fn backup_volume_of(&self, target: &str, volume: &str) -> Result<Arc<BackupVolume>> {
        if !self.has_many_backup_targets() {
            return self.backup_volumes.get(volume);
        }
        if target.is_empty() || volume.is_empty() {
            return Err(Error::message("backup target name and volume name cannot be empty"));
        }
        let labels = [(labels::BACKUP_VOLUME, volume), (labels::BACKUP_TARGET, target)];
        let mut found = self.backup_volumes.list_labelled(&labels);
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(corral_kube_client::Error::not_found("", "backupVolumes", "").into()),
            (Some(_), false) => Err(Error::message(format!(
                "datastore: found more than one backup volume with backup target {target} and volume {volume}"
            ))),
        }
    }

    /// Whether the deletion of an object of this metadata deletes its data in the store too.
    ///
    /// The label is the cure of longhorn#9530: a synchronisation that misses an object in the store deletes the resource only.
    pub fn deletes_remote_data(&self, metadata: &ObjectMeta, target: Option<&BackupTarget>) -> bool {
        let Some(target) = target else { return false };
        let has_url = !target.spec.backup_target_url.is_empty();
        if self.build.has(Defect::Issue9530) {
            return has_url;
        }
        let resource_only = labels::get(metadata, labels::DELETE_CUSTOM_RESOURCE_ONLY).is_some();
        let available = !self.has_many_backup_targets()
            || (target.metadata.deletion_timestamp.is_none() && target.status.available);
        !resource_only && has_url && available
    }

    /// The store of a target, reached with the default engine image.
    pub fn backup_target_client(&self, target: &BackupTarget) -> Result<BackupTargetClient> {
        let url = target.spec.backup_target_url.clone();
        let store_type = credentials::store_type(&url);
        let image = self.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        let mut credential = None;
        if credentials::requires_credential(store_type) {
            let secret = &target.spec.credential_secret;
            if secret.is_empty() {
                return Err(Error::message(format!("could not access {store_type} without credential secret")));
            }
            credential = Some(self.credential(secret)?);
        }
        let timeout = self.backup_execution_timeout()?;
        Ok(BackupTargetClient { image, url, credential, timeout, build: self.build.clone() })
    }

    /// The store of a target, for work that also needs the data path of this node.
    ///
    /// Upstream asks here for a running instance manager on the node and connects to it, and gives up without one. Instance
    /// managers are of the next storey; this is the place to ask for one. What follows only uses the engine binary.
    pub fn backup_target_client_on_node(&self, target: &BackupTarget) -> Result<BackupTargetClient> {
        let enabled = |setting| self.setting_flag(setting).unwrap_or(false);
        if !enabled(settings::V1_DATA_ENGINE) && !enabled(settings::V2_DATA_ENGINE) {
            return Err(Error::message(
                "failed to get available data engine for getting backup target: no data engine available",
            ));
        }
        self.backup_target_client(target)
    }

    fn credential(&self, secret: &str) -> Result<BTreeMap<String, String>> {
        let secret = self.secrets.get(secret)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(secret.data.iter().flatten().map(|(key, value)| (key.clone(), text(&value.0))).collect())
    }
}

/// The name in an object's metadata.
pub fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}
