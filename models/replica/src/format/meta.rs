//! The metadata files, field by field in the order upstream writes them (`Info` and `disk` in pkg/replica/replica.go).

use std::collections::BTreeMap;

use longhorn_backupstore::json::null_is_default;
use serde::{Deserialize, Serialize};

/// The sector size that stands in every `volume.meta`; the map of a volume goes by 4 KiB all the same.
pub const REPLICA_SECTOR_BYTES: i64 = 512;

/// `volume.meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeMeta {
    /// The volume's size in bytes.
    #[serde(deserialize_with = "null_is_default")]
    pub size: i64,
    /// The file that is written to.
    #[serde(deserialize_with = "null_is_default")]
    pub head: String,
    /// Set while the replica is open.
    #[serde(deserialize_with = "null_is_default")]
    pub dirty: bool,
    /// Set while the replica is being rebuilt.
    #[serde(deserialize_with = "null_is_default")]
    pub rebuilding: bool,
    /// What went wrong with a file.
    #[serde(deserialize_with = "null_is_default")]
    pub error: String,
    /// The head's parent.
    #[serde(deserialize_with = "null_is_default")]
    pub parent: String,
    /// Always [`REPLICA_SECTOR_BYTES`].
    #[serde(deserialize_with = "null_is_default")]
    pub sector_size: i64,
    /// The lowest layer, if there is one.
    #[serde(deserialize_with = "null_is_default")]
    pub backing_file_path: String,
}

/// `<disk>.meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DiskMeta {
    /// The disk's name. In the file of a snapshot it is the name of the head that became the snapshot.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// The next older layer.
    #[serde(deserialize_with = "null_is_default")]
    pub parent: String,
    /// Whether it goes with the next purge.
    #[serde(deserialize_with = "null_is_default")]
    pub removed: bool,
    /// Whether somebody asked for the snapshot.
    #[serde(deserialize_with = "null_is_default")]
    pub user_created: bool,
    /// When: RFC 3339 in whole seconds, the same on all replicas of a volume.
    #[serde(deserialize_with = "null_is_default")]
    pub created: String,
    /// Labels of the snapshot.
    pub labels: Labels,
}

/// Labels; absent is not the same as empty.
pub type Labels = Option<BTreeMap<String, String>>;

/// A disk as it is told to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskInfo {
    /// Its file's name.
    pub name: String,
    /// The next older layer.
    pub parent: String,
    /// The next newer layers.
    pub children: Vec<String>,
    /// Whether it goes with the next purge.
    pub removed: bool,
    /// Whether somebody asked for the snapshot.
    pub user_created: bool,
    /// When.
    pub created: String,
    /// The space it takes, in bytes; -1 if that cannot be told.
    pub size_bytes: i64,
    /// Labels of the snapshot.
    pub labels: BTreeMap<String, String>,
}
