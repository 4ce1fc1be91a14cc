//! The validator of volumes.

use longhorn_api::kinds::volume::{
    AccessMode, DataEngine, DataLocality, VolumeFrontend, VolumeRobustness, VolumeState,
};
use longhorn_api::{Volume, names};

use super::Denial;
use super::volume_parts::require_data_engine;
use crate::runtime::backups::name;
use crate::runtime::volumes::VOLUME_HEAD;
use crate::runtime::{Context, Datastore, Error, Result};
use crate::webhooks::mutators::LONGEST_VOLUME_NAME;

/// Fewest and most replicas of a volume.
const REPLICAS: std::ops::RangeInclusive<i64> = 1..=20;
/// Fewest and most snapshots of a volume.
const SNAPSHOTS: std::ops::RangeInclusive<i64> = 2..=250;
/// An encrypted volume is larger than its header.
const ENCRYPTION_HEADER: i64 = 16 << 20;

/// A new volume makes sense in this cluster.
pub fn new(datastore: &Datastore, volume: &Volume) -> Result<(), Denial> {
    let (spec, volume_name) = (&volume.spec, name(&volume.metadata));
    let valid_start = volume_name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    if volume_name.len() < 2 || !valid_start || !volume_name.chars().all(valid) {
        return Err(Denial::invalid(format!("invalid name {volume_name}")));
    }
    check_replicas(volume)?;
    let shared = spec.access_mode == AccessMode::ReadWriteMany;
    if shared && !spec.migratable && spec.data_locality == DataLocality::StrictLocal {
        return Err(Denial::invalid(
            "access mode rwx (migratable: false) is incompatible with data locality strict-local mode",
        ));
    }
    check_backing_image(datastore, volume)?;
    check_frontend(volume)?;
    if spec.migratable && !shared {
        return Err(Denial::invalid("migratable volumes are only supported in ReadWriteMany (rwx) access mode"));
    }
    check_name_and_size(volume)?;
    require_data_engine(datastore, &spec.data_engine)?;
    check_snapshots(volume)?;
    check_image(datastore, volume)?;
    if datastore.has_many_backup_targets() {
        check_target(datastore, "", volume)?;
    }
    if spec.data_engine == DataEngine::V2 && !spec.data_source.is_empty() {
        return Err(Denial::invalid("clone is not supported for data engine v2"));
    }
    Ok(())
}

/// A change is one that a volume can make.
pub fn changed(datastore: &Datastore, old: &Volume, new: &Volume) -> Result<(), Denial> {
    check_expansion(datastore, old, new)?;
    let converts = old.spec.data_locality != new.spec.data_locality
        && [&old.spec.data_locality, &new.spec.data_locality].contains(&&DataLocality::StrictLocal);
    if converts && old.status.state != VolumeState::Detached {
        return Err(Denial::invalid(
            "data locality cannot be converted between strict-local and other modes when volume is not detached",
        ));
    }
    check_replicas(new)?;
    if old.spec.image != new.spec.image {
        check_image(datastore, new)?;
    }
    check_local_attachment(datastore, old, new)?;
    check_name_and_size(new)?;
    let volume_name = name(&old.metadata);
    let method = &old.spec.backup_compression_method;
    if !method.as_str().is_empty() && *method != new.spec.backup_compression_method {
        return Err(unsupported("backup compression method", volume_name));
    }
    if old.spec.data_engine != DataEngine::Unset && old.spec.data_engine != new.spec.data_engine {
        return Err(unsupported("data engine", volume_name));
    }
    if new.spec.data_engine == DataEngine::V2 {
        check_v2_change(old, new)?;
    }
    let (migrating_to, wanted) = (&new.status.current_migration_node_id, &new.spec.migration_node_id);
    let redirects = !migrating_to.is_empty() && !wanted.is_empty() && wanted != migrating_to;
    if redirects && *wanted != old.spec.migration_node_id {
        return Err(Denial::invalid(format!(
            "cannot change v.Spec.MigrationNodeID to node {wanted} when the volume is doing live migration to node {migrating_to} "
        )));
    }
    check_snapshots(new)?;
    if datastore.has_many_backup_targets() {
        check_target(datastore, &old.spec.backup_target_name, new)?;
    }
    let limits = |volume: &Volume| (volume.spec.snapshot_max_count, volume.spec.snapshot_max_size);
    if limits(old) != limits(new) { check_limits(datastore, new) } else { Ok(()) }
}

fn unsupported(what: &str, volume: &str) -> Denial {
    Denial::invalid(format!("changing {what} for volume {volume} is not supported"))
}

fn check_replicas(volume: &Volume) -> Result<(), Denial> {
    let count = volume.spec.number_of_replicas;
    if !REPLICAS.contains(&count) {
        let (least, most) = (REPLICAS.start(), REPLICAS.end());
        return Err(Denial::invalid(format!("replica count value {count} must between {least} to {most}")));
    }
    if volume.spec.data_locality == DataLocality::StrictLocal && count != 1 {
        return Err(Denial::invalid("number of replica count should be 1 when data locality is strict-local"));
    }
    Ok(())
}

fn check_backing_image(datastore: &Datastore, volume: &Volume) -> Result<(), Denial> {
    if volume.spec.backing_image.is_empty() {
        return Ok(());
    }
    let image = datastore.backing_images.get(&volume.spec.backing_image)?;
    if datastore.has_many_backup_targets() && image.spec.data_engine != volume.spec.data_engine {
        return Err(Denial::invalid("volume should have the same data engine as the backing image"));
    }
    if volume.spec.size.0 < image.status.virtual_size {
        return Err(Denial::invalid("volume size should be larger than the backing image size"));
    }
    Ok(())
}

fn check_frontend(volume: &Volume) -> Result<(), Denial> {
    let (frontend, engine) = (&volume.spec.frontend, &volume.spec.data_engine);
    let fits = match engine {
        DataEngine::V2 => {
            matches!(frontend, VolumeFrontend::BlockDevice | VolumeFrontend::Nvmf | VolumeFrontend::Ublk)
        }
        _ => matches!(frontend, VolumeFrontend::BlockDevice | VolumeFrontend::Iscsi),
    };
    if !volume.spec.standby && !fits {
        return Err(Denial::invalid(format!(
            "invalid volume frontend specified: {frontend} for data engine {engine} "
        )));
    }
    Ok(())
}

fn check_name_and_size(volume: &Volume) -> Result<(), Denial> {
    let (spec, volume_name) = (&volume.spec, name(&volume.metadata));
    if volume_name.is_empty() || spec.size.0 == 0 || spec.number_of_replicas == 0 {
        return Err(Denial::invalid(format!("BUG: missing required field {volume_name}")));
    }
    if spec.encrypted && spec.size.0 <= ENCRYPTION_HEADER {
        let size = spec.size;
        return Err(Denial::invalid(format!(
            "invalid volume size {size}, need to be bigger than 16MiB, default LUKS2 header size for encryption"
        )));
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let outer = |c: char| c != '-';
    let is_label = volume_name.chars().all(inner) && volume_name.starts_with(outer) && volume_name.ends_with(outer);
    if !is_label {
        return Err(Denial::invalid(format!("invalid volume name: {volume_name} is no DNS label")));
    }
    if volume_name.len() > LONGEST_VOLUME_NAME {
        return Err(Denial::invalid(format!(
            "volume name is too long {volume_name}, must be less than {LONGEST_VOLUME_NAME} characters"
        )));
    }
    Ok(())
}

fn check_snapshots(volume: &Volume) -> Result<(), Denial> {
    if !SNAPSHOTS.contains(&volume.spec.snapshot_max_count) {
        let message = "snapshot max count should be between 2 to 250";
        return Err(Denial::invalid_field("spec.snapshotMaxCount", message));
    }
    let (size, limit) = (volume.spec.size.0, volume.spec.snapshot_max_size.0);
    if limit != 0 && limit < size * 2 {
        let message = "snapshot max size can not be 0 and at least twice of volume size";
        return Err(Denial::invalid_field("spec.snapshotMaxSize", message));
    }
    Ok(())
}

fn check_image(datastore: &Datastore, volume: &Volume) -> Result<(), Denial> {
    if volume.spec.data_engine == DataEngine::V2 {
        return Ok(());
    }
    let found = datastore.engine_images.get(&names::engine_image(&volume.spec.image));
    let found = found.map_err(|error| Denial::invalid_field("volume.spec.image", error.to_string()))?;
    if found.status.incompatible {
        let message = format!("engine image {} is incompatible", name(&found.metadata));
        return Err(Denial::invalid_field("volume.spec.image", message));
    }
    Ok(())
}

fn check_target(datastore: &Datastore, old: &str, volume: &Volume) -> Result<(), Denial> {
    const FIELD: &str = "spec.backupTargetName";
    let target = &volume.spec.backup_target_name;
    if target.is_empty() {
        let message =
            "backup target name cannot be empty when creating a volume or updating from an existing backup target";
        return Err(Denial::invalid_field(FIELD, message));
    }
    if target == old {
        return Ok(());
    }
    let found = datastore.backup_targets.get(target).context(|| format!("failed to get backup target {target}"));
    found.map(drop).map_err(|error| Denial::invalid_field(FIELD, error.to_string()))
}

fn check_expansion(datastore: &Datastore, old: &Volume, new: &Volume) -> Result<(), Denial> {
    let (old_size, new_size) = (old.spec.size, new.spec.size);
    if new_size == old_size {
        return Ok(());
    }
    let volume_name = name(&new.metadata);
    if new_size < old_size && !new.status.expansion_required {
        return Err(Denial::invalid(format!(
            "shrinking volume {volume_name} size from {old_size} to {new_size} is not supported"
        )));
    }
    if let Some(objection) = not_ready_to_grow(datastore, old) {
        return Err(Denial::invalid(format!("volume {volume_name} is not ready: {objection}")));
    }
    Ok(())
}

/// Why a volume cannot grow now (`types.IsVolumeReady`).
fn not_ready_to_grow(datastore: &Datastore, volume: &Volume) -> Option<String> {
    let replicas = datastore.replicas_of_volume(name(&volume.metadata));
    let placed = !replicas.is_empty() && replicas.values().all(|replica| !replica.spec.node_id.is_empty());
    let (spec, status) = (&volume.spec, &volume.status);
    let detached = status.state == VolumeState::Detached;
    let scheduled = status.conditions.condition("Scheduled").status.as_str() == "True";
    if spec.node_id.is_empty() && !detached {
        return Some(format!("waiting for the volume to fully detach. current state: {}", status.state));
    }
    if detached && !scheduled && !placed {
        return Some("volume is currently in detached state with some un-schedulable replicas".to_owned());
    }
    if status.robustness == VolumeRobustness::Faulted {
        return Some("volume is faulted".to_owned());
    }
    if status.restore_required && !status.is_standby {
        return Some("cannot expand size: volume is restoring data from backup".to_owned());
    }
    None
}

/// A strict-local volume can only be where its replica is.
fn check_local_attachment(datastore: &Datastore, old: &Volume, new: &Volume) -> Result<(), Denial> {
    let node = &new.spec.node_id;
    if new.spec.data_locality != DataLocality::StrictLocal || node.is_empty() || *node == old.spec.node_id {
        return Ok(());
    }
    let volume_name = name(&new.metadata);
    let replicas = datastore.replicas_of_volume(volume_name);
    let local = |node_of_replica: &String| node_of_replica.is_empty() || node_of_replica == node;
    match replicas.values().collect::<Vec<_>>()[..] {
        [replica] if local(&replica.spec.node_id) => Ok(()),
        [_] => {
            Err(Denial::invalid(format!("moving a strict-local volume {volume_name} to another node is not supported")))
        }
        _ => Err(Denial::invalid(format!("BUG: replica should be 1 for strict-local volume {volume_name}"))),
    }
}

/// What a volume of v2 cannot change yet.
fn check_v2_change(old: &Volume, new: &Volume) -> Result<(), Denial> {
    let (before, after) = (&old.spec, &new.spec);
    let changes = [
        ("volume size", before.size != after.size),
        ("backing image", before.backing_image != after.backing_image),
        ("encryption", before.encrypted != after.encrypted),
        ("replica auto balance", before.replica_auto_balance != after.replica_auto_balance),
        ("restore volume recurring job", before.restore_volume_recurring_job != after.restore_volume_recurring_job),
        ("replica soft anti-affinity", before.replica_soft_anti_affinity != after.replica_soft_anti_affinity),
        (
            "replica zone soft anti-affinity",
            before.replica_zone_soft_anti_affinity != after.replica_zone_soft_anti_affinity,
        ),
    ];
    match changes.into_iter().find(|(_, changed)| *changed) {
        Some((what, _)) => {
            let volume = name(&new.metadata);
            Err(Denial::invalid(format!("changing {what} for volume {volume} is not supported for data engine v2")))
        }
        None => Ok(()),
    }
}

/// Limits of snapshots are not below what there is.
fn check_limits(datastore: &Datastore, volume: &Volume) -> Result<(), Denial> {
    let engines = datastore.engines_of_volume(name(&volume.metadata));
    let Some(engine) = engines.values().next() else { return Ok(()) };
    if engines.len() > 1 {
        return Err(Denial::invalid("can't update snapshotMaxCount or snapshotMaxSize during migration"));
    }
    let counted = engine.status.snapshots.values().filter(|info| !info.removed && info.name != VOLUME_HEAD);
    let sizes: Result<Vec<i64>> = counted
        .map(|info| info.size.parse().map_err(|_| Error::message(format!("can't parse size {}", info.size))))
        .collect();
    let sizes = sizes.map_err(|error| Denial::internal(error.to_string()))?;
    let (count, limit) = (volume.spec.snapshot_max_count, volume.spec.snapshot_max_size.0);
    if i64::try_from(sizes.len()).is_ok_and(|found| found > count) || (limit != 0 && sizes.iter().sum::<i64>() > limit)
    {
        return Err(Denial::invalid(
            "can't make snapshotMaxCount or snapshotMaxSize be smaller than current usage, please remove snapshots first",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Volume {
        let mut volume = Volume::default();
        volume.metadata.name = Some("vol-1".to_owned());
        volume.spec.size = (64 << 20).into();
        volume.spec.number_of_replicas = 3;
        volume.spec.snapshot_max_count = 250;
        volume.spec.frontend = VolumeFrontend::BlockDevice;
        volume
    }

    #[test]
    fn counts_and_sizes_have_limits() {
        assert_eq!(check_replicas(&volume()), Ok(()));
        assert!(check_replicas(&Volume::default()).is_err());
        let mut local = volume();
        local.spec.data_locality = DataLocality::StrictLocal;
        assert!(check_replicas(&local).is_err(), "one replica only");
        let mut snapshots = volume();
        snapshots.spec.snapshot_max_size = (64 << 20).into();
        assert!(check_snapshots(&snapshots).is_err(), "twice the volume's size");
        snapshots.spec.snapshot_max_size = (128 << 20).into();
        assert_eq!(check_snapshots(&snapshots), Ok(()));
    }

    #[test]
    fn names_are_labels() {
        assert_eq!(check_name_and_size(&volume()), Ok(()));
        for wrong in ["vol_1", "-vol", "vol-", "v.1"] {
            let mut volume = volume();
            volume.metadata.name = Some(wrong.to_owned());
            assert!(check_name_and_size(&volume).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_data_engine_has_its_frontends() {
        let mut volume = volume();
        volume.spec.frontend = VolumeFrontend::Nvmf;
        assert!(check_frontend(&volume).is_err());
        volume.spec.data_engine = DataEngine::V2;
        assert_eq!(check_frontend(&volume), Ok(()));
        volume.spec.frontend = VolumeFrontend::Iscsi;
        assert!(check_frontend(&volume).is_err());
        volume.spec.standby = true;
        assert_eq!(check_frontend(&volume), Ok(()));
    }
}
