//! The source of a backing image's first file: made on a disk that can take it, moved if that disk is lost, done with when a manager has
//! the file (`handleBackingImageDataSource`).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use longhorn_api::kinds::backing_image::{BackingImageDiskFileStatus, BackingImageState};
use longhorn_api::kinds::backing_image_data_source::{BackingImageDataSourceType, PARAMETER_CLONE_BACKING_IMAGE};
use longhorn_api::{BackingImage, BackingImageDataSource, settings};

use super::BackingImageController;
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::disks::DiskPlace;
use crate::runtime::{Error, Result};

impl BackingImageController {
    pub(super) async fn keep_source(&self, image: &BackingImage) -> Result<()> {
        let datastore = &self.manager.datastore;
        let image_name = name(&image.metadata);
        let source = match datastore.backing_image_data_sources.find(image_name) {
            Some(source) => source,
            None => self.create_source(image).await?,
        };
        let mut changed = (*source).clone();
        if changed.spec.uuid.is_empty() {
            changed.spec.uuid.clone_from(&image.status.uuid);
        }
        let is_lost = self.is_lost(image)?;
        if !changed.spec.file_transferred && changed.status.current_state == BackingImageState::Ready {
            let file = image.status.disk_file_status_map.get(&changed.spec.disk_uuid);
            if file.is_some_and(|file| file.state == BackingImageState::Ready) {
                changed.spec.file_transferred = true;
            }
        } else if changed.spec.file_transferred && is_lost {
            if changed.spec.source_type == BackingImageDataSourceType::Download {
                changed.spec.file_transferred = false;
                changed.spec.node_id.clear();
                changed.spec.disk_uuid.clear();
                changed.spec.disk_path.clear();
            } else {
                tracing::warn!(
                    "Failed to recover backing image {image_name} after all existing files becoming unavailable"
                );
            }
        }
        if !changed.spec.file_transferred {
            let spec = &changed.spec;
            let place = datastore.ready_disk(&spec.disk_uuid);
            let is_there = place.is_some_and(|place| place.node == spec.node_id && place.path == spec.disk_path);
            if !is_there {
                let place = self.place_for_source(image)?;
                changed.spec.node_id = place.node;
                changed.spec.disk_uuid = place.uuid;
                changed.spec.disk_path = place.path;
            }
        }
        if changed != *source {
            datastore.backing_image_data_sources.update(&changed).await?;
        }
        Ok(())
    }

    async fn create_source(&self, image: &BackingImage) -> Result<std::sync::Arc<BackingImageDataSource>> {
        let datastore = &self.manager.datastore;
        let mut place = None;
        let mut has_file = false;
        for disk in datastore.in_map_order(image.spec.disk_file_spec_map.keys()) {
            let Some(found) = datastore.ready_disk(disk) else { continue };
            place = Some(found);
            let file = image.status.disk_file_status_map.get(disk);
            has_file = file.is_some_and(|file| file.state == BackingImageState::Ready);
            if has_file {
                break;
            }
        }
        let place = match place {
            Some(place) => place,
            None => self.place_for_source(image)?,
        };
        let mut source = BackingImageDataSource::default();
        source.metadata.name.clone_from(&image.metadata.name);
        let owner =
            OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..owner_reference(image) };
        source.metadata.owner_references = Some(vec![owner]);
        source.spec.node_id = place.node;
        source.spec.uuid.clone_from(&image.status.uuid);
        source.spec.disk_uuid = place.uuid;
        source.spec.disk_path = place.path;
        source.spec.checksum.clone_from(&image.spec.checksum);
        source.spec.source_type.clone_from(&image.spec.source_type);
        source.spec.parameters.clone_from(&image.spec.source_parameters);
        source.spec.parameters.make();
        source.spec.file_transferred = has_file;
        datastore.backing_image_data_sources.create(&source).await
    }

    /// Any disk that can take the file; a copy is made where the original is.
    fn place_for_source(&self, image: &BackingImage) -> Result<DiskPlace> {
        let datastore = &self.manager.datastore;
        let place = datastore.disk_for_image(image)?;
        if image.spec.source_type != BackingImageDataSourceType::Clone {
            return Ok(place);
        }
        let original =
            datastore.backing_images.get(image.spec.source_parameters.text(PARAMETER_CLONE_BACKING_IMAGE))?;
        let files = datastore.in_map_order(original.status.disk_file_status_map.iter());
        let ready = files.into_iter().filter(|(_, file)| file.state == BackingImageState::Ready);
        let found = ready.map(|(disk, _)| datastore.ready_disk(disk)).find_map(|place| place);
        found.ok_or_else(|| Error::message("failed to find one ready source backing image"))
    }

    /// Whether every copy, wanted or not, has failed long enough ago.
    fn is_lost(&self, image: &BackingImage) -> Result<bool> {
        let seconds = self.manager.datastore.setting_number(settings::BACKING_IMAGE_RECOVERY_WAIT_INTERVAL)?;
        let patience = Duration::from_secs(seconds.unsigned_abs());
        let files = &image.status.disk_file_status_map;
        let wanted_known = image.spec.disk_file_spec_map.keys().all(|disk| files.contains_key(disk));
        Ok(wanted_known && files.values().all(|file| has_failed_for(file, patience)))
    }
}

fn has_failed_for(file: &BackingImageDiskFileStatus, patience: Duration) -> bool {
    let since: Option<jiff::Timestamp> = file.last_state_transition_time.parse().ok();
    let elapsed = since.map(|since| host::wall_clock::now().duration_since(since));
    let elapsed = elapsed.and_then(|elapsed| Duration::try_from(elapsed).ok());
    file.state == BackingImageState::Failed && elapsed.is_some_and(|elapsed| elapsed >= patience)
}
