//! The mutators of backing images, their managers and their sources (`webhook/resources/backingimage*/mutator.go`).

use longhorn_api::kinds::backing_image_data_source::{
    BackingImageDataSourceType, PARAMETER_BACKUP_TARGET_NAME, PARAMETER_CLONE_ENCRYPTION, PARAMETER_CONCURRENT_LIMIT,
    PARAMETER_EXPORT_TYPE,
};
use longhorn_api::{BackingImage, BackingImageDataSource, BackingImageManager, labels, names, settings};
use serde_json::json;

use super::{Denial, Patch, put_finalizer, put_labels};
use crate::runtime::{Context, Datastore};

/// A new BackingImage says how many copies it is to have, and its source's parameters are made whole.
pub fn backing_image(
    datastore: &Datastore,
    patch: &mut Patch,
    image: &BackingImage,
    created: bool,
) -> Result<(), Denial> {
    put_finalizer(patch, &image.metadata);
    if !created {
        return Ok(());
    }
    patch.replace("/spec/checksum", image.spec.checksum.trim());
    let mut parameters = image.spec.source_parameters.clone();
    parameters.make().values_mut().for_each(|value| *value = value.trim().to_owned());
    let mut default = |key: &str, value: String| {
        if parameters.text(key).is_empty() {
            parameters.insert(key, value);
        }
    };
    match image.spec.source_type {
        BackingImageDataSourceType::ExportFromVolume => default(PARAMETER_EXPORT_TYPE, "raw".to_owned()),
        BackingImageDataSourceType::Clone => default(PARAMETER_CLONE_ENCRYPTION, "ignore".to_owned()),
        BackingImageDataSourceType::Restore => {
            let limit = datastore.setting_number(settings::BACKUP_CONCURRENT_LIMIT);
            let limit = limit.context(|| format!("failed to get {} value", settings::BACKUP_CONCURRENT_LIMIT))?;
            default(PARAMETER_CONCURRENT_LIMIT, limit.to_string());
            if datastore.has_many_backup_targets() {
                default(PARAMETER_BACKUP_TARGET_NAME, names::DEFAULT_BACKUP_TARGET.to_owned());
            }
        }
        _ => {}
    }
    patch.replace("/spec/sourceParameters", json!(parameters));
    for (path, is_nil) in
        [("/spec/disks", image.spec.disks.is_nil()), ("/spec/diskFileSpecMap", image.spec.disk_file_spec_map.is_nil())]
    {
        if is_nil {
            patch.replace(path, json!({}));
        }
    }
    if image.spec.min_number_of_copies == 0 {
        let copies = datastore.setting_number(settings::DEFAULT_MIN_NUMBER_OF_BACKING_IMAGE_COPIES);
        let copies =
            copies.context(|| "failed to get valid number for setting default min number of backing image copies")?;
        patch.replace("/spec/minNumberOfCopies", json!(copies));
    }
    let more = [(labels::MANAGED_BY, labels::MANAGED_BY_VALUE), (labels::COMPONENT, "backing-image")];
    put_labels(patch, &image.metadata, more);
    Ok(())
}

/// A BackingImageManager has a list of its images, if an empty one.
pub fn backing_image_manager(patch: &mut Patch, manager: &BackingImageManager) {
    if manager.spec.backing_images.is_nil() {
        patch.replace("/spec/backingImages", json!({}));
    }
    put_finalizer(patch, &manager.metadata);
}

/// A BackingImageDataSource says where its file comes from.
pub fn backing_image_data_source(patch: &mut Patch, source: &BackingImageDataSource) {
    if source.spec.source_type == BackingImageDataSourceType::Unset {
        patch.replace("/spec/sourceType", "download");
    }
    if source.spec.parameters.is_nil() {
        patch.replace("/spec/parameters", json!({}));
    }
    put_finalizer(patch, &source.metadata);
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;

    use super::super::super::tests::webhook_datastore;
    use super::*;

    #[test]
    fn a_restored_image_knows_its_target_and_its_number_of_copies() {
        let datastore = webhook_datastore(Build::parse_tag("v1.8.1").unwrap());
        let mut image = BackingImage::default();
        image.spec.source_type = BackingImageDataSourceType::Restore;
        image.spec.source_parameters.insert("backup-url", " s3://b@r/?backingImage=bi ".to_owned());
        let mut patch = Patch::default();
        backing_image(&datastore, &mut patch, &image, true).unwrap();
        let value = |path: &str| {
            let found = patch.operations().iter().rev().find(|operation| operation["path"] == path);
            found.map(|operation| operation["value"].clone())
        };
        let parameters = value("/spec/sourceParameters").unwrap();
        assert_eq!(parameters["backup-url"], "s3://b@r/?backingImage=bi");
        assert_eq!(
            (&parameters["backup-target-name"], &parameters["concurrent-limit"]),
            (&json!("default"), &json!("2"))
        );
        assert_eq!(value("/spec/minNumberOfCopies"), Some(json!(3)));
        assert_eq!(value("/metadata/finalizers"), Some(json!(["longhorn.io"])));
    }
}
