//! The validators of the kinds of backups.

use longhorn_api::kinds::backup::BackupMode;
use longhorn_api::{Backup, BackupBackingImage, BackupTarget, Release, labels, names, settings};

use super::Denial;
use crate::engine::backup_target_client::is_valid_name;
use crate::engine::credentials;
use crate::runtime::Datastore;
use crate::runtime::backups::name;

/// A Backup has a name of the store's form and a mode.
pub fn backup(backup: &Backup) -> Result<(), Denial> {
    let backup_name = name(&backup.metadata);
    if !is_valid_name(backup_name) {
        return Err(Denial::invalid(format!("invalid name {backup_name}")));
    }
    match &backup.spec.backup_mode {
        BackupMode::Full | BackupMode::Incremental => Ok(()),
        other => Err(Denial::invalid(format!("BackupMode {other} is not a valid option"))),
    }
}

/// A BackupTarget points to a store that no other one points to.
///
/// Upstream also labels Secrets that carry an AWS role here, for a controller of volumes' pods; nothing reads that yet.
pub fn new_target(datastore: &Datastore, target: &BackupTarget) -> Result<(), Denial> {
    let target_name = name(&target.metadata);
    if !is_valid_name(target_name) {
        return Err(Denial::invalid(format!("invalid name {target_name}")));
    }
    datastore.validate_backup_target_url(target_name, &target.spec.backup_target_url)?;
    Ok(datastore.validate_credential(&target.spec.credential_secret)?)
}

/// What changed is looked at as if it were new; while a volume follows the store, nothing may change.
pub fn changed_target(datastore: &Datastore, old: &BackupTarget, new: &BackupTarget) -> Result<(), Denial> {
    let url_changed = old.spec.backup_target_url != new.spec.backup_target_url;
    let secret_changed = old.spec.credential_secret != new.spec.credential_secret;
    if url_changed {
        datastore.validate_backup_target_url(name(&new.metadata), &new.spec.backup_target_url)?;
    }
    if secret_changed {
        datastore.validate_credential(&new.spec.credential_secret)?;
    }
    if url_changed || secret_changed {
        datastore.forbid_standby_volumes()?;
    }
    Ok(())
}

/// The default target is deleted by Longhorn's own uninstallation only.
pub fn deleted_target(datastore: &Datastore, target: &BackupTarget) -> Result<(), Denial> {
    let annotations = target.metadata.annotations.as_ref();
    let by_longhorn = annotations.is_some_and(|all| all.contains_key(labels::DELETE_BACKUP_TARGET_FROM_LONGHORN));
    if name(&target.metadata) == names::DEFAULT_BACKUP_TARGET && !by_longhorn {
        return Err(Denial::invalid("deleting default backup target is not allowed"));
    }
    Ok(datastore.forbid_standby_volumes()?)
}

/// A target holds one backup of a backing image; so says the hook's cache, which may be behind.
///
/// Upstream also refuses images of the second data engine; BackingImages come with a later storey.
pub fn backup_backing_image(datastore: &Datastore, backup: &BackupBackingImage) -> Result<(), Denial> {
    let (image, target) = (&backup.spec.backing_image, &backup.spec.backup_target_name);
    let others = datastore.backup_backing_images.list();
    if others.iter().any(|other| other.spec.backing_image == *image && other.spec.backup_target_name == *target) {
        return Err(Denial::invalid(format!("backup backing image {image} for backup target {target} already exists")));
    }
    Ok(())
}

/// A system backup needs the default target and a way into it; from v1.9.2 on the target has to have been reached.
pub fn system_backup(datastore: &Datastore) -> Result<(), Denial> {
    let refused = |error: crate::runtime::Error| Denial::bad_request(error.to_string());
    if !datastore.has_many_backup_targets() {
        datastore.existing_setting_value(settings::BACKUP_TARGET).map_err(refused)?;
    }
    let target = datastore.backup_targets.get(names::DEFAULT_BACKUP_TARGET).map_err(refused)?;
    if datastore.release().at_least(Release::V1_9_2) && !target.status.available {
        let target = names::DEFAULT_BACKUP_TARGET;
        return Err(Denial::invalid(format!("backup target {target} is not available")));
    }
    let store_type = credentials::store_type(&target.spec.backup_target_url);
    if credentials::requires_credential(store_type) && target.spec.credential_secret.is_empty() {
        return Err(Denial::bad_request(format!("cannot access {store_type} without credential secret")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;

    use super::super::super::tests::webhook_datastore;
    use super::*;

    fn target(target_name: &str, url: &str) -> BackupTarget {
        let mut target = BackupTarget::default();
        target.metadata.name = Some(target_name.to_owned());
        target.spec.backup_target_url = url.to_owned();
        target
    }

    #[test]
    fn a_backup_needs_name_and_mode() {
        let mut new = Backup::default();
        new.metadata.name = Some("Backup".to_owned());
        new.spec.backup_mode = BackupMode::Full;
        assert_eq!(backup(&new), Err(Denial::invalid("invalid name Backup")));
        new.metadata.name = Some("backup-1".to_owned());
        assert_eq!(backup(&new), Ok(()));
        new.spec.backup_mode = BackupMode::Unset;
        assert_eq!(backup(&new), Err(Denial::invalid("BackupMode  is not a valid option")));
    }

    #[test]
    fn targets_are_of_known_kinds() {
        let datastore = webhook_datastore(Build::parse_tag("v1.8.0").unwrap());
        assert_eq!(new_target(&datastore, &target("default", "")), Ok(()));
        assert_eq!(new_target(&datastore, &target("default", "s3://b@r/")), Ok(()));
        let denial = new_target(&datastore, &target("other", "vfs:///tmp")).unwrap_err();
        assert_eq!(denial.to_string(), "url vfs:///tmp with the unsupported protocol vfs");
        let unchanged = target("other", "vfs:///tmp");
        assert_eq!(changed_target(&datastore, &unchanged, &unchanged), Ok(()), "only changes are looked at");
    }

    #[test]
    fn the_default_target_stays() {
        let datastore = webhook_datastore(Build::parse_tag("v1.8.0").unwrap());
        let mut default = target("default", "");
        assert!(deleted_target(&datastore, &default).is_err());
        assert_eq!(deleted_target(&datastore, &target("other", "")), Ok(()));
        let annotations = default.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::DELETE_BACKUP_TARGET_FROM_LONGHORN.to_owned(), String::new());
        assert_eq!(deleted_target(&datastore, &default), Ok(()));
    }

    #[test]
    fn a_system_backup_needs_a_target() {
        for tag in ["v1.7.2", "v1.8.0"] {
            let datastore = webhook_datastore(Build::parse_tag(tag).unwrap());
            assert!(system_backup(&datastore).is_err(), "{tag}");
        }
    }
}
