//! From v1.7 to v1.8: what belonged to the one backup target now says so, by spec, label and status (`upgrade/v17xto180/upgrade.go`).
//!
//! The two candidates look for the target of a Backup at its Volume, which they find by `status.volumeName`: the defect longhorn#10181,
//! for a Backup has that name only once its upload was inspected in the store, and the client sends no request without a name. v1.8.0-rc1
//! takes what it finds there, which is empty since no volume has a target yet, does not touch statuses, and never comes to an end when
//! there is a backing image with a file: a loop that should have been a question.

use longhorn_api::{Backup, BackupTarget, Defect, Release, Volume, labels, names};

use super::Upgrade;
use super::resources::Resources;
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::{Context, Result};

/// Copies of a backing image that one without a number gets (`types.DefaultMinNumberOfCopies`).
const DEFAULT_COPIES: i64 = 3;
/// The key of a restored backing image's source that names its target (`v1beta2/backingimagedatasource.go`).
const PARAMETER_BACKUP_TARGET: &str = "backup-target-name";

fn doing(what: &str) -> impl FnOnce() -> String + '_ {
    move || format!("upgrade from v1.7.x to v1.8.0: upgrade {what} failed")
}

/// Changes specs, labels and owners.
pub async fn specs(upgrade: &Upgrade, resources: &mut Resources) -> Result<()> {
    for volume in resources.volumes.objects().await.context(doing("volume"))?.values_mut() {
        default_target(&mut volume.spec.backup_target_name);
    }
    for backup_volume in resources.backup_volumes.objects().await.context(doing("backup volume"))?.values_mut() {
        default_target(&mut backup_volume.spec.backup_target_name);
        if backup_volume.spec.volume_name.is_empty() {
            backup_volume.spec.volume_name = name(&backup_volume.metadata).to_owned();
        }
        let (target, volume) = (backup_volume.spec.backup_target_name.clone(), backup_volume.spec.volume_name.clone());
        label(&mut backup_volume.metadata, labels::BACKUP_TARGET, target);
        label(&mut backup_volume.metadata, labels::BACKUP_VOLUME, volume);
    }
    backups(upgrade, resources).await.context(doing("backup"))?;
    let backups = resources.backup_backing_images.objects().await;
    for backup in backups.context(doing("backup backing images"))?.values_mut() {
        default_target(&mut backup.spec.backup_target_name);
        if backup.spec.backing_image.is_empty() {
            backup.spec.backing_image.clone_from(&backup.status.backing_image);
        }
        let (target, image) = (backup.spec.backup_target_name.clone(), backup.spec.backing_image.clone());
        label(&mut backup.metadata, labels::BACKUP_TARGET, target);
        label(&mut backup.metadata, labels::BACKING_IMAGE, image);
    }
    let sources = resources.backing_image_data_sources.objects().await;
    for source in sources.context(doing("backing image data source"))?.values_mut() {
        let target = source.spec.parameters.get(PARAMETER_BACKUP_TARGET).filter(|target| !target.is_empty());
        let target = target.map_or(names::DEFAULT_BACKUP_TARGET, String::as_str).to_owned();
        source.spec.parameters.insert(PARAMETER_BACKUP_TARGET, target);
    }
    if upgrade.build.release().at_least(Release::V1_8_0) {
        system_backups(upgrade, resources).await.context(doing("system backup"))?;
    }
    backing_images(upgrade, resources).await.context(doing("backing image"))
}

async fn backups(upgrade: &Upgrade, resources: &mut Resources) -> Result<()> {
    let backups: Vec<&mut Backup> = resources.backups.objects().await?.values_mut().collect();
    for backup in upgrade.in_map_order(backups) {
        let target = target_of(upgrade, backup).await?;
        label(&mut backup.metadata, labels::BACKUP_TARGET, target);
    }
    Ok(())
}

/// The target that an old Backup is in.
async fn target_of(upgrade: &Upgrade, backup: &Backup) -> Result<String> {
    if !upgrade.build.has(Defect::Issue10181) {
        return Ok(names::DEFAULT_BACKUP_TARGET.to_owned());
    }
    let volume = &backup.status.volume_name;
    let found = match upgrade.api::<Volume>().get(volume).await {
        Err(error) if error.is_not_found() => None,
        found => {
            let found =
                found.context(|| format!("failed to get volume {volume} of backup {}", name(&backup.metadata)))?;
            Some(found.spec.backup_target_name)
        }
    };
    let takes_empty = upgrade.build.release().before(Release::V1_8_0_RC2);
    let target = found.filter(|target| takes_empty || !target.is_empty());
    Ok(target.unwrap_or_else(|| names::DEFAULT_BACKUP_TARGET.to_owned()))
}

async fn system_backups(upgrade: &Upgrade, resources: &mut Resources) -> Result<()> {
    let system_backups = resources.system_backups.objects().await?;
    let target = upgrade.api::<BackupTarget>().get(names::DEFAULT_BACKUP_TARGET).await;
    let target = target.context(|| "failed to get default backup target")?;
    for system_backup in system_backups.values_mut().filter(|backup| backup.metadata.owner_references.is_none()) {
        system_backup.metadata.owner_references = Some(vec![owner_reference(&target)]);
    }
    Ok(())
}

async fn backing_images(upgrade: &Upgrade, resources: &mut Resources) -> Result<()> {
    for image in resources.backing_images.objects().await?.values_mut() {
        if image.spec.min_number_of_copies == 0 {
            image.spec.min_number_of_copies = DEFAULT_COPIES;
        }
        if image.spec.data_engine.as_str().is_empty() {
            image.spec.data_engine = "v1".into();
        }
        let loops = upgrade.build.release().before(Release::V1_8_0_RC2);
        if loops && !(image.spec.disk_file_spec_map.is_nil() && image.status.disk_file_status_map.is_nil()) {
            // The process is busy for ever, its lease renewed beside it.
            std::future::pending::<()>().await;
        }
        image.spec.disk_file_spec_map.values_mut().for_each(|file| file.data_engine = "v1".into());
    }
    Ok(())
}

/// Changes statuses.
pub async fn statuses(upgrade: &Upgrade, resources: &mut Resources) -> Result<()> {
    if upgrade.build.release().before(Release::V1_8_0_RC2) {
        return Ok(());
    }
    for image in resources.backing_images.objects().await.context(doing("backing image"))?.values_mut() {
        image.status.disk_file_status_map.values_mut().for_each(|file| file.data_engine = "v1".into());
    }
    backup_statuses(upgrade, resources).await.context(doing("backups"))
}

async fn backup_statuses(upgrade: &Upgrade, resources: &mut Resources) -> Result<()> {
    let backups: Vec<&mut Backup> = resources.backups.objects().await?.values_mut().collect();
    for backup in upgrade.in_map_order(backups) {
        backup.status.backup_target_name = target_of(upgrade, backup).await?;
    }
    Ok(())
}

fn default_target(target: &mut String) {
    if target.is_empty() {
        names::DEFAULT_BACKUP_TARGET.clone_into(target);
    }
}

/// Sets a label that is not there yet.
fn label(metadata: &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, key: &str, value: String) {
    metadata.labels.get_or_insert_default().entry(key.to_owned()).or_insert(value);
}
