//! The configurations in a store, field by field as they are written: they parse and are written back byte for byte.
//!
//! Upstream: `Volume` and `Backup` in backupstore.go, `BackupBackingImage` in backupbackingimage/backupbackingimage.go,
//! `Config` in systembackup/system_backup.go, `FileLock` in lock.go. A map or list that is absent there is `null` here,
//! one that is empty is `{}` or `[]`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::json::{null_is_default, quoted_integer, quoted_string};

/// What a configuration means by no compression method: it was written before there was a choice.
const COMPRESSION_OF_OLD_CONFIGS: &str = "gzip";

/// Labels and parameters; absent is not the same as empty.
pub type Labels = Option<BTreeMap<String, String>>;

/// `volume.cfg`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeConfig {
    /// The volume's name.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Its size in bytes at the last backup.
    #[serde(with = "quoted_integer")]
    pub size: i64,
    /// The labels of the last backup.
    pub labels: Labels,
    /// When the first backup was made, RFC 3339 in whole seconds.
    #[serde(deserialize_with = "null_is_default")]
    pub created_time: String,
    /// The newest complete backup; empty if there is none, or none that is known.
    #[serde(deserialize_with = "null_is_default")]
    pub last_backup_name: String,
    /// When that backup began.
    #[serde(deserialize_with = "null_is_default")]
    pub last_backup_at: String,
    /// Blocks that are stored.
    #[serde(with = "quoted_integer")]
    pub block_count: i64,
    /// The backing image the volume stands on, or empty.
    #[serde(with = "quoted_string")]
    pub backing_image_name: String,
    /// That image's checksum.
    #[serde(with = "quoted_string")]
    pub backing_image_checksum: String,
    /// How blocks are compressed: that of the first backup holds for all later ones.
    #[serde(with = "quoted_string")]
    pub compression_method: String,
    /// The storage class of the volume's claim.
    #[serde(with = "quoted_string")]
    pub storage_class_name: String,
    /// `v1` or `v2`.
    #[serde(with = "quoted_string")]
    pub data_engine: String,
}

impl VolumeConfig {
    /// Fills in what configurations of older releases lack.
    pub(crate) fn with_defaults(mut self) -> Self {
        fill(&mut self.compression_method, COMPRESSION_OF_OLD_CONFIGS);
        fill(&mut self.data_engine, "v1");
        self
    }
}

/// Where a block belongs, and what its content's checksum is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BlockMapping {
    /// Offset in the volume or image, in bytes.
    pub offset: i64,
    /// First 64 hexadecimal characters of the SHA-512 of the uncompressed block.
    pub block_checksum: String,
}

/// A file of a single-file backup, which only older releases made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SingleFile {
    /// Its path in the store.
    #[serde(deserialize_with = "null_is_default")]
    pub file_path: String,
}

/// The empty object that is left of a structure without public fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opaque {}

/// `backup_<name>.cfg`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BackupConfig {
    /// The backup's name.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// The volume it is of.
    #[serde(deserialize_with = "null_is_default")]
    pub volume_name: String,
    /// The snapshot it was made from.
    #[serde(deserialize_with = "null_is_default")]
    pub snapshot_name: String,
    /// When the backup began, despite the name.
    #[serde(deserialize_with = "null_is_default")]
    pub snapshot_created_at: String,
    /// When it was complete; empty while it is in progress.
    #[serde(deserialize_with = "null_is_default")]
    pub created_time: String,
    /// Number of blocks times block size, in bytes.
    #[serde(with = "quoted_integer")]
    pub size: i64,
    /// Labels its maker gave it.
    pub labels: Labels,
    /// Parameters it was made with.
    pub parameters: Labels,
    /// Whether it was made against the one before it.
    #[serde(deserialize_with = "null_is_default")]
    pub is_incremental: bool,
    /// How its blocks are compressed.
    #[serde(deserialize_with = "null_is_default")]
    pub compression_method: String,
    /// Bytes uploaded for blocks that were not in the store.
    #[serde(with = "quoted_integer")]
    pub newly_uploaded_data_size: i64,
    /// Bytes uploaded again, in a full backup.
    #[serde(with = "quoted_integer")]
    pub re_uploaded_data_size: i64,
    /// Left over from the upload: an empty object after a full backup, absent otherwise.
    pub processing_blocks: Option<Opaque>,
    /// Its blocks, by offset.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockMapping>,
    /// The file of a single-file backup.
    #[serde(deserialize_with = "null_is_default")]
    pub single_file: SingleFile,
}

impl BackupConfig {
    /// Whether the backup is not complete yet.
    pub fn is_in_progress(&self) -> bool {
        self.created_time.is_empty()
    }

    /// Fills in what configurations of older releases lack.
    pub(crate) fn with_defaults(mut self) -> Self {
        fill(&mut self.compression_method, COMPRESSION_OF_OLD_CONFIGS);
        self
    }
}

/// Blocks on their way into the store while a backing image is uploaded; empty in what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessingBlocks {
    /// By checksum.
    pub blocks: Option<BTreeMap<String, Vec<BlockMapping>>>,
}

/// `backing-image.cfg`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BackingImageConfig {
    /// The backing image's name.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Its size in bytes.
    #[serde(with = "quoted_integer")]
    pub size: i64,
    /// Number of its blocks, zero blocks included.
    #[serde(with = "quoted_integer")]
    pub block_count: i64,
    /// SHA-512 of its content, all 128 hexadecimal characters.
    #[serde(deserialize_with = "null_is_default")]
    pub checksum: String,
    /// Labels.
    pub labels: Labels,
    /// How its blocks are compressed.
    #[serde(deserialize_with = "null_is_default")]
    pub compression_method: String,
    /// When the backup began.
    #[serde(deserialize_with = "null_is_default")]
    pub created_time: String,
    /// When it was complete; empty while it is in progress.
    #[serde(deserialize_with = "null_is_default")]
    pub complete_time: String,
    /// Name of the secret the image is encrypted with.
    #[serde(deserialize_with = "null_is_default")]
    pub secret: String,
    /// Namespace of that secret.
    #[serde(deserialize_with = "null_is_default")]
    pub secret_namespace: String,
    /// Left over from the upload.
    pub processing_blocks: Option<ProcessingBlocks>,
    /// Its blocks, by offset.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockMapping>,
}

impl BackingImageConfig {
    /// Whether the backup is not complete yet.
    pub fn is_in_progress(&self) -> bool {
        self.complete_time.is_empty()
    }

    /// Fills in what configurations of older releases, and of images whose upload has only begun, lack.
    pub(crate) fn with_defaults(mut self) -> Self {
        fill(&mut self.compression_method, COMPRESSION_OF_OLD_CONFIGS);
        self.processing_blocks.get_or_insert_with(|| ProcessingBlocks { blocks: Some(BTreeMap::new()) });
        self
    }
}

/// `system-backup.cfg`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SystemBackupConfig {
    /// The system backup's name.
    pub name: String,
    /// The Longhorn version that made it.
    pub longhorn_version: String,
    /// The commit of that version.
    pub longhorn_git_commit: String,
    /// The target it was uploaded to.
    #[serde(rename = "BackupTargetURL")]
    pub backup_target_url: String,
    /// The manager image that will restore it.
    pub manager_image: String,
    /// The engine image of that time.
    pub engine_image: String,
    /// When it was made, in nanoseconds.
    pub created_at: Timestamp,
    /// SHA-256 of the archive.
    pub checksum: String,
}

/// `lock-<16 hex>.lck`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LockConfig {
    /// The lock's name, that of its file.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// 1 for backups and restores, 2 for deletions.
    #[serde(rename = "Type", deserialize_with = "null_is_default")]
    pub kind: u8,
    /// Whether it is held; until then its owner only waits for it.
    #[serde(deserialize_with = "null_is_default")]
    pub acquired: bool,
}

fn fill(field: &mut String, with: &str) {
    if field.is_empty() {
        field.push_str(with);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_backup_in_progress_is_written_with_all_its_empty_fields() {
        let config = BackupConfig {
            name: "backup-1".to_owned(),
            volume_name: "vol-1".to_owned(),
            compression_method: "lz4".to_owned(),
            ..BackupConfig::default()
        };
        insta::assert_snapshot!(
            String::from_utf8(json::to_bytes(&config)).unwrap(),
            @r#"{"Name":"backup-1","VolumeName":"vol-1","SnapshotName":"","SnapshotCreatedAt":"","CreatedTime":"","Size":"0","Labels":null,"Parameters":null,"IsIncremental":false,"CompressionMethod":"lz4","NewlyUploadedDataSize":"0","ReUploadedDataSize":"0","ProcessingBlocks":null,"SingleFile":{"FilePath":""}}"#
        );
        assert!(config.is_in_progress());
    }

    #[test]
    fn configurations_of_older_releases_are_completed() {
        let volume: VolumeConfig =
            json::from_bytes(br#"{"Name":"v","Size":"1048576","Unknown":{"a":[]},"CreatedTime":null}"#).unwrap();
        let volume = volume.with_defaults();
        assert_eq!(
            (volume.size, volume.compression_method.as_str(), volume.data_engine.as_str()),
            (1_048_576, "gzip", "v1")
        );
        let image: BackingImageConfig = json::from_bytes(br#"{"Name":"b","ProcessingBlocks":null}"#).unwrap();
        let image = image.with_defaults();
        assert_eq!(image.processing_blocks, Some(ProcessingBlocks { blocks: Some(BTreeMap::new()) }));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused() {
        assert!(json::from_bytes::<VolumeConfig>(br#"{"Size":5}"#).is_err());
        assert!(json::from_bytes::<VolumeConfig>(br#"{"CompressionMethod":"lz4"}"#).is_err());
        assert!(json::from_bytes::<LockConfig>(br#"{"Type":"1"}"#).is_err());
    }
}
