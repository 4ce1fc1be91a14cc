//! What the engine binary prints: the JSON answers of its backup commands, as far as the manager reads them.
//!
//! Go's encoder writes the field names of the binary's own structs (`backupstore/list.go`, `inspect.go`, `head.go`,
//! `systembackup/system_backup.go`): capitals, sizes as decimal strings, empty maps as `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Text by name.
pub type Texts = BTreeMap<String, String>;

/// `backup inspect`: one backup's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BackupInfo {
    /// Name of the backup.
    pub name: String,
    /// URL that names the backup and its store.
    #[serde(rename = "URL")]
    pub url: String,
    /// The snapshot that was backed up.
    pub snapshot_name: String,
    /// When the snapshot was taken.
    pub snapshot_created: String,
    /// When the upload ended.
    pub created: String,
    /// Bytes of all blocks of the backup.
    pub size: String,
    /// Labels given at the backup's creation; absent as Go's nil map.
    pub labels: Option<Texts>,
    /// Name of the volume.
    pub volume_name: String,
    /// Bytes of the volume.
    pub volume_size: String,
    /// When the volume was first backed up.
    pub volume_created: String,
    /// The volume's backing image.
    pub volume_backing_image_name: String,
    /// Errors met while the configuration was read; absent unless there are any.
    pub messages: Option<Texts>,
    /// `none`, `lz4` or `gzip`.
    pub compression_method: String,
    /// Bytes that this backup uploaded for the first time.
    pub newly_uploaded_data_size: String,
    /// Bytes that this backup uploaded again.
    pub re_uploaded_data_size: String,
}

/// `backup inspect-volume`, and each value of `backup ls`: a backup volume's configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BackupVolumeInfo {
    /// Name of the volume.
    pub name: String,
    /// Bytes of the volume.
    pub size: String,
    /// Labels of the newest backup; absent as Go's nil map.
    pub labels: Option<Texts>,
    /// When the volume was first backed up.
    pub created: String,
    /// The newest backup.
    pub last_backup_name: String,
    /// When the newest backup ended.
    pub last_backup_at: String,
    /// Bytes of all blocks of the volume in the store.
    pub data_stored: String,
    /// Errors met while the configuration was read.
    pub messages: Option<Texts>,
    /// Its backups by name; only `backup ls` fills it.
    pub backups: Option<BTreeMap<String, serde_json::Value>>,
    /// The volume's backing image.
    pub backing_image_name: String,
    /// Checksum of that image.
    pub backing_image_checksum: String,
    /// Storage class of the claim that the volume was bound to.
    #[serde(rename = "StorageClassname")]
    pub storage_class_name: String,
}

/// `backup head`: when a configuration file was last written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigMetadata {
    /// The store's modification time, as fine as the store keeps it (one second on S3).
    pub modification_time: jiff::Timestamp,
}

/// `backup inspect-backing-image`: the configuration of a backing image's backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BackupBackingImageInfo {
    /// Name of the backing image.
    pub name: String,
    /// URL that names the backup and its store.
    #[serde(rename = "URL")]
    pub url: String,
    /// When the upload ended.
    pub complete_at: String,
    /// Bytes of the image.
    #[serde(deserialize_with = "number_or_text")]
    pub size: i64,
    /// Checksum of the image.
    pub checksum: String,
    /// Labels of the backup.
    pub labels: Option<Texts>,
    /// `none`, `lz4` or `gzip`.
    pub compression_method: String,
    /// Secret of an encrypted image.
    pub secret: String,
    /// Namespace of that secret.
    pub secret_namespace: String,
}

fn number_or_text<'de, D: Deserializer<'de>>(input: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(input)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

/// `system-backup get-config`: the configuration of a system backup.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SystemBackupConfig {
    /// Name of the system backup.
    pub name: String,
    /// Release that made it.
    pub longhorn_version: String,
    /// Commit of that release.
    #[serde(default)]
    pub longhorn_git_commit: String,
    /// Manager image of that release.
    #[serde(default)]
    pub manager_image: String,
    /// Engine image of that release.
    #[serde(default)]
    pub engine_image: String,
    /// When it was uploaded.
    pub created_at: jiff::Timestamp,
}

/// `version --client-only`: what the engine binary can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EngineVersion {
    /// The binary's own version.
    pub client_version: EngineVersionDetails,
}

/// One side of [`EngineVersion`], under the names of the EngineImage's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EngineVersionDetails {
    /// Release.
    pub version: String,
    /// Commit.
    pub git_commit: String,
    /// Date of the build.
    pub build_date: String,
    /// Version of the command-line interface.
    #[serde(rename = "cliAPIVersion")]
    pub cli_api_version: i64,
    /// Oldest version of it that is still served.
    #[serde(rename = "cliAPIMinVersion")]
    pub cli_api_min_version: i64,
    /// Version of the controller's gRPC interface.
    #[serde(rename = "controllerAPIVersion")]
    pub controller_api_version: i64,
    /// Oldest version of it that is still served.
    #[serde(rename = "controllerAPIMinVersion")]
    pub controller_api_min_version: i64,
    /// Version of the replica's files.
    pub data_format_version: i64,
    /// Oldest version of them that is still read.
    pub data_format_min_version: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_spelling_is_read() {
        let info: BackupInfo = serde_json::from_str(
            r#"{"Name":"backup-1","URL":"s3://b@r/?backup=backup-1&volume=v","Size":"2097152","Labels":null,
                "IsIncremental":false,"NewlyUploadedDataSize":"100","VolumeName":"v","VolumeSize":"67108864","Messages":null}"#,
        )
        .unwrap();
        assert_eq!((info.size.as_str(), info.volume_size.as_str()), ("2097152", "67108864"));
        assert_eq!((info.labels, info.messages), (None, None));
        let volume: BackupVolumeInfo =
            serde_json::from_str(r#"{"Name":"v","Labels":{"a":"b"},"Messages":{},"StorageClassname":"longhorn"}"#)
                .unwrap();
        assert_eq!((volume.storage_class_name.as_str(), volume.messages), ("longhorn", Some(Texts::new())));
        let head: ConfigMetadata = serde_json::from_str(r#"{"ModificationTime":"2026-11-20T10:00:00Z"}"#).unwrap();
        assert_eq!(head.modification_time.to_string(), "2026-11-20T10:00:00Z");
    }
}
