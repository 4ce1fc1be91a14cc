//! The mutators of the kinds of backups.

use corral_kube_client::reads;
use longhorn_api::kinds::backup::BackupMode;
use longhorn_api::kinds::system_backup::VolumeBackupPolicy;
use longhorn_api::{Backup, BackupBackingImage, BackupTarget, BackupVolume, Defect, SystemBackup, labels, names};
use serde_json::json;

use super::{Denial, Patch, put_finalizer, put_labels};
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::{Context, Datastore};

/// Access mode of a volume that is not known or does not say.
const DEFAULT_ACCESS_MODE: &str = "rwo";

/// A new Backup says how its volume may be mounted, how it is made and, with several targets, in which it is.
pub fn backup(datastore: &Datastore, patch: &mut Patch, backup: &Backup, created: bool) -> Result<(), Denial> {
    if backup.spec.labels.is_nil() {
        patch.replace("/spec/labels", json!({}));
    }
    put_finalizer(patch, &backup.metadata);
    if !created {
        return Ok(());
    }
    let Some(volume_name) = labels::get(&backup.metadata, labels::BACKUP_VOLUME) else {
        // Upstream's hook crashes over its own error message here, which the API server takes for an internal error.
        let backup_name = name(&backup.metadata);
        return Err(Denial::internal(format!("cannot find the backup volume label for backup {backup_name}")));
    };
    let volume = datastore.volumes.find(volume_name);
    let mut stored_labels = backup.spec.labels.clone();
    if !stored_labels.contains_key(labels::VOLUME_ACCESS_MODE) {
        let mode = volume.as_ref().map_or("", |volume| volume.spec.access_mode.as_str());
        let mode = if mode.is_empty() { DEFAULT_ACCESS_MODE } else { mode };
        stored_labels.insert(labels::VOLUME_ACCESS_MODE, mode.to_owned());
    }
    patch.replace("/spec/labels", json!(stored_labels));
    if backup.spec.backup_mode == BackupMode::Unset {
        patch.replace("/spec/backupMode", BackupMode::Incremental.as_str());
    }
    if !datastore.has_many_backup_targets() {
        return Ok(());
    }
    let target = match labels::get(&backup.metadata, labels::BACKUP_TARGET) {
        Some(target) => target.to_owned(),
        None => {
            let volume = datastore.volumes.get(volume_name);
            let backup_name = name(&backup.metadata);
            let volume =
                volume.context(|| format!("failed to get the volume {volume_name} of backup {backup_name}"))?;
            volume.spec.backup_target_name.clone()
        }
    };
    put_labels(patch, &backup.metadata, [(labels::BACKUP_TARGET, target.as_str())]);
    Ok(())
}

/// A BackupVolume that is labelled to leave the store alone hands the label on to its Backups, as a side effect of the hook: each is
/// written while the API server waits for the answer.
pub async fn backup_volume(
    datastore: &Datastore,
    patch: &mut Patch,
    backup_volume: &BackupVolume,
    created: bool,
) -> Result<(), Denial> {
    let labelled = labels::get(&backup_volume.metadata, labels::DELETE_CUSTOM_RESOURCE_ONLY).is_some();
    if !created && labelled && !datastore.build.has(Defect::Issue9530) {
        let (target, volume) = (datastore.target_of_backup_volume(backup_volume), datastore.volume_of(backup_volume));
        let backups = datastore.backups_of_volume(target, volume);
        for backup in datastore.in_map_order(backups) {
            let backup_name = name(&backup.metadata);
            let scope = format!("webhook label {backup_name}");
            let result = reads::scope(scope, datastore.backups.label_delete_custom_resource_only(backup_name)).await;
            result.context(|| {
                let label = labels::DELETE_CUSTOM_RESOURCE_ONLY;
                let volume = name(&backup_volume.metadata);
                format!(
                    "failed to add the label {label} to backups of the backup volume {volume}: \
                     failed to add the label {label} to backup {backup_name}"
                )
            })?;
        }
    }
    put_finalizer(patch, &backup_volume.metadata);
    Ok(())
}

/// A BackupTarget gets the finalizer; only from v1.8.0-rc1 on.
pub fn backup_target(patch: &mut Patch, target: &BackupTarget) {
    put_finalizer(patch, &target.metadata);
}

/// A new backup of a backing image says in labels what its spec says; without a known target it is in the default one.
pub fn backup_backing_image(
    datastore: &Datastore,
    patch: &mut Patch,
    backup: &BackupBackingImage,
    created: bool,
) -> Result<(), Denial> {
    put_finalizer(patch, &backup.metadata);
    if !created || !datastore.has_many_backup_targets() {
        return Ok(());
    }
    let mut target = backup.spec.backup_target_name.as_str();
    if datastore.backup_targets.find(target).is_none() {
        target = names::DEFAULT_BACKUP_TARGET;
        datastore.backup_targets.get(target).context(|| "failed to get default backup target")?;
        patch.replace("/spec/backupTargetName", target);
    }
    let more = [(labels::BACKUP_TARGET, target), (labels::BACKING_IMAGE, backup.spec.backing_image.as_str())];
    put_labels(patch, &backup.metadata, more);
    Ok(())
}

/// A new SystemBackup belongs to the default target, with which it goes.
pub fn system_backup(
    datastore: &Datastore,
    patch: &mut Patch,
    backup: &SystemBackup,
    created: bool,
) -> Result<(), Denial> {
    put_finalizer(patch, &backup.metadata);
    if backup.spec.volume_backup_policy == VolumeBackupPolicy::Unset {
        patch.replace("/spec/volumeBackupPolicy", VolumeBackupPolicy::IfNotPresent.as_str());
    }
    let has_owner = backup.metadata.owner_references.iter().flatten().next().is_some();
    if created && !has_owner && datastore.has_many_backup_targets() {
        let target = datastore.backup_targets.get(names::DEFAULT_BACKUP_TARGET);
        let target = target.map_err(|error| Denial::internal(error.to_string()))?;
        patch.replace("/metadata/ownerReferences", json!([owner_reference(&*target)]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;

    use super::super::super::tests::webhook_datastore;
    use super::*;

    fn value(patch: &Patch, path: &str) -> Option<serde_json::Value> {
        let operation = patch.operations().iter().rev().find(|operation| operation["path"] == path);
        operation.map(|operation| operation["value"].clone())
    }

    fn pulled(build: &str) -> (Datastore, Backup) {
        let mut backup = Backup::default();
        backup.metadata.name = Some("backup-1".into());
        labels::set(&mut backup.metadata, labels::BACKUP_VOLUME, "vol");
        (webhook_datastore(Build::parse_tag(build).unwrap()), backup)
    }

    #[test]
    fn a_new_backup_is_completed() {
        let (datastore, mut new) = pulled("v1.8.0");
        labels::set(&mut new.metadata, labels::BACKUP_TARGET, "default");
        let mut patch = Patch::default();
        backup(&datastore, &mut patch, &new, true).unwrap();
        assert_eq!(value(&patch, "/metadata/finalizers"), Some(json!(["longhorn.io"])));
        assert_eq!(value(&patch, "/spec/labels"), Some(json!({"longhorn.io/volume-access-mode": "rwo"})));
        assert_eq!(value(&patch, "/spec/backupMode"), Some(json!("incremental")));
        assert_eq!(
            value(&patch, "/metadata/labels"),
            Some(json!({"backup-volume": "vol", "backup-target": "default"}))
        );
    }

    #[test]
    fn without_its_volume_a_backup_cannot_say_where_it_is() {
        let (datastore, new) = pulled("v1.8.0");
        let denial = backup(&datastore, &mut Patch::default(), &new, true).unwrap_err();
        assert!(denial.to_string().starts_with("failed to get the volume vol of backup backup-1"), "{denial}");
        let (datastore, new) = pulled("v1.7.2");
        let mut patch = Patch::default();
        backup(&datastore, &mut patch, &new, true).unwrap();
        assert_eq!(value(&patch, "/metadata/labels"), None, "one target needs no label");
    }

    #[test]
    fn a_terminating_object_gets_no_finalizer() {
        let (datastore, mut old) = pulled("v1.8.0");
        old.spec.labels.make();
        old.metadata.deletion_timestamp = Some(crate::runtime::clock::now());
        let mut patch = Patch::default();
        backup(&datastore, &mut patch, &old, false).unwrap();
        assert!(patch.operations().is_empty(), "{patch:?}");
    }

    #[test]
    fn a_backup_without_volume_is_refused() {
        let (datastore, _) = pulled("v1.8.0");
        assert!(backup(&datastore, &mut Patch::default(), &Backup::default(), true).is_err());
    }

    #[test]
    fn a_system_backup_of_one_target_has_no_owner() {
        let (datastore, _) = pulled("v1.7.2");
        let mut patch = Patch::default();
        system_backup(&datastore, &mut patch, &SystemBackup::default(), true).unwrap();
        assert_eq!(value(&patch, "/spec/volumeBackupPolicy"), Some(json!("if-not-present")));
        assert_eq!(value(&patch, "/metadata/ownerReferences"), None);
        let (datastore, _) = pulled("v1.8.0");
        assert!(
            system_backup(&datastore, &mut patch, &SystemBackup::default(), true).is_err(),
            "no default target yet"
        );
    }
}
