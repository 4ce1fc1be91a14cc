//! The mutator of volumes: defaults, the image, and what a volume out of a backup takes over from it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::{
    AccessMode, Choice, DataEngine, DataLocality, ReplicaAutoBalance, SnapshotDataIntegrity,
};
use longhorn_api::{Release, Volume, labels, names, settings};
use longhorn_backupstore::url::{BackupAddress, decode_backup};
use serde_json::json;
use sha2::{Digest, Sha512};

use super::{Denial, Patch, put_finalizer};
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Error, Result};

/// Sizes are multiples of this (`util.SizeAlignment`).
const SIZE_ALIGNMENT: i64 = 2 << 20;
/// Longest name of a volume (`datastore.NameMaximumLength`).
pub(in crate::webhooks) const LONGEST_NAME: usize = 40;

/// A new volume gets a name and a size that fit, defaults from the settings, the default image, and what its backup says.
pub fn created(datastore: &Datastore, patch: &mut Patch, volume: &Volume) -> Result<(), Denial> {
    let volume_name = fitting_name(name(&volume.metadata));
    if volume_name != name(&volume.metadata) {
        patch.replace("/metadata/name", volume_name.as_str());
    }
    let spec = &volume.spec;
    if spec.number_of_replicas == 0 {
        patch.replace("/spec/numberOfReplicas", datastore.setting_number(settings::DEFAULT_REPLICA_COUNT)?);
    }
    if spec.data_locality == DataLocality::Unset {
        patch.replace("/spec/dataLocality", datastore.existing_setting_value(settings::DEFAULT_DATA_LOCALITY)?);
    }
    let source = source(datastore, volume)?;
    if spec.access_mode == AccessMode::Unset {
        let mode = source.as_ref().and_then(|source| source.access_mode.clone());
        patch.replace("/spec/accessMode", mode.unwrap_or_else(|| AccessMode::ReadWriteOnce.to_string()));
    }
    let mut more = BTreeMap::new();
    let mut size = spec.size.0;
    let mut target = spec.backup_target_name.clone();
    if let Some(source) = source {
        if let Some(image) = source.backing_image {
            patch.replace("/spec/backingImage", image);
        }
        size = source.size;
        target = source.target;
        more.insert(labels::BACKUP_VOLUME.to_owned(), source.volume);
    }
    if datastore.has_many_backup_targets() {
        let target = if target.is_empty() { names::DEFAULT_BACKUP_TARGET.to_owned() } else { target };
        patch.replace("/spec/backupTargetName", target.as_str());
        more.insert(labels::BACKUP_TARGET.to_owned(), target);
    }
    patch.replace("/spec/size", rounded_up(size).to_string());
    patch.replace("/spec/image", default_image(datastore, &spec.data_engine)?);
    if spec.backup_compression_method.as_str().is_empty() {
        let method = datastore.existing_setting_value(settings::BACKUP_COMPRESSION_METHOD)?;
        patch.replace("/spec/backupCompressionMethod", method);
    }
    put_snapshot_count(datastore, patch, volume)?;
    if spec.data_locality == DataLocality::StrictLocal {
        patch.replace("/spec/revisionCounterDisabled", true);
    }
    if spec.data_engine == DataEngine::V2 {
        leave_to_settings(patch, volume);
    }
    put_common(datastore.release(), patch, volume, &volume_name, more);
    Ok(())
}

/// A changed volume keeps to what it must have.
pub fn changed(datastore: &Datastore, patch: &mut Patch, old: &Volume, volume: &Volume) -> Result<(), Denial> {
    let spec = &volume.spec;
    if spec.access_mode == AccessMode::Unset {
        patch.replace("/spec/accessMode", AccessMode::ReadWriteOnce.as_str());
    }
    if rounded_up(spec.size.0) != spec.size.0 {
        patch.replace("/spec/size", rounded_up(spec.size.0).to_string());
    }
    if spec.backup_compression_method.as_str().is_empty() {
        patch.replace("/spec/backupCompressionMethod", "gzip");
    }
    put_snapshot_count(datastore, patch, volume)?;
    let least = spec.size.0 * 2;
    if old.spec.size != spec.size && spec.snapshot_max_size.0 != 0 && spec.snapshot_max_size.0 < least {
        patch.replace("/spec/snapshotMaxSize", least.to_string());
    }
    let mut more = BTreeMap::new();
    if old.spec.backup_target_name != spec.backup_target_name {
        more.insert(labels::BACKUP_TARGET.to_owned(), spec.backup_target_name.clone());
    }
    put_common(datastore.release(), patch, volume, name(&volume.metadata), more);
    Ok(())
}

/// What a volume takes over from the backup that it is restored from.
struct Source {
    /// The volume that was backed up.
    volume: String,
    size: i64,
    target: String,
    access_mode: Option<String>,
    /// If the volume names none itself.
    backing_image: Option<String>,
}

fn source(datastore: &Datastore, volume: &Volume) -> Result<Option<Source>, Denial> {
    let from = &volume.spec.from_backup;
    if from.is_empty() {
        return Ok(None);
    }
    let BackupAddress { volume: of, backup, .. } = decode_backup(from).map_err(|error| {
        Denial::invalid(format!("cannot get backup and volume name from backup URL {from}: {error}"))
    })?;
    let backup_name = backup.unwrap_or_default();
    let backup = datastore.backups.get(&backup_name);
    let backup = backup.map_err(|error| Denial::invalid(format!("cannot get backup {backup_name}: {error}")))?;
    let target = &backup.status.backup_target_name;
    let backup_volume = datastore.backup_volume_of(target, &of).map_err(|error| {
        Denial::invalid(format!("cannot get backup volume for backup target {target} and volume {of}: {error}"))
    })?;
    let image = &backup.status.volume_backing_image_name;
    let mut backing_image = None;
    if !image.is_empty() {
        let known = &backup_volume.status.backing_image_name;
        if known != image {
            return Err(Denial::forbidden(format!(
                "backup volume's backing image {known} does not match backup's backing image {image}. The backup volume resource is \
                 being updated and please retry later"
            )));
        }
        let chosen = if volume.spec.backing_image.is_empty() { known } else { &volume.spec.backing_image };
        if volume.spec.backing_image.is_empty() {
            backing_image = Some(known.clone());
        }
        let present = datastore.backing_images.get(chosen);
        let present = present.context(|| format!("failed to get backing image {chosen}"))?;
        let (stored, checksum) = (&backup_volume.status.backing_image_checksum, &present.status.checksum);
        if chosen == known && !stored.is_empty() && !checksum.is_empty() && stored != checksum {
            return Err(Denial::invalid(format!(
                "backing image {chosen} current checksum doesn't match the recoreded checksum in backup volume"
            )));
        }
    }
    let size = &backup.status.volume_size;
    let size = if size.is_empty() { Ok(0) } else { size.parse() };
    let size =
        size.map_err(|_| Denial::invalid(format!("get invalid size for volume {}", backup.status.volume_size)))?;
    Ok(Some(Source {
        volume: of,
        size,
        target: target.clone(),
        access_mode: backup.status.labels.get(labels::VOLUME_ACCESS_MODE).cloned(),
        backing_image,
    }))
}

/// The image that a new volume runs: the engine's, or for v2 the instance manager's, which stays the old one while an upgrade has not
/// started any of the new.
fn default_image(datastore: &Datastore, engine: &DataEngine) -> Result<String> {
    let v2 = *engine == DataEngine::V2;
    let setting = if v2 { settings::DEFAULT_INSTANCE_MANAGER_IMAGE } else { settings::DEFAULT_ENGINE_IMAGE };
    let image = datastore.existing_setting_value(setting);
    let image = image.map_err(|_| Error::message(format!("invalid empty setting {setting}")))?;
    if !v2 || datastore.release().before(Release::V1_8_0_RC1) {
        return Ok(image);
    }
    let managers = datastore.instance_managers.list();
    let of_v2 = || managers.iter().filter(|manager| manager.spec.data_engine == DataEngine::V2);
    let mut of_default = of_v2().filter(|manager| manager.spec.image == image);
    if of_default.any(|manager| manager.status.current_state != InstanceManagerState::Stopped) {
        return Ok(image);
    }
    let other = datastore.in_map_order(of_v2()).into_iter().find(|manager| manager.spec.image != image);
    Ok(other.map_or(image, |manager| manager.spec.image.clone()))
}

fn put_snapshot_count(datastore: &Datastore, patch: &mut Patch, volume: &Volume) -> Result<()> {
    if volume.spec.snapshot_max_count == 0 {
        patch.replace("/spec/snapshotMaxCount", datastore.setting_number(settings::SNAPSHOT_MAX_COUNT)?);
    }
    Ok(())
}

/// What v2 cannot do yet is as the settings say.
fn leave_to_settings(patch: &mut Patch, volume: &Volume) {
    let spec = &volume.spec;
    if spec.replica_auto_balance != ReplicaAutoBalance::Disabled {
        patch.replace("/spec/replicaAutoBalance", "ignored");
    }
    let choices = [
        ("restoreVolumeRecurringJob", &spec.restore_volume_recurring_job),
        ("replicaSoftAntiAffinity", &spec.replica_soft_anti_affinity),
        ("replicaZoneSoftAntiAffinity", &spec.replica_zone_soft_anti_affinity),
        ("replicaDiskSoftAntiAffinity", &spec.replica_disk_soft_anti_affinity),
    ];
    for (field, choice) in choices {
        if *choice != Choice::Disabled {
            patch.replace(format!("/spec/{field}"), "ignored");
        }
    }
}

/// What every write puts right: finalizer, choices that were not made, labels.
fn put_common(release: Release, patch: &mut Patch, volume: &Volume, volume_name: &str, more: BTreeMap<String, String>) {
    let spec = &volume.spec;
    put_finalizer(patch, &volume.metadata);
    if spec.replica_auto_balance == ReplicaAutoBalance::Unset {
        patch.replace("/spec/replicaAutoBalance", "ignored");
    }
    for (field, selector) in [("diskSelector", &spec.disk_selector), ("nodeSelector", &spec.node_selector)] {
        if selector.is_nil() {
            patch.replace(format!("/spec/{field}"), json!([]));
        }
    }
    if spec.snapshot_data_integrity == SnapshotDataIntegrity::Unset {
        patch.replace("/spec/snapshotDataIntegrity", "ignored");
    }
    let v2 = spec.data_engine == DataEngine::V2;
    if v2 {
        patch.replace("/spec/unmapMarkSnapChainRemoved", "disabled");
    }
    let choices = [
        ("restoreVolumeRecurringJob", &spec.restore_volume_recurring_job, true),
        ("unmapMarkSnapChainRemoved", &spec.unmap_mark_snap_chain_removed, !v2),
        ("replicaSoftAntiAffinity", &spec.replica_soft_anti_affinity, true),
        ("replicaZoneSoftAntiAffinity", &spec.replica_zone_soft_anti_affinity, true),
        ("replicaDiskSoftAntiAffinity", &spec.replica_disk_soft_anti_affinity, true),
        ("freezeFilesystemForSnapshot", &spec.freeze_filesystem_for_snapshot, true),
        ("offlineRebuilding", &spec.offline_rebuilding, release.at_least(Release::V1_9_0_DEV_00886872C)),
    ];
    for (field, choice, is_in_release) in choices {
        if *choice == Choice::Unset && is_in_release {
            patch.replace(format!("/spec/{field}"), "ignored");
        }
    }
    if spec.data_engine == DataEngine::Unset {
        patch.replace("/spec/dataEngine", DataEngine::V1.as_str());
    }
    patch.replace("/metadata/labels", json!(labels_of(&volume.metadata, volume, volume_name, more)));
}

/// A volume's labels: its own, which settings it follows, its name.
fn labels_of(
    metadata: &ObjectMeta,
    volume: &Volume,
    volume_name: &str,
    more: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let spec = &volume.spec;
    let follows = [
        (settings::REPLICA_AUTO_BALANCE, spec.replica_auto_balance == ReplicaAutoBalance::Ignored),
        (settings::SNAPSHOT_DATA_INTEGRITY, spec.snapshot_data_integrity == SnapshotDataIntegrity::Ignored),
        (settings::REMOVE_SNAPSHOTS_DURING_FILESYSTEM_TRIM, spec.unmap_mark_snap_chain_removed == Choice::Ignored),
    ];
    let mut all = metadata.labels.clone().unwrap_or_default();
    for (setting, follows) in follows {
        all.remove(&labels::volume_setting(setting));
        if follows {
            all.insert(labels::volume_setting(setting), labels::IGNORED.to_owned());
        }
    }
    all.extend(more);
    all.insert(labels::VOLUME.to_owned(), volume_name.to_owned());
    all
}

/// A name in small letters, cut to the longest that there may be, with a part of its hash instead of its end.
pub(super) fn fitting_name(volume_name: &str) -> String {
    let small = volume_name.to_lowercase();
    if volume_name.len() <= LONGEST_NAME {
        return small;
    }
    let suffix = format!("-{}", &hex::encode(Sha512::digest(volume_name))[..8]);
    let mut end = LONGEST_NAME - suffix.len();
    while !small.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", small[..end].trim_end_matches('-'))
}

fn rounded_up(size: i64) -> i64 {
    if size <= 0 { SIZE_ALIGNMENT } else { (size + SIZE_ALIGNMENT - 1) / SIZE_ALIGNMENT * SIZE_ALIGNMENT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_two_mebibytes() {
        assert_eq!([0, 1, 2 << 20, (2 << 20) + 1].map(rounded_up), [2 << 20, 2 << 20, 2 << 20, 4 << 20]);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        assert_eq!(fitting_name("Vol-1"), "vol-1");
        let one = fitting_name(&format!("{}a", "v".repeat(50)));
        let other = fitting_name(&format!("{}b", "v".repeat(50)));
        assert_eq!(one.len(), LONGEST_NAME);
        assert_ne!(one, other);
    }

    #[test]
    fn a_volume_is_labelled_with_the_settings_it_follows() {
        let mut volume = Volume::default();
        volume.spec.replica_auto_balance = ReplicaAutoBalance::Ignored;
        let stale = labels::volume_setting(settings::SNAPSHOT_DATA_INTEGRITY);
        labels::set(&mut volume.metadata, &stale, labels::IGNORED);
        let all = labels_of(&volume.metadata, &volume, "v1", BTreeMap::new());
        let expected = [("longhornvolume", "v1"), ("setting.longhorn.io/replica-auto-balance", "ignored")];
        assert_eq!(all, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }
}
