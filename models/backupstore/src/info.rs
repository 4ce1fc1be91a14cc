//! What the store's readers get: volumes, backups and backing images as the engine binary prints them (list.go,
//! inspect.go, head.go and backupbackingimage/config.go upstream).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::block::DEFAULT_BLOCK_SIZE_BYTES;
use crate::config::{BackingImageConfig, BackupConfig, Labels, VolumeConfig};
use crate::json::quoted_integer;
use crate::url::{encode_backing_image, encode_backup};

/// Messages about an entry, by kind; `error` is the only kind there is.
pub type Messages = Option<BTreeMap<String, String>>;

/// A volume in a list, or inspected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeInfo {
    /// Its name; empty in lists.
    pub name: String,
    /// Its size in bytes.
    #[serde(with = "quoted_integer")]
    pub size: i64,
    /// Labels of the last backup.
    pub labels: Labels,
    /// When its first backup was made.
    pub created: String,
    /// Its newest complete backup.
    pub last_backup_name: String,
    /// When that one began.
    pub last_backup_at: String,
    /// Number of stored blocks times the default block size.
    #[serde(with = "quoted_integer")]
    pub data_stored: i64,
    /// Why the volume cannot be shown, in lists.
    pub messages: Messages,
    /// Its backups by name, in lists.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backups: BTreeMap<String, BackupInfo>,
    /// The backing image it stands on.
    pub backing_image_name: String,
    /// That image's checksum.
    pub backing_image_checksum: String,
    /// Storage class of its claim.
    #[serde(rename = "StorageClassname")]
    pub storage_class_name: String,
    /// `v1` or `v2`.
    pub data_engine: String,
}

impl VolumeInfo {
    /// A volume in a list: nothing but that it is there.
    pub(crate) fn listed() -> Self {
        Self { messages: Some(BTreeMap::new()), ..Self::default() }
    }

    pub(crate) fn with_error(mut self, error: String) -> Self {
        self.messages.get_or_insert_default().insert("error".to_owned(), error);
        self
    }

    pub(crate) fn of(config: VolumeConfig) -> Self {
        Self {
            name: config.name,
            size: config.size,
            labels: config.labels,
            created: config.created_time,
            last_backup_name: config.last_backup_name,
            last_backup_at: config.last_backup_at,
            data_stored: config.block_count * DEFAULT_BLOCK_SIZE_BYTES,
            messages: Some(BTreeMap::new()),
            backups: BTreeMap::new(),
            backing_image_name: config.backing_image_name,
            backing_image_checksum: config.backing_image_checksum,
            storage_class_name: config.storage_class_name,
            data_engine: config.data_engine,
        }
    }
}

/// A backup in a list, where all is empty, or inspected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BackupInfo {
    /// Its name.
    pub name: String,
    /// Its address.
    #[serde(rename = "URL")]
    pub url: String,
    /// The snapshot it was made from.
    pub snapshot_name: String,
    /// When the backup began.
    pub snapshot_created: String,
    /// When it was complete.
    pub created: String,
    /// Its size in bytes.
    #[serde(with = "quoted_integer")]
    pub size: i64,
    /// Its labels.
    pub labels: Labels,
    /// The parameters it was made with.
    pub parameters: Labels,
    /// Whether it was made against the one before it.
    pub is_incremental: bool,
    /// How its blocks are compressed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression_method: String,
    /// Bytes uploaded for new blocks.
    #[serde(with = "quoted_integer")]
    pub newly_uploaded_data_size: i64,
    /// Bytes uploaded again.
    #[serde(with = "quoted_integer")]
    pub re_uploaded_data_size: i64,
    /// The volume it is of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_name: String,
    /// The volume's size, as its configuration has it now.
    #[serde(with = "quoted_integer", skip_serializing_if = "is_zero")]
    pub volume_size: i64,
    /// When the volume's first backup was made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_created: String,
    /// The backing image the volume stands on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_backing_image_name: String,
    /// Always absent.
    pub messages: Messages,
}

impl BackupInfo {
    pub(crate) fn of(backup: BackupConfig, volume: VolumeConfig, target: &str) -> Self {
        Self {
            url: encode_backup(Some(&backup.name), &backup.volume_name, target),
            name: backup.name,
            snapshot_name: backup.snapshot_name,
            snapshot_created: backup.snapshot_created_at,
            created: backup.created_time,
            size: backup.size,
            labels: backup.labels,
            parameters: backup.parameters,
            is_incremental: backup.is_incremental,
            compression_method: backup.compression_method,
            newly_uploaded_data_size: backup.newly_uploaded_data_size,
            re_uploaded_data_size: backup.re_uploaded_data_size,
            volume_name: volume.name,
            volume_size: volume.size,
            volume_created: volume.created_time,
            volume_backing_image_name: volume.backing_image_name,
            messages: None,
        }
    }
}

/// A backing image's backup, inspected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BackingImageInfo {
    /// The backing image's name.
    pub name: String,
    /// The backup's address.
    #[serde(rename = "URL")]
    pub url: String,
    /// When it was complete.
    pub complete_at: String,
    /// Its size in bytes.
    #[serde(with = "quoted_integer")]
    pub size: i64,
    /// SHA-512 of its content.
    pub checksum: String,
    /// Its labels.
    pub labels: Labels,
    /// How its blocks are compressed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression_method: String,
    /// Name of the secret it is encrypted with.
    pub secret: String,
    /// Namespace of that secret.
    pub secret_namespace: String,
}

impl BackingImageInfo {
    pub(crate) fn of(config: BackingImageConfig, target: &str) -> Self {
        Self {
            url: encode_backing_image(&config.name, target),
            name: config.name,
            complete_at: config.complete_time,
            size: config.size,
            checksum: config.checksum,
            labels: config.labels,
            compression_method: config.compression_method,
            secret: config.secret,
            secret_namespace: config.secret_namespace,
        }
    }
}

/// All that is told of a configuration without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigMetadata {
    /// When it was written, by the store's clock. The beginning of time stands for a date that could not be read.
    #[serde(with = "go_time")]
    pub modification_time: Option<Timestamp>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A time as Go writes it, whose zero is the first second of the year 1.
mod go_time {
    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    const ZERO: &str = "0001-01-01T00:00:00Z";

    pub(super) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_str(ZERO),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            ZERO => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}
