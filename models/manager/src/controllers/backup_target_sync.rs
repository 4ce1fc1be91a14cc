//! The synchronisation of a backup target: three listings of the store, and for each the resources that are missing in the cluster
//! or, once their data are gone, too many there (`controller/backup_target_controller.go`).
//!
//! Fault model: the listings are older than the cache they are compared with, and not of one moment. A resource that was made after
//! its listing is deleted; the label that is put on it before leaves the store alone (the cure of longhorn#9530).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use longhorn_api::kinds::system_backup::SystemBackupState;
use longhorn_api::{
    BackupBackingImage, BackupTarget, BackupVolume, CustomResource, Defect, Release, SystemBackup, labels, names,
};

use super::backup_target::BackupTargetController;
use super::system_backup_parts::precedence;
use super::{difference, report_count};
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::store::Store;
use crate::runtime::{Context, Error, Result};

/// What a store holds, by three executions of the engine binary.
pub struct Listing {
    volumes: Vec<String>,
    backing_images: Vec<String>,
    /// Name to path in the store.
    system_backups: BTreeMap<String, String>,
}

impl BackupTargetController {
    /// Lists the store. Gives nothing if it was only asked whether it is there: from v1.9.2 on, a target becomes available first
    /// (longhorn#11337), by its system backups, which take the fewest requests.
    pub(super) async fn list_store(&self, target: &BackupTarget) -> Result<Option<Listing>> {
        let client = self.manager.datastore.backup_target_client_on_node(target);
        let client = client.context(|| "failed to init backup target clients")?;
        let url = &client.url;
        let system_backups =
            async || client.system_backups().await.context(|| format!("failed to list system backups in {url}"));
        let mut first = None;
        if self.becomes_available_first() {
            first = Some(system_backups().await?);
            if !target.status.available {
                return Ok(None);
            }
        }
        let volumes =
            client.backup_volume_names().await.context(|| format!("failed to list backup volumes in {url}"))?;
        let backing_images =
            client.backing_image_names().await.context(|| format!("failed to list backup backing images in {url}"))?;
        let system_backups = match first {
            Some(listed) => listed,
            None => system_backups().await?,
        };
        Ok(Some(Listing { volumes, backing_images, system_backups }))
    }

    fn becomes_available_first(&self) -> bool {
        self.manager.datastore.release().at_least(Release::V1_9_2)
    }

    /// Makes the cluster's resources follow a listing that began at `began`.
    pub(super) async fn follow_listing(&self, target: &BackupTarget, listing: Listing, began: &Time) -> Result<()> {
        self.follow_volumes(target, listing.volumes, began).await?;
        self.follow_backing_images(target, listing.backing_images).await?;
        // System backups live in the default target only.
        if name(&target.metadata) == names::DEFAULT_BACKUP_TARGET {
            self.follow_system_backups(target, &listing.system_backups).await?;
        }
        Ok(())
    }

    async fn follow_volumes(&self, target: &BackupTarget, stored: Vec<String>, began: &Time) -> Result<()> {
        let datastore = &self.manager.datastore;
        let backup_volumes = datastore.backup_volumes_of_target(name(&target.metadata));
        let by_volume: BTreeMap<String, Arc<BackupVolume>> = backup_volumes
            .iter()
            .map(|backup_volume| (datastore.volume_of(backup_volume).to_owned(), backup_volume.clone()))
            .collect();
        let (stored, present) = (BTreeSet::from_iter(stored), by_volume.keys().cloned().collect());

        let missing = difference(&stored, &present);
        report_count(
            missing.len(),
            "backup volumes in the backup target that do not exist in the cluster and need to be pulled",
        );
        for volume in datastore.in_map_order(missing) {
            self.pull_backup_volume(target, &volume).await?;
        }

        let vanished = difference(&present, &stored);
        report_count(
            vanished.len(),
            "backup volumes in the cluster that do not exist in the backup target and need to be deleted",
        );
        for volume in datastore.in_map_order(vanished) {
            self.delete_resource_only(&datastore.backup_volumes, name(&by_volume[&volume].metadata)).await?;
        }

        self.request_syncs(backup_volumes, &stored, began).await
    }

    /// Asks the resources to look into the store, as they were before: those just pulled have never been synchronised and need no request.
    async fn request_syncs(
        &self,
        backup_volumes: Vec<Arc<BackupVolume>>,
        stored: &BTreeSet<String>,
        began: &Time,
    ) -> Result<()> {
        let datastore = &self.manager.datastore;
        // Before v1.9.2 those that were just deleted too, and a failure was nobody's.
        let is_careful = self.becomes_available_first();
        let mut failures = Vec::new();
        for backup_volume in datastore.in_map_order(backup_volumes) {
            if is_careful && !stored.contains(datastore.volume_of(&backup_volume)) {
                continue;
            }
            let mut backup_volume = (*backup_volume).clone();
            backup_volume.spec.sync_requested_at = Some(began.clone());
            match datastore.backup_volumes.update(&backup_volume).await {
                Err(error) if !error.is_conflict() => {
                    tracing::error!(%error, "Failed to update backup volume {} spec", name(&backup_volume.metadata));
                    failures.push(format!("{}: {error}", name(&backup_volume.metadata)));
                }
                _ => {}
            }
        }
        match failures.is_empty() || !is_careful {
            true => Ok(()),
            false => Err(Error::message(format!("failed to update backup volumes: {}", failures.join(",")))),
        }
    }

    /// Deletes resources that stand for a volume which another, older one stands for, or for none: leftovers of managers that did not
    /// see each other's (longhorn#11154; from v1.9.1 on).
    pub(super) async fn delete_duplicates(&self, target: &BackupTarget) -> Result<()> {
        let datastore = &self.manager.datastore;
        let target_name = name(&target.metadata);
        if datastore.release().before(Release::V1_9_2) {
            return Ok(());
        }
        let mut by_volume: BTreeMap<String, Arc<BackupVolume>> = BTreeMap::new();
        let mut duplicates = Vec::new();
        for one in datastore.in_map_order(datastore.backup_volumes_of_target(target_name)) {
            let (of_target, volume) = (&one.spec.backup_target_name, &one.spec.volume_name);
            if volume.is_empty() || of_target != target_name {
                duplicates.push(one);
                continue;
            }
            let age = |one: &BackupVolume| one.metadata.creation_timestamp.as_ref().map(|time| time.0);
            match by_volume.insert(volume.clone(), one.clone()) {
                Some(other) if age(&other) < age(&one) => {
                    by_volume.insert(volume.clone(), other);
                    duplicates.push(one);
                }
                Some(other) => duplicates.push(other),
                None => {}
            }
        }
        self.delete_all(&datastore.backup_volumes, names_of(duplicates))
            .await
            .context(|| "failed to delete backup volumes")?;
        if !datastore.build.has(Defect::FoundTwoImageBackups) {
            let duplicates = self.duplicate_image_backups(target_name);
            self.delete_all(&datastore.backup_backing_images, duplicates)
                .await
                .context(|| "failed to delete backups of backing images")?;
        }
        Ok(())
    }

    /// What the cure of c17 forgets: all backups of an image but the one that counts.
    fn duplicate_image_backups(&self, target_name: &str) -> Vec<String> {
        let datastore = &self.manager.datastore;
        let mut backups = datastore.backing_images_of_target(target_name);
        backups.sort_by_cached_key(|backup| precedence(backup));
        let mut known = BTreeSet::new();
        backups.retain(|backup| !known.insert(backup.spec.backing_image.clone()));
        names_of(backups)
    }

    async fn pull_backup_volume(&self, target: &BackupTarget, volume: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let target_name = name(&target.metadata);
        let random = self.suffix();
        let mut backup_volume = BackupVolume::default();
        backup_volume.metadata.name = Some(names::backup_volume(datastore.release(), volume, target_name, &random));
        if datastore.has_many_backup_targets() {
            describe(&mut backup_volume.metadata, target, labels::BACKUP_VOLUME, volume);
            backup_volume.spec.backup_target_name = target_name.to_owned();
            backup_volume.spec.volume_name = volume.to_owned();
        }
        let context =
            || format!("failed to create backup volume {volume} in the cluster from backup target {target_name}");
        created(datastore.backup_volumes.create(&backup_volume).await).context(context)
    }

    async fn follow_backing_images(&self, target: &BackupTarget, stored: Vec<String>) -> Result<()> {
        let datastore = &self.manager.datastore;
        let by_image: BTreeMap<String, Arc<BackupBackingImage>> = datastore
            .backing_images_of_target(name(&target.metadata))
            .into_iter()
            .map(|backup| (datastore.backing_image_of(&backup).to_owned(), backup))
            .collect();
        let (stored, present) = (BTreeSet::from_iter(stored), by_image.keys().cloned().collect());

        let missing = difference(&stored, &present);
        report_count(
            missing.len(),
            "backup backing images in the backup target that do not exist in the cluster and need to be pulled",
        );
        for image in datastore.in_map_order(missing) {
            self.pull_backing_image(target, &image).await?;
        }

        let vanished = difference(&present, &stored);
        report_count(
            vanished.len(),
            "backup backing images in the cluster that do not exist in the backup target and need to be deleted",
        );
        for image in datastore.in_map_order(vanished) {
            self.delete_resource_only(&datastore.backup_backing_images, name(&by_image[&image].metadata)).await?;
        }
        Ok(())
    }

    async fn pull_backing_image(&self, target: &BackupTarget, image: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let target_name = name(&target.metadata);
        let random = self.suffix();
        let mut backup = BackupBackingImage::default();
        backup.metadata.name = Some(names::backup_backing_image(datastore.release(), image, &random));
        if datastore.has_many_backup_targets() {
            describe(&mut backup.metadata, target, labels::BACKING_IMAGE, image);
            backup.spec.backup_target_name = target_name.to_owned();
            backup.spec.backing_image = image.to_owned();
        }
        let context =
            || format!("failed to create backup backing image {image} from backup target {target_name} in the cluster");
        created(datastore.backup_backing_images.create(&backup).await).context(context)
    }

    async fn follow_system_backups(&self, target: &BackupTarget, stored: &BTreeMap<String, String>) -> Result<()> {
        let datastore = &self.manager.datastore;
        let ready = datastore.system_backups.list();
        let ready = ready.iter().filter(|backup| backup.status.state == SystemBackupState::Ready);
        let present: BTreeSet<String> = ready.map(|backup| name(&backup.metadata).to_owned()).collect();
        let names = stored.keys().cloned().collect();

        for missing in datastore.in_map_order(difference(&names, &present)) {
            let version = version_in_path(&stored[&missing])?;
            tracing::info!(systemBackup = missing, "Creating SystemBackup from remote backup target");
            let mut backup = SystemBackup::default();
            backup.metadata.name = Some(missing.clone());
            labels::set(&mut backup.metadata, labels::VERSION, version);
            if datastore.has_many_backup_targets() {
                backup.metadata.owner_references = Some(vec![owner_reference(target)]);
            }
            let context = || format!("failed to create SystemBackup {missing} from remote backup target");
            created(datastore.system_backups.create(&backup).await).context(context)?;
        }
        for vanished in datastore.in_map_order(difference(&present, &names)) {
            self.delete_resource_only(&datastore.system_backups, &vanished).await?;
        }
        Ok(())
    }

    /// Deletes every resource of a target, and leaves the store alone. Goes on after a failure and reports all of them.
    pub(super) async fn clean_up_resources(&self, target_name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let volumes = names_of(datastore.backup_volumes_of_target(target_name));
        let images = names_of(datastore.backing_images_of_target(target_name));
        let deleted = self.delete_all(&datastore.backup_volumes, volumes).await;
        deleted.context(|| "failed to clean up BackupVolumes")?;
        // Until v1.7.2 the system backups went before the backing images.
        if !datastore.has_many_backup_targets() {
            self.clean_up_system_backups().await?;
        }
        let deleted = self.delete_all(&datastore.backup_backing_images, images).await;
        deleted.context(|| "failed to clean up BackupBackingImages")?;
        if datastore.has_many_backup_targets() && target_name == names::DEFAULT_BACKUP_TARGET {
            self.clean_up_system_backups().await?;
        }
        Ok(())
    }

    async fn clean_up_system_backups(&self) -> Result<()> {
        let store = &self.manager.datastore.system_backups;
        self.delete_all(store, names_of(store.list())).await.context(|| "failed to clean up SystemBackups")
    }

    async fn delete_all<K: CustomResource>(&self, store: &Store<K>, names: Vec<String>) -> Result<()> {
        let mut failures = Vec::new();
        for name in names {
            if let Err(error) = self.label_resource_only(store, &name).await {
                failures.push(error.to_string());
                continue;
            }
            match store.delete(&name).await {
                Err(error) if !error.is_not_found() => failures.push(error.to_string()),
                _ => {}
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(Error::message(failures.join(","))) }
    }

    /// Deletes a resource whose data the store does not have (any more).
    async fn delete_resource_only<K: CustomResource>(&self, store: &Store<K>, name: &str) -> Result<()> {
        let kind = K::kind(&());
        tracing::info!(name, "Deleting {kind} not exist in backupstore");
        self.label_resource_only(store, name).await?;
        store.delete(name).await.context(|| format!("failed to delete {kind} {name} not exist in backupstore"))
    }

    /// Keeps the finalizer of a resource from deleting in the store; with defect 9530 nobody does.
    async fn label_resource_only<K: CustomResource>(&self, store: &Store<K>, name: &str) -> Result<()> {
        if self.manager.datastore.build.has(Defect::Issue9530) {
            return Ok(());
        }
        let context = || format!("failed to add label delete-custom-resource-only to {} {name}", K::kind(&()));
        store.label_delete_custom_resource_only(name).await.context(context)
    }

    fn suffix(&self) -> String {
        self.manager.datastore.random_digits(names::SHORT_RANDOM_CHARACTERS)
    }
}

/// Labels and owner of a resource that is pulled from a target.
fn describe(metadata: &mut ObjectMeta, target: &BackupTarget, label: &str, of: &str) {
    labels::set(metadata, labels::BACKUP_TARGET, name(&target.metadata));
    labels::set(metadata, label, of);
    metadata.owner_references = Some(vec![owner_reference(target)]);
}

/// Takes "already exists" for a success.
fn created<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}

fn names_of<K: CustomResource>(objects: Vec<Arc<K>>) -> Vec<String> {
    objects.iter().map(|object| name(object.meta()).to_owned()).collect()
}

/// The release in a system backup's path, `backupstore/system-backups/<release>/<name>`.
fn version_in_path(path: &str) -> Result<String> {
    let mut parts = path.rsplit('/');
    match (parts.next(), parts.next()) {
        (Some(_name), Some(version)) => Ok(version.to_owned()),
        _ => Err(Error::message(format!("failed to parse system backup URI: invalid system-backup URI: {path}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_backups_path_names_its_release() {
        assert_eq!(version_in_path("backupstore/system-backups/v1.4.0/sample").unwrap(), "v1.4.0");
        assert!(version_in_path("sample").is_err());
    }

    #[test]
    fn an_object_that_exists_is_created() {
        let status = |reason: &str| {
            corral_kube_client::Error::Api(Box::new(corral_kube_client::Status::failure("", reason).with_code(409)))
        };
        assert!(created::<()>(Err(status("AlreadyExists").into())).is_ok());
        assert!(created::<()>(Err(status("Conflict").into())).is_err());
    }
}
