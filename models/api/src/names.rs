//! Names of objects (longhorn-manager types/types.go, backupstore util). Where a name has a random part, the caller draws it.

use sha2::{Digest, Sha256, Sha512};

use crate::releases::Release;

/// The backup target every installation has.
pub const DEFAULT_BACKUP_TARGET: &str = "default";
/// The DaemonSet of the managers, and the value of their pods' label `app`.
pub const MANAGER_DAEMON_SET: &str = "longhorn-manager";
/// The service in front of the managers' REST API.
pub const BACKEND_SERVICE: &str = "longhorn-backend";
/// Port of the REST API.
pub const API_PORT: u16 = 9500;
/// Port of the admission webhooks.
pub const ADMISSION_WEBHOOK_PORT: u16 = 9502;
/// Service in front of the admission webhooks.
pub const ADMISSION_WEBHOOK_SERVICE: &str = "longhorn-admission-webhook";
/// Lease under which one manager carries out an upgrade.
pub const UPGRADE_LEASE: &str = "longhorn-manager-upgrade-lock";
/// Lease under which one manager makes the webhooks' certificate.
pub const WEBHOOK_LEASE: &str = "longhorn-manager-webhook-lock";
/// Prefix of the disk a node gets by itself; what follows is the file system's id.
pub const DEFAULT_DISK_PREFIX: &str = "default-disk-";

/// Characters of the random part of replicas, backup volumes and backups of backing images.
pub const SHORT_RANDOM_CHARACTERS: usize = 8;
/// Characters of the random part of backups and snapshots.
pub const LONG_RANDOM_CHARACTERS: usize = 16;

/// The engine of a volume: `<volume>-e-<n>`, counted up from the one it replaces.
pub fn engine(volume: &str, replaced: Option<&str>) -> String {
    let Some(replaced) = replaced else { return format!("{volume}-e-0") };
    let number = replaced.rsplit('-').next().and_then(|number| number.parse::<u64>().ok());
    format!("{volume}-e-{}", number.map_or(1, |number| number + 1))
}

/// A replica: `<volume>-r-<8 hex>`.
pub fn replica(volume: &str, random: &str) -> String {
    format!("{volume}-r-{random}")
}

/// A backup: `backup-<16 hex>`.
pub fn backup(random: &str) -> String {
    format!("backup-{random}")
}

/// A snapshot: `snap-<16 hex>`.
pub fn snapshot(random: &str) -> String {
    format!("snap-{random}")
}

/// The snapshot, and the backup of the same name, that a system backup makes of a volume: `system-backup-<16 hex>`.
pub fn system_backup_volume_backup(random: &str) -> String {
    format!("system-backup-{random}")
}

/// A BackupVolume. Up to v1.7.2 the volume's name; then with 8 random hex characters; in v1.9.2 these come from the names of
/// the volume and the target, so that two managers cannot create two.
pub fn backup_volume(release: Release, volume: &str, backup_target: &str, random: &str) -> String {
    if release.before(Release::V1_8_0_RC1) {
        volume.to_owned()
    } else if release.before(Release::V1_9_2) {
        format!("{volume}-{random}")
    } else {
        format!("{volume}-{}", &sha256(&format!("{volume}-{backup_target}"))[..SHORT_RANDOM_CHARACTERS])
    }
}

/// A BackupBackingImage. Up to v1.7.2 the backing image's name, then with 8 random hex characters.
pub fn backup_backing_image(release: Release, backing_image: &str, random: &str) -> String {
    if release.before(Release::V1_8_0_RC1) { backing_image.to_owned() } else { format!("{backing_image}-{random}") }
}

/// An EngineImage: `ei-<8 hex>` of the image's name.
pub fn engine_image(image: &str) -> String {
    format!("ei-{}", &sha512(image.trim())[..8])
}

/// The DaemonSet that puts an engine's binary on every node.
pub fn engine_image_daemon_set(engine_image: &str) -> String {
    format!("engine-image-{engine_image}")
}

/// Folder of an engine's binary below the folder of engine binaries: the image's name without `:` and `/`.
pub fn image_folder(image: &str) -> String {
    image.replace([':', '/'], "-")
}

/// An InstanceManager and its pod. The same node, image and data engine always give the same name.
pub fn instance_manager(node: &str, image: &str, data_engine: &str) -> String {
    format!("instance-manager-{}", &sha512(&format!("{node}{image}{data_engine}"))[..32])
}

/// Value of [`crate::labels::INSTANCE_MANAGER_IMAGE`].
pub fn instance_manager_image(image: &str) -> String {
    format!("imi-{}", &sha512(image_folder(image).trim())[..8])
}

/// A BackingImageManager. Before v1.9.2 four characters of the image's hash and of the disk's id had to do, and collided.
pub fn backing_image_manager(release: Release, image: &str, disk_uuid: &str) -> String {
    if release.before(Release::V1_9_2) {
        format!("backing-image-manager-{}-{}", &sha512(image)[..4], disk_uuid.get(..4).unwrap_or(disk_uuid))
    } else {
        format!("bim-{}", sha256(&format!("{image}-{disk_uuid}")))
    }
}

/// The Orphan of a replica's folder.
pub fn orphaned_replica(node: &str, disk: &str, disk_path: &str, disk_uuid: &str, folder: &str) -> String {
    format!("orphan-{}", sha256(&format!("{node}-{disk}-{disk_path}-{disk_uuid}-{folder}")))
}

/// The Orphan of an instance. Before v1.9.2 it stood for the name on the node, then for one incarnation in one instance manager.
pub fn orphaned_instance(
    release: Release,
    instance: &str,
    uuid: &str,
    instance_manager: &str,
    node: &str,
    data_engine: &str,
) -> String {
    let identity = if release.before(Release::V1_9_2) {
        format!("{instance}-{node}-{data_engine}")
    } else {
        format!("{instance}-{uuid}-{instance_manager}-{data_engine}")
    };
    format!("orphan-{}", sha256(&identity))
}

/// The pod of a BackingImageDataSource.
pub fn backing_image_data_source_pod(backing_image: &str) -> String {
    format!("backing-image-ds-{backing_image}")
}

/// Folder of a backing image's copy, below `backing-images/` of a disk.
pub fn backing_image_folder(backing_image: &str, uuid: &str) -> String {
    format!("{backing_image}-{uuid}")
}

fn sha512(text: &str) -> String {
    hex::encode(Sha512::digest(text))
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.trim()))
}
