//! The managers of a backing image's copies: one a disk, with a record of each image that it is to have (`handleBackingImageManagers`,
//! `cleanupBackingImageManagers`).

use longhorn_api::go::Map;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{BackingImage, BackingImageManager, labels, names};

use super::BackingImageController;
use crate::runtime::backups::name;
use crate::runtime::disks::DiskPlace;
use crate::runtime::{Datastore, Result};

impl BackingImageController {
    pub(super) async fn keep_managers(&self, image: &BackingImage) -> Result<()> {
        self.clean_up_managers(image).await?;
        let datastore = &self.manager.datastore;
        let manager_image = datastore.backing_image_manager_image()?;
        let image_name = name(&image.metadata);
        for (disk, file) in datastore.in_map_order(image.spec.disk_file_spec_map.iter()) {
            if file.data_engine == DataEngine::V2 {
                continue;
            }
            let mut records = Map::default();
            let mut has_manager = false;
            for manager in datastore.managers_of_disk(disk) {
                if manager.metadata.deletion_timestamp.is_none() && manager.spec.image == manager_image {
                    if manager.spec.backing_images.get(image_name) != Some(&image.status.uuid) {
                        let mut changed = (*manager).clone();
                        changed.spec.backing_images.insert(image_name, image.status.uuid.clone());
                        datastore.backing_image_managers.update(&changed).await?;
                    }
                    has_manager = true;
                    break;
                }
                // One of another release hands its records on.
                for (other, uuid) in &manager.spec.backing_images {
                    records.insert(other.as_str(), uuid.clone());
                }
            }
            if has_manager {
                continue;
            }
            let Some(place) = datastore.ready_disk(disk) else {
                tracing::warn!("Disk {disk} is not ready hence backing image manager can not be created");
                continue;
            };
            records.insert(image_name, image.status.uuid.clone());
            let created = self.new_manager(&manager_image, &place, records);
            datastore.backing_image_managers.create(&created).await?;
            let manager_name = name(&created.metadata);
            let message =
                format!("created default backing image manager {manager_name} in disk {disk} on node {}", place.node);
            self.event(image, "Create", message);
        }
        Ok(())
    }

    fn new_manager(&self, image: &str, place: &DiskPlace, records: Map<String>) -> BackingImageManager {
        let release = self.manager.datastore.release();
        let mut manager = BackingImageManager::default();
        manager.metadata.name = Some(names::backing_image_manager(release, image, &place.uuid));
        manager.metadata.labels = Some(labels::of_backing_image_manager(&place.node, &place.uuid));
        manager.spec.image = image.to_owned();
        manager.spec.node_id.clone_from(&place.node);
        manager.spec.disk_uuid.clone_from(&place.uuid);
        manager.spec.disk_path.clone_from(&place.path);
        manager.spec.backing_images = records;
        manager
    }

    /// Deletes managers of other releases, takes records back that are wanted no longer, and deletes managers without any.
    pub(super) async fn clean_up_managers(&self, image: &BackingImage) -> Result<()> {
        let datastore = &self.manager.datastore;
        let manager_image = datastore.backing_image_manager_image()?;
        let image_name = name(&image.metadata);
        for manager in datastore.in_map_order(datastore.backing_image_managers.list()) {
            if manager.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let manager_name = name(&manager.metadata);
            let (disk, node) = (&manager.spec.disk_uuid, &manager.spec.node_id);
            if manager.spec.image != manager_image {
                self.delete_manager(manager_name).await?;
                let what = "deleted old/non-default backing image manager";
                self.event(image, "Delete", format!("{what} {manager_name} in disk {disk} on node {node}"));
                continue;
            }
            let Some(recorded) = manager.spec.backing_images.get(image_name) else { continue };
            let is_wanted =
                image.spec.disk_file_spec_map.contains_key(disk) && image.metadata.deletion_timestamp.is_none();
            if is_wanted && *recorded == image.status.uuid {
                continue;
            }
            let mut changed = (*manager).clone();
            changed.spec.backing_images.remove(image_name);
            let changed = datastore.backing_image_managers.update(&changed).await?;
            if changed.spec.backing_images.is_empty() {
                self.delete_manager(manager_name).await?;
                let what = "deleting unused backing image manager";
                self.event(image, "Delete", format!("{what} {manager_name} in disk {disk} on node {node}"));
            }
        }
        Ok(())
    }

    async fn delete_manager(&self, manager_name: &str) -> Result<()> {
        match self.manager.datastore.backing_image_managers.delete(manager_name).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Datastore {
    /// The backing image managers of a disk, in an order that means nothing.
    pub(crate) fn managers_of_disk(&self, disk: &str) -> Vec<std::sync::Arc<BackingImageManager>> {
        let of_disk = self.backing_image_managers.list_labelled(&[(labels::COMPONENT_DISK_UUID, disk)]);
        self.in_map_order(of_disk)
    }
}
