//! The files of one disk: which are deleted, which are taken over from their source, which are copied from another manager
//! (`deleteInvalidBackingImages`, `prepareBackingImageFiles`).

use corral_kube_client::EventType;
use host::time::Instant;
use longhorn_api::kinds::backing_image::BackingImageState;
use longhorn_api::kinds::backing_image_manager::BackingImageManagerState;
use longhorn_api::{BackingImage, BackingImageDataSource, BackingImageManager, labels, settings};

use super::{BackingImageManagerController, lock};
use crate::engine::backing_image_manager::{BackingImageManagerClient, Image, PORT};
use crate::runtime::backups::name;
use crate::runtime::{Error, Result};

/// To how many others one manager sends at a time.
const SENDING_LIMIT: i64 = 3;

/// What became of the wish for one file.
enum Wish {
    /// The next image's turn.
    Next,
    /// One copy at a time: what is under way shows in the status first.
    Enough,
}

impl BackingImageManagerController {
    pub(super) async fn delete_invalid_files(
        &self,
        manager: &mut BackingImageManager,
        client: &mut BackingImageManagerClient,
    ) -> Result<()> {
        let datastore = &self.manager.datastore;
        let files = (*manager.status.backing_image_file_map).clone();
        for (image_name, file) in datastore.in_map_order(files) {
            let image = datastore.backing_images.find(&image_name);
            if image.as_ref().is_some_and(|image| image.status.uuid.is_empty()) {
                continue;
            }
            let is_valid = image.is_some_and(|image| {
                let uuid = &image.status.uuid;
                let is_recorded = manager.spec.backing_images.get(&image_name) == Some(uuid);
                let is_same = file.uuid.is_empty() || file.uuid == *uuid;
                let files = &image.status.disk_file_status_map;
                let state = files.get(&manager.spec.disk_uuid).map_or(&file.state, |known| &known.state);
                let is_replaceable = *state == BackingImageState::Failed
                    && files.values().any(|other| other.state != BackingImageState::Failed);
                is_recorded && is_same && !is_replaceable
            });
            if is_valid {
                continue;
            }
            match client.delete(&image_name, &file.uuid).await {
                Err(error) if !error.says_cannot_find() && !error.to_string().contains("NotFound") => {
                    return Err(error);
                }
                _ => {}
            }
            manager.status.backing_image_file_map.remove(&image_name);
            lock(&self.backoff(name(&manager.metadata))).forget(&image_name);
            let (disk, node) = (&manager.spec.disk_uuid, &manager.spec.node_id);
            let message = format!("Deleted backing image {image_name} in disk {disk} on node {node}");
            self.events.event(manager, EventType::Normal, "Delete", message);
        }
        Ok(())
    }

    pub(super) async fn prepare_files(
        &self,
        manager: &BackingImageManager,
        client: &mut BackingImageManagerClient,
    ) -> Result<()> {
        let datastore = &self.manager.datastore;
        for image_name in datastore.in_map_order(manager.spec.backing_images.keys()) {
            let image = datastore.backing_images.find(image_name);
            let source = datastore.backing_image_data_sources.find(image_name);
            let (Some(image), Some(source)) = (image, source) else { continue };
            let file = manager.status.backing_image_file_map.get(image_name);
            let is_wanted = file.is_none_or(|file| file.state == BackingImageState::Failed)
                || source.status.current_state == BackingImageState::Failed;
            if !is_wanted {
                continue;
            }
            if !source.spec.file_transferred {
                self.take_over(manager, client, &image, &source).await?;
            } else if matches!(self.copy(manager, client, &image, &source).await?, Wish::Enough) {
                break;
            }
        }
        Ok(())
    }

    /// Takes the first file over from the disk's data source, or cleans up after one that failed.
    async fn take_over(
        &self,
        manager: &BackingImageManager,
        client: &mut BackingImageManagerClient,
        image: &BackingImage,
        source: &BackingImageDataSource,
    ) -> Result<()> {
        let (image_name, uuid) = (name(&image.metadata), image.status.uuid.as_str());
        let status = &source.status;
        if status.current_state == BackingImageState::Failed {
            client.delete(image_name, uuid).await?;
            let mut source = source.clone();
            source.status.current_state = BackingImageState::FailedAndCleanUp;
            return self.manager.datastore.backing_image_data_sources.update_status(&source).await.map(drop);
        }
        let is_here = source.spec.disk_uuid == manager.spec.disk_uuid && !status.storage_ip.is_empty();
        if status.current_state != BackingImageState::ReadyForTransfer || !is_here {
            return Ok(());
        }
        let file = Image { name: image_name, uuid, checksum: &status.checksum, size: status.size };
        match client.fetch(file, &format!("{}:{PORT}", status.storage_ip)).await {
            Err(error) if error.says_already_exists() => return Ok(()),
            done => done?,
        }
        self.tell(manager, "Fetching", &format!("Fetched the first file for backing image {image_name}"), "");
        Ok(())
    }

    /// Copies the file from a manager that has it, or has the pod look whether the disk has it already.
    async fn copy(
        &self,
        manager: &BackingImageManager,
        client: &mut BackingImageManagerClient,
        image: &BackingImage,
        source: &BackingImageDataSource,
    ) -> Result<Wish> {
        let (image_name, uuid) = (name(&image.metadata), image.status.uuid.as_str());
        let backoff = self.backoff(name(&manager.metadata));
        if lock(&backoff).is_waiting(image_name, Instant::now()) || !self.may_copy(manager, image_name)? {
            return Ok(Wish::Next);
        }
        let datastore = &self.manager.datastore;
        let current = datastore.backing_image_manager_image()?;
        let mut has_file = false;
        let mut sender = None;
        for other in datastore.in_map_order(datastore.backing_image_managers.list()) {
            let runs = other.status.current_state == BackingImageManagerState::Running && other.spec.image == current;
            let file = other.status.backing_image_file_map.get(image_name);
            let Some(file) = file.filter(|file| runs && file.state == BackingImageState::Ready) else { continue };
            has_file = true;
            if file.sending_reference < SENDING_LIMIT {
                sender = Some(other.clone());
                break;
            }
        }
        let size = if image.status.size == 0 && !has_file { source.status.size } else { image.status.size };
        let file = Image { name: image_name, uuid, checksum: &image.status.checksum, size };
        let asked = match &sender {
            Some(sender) => client.sync(file, &sender.status.storage_ip).await,
            None if has_file => return Ok(Wish::Next),
            None => client.fetch(file, "").await,
        };
        match asked {
            Err(error) if error.says_already_exists() => return Ok(Wish::Next),
            asked => {
                lock(&backoff).next(image_name, Instant::now());
                asked?;
            }
        }
        let Some(sender) = sender else {
            self.tell(manager, "Fetching", &format!("Reuse the existing file for backing image {image_name}"), "");
            return Ok(Wish::Next);
        };
        let from = format!(" from {}({})", name(&sender.metadata), sender.status.storage_ip);
        self.tell(manager, "Syncing", &format!("Syncing backing image {image_name}"), &from);
        Ok(Wish::Enough)
    }

    fn tell(&self, manager: &BackingImageManager, reason: &str, what: &str, from: &str) {
        let (disk, node) = (&manager.spec.disk_uuid, &manager.spec.node_id);
        self.events.event(manager, EventType::Normal, reason, format!("{what} in disk {disk} on node {node}{from}"));
    }

    /// Whether one more copy may be made on this node (`canSyncCopy`).
    fn may_copy(&self, manager: &BackingImageManager, image: &str) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let limit = datastore.setting_number(settings::CONCURRENT_BACKING_IMAGE_REPLENISH_PER_NODE_LIMIT)?;
        if limit < 1 {
            return Ok(true);
        }
        let limit = usize::try_from(limit).map_err(|error| Error::message(error.to_string()))?;
        let mut under_way = lock(&self.replenishing);
        let node = [(labels::COMPONENT_NODE, manager.spec.node_id.as_str())];
        let mut going = std::collections::BTreeSet::new();
        for other in datastore.backing_image_managers.list_labelled(&node) {
            let disk = &other.spec.disk_uuid;
            for (image, file) in &other.status.backing_image_file_map {
                if is_going(&file.state) {
                    let key = format!("{disk}-{image}");
                    under_way.insert(key.clone(), disk.clone());
                    going.insert(key);
                }
            }
        }
        let key = format!("{}-{image}", manager.spec.disk_uuid);
        if under_way.contains_key(&key) {
            return Ok(true);
        }
        under_way.retain(|copy, _| going.contains(copy));
        if under_way.len() >= limit {
            return Ok(false);
        }
        under_way.insert(key, manager.spec.disk_uuid.clone());
        Ok(true)
    }
}

fn is_going(state: &BackingImageState) -> bool {
    use BackingImageState::{InProgress, Pending, ReadyForTransfer, Starting};
    matches!(state, InProgress | Pending | Starting | ReadyForTransfer)
}
