//! The validators of backing images and of system restores (`webhook/resources/{backingimage,systemrestore}/validator.go`).

use longhorn_api::kinds::backing_image_data_source::{
    BackingImageDataSourceType, PARAMETER_CLONE_BACKING_IMAGE, PARAMETER_URL, PARAMETER_VOLUME_NAME,
};
use longhorn_api::kinds::volume::VolumeState;
use longhorn_api::{BackingImage, SystemRestore, labels};

use super::Denial;
use crate::engine::backup_target_client::is_valid_name;
use crate::runtime::Datastore;
use crate::runtime::backups::name;

/// Hexadecimal digits of a SHA-512.
const CHECKSUM_LENGTH: usize = 128;

/// A new BackingImage has a name, a checksum if it says one, and what its source needs.
pub fn new(datastore: &Datastore, image: &BackingImage) -> Result<(), Denial> {
    let image_name = name(&image.metadata);
    if !is_valid_name(image_name) {
        return Err(Denial::invalid(format!("invalid name {image_name}")));
    }
    let checksum = &image.spec.checksum;
    let is_checksum = checksum.len() == CHECKSUM_LENGTH && checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !checksum.is_empty() && !is_checksum {
        return Err(Denial::invalid(format!("invalid checksum {checksum}")));
    }
    check_copies(image)?;
    let (kind, parameters) = (&image.spec.source_type, &image.spec.source_parameters);
    let lacks = || Err(Denial::invalid(format!("invalid parameter {:?} for source type {kind}", **parameters)));
    match kind {
        BackingImageDataSourceType::Download if parameters.text(PARAMETER_URL).is_empty() => lacks(),
        BackingImageDataSourceType::ExportFromVolume if parameters.text(PARAMETER_VOLUME_NAME).is_empty() => lacks(),
        BackingImageDataSourceType::Clone
            if datastore.backing_images.find(parameters.text(PARAMETER_CLONE_BACKING_IMAGE)).is_none() =>
        {
            lacks()
        }
        _ => Ok(()),
    }
}

/// Its secret stays.
pub fn changed(old: &BackingImage, new: &BackingImage) -> Result<(), Denial> {
    check_copies(new)?;
    let stays = |old: &String, new: &String| old.is_empty() || old == new;
    let image_name = name(&old.metadata);
    if !stays(&old.spec.secret, &new.spec.secret) {
        return Err(Denial::invalid(format!("changing secret for BackingImage {image_name} is not supported")));
    }
    if !stays(&old.spec.secret_namespace, &new.spec.secret_namespace) {
        return Err(Denial::invalid(format!(
            "changing secret namespace for BackingImage {image_name} is not supported"
        )));
    }
    Ok(())
}

/// No replica may use it.
pub fn deleted(datastore: &Datastore, image: &BackingImage) -> Result<(), Denial> {
    let image_name = name(&image.metadata);
    if datastore.replicas_of_image(image_name).is_empty() {
        return Ok(());
    }
    Err(Denial::invalid(format!("cannot delete backing image {image_name} since there are replicas using it")))
}

fn check_copies(image: &BackingImage) -> Result<(), Denial> {
    match image.spec.min_number_of_copies {
        1.. => Ok(()),
        copies => Err(Denial::invalid(format!("invalid minimal number of backing image copies {copies}"))),
    }
}

/// One system restore at a time, of a system backup that is known, and only while no volume is attached.
pub fn system_restore(datastore: &Datastore, restore: &SystemRestore) -> Result<(), Denial> {
    let volumes = datastore.volumes.list();
    if volumes.iter().any(|volume| volume.status.state != VolumeState::Detached) {
        return Err(Denial::invalid("all volumes need to be detached before creating SystemRestore"));
    }
    let under_way = datastore.system_restores.list_labelled(&[(labels::SYSTEM_RESTORE, "InProgress")]).len();
    if under_way != 0 {
        return Err(Denial::invalid(format!("found {under_way} SystemRestore in progress")));
    }
    let found = datastore.system_backups.get(&restore.spec.system_backup);
    found.map(drop).map_err(|error| Denial::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;

    use super::super::super::tests::webhook_datastore;
    use super::*;

    #[test]
    fn an_image_needs_what_its_source_needs() {
        let datastore = webhook_datastore(Build::parse_tag("v1.8.1").unwrap());
        let mut image = BackingImage::default();
        image.metadata.name = Some("bi-1".to_owned());
        image.spec.source_type = BackingImageDataSourceType::Download;
        image.spec.min_number_of_copies = 1;
        assert!(new(&datastore, &image).is_err(), "no address");
        image.spec.source_parameters.insert("url", "http://images/one.raw".to_owned());
        assert_eq!(new(&datastore, &image), Ok(()));
        image.spec.checksum = "abc".to_owned();
        assert_eq!(new(&datastore, &image), Err(Denial::invalid("invalid checksum abc")));
        image.spec.checksum.clear();
        image.spec.min_number_of_copies = 0;
        assert!(new(&datastore, &image).is_err(), "no copies");
    }

    #[test]
    fn a_restore_needs_its_backup() {
        let datastore = webhook_datastore(Build::parse_tag("v1.8.0").unwrap());
        assert!(system_restore(&datastore, &SystemRestore::default()).is_err());
    }
}
