//! What is known of a backing image's copies, and how many there should be (`syncBackingImageFileInfo`, `updateDiskLastReferenceMap`,
//! `replenishBackingImageCopies`, `cleanupEvictionRequestedBackingImageCopies`).
//!
//! The statuses of the source and of the managers are taken over without a question, however old.

use std::collections::BTreeSet;

use longhorn_api::kinds::backing_image::{BackingImageDiskFileSpec, BackingImageDiskFileStatus, BackingImageState};
use longhorn_api::kinds::backing_image_manager::BackingImageFileInfo;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{BackingImage, settings};

use super::BackingImageController;
use crate::runtime::backups::name;
use crate::runtime::{Result, clock};

/// What a source or a manager says of one copy.
struct Seen<'a> {
    state: &'a BackingImageState,
    progress: i64,
    checksum: &'a str,
    message: &'a str,
}

impl BackingImageController {
    pub(super) fn follow_files(&self, image: &mut BackingImage) {
        let datastore = &self.manager.datastore;
        let image_name = name(&image.metadata).to_owned();
        let mut current = BTreeSet::new();
        let source = datastore.backing_image_data_sources.find(&image_name);
        let preparing = source.filter(|source| source.status.current_state != BackingImageState::Ready);
        if let Some(source) = &preparing {
            let status = &source.status;
            current.insert(source.spec.disk_uuid.clone());
            if status.size != 0 {
                image.status.size = status.size;
            }
            let seen = Seen {
                state: &status.current_state,
                progress: status.progress,
                checksum: &status.checksum,
                message: &status.message,
            };
            note(image, &source.spec.disk_uuid, &seen);
        }
        for manager in datastore.in_map_order(datastore.backing_image_managers.list()) {
            let disk = &manager.spec.disk_uuid;
            let file = manager.status.backing_image_file_map.get(&image_name);
            let Some(file) = file.filter(|file| file.uuid == image.status.uuid) else { continue };
            let is_prepared_there = preparing.as_ref().is_some_and(|source| source.spec.disk_uuid == *disk);
            if manager.metadata.deletion_timestamp.is_some() || is_prepared_there {
                continue;
            }
            current.insert(disk.clone());
            let seen = Seen {
                state: &file.state,
                progress: file.progress,
                checksum: &file.current_checksum,
                message: &file.message,
            };
            note(image, disk, &seen);
            self.note_sizes(image, disk, name(&manager.metadata), file);
        }
        let files = &mut image.status.disk_file_status_map;
        files.retain(|disk, file| file.data_engine == DataEngine::V2 || current.contains(disk));
        for file in files.values_mut().filter(|file| file.last_state_transition_time.is_empty()) {
            file.last_state_transition_time = clock::now_text();
        }
    }

    /// The first copy tells the sizes; one that differs has failed.
    fn note_sizes(&self, image: &mut BackingImage, disk: &str, manager: &str, file: &BackingImageFileInfo) {
        let before = (image.status.size, image.status.virtual_size);
        for (what, found, known) in [("size", file.size, before.0), ("virtualSize", file.virtual_size, before.1)] {
            if found <= 0 {
                continue;
            }
            if known == 0 {
                if what == "size" {
                    image.status.size = found;
                } else {
                    image.status.virtual_size = found;
                }
                self.event(image, "Update", format!("Set {what} to {found}"));
            } else if known != found {
                let message = format!(
                    "found mismatching {what} {found} reported by backing image manager {manager} in disk {disk}, the {what} \
                     recorded in status is {known}"
                );
                fail(image, disk, message);
            }
        }
        if file.real_size > 0 && image.status.real_size == 0 {
            image.status.real_size = file.real_size;
            self.event(image, "Update", format!("Set realSize to {}", file.real_size));
        }
    }

    /// Notes since when no replica uses a copy.
    pub(super) fn note_references(&self, image: &mut BackingImage) {
        let replicas = self.manager.datastore.replicas_of_image(name(&image.metadata));
        let used: BTreeSet<&String> = replicas.iter().map(|replica| &replica.spec.disk_id).collect();
        let wanted = &image.spec.disk_file_spec_map;
        let last = &mut image.status.disk_last_ref_at_map;
        last.retain(|disk, _| !used.contains(disk) && wanted.contains_key(disk));
        for disk in wanted.keys().filter(|disk| !used.contains(disk)) {
            if !last.contains_key(disk) {
                last.insert(disk.as_str(), clock::now_text());
            }
        }
    }

    /// Asks for one more copy if there are too few, once a manager has the first.
    pub(super) fn replenish(&self, image: &mut BackingImage) -> Result<()> {
        let datastore = &self.manager.datastore;
        let source = datastore.backing_image_data_sources.get(name(&image.metadata))?;
        let limit = datastore.setting_number(settings::CONCURRENT_BACKING_IMAGE_REPLENISH_PER_NODE_LIMIT)?;
        if !source.spec.file_transferred || limit == 0 || image.spec.data_engine == DataEngine::V2 {
            return Ok(());
        }
        let files = &image.status.disk_file_status_map;
        let has_failed = |disk: &String| {
            use BackingImageState::{Failed, FailedAndCleanUp, Unknown};
            files.get(disk).is_some_and(|file| matches!(file.state, Failed | FailedAndCleanUp | Unknown))
        };
        // A copy that nobody knows yet was just asked for.
        let good = image.spec.disk_file_spec_map.keys().filter(|disk| !has_failed(disk)).count();
        let leaving = image.spec.disk_file_spec_map.values().filter(|file| file.eviction_requested).count();
        let staying = i64::try_from(good).unwrap_or(i64::MAX) - i64::try_from(leaving).unwrap_or(i64::MAX);
        if good == 0 || staying >= image.spec.min_number_of_copies {
            return Ok(());
        }
        match datastore.disk_for_image(image) {
            Ok(place) => {
                let file = BackingImageDiskFileSpec { data_engine: DataEngine::V1, ..Default::default() };
                image.spec.disk_file_spec_map.insert(place.uuid, file);
            }
            Err(error) => tracing::warn!(%error, "failed to create the backing image copy"),
        }
        Ok(())
    }

    /// Gives up the copies that are to go, all but one if no other is good.
    pub(super) fn evict(&self, image: &mut BackingImage) {
        let is_ready = |disk: &String| {
            let file = image.status.disk_file_status_map.get(disk);
            file.is_some_and(|file| file.state == BackingImageState::Ready)
        };
        let wanted = &image.spec.disk_file_spec_map;
        let ready: Vec<_> = wanted.iter().filter(|(disk, _)| is_ready(disk)).collect();
        let has_other = ready.iter().any(|(_, file)| !file.eviction_requested);
        let last = ready.iter().find(|(_, file)| file.eviction_requested).map(|(disk, _)| (*disk).clone());
        let last = last.filter(|_| !has_other);
        if let Some(disk) = &last {
            let why = "since there is no other healthy backing image copy";
            self.event(
                image,
                "FailedDeleting",
                format!("Failed to evict backing image copy on disk {disk} for now {why}"),
            );
        }
        image.spec.disk_file_spec_map.retain(|disk, file| !file.eviction_requested || last.as_ref() == Some(disk));
    }
}

/// Takes over what is said of a copy. The first checksum counts; a copy with another one has failed.
fn note(image: &mut BackingImage, disk: &str, seen: &Seen<'_>) {
    let files = image.status.disk_file_status_map.make();
    let new = || BackingImageDiskFileStatus { data_engine: DataEngine::V1, ..Default::default() };
    let file = files.entry(disk.to_owned()).or_insert_with(new);
    if file.state != *seen.state {
        file.last_state_transition_time = clock::now_text();
        file.state = seen.state.clone();
    }
    file.progress = seen.progress;
    seen.message.clone_into(&mut file.message);
    if seen.checksum.is_empty() {
        return;
    }
    if image.status.checksum.is_empty() {
        seen.checksum.clone_into(&mut image.status.checksum);
    }
    if image.status.checksum != seen.checksum {
        let (known, found) = (&image.status.checksum, seen.checksum);
        let message =
            format!("Backing image recorded checksum {known} doesn't match the file checksum {found} in disk {disk}");
        fail(image, disk, message);
    }
}

fn fail(image: &mut BackingImage, disk: &str, message: String) {
    if let Some(file) = image.status.disk_file_status_map.get_mut(disk)
        && file.state != BackingImageState::Failed
    {
        file.state = BackingImageState::Failed;
        file.message = message;
    }
}
