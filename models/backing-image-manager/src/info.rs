//! What is known of a file: in memory, over HTTP, and in the configuration beside the file (api/types.go and pkg/util/util.go).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// The disk in the container (`DiskPathInContainer`).
pub const DISK_PATH: &str = "/data";

/// How far a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not begun; it is looked whether a file that is there can be used.
    #[default]
    Pending,
    /// Ready to be filled.
    Starting,
    /// Being filled.
    InProgress,
    /// Filled and checked.
    Ready,
    /// Filled and checked by a data source, for the manager to take over.
    ReadyForTransfer,
    /// Given up; the file is removed.
    Failed,
    /// Given up, and the copy forgotten; longhorn-manager's word.
    FailedAndCleanup,
    /// The file was modified behind our back; its checksum is being computed again.
    Unknown,
    /// Nothing known yet.
    #[serde(rename = "")]
    None,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Starting => "starting",
            State::InProgress => "in-progress",
            State::Ready => "ready",
            State::ReadyForTransfer => "ready-for-transfer",
            State::Failed => "failed",
            State::FailedAndCleanup => "failed-and-cleanup",
            State::Unknown => "unknown",
            State::None => "",
        }
    }
}

/// A file of the file service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileInfo {
    /// The disk's UUID.
    #[serde(rename = "diskUUID")]
    pub disk_uuid: String,
    /// SHA-512 that the content must have; empty if nobody said.
    pub expected_checksum: String,
    /// The file.
    pub file_path: String,
    /// The backing image's UUID.
    #[serde(rename = "uuid")]
    pub uuid: String,
    /// Its size in bytes; -1 while it is not known.
    pub size: i64,
    /// Size of the disk that it describes.
    pub virtual_size: i64,
    /// Space that it takes.
    pub real_size: i64,
    /// How far it is.
    pub state: State,
    /// The same in percent.
    pub progress: i64,
    /// The same in bytes.
    pub processed_size: i64,
    /// When the content last changed, as Go prints times.
    pub modification_time: String,
    /// SHA-512 of the content.
    pub current_checksum: String,
    /// What went wrong.
    pub message: String,
    /// Copies being sent.
    pub sending_reference: i32,
}

/// The file of a data source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSourceInfo {
    /// Where the data comes from.
    pub source_type: String,
    /// The same in detail.
    pub parameters: BTreeMap<String, String>,
    /// The backing image's name.
    pub name: String,
    /// The file.
    #[serde(flatten)]
    pub file: FileInfo,
}

/// `backing.cfg`, beside a file that is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FileConfig {
    #[serde(rename = "name")]
    pub file_path: String,
    pub uuid: String,
    pub size: i64,
    pub virtual_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_size: Option<i64>,
    pub expected_checksum: String,
    pub current_checksum: String,
    pub modification_time: String,
}

/// Where the configuration of a file is.
pub(crate) fn config_path(file_path: &str) -> String {
    format!("{file_path}.cfg")
}

/// Where a file is filled.
pub(crate) fn temporary_path(file_path: &str) -> String {
    format!("{file_path}.tmp")
}

/// The directory of a backing image on a disk.
pub(crate) fn image_directory(name: &str, uuid: &str) -> String {
    format!("{DISK_PATH}/backing-images/{name}-{uuid}")
}

/// The file of a backing image on a disk.
pub(crate) fn image_path(name: &str, uuid: &str) -> String {
    format!("{}/backing", image_directory(name, uuid))
}

/// Where a data source prepares a backing image's file.
pub(crate) fn data_source_path(name: &str, uuid: &str) -> String {
    format!("{DISK_PATH}/tmp/{name}-{uuid}")
}

/// The backing image that a file is of: its directory's name without the UUID.
pub(crate) fn image_name(file_path: &str, uuid: &str) -> String {
    let directory = file_path.rsplit('/').nth(1).unwrap_or_default();
    directory.strip_suffix(&format!("-{uuid}")).unwrap_or(directory).to_owned()
}

/// The UUID of the disk, from the file that longhorn-manager has put on it.
pub(crate) async fn disk_uuid() -> Result<String> {
    #[derive(Deserialize)]
    struct DiskConfig {
        #[serde(rename = "diskUUID", default)]
        uuid: String,
    }
    let path = format!("{DISK_PATH}/longhorn-disk.cfg");
    let content = host::fs::read(&path).await.context(|| format!("cannot find disk config file {path}"))?;
    let config: DiskConfig = serde_json::from_slice(&content)
        .map_err(|error| Error::invalid(format!("failed to unmarshal {path}: {error}")))?;
    Ok(config.uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_belong_together() {
        let path = image_path("my-image", "1a2b3c4d");
        assert_eq!(path, "/data/backing-images/my-image-1a2b3c4d/backing");
        assert_eq!(image_name(&path, "1a2b3c4d"), "my-image");
        assert_eq!(image_name("backing", "1"), "");
    }

    #[test]
    fn states_have_one_spelling() {
        for state in [State::Pending, State::InProgress, State::ReadyForTransfer, State::FailedAndCleanup, State::None]
        {
            assert_eq!(serde_json::to_value(state).expect("a string"), state.as_str());
        }
    }

    #[test]
    fn the_configuration_is_the_real_ones() {
        let golden = r#"{"name":"/data/backing-images/n-u/backing","uuid":"u","size":1048576,"virtualSize":1048576,"realSize":4096,"expectedChecksum":"","currentChecksum":"00","modificationTime":"2026-11-20 17:42:28.249598512 +0000 UTC"}"#;
        let config: FileConfig = serde_json::from_str(golden).expect("as the real one writes it");
        assert_eq!(config.real_size, Some(4096));
        assert_eq!(serde_json::to_string(&config).expect("JSON"), golden);
    }
}
