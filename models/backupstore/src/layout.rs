//! Where things lie below a backup target (backupstore config.go, lock.go, util.go, backupbackingimage/config.go,
//! systembackup upstream).
//!
//! ```text
//! backupstore/volumes/<2>/<2>/<volume>/volume.cfg                 the two levels are the head of the volume name's checksum
//!                                     /backups/backup_<name>.cfg
//!                                     /blocks/<2>/<2>/<checksum>.blk
//!                                     /locks/lock-<16 hex>.lck
//! backupstore/backing-images/backing-images/<name>/backing-image.cfg
//! backupstore/backing-images/blocks/<2>/<2>/<checksum>.blk         shared by all backing images
//! backupstore/system-backups/<version>/<name>/system-backup.cfg and .zip
//! ```
//!
//! Paths of directories end with a slash where upstream's do: over S3 a removal by such a path cannot meet a neighbour
//! whose name begins alike.

use crate::block::checksum;
use crate::gopath::join;

/// The directory under the target that holds everything.
pub const BASE: &str = "backupstore";
/// Directory of system backups, also looked for in their addresses.
pub const SYSTEM_BACKUPS: &str = "system-backups";
/// The pseudo volume under which backing images keep their locks. Upper case keeps it out of the manager's list of
/// volumes.
pub const BACKING_IMAGE_LOCKS: &str = "BACKINGIMAGE";

pub(crate) const BACKUP_PREFIX: &str = "backup_";
pub(crate) const CONFIG_SUFFIX: &str = ".cfg";
pub(crate) const LOCK_SUFFIX: &str = ".lck";
pub(crate) const BLOCK_SUFFIX: &str = ".blk";

/// Directory of all volumes, without a slash at the end.
pub fn volumes() -> String {
    join(&[BASE, "volumes"])
}

/// A volume's directory.
pub fn volume(name: &str) -> String {
    let sum = checksum(name.as_bytes());
    join(&[BASE, "volumes", &sum[..2], &sum[2..4], name]) + "/"
}

/// A volume's configuration.
pub fn volume_config(name: &str) -> String {
    join(&[&volume(name), "volume.cfg"])
}

/// Directory of a volume's backups.
pub fn backups(volume_name: &str) -> String {
    join(&[&volume(volume_name), "backups"]) + "/"
}

/// A backup's configuration.
pub fn backup_config(backup: &str, volume_name: &str) -> String {
    join(&[&backups(volume_name), &format!("{BACKUP_PREFIX}{backup}{CONFIG_SUFFIX}")])
}

/// Directory of a volume's blocks.
pub fn blocks(volume_name: &str) -> String {
    join(&[&volume(volume_name), "blocks"]) + "/"
}

/// A block of a volume, by the checksum of its content.
pub fn block(volume_name: &str, sum: &str) -> String {
    block_under(&blocks(volume_name), sum)
}

/// Directory of a volume's locks.
pub fn locks(volume_name: &str) -> String {
    join(&[&volume(volume_name), "locks"]) + "/"
}

/// A lock file.
pub fn lock(volume_name: &str, name: &str) -> String {
    join(&[&locks(volume_name), &format!("{name}{LOCK_SUFFIX}")])
}

/// Directory with one directory for each backing image.
pub fn backing_images() -> String {
    join(&[BASE, "backing-images", "backing-images"]) + "/"
}

/// A backing image's configuration.
pub fn backing_image_config(name: &str) -> String {
    join(&[BASE, "backing-images", "backing-images", name, "backing-image.cfg"])
}

/// Directory of the blocks of all backing images.
pub fn backing_image_blocks() -> String {
    join(&[BASE, "backing-images", "blocks"]) + "/"
}

/// A block of a backing image.
pub fn backing_image_block(sum: &str) -> String {
    block_under(&backing_image_blocks(), sum)
}

/// Directory of system backups, without a slash at the end.
pub fn system_backups() -> String {
    join(&[BASE, SYSTEM_BACKUPS])
}

/// A system backup's directory.
pub fn system_backup(name: &str, version: &str) -> String {
    join(&[BASE, SYSTEM_BACKUPS, version, name]) + "/"
}

/// A system backup's configuration.
pub fn system_backup_config(name: &str, version: &str) -> String {
    join(&[&system_backup(name, version), "system-backup.cfg"])
}

/// A system backup's archive.
pub fn system_backup_archive(name: &str, version: &str) -> String {
    join(&[&system_backup(name, version), "system-backup.zip"])
}

fn block_under(directory: &str, sum: &str) -> String {
    join(&[directory, &sum[..2], &sum[2..4], &format!("{sum}{BLOCK_SUFFIX}")])
}

/// The names in file names of the form `<prefix>name<suffix>`; others, and names that may not be, are passed over.
pub(crate) fn names_in(files: &[String], prefix: &str, suffix: &str) -> Vec<String> {
    files
        .iter()
        .filter_map(|file| file.trim_start_matches('/').strip_prefix(prefix)?.strip_suffix(suffix))
        .filter(|name| crate::url::is_valid_name(name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_real_store() {
        assert_eq!(volume_config("golden-vol"), "backupstore/volumes/35/21/golden-vol/volume.cfg");
        assert_eq!(backup_config("b1", "golden-vol"), "backupstore/volumes/35/21/golden-vol/backups/backup_b1.cfg");
        assert_eq!(block("golden-vol", "5a2dff"), "backupstore/volumes/35/21/golden-vol/blocks/5a/2d/5a2dff.blk");
        assert_eq!(lock("golden-vol", "lock-1"), "backupstore/volumes/35/21/golden-vol/locks/lock-1.lck");
        assert_eq!(backing_image_config("bi"), "backupstore/backing-images/backing-images/bi/backing-image.cfg");
        assert_eq!(backing_image_block("aa13"), "backupstore/backing-images/blocks/aa/13/aa13.blk");
        assert_eq!(system_backup_config("s", "v1.9.2"), "backupstore/system-backups/v1.9.2/s/system-backup.cfg");
    }

    #[test]
    fn names_are_taken_from_files_that_fit() {
        let files = ["backup_one.cfg", "backup_one.cfg.tmp.1", "/backup_two.cfg", "other.cfg", "backup_.cfg"]
            .map(str::to_owned);
        assert_eq!(names_in(&files, BACKUP_PREFIX, CONFIG_SUFFIX), ["one", "two"]);
    }
}
