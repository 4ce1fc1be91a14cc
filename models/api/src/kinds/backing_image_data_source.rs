//! BackingImageDataSource: how a backing image's first copy comes to its first disk (v1beta2/backingimagedatasource.go).

use crate::go::Map;
use crate::kinds::backing_image::BackingImageState;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// Where a backing image comes from.
    pub enum BackingImageDataSourceType {
        Unset = "",
        Download = "download",
        Upload = "upload",
        ExportFromVolume = "export-from-volume",
        Restore = "restore",
        Clone = "clone",
    }
}

/// Parameter of a download.
pub const PARAMETER_URL: &str = "url";
/// Parameter of an export: `raw` or `qcow2`.
pub const PARAMETER_EXPORT_TYPE: &str = "export-type";
/// Parameter of an export: the volume.
pub const PARAMETER_VOLUME_NAME: &str = "volume-name";
/// Parameter of an export, set by the controller: bytes.
pub const PARAMETER_VOLUME_SIZE: &str = "volume-size";
/// Parameter of an export, set by the controller: the snapshot.
pub const PARAMETER_SNAPSHOT_NAME: &str = "snapshot-name";
/// Parameter of an export, set by the controller: the replica that sends.
pub const PARAMETER_SENDER_ADDRESS: &str = "sender-address";
/// Parameter of an export, set by the controller: seconds.
pub const PARAMETER_FILE_SYNC_HTTP_CLIENT_TIMEOUT: &str = "file-sync-http-client-timeout";
/// Parameter of a restore: the backup target.
pub const PARAMETER_BACKUP_TARGET_NAME: &str = "backup-target-name";
/// Parameter of a restore.
pub const PARAMETER_BACKUP_URL: &str = "backup-url";
/// Parameter of a restore: how many blocks at once.
pub const PARAMETER_CONCURRENT_LIMIT: &str = "concurrent-limit";
/// Parameter of a copy: the backing image.
pub const PARAMETER_CLONE_BACKING_IMAGE: &str = "backing-image";
/// Parameter of a copy, set by the controller: the backing image's UUID.
pub const PARAMETER_CLONE_BACKING_IMAGE_UUID: &str = "backing-image-uuid";
/// Parameter of a copy: `encrypt`, `decrypt` or `ignore`.
pub const PARAMETER_CLONE_ENCRYPTION: &str = "encryption";
/// Parameter of a copy: the key.
pub const PARAMETER_CLONE_SECRET: &str = "secret";
/// Parameter of a copy: where the key is.
pub const PARAMETER_CLONE_SECRET_NAMESPACE: &str = "secret-namespace";
/// Parameter of all, set by the controller.
pub const PARAMETER_DATA_ENGINE: &str = "data-engine";

record! {
    /// Where the first copy comes from and goes to.
    pub struct BackingImageDataSourceSpec {
        /// The node.
        pub node_id: String = "nodeID",
        /// The backing image's UUID.
        pub uuid: String = "uuid",
        /// The disk.
        pub disk_uuid: String = "diskUUID",
        /// The disk's path.
        pub disk_path: String = "diskPath",
        /// SHA-512 it must have; may be empty.
        pub checksum: String = "checksum",
        /// Where it comes from.
        pub source_type: BackingImageDataSourceType =
            "sourceType".one_of(&["download", "upload", "export-from-volume", "restore", "clone"]),
        /// What that takes: see the constants of this module.
        pub parameters: Map<String> = "parameters",
        /// Whether the disk's backing image manager has taken the file over.
        pub file_transferred: bool = "fileTransferred",
    }
}

record! {
    /// How far the first copy is.
    pub struct BackingImageDataSourceStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// The parameters its pod was started with.
        pub running_parameters: Map<String> = "runningParameters".nullable(),
        /// How far it is.
        pub current_state: BackingImageState = "currentState",
        /// Address of its pod.
        pub ip: String = "ip",
        /// Address for the file's data.
        pub storage_ip: String = "storageIP",
        /// Bytes.
        pub size: i64 = "size",
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
        /// SHA-512 of the file.
        pub checksum: String = "checksum",
        /// Why it failed.
        pub message: String = "message",
    }
}

custom_resource! {
    /// How a backing image's first copy comes.
    pub struct BackingImageDataSource: BackingImageDataSourceStatus {
        /// From where and to where.
        pub spec: BackingImageDataSourceSpec = "spec",
    }
    "BackingImageDataSource" ("backingimagedatasources", "lhbids") [
        Column::text("UUID", ".spec.uuid"),
        Column::text("State", ".status.currentState"),
        Column::text("SourceType", ".spec.sourceType"),
        Column::text("Size", ".status.size"),
        Column::text("Node", ".spec.nodeID"),
        Column::text("DiskUUID", ".spec.diskUUID"),
        Column::AGE,
    ]
}
