//! Backup: one snapshot of a volume, uploaded to a backup target (v1beta2/backup.go).
//!
//! A Backup is made by a person, a recurring job or a system backup (then it uploads `spec.snapshotName`), or pulled from a listing
//! of the store. `status.volumeName` is known only once the uploaded backup has been inspected; until then only the label
//! [`crate::labels::BACKUP_VOLUME`] tells the volume.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::go::Map;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// How far a Backup or a BackupBackingImage has come.
    pub enum BackupState {
        New = "",
        Pending = "Pending",
        InProgress = "InProgress",
        Completed = "Completed",
        Error = "Error",
        Unknown = "Unknown",
        /// The remote data are being deleted; Backups only, since v1.8.0-rc1.
        Deleting = "Deleting",
    }
}

impl BackupState {
    /// Whether nothing more will happen to the upload.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Completed | Self::Error | Self::Unknown | Self::Deleting)
    }
}

words! {
    /// How blocks are compressed in the store.
    pub enum BackupCompressionMethod {
        Unset = "",
        None = "none",
        Lz4 = "lz4",
        Gzip = "gzip",
    }
}

words! {
    /// Which blocks are uploaded.
    pub enum BackupMode {
        /// The mutating webhook makes it `incremental`.
        Unset = "",
        Incremental = "incremental",
        Full = "full",
    }
}

record! {
    /// What is asked of a Backup.
    pub struct BackupSpec {
        /// When a reconciliation with the store was last asked for.
        pub sync_requested_at: Option<Time> = "syncRequestedAt".nullable(),
        /// The snapshot to upload; empty on a pulled Backup.
        pub snapshot_name: String = "snapshotName",
        /// Labels that go into the store with the backup.
        pub labels: Map<String> = "labels",
        /// Which blocks to upload.
        pub backup_mode: BackupMode = "backupMode".one_of(&["full", "incremental", ""]),
    }
}

record! {
    /// What is known of a Backup.
    pub struct BackupStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// How far the upload is.
        pub state: BackupState = "state",
        /// Per cent uploaded.
        pub progress: i64 = "progress".any_width(),
        /// The replica that uploads.
        pub replica_address: String = "replicaAddress",
        /// Why the upload failed.
        pub error: String = "error".omit_empty(),
        /// Where it is in the store.
        pub url: String = "url",
        /// The snapshot that was uploaded.
        pub snapshot_name: String = "snapshotName",
        /// When that snapshot was taken.
        pub snapshot_created_at: String = "snapshotCreatedAt",
        /// When the upload ended.
        pub backup_created_at: String = "backupCreatedAt",
        /// Bytes of the snapshot's data.
        pub size: String = "size",
        /// The labels found in the store.
        pub labels: Map<String> = "labels".nullable(),
        /// What went wrong when the store was read, by kind of error.
        pub messages: Map<String> = "messages".nullable(),
        /// The volume; empty until the backup has been inspected in the store.
        pub volume_name: String = "volumeName",
        /// Bytes of the volume.
        pub volume_size: String = "volumeSize",
        /// When the volume was created.
        pub volume_created: String = "volumeCreated",
        /// The volume's backing image.
        pub volume_backing_image_name: String = "volumeBackingImageName",
        /// When it was last reconciled with the store.
        pub last_synced_at: Option<Time> = "lastSyncedAt".nullable(),
        /// How its blocks are compressed.
        pub compression_method: BackupCompressionMethod = "compressionMethod",
        /// Bytes this backup added to the store.
        pub newly_uploaded_data_size: String = "newlyUploadDataSize",
        /// Bytes uploaded that were in the store before.
        pub re_uploaded_data_size: String = "reUploadedDataSize",
        /// The backup target; not in v1.7.2, which has one target only.
        pub backup_target_name: String = "backupTargetName".since(Release::V1_8_0_RC1),
    }
}

custom_resource! {
    /// A backup of a snapshot of a volume.
    pub struct Backup: BackupStatus {
        /// What is asked of it.
        pub spec: BackupSpec = "spec",
    }
    "Backup" ("backups", "lhb") [
        Column::text("SnapshotName", ".status.snapshotName"),
        Column::text("SnapshotSize", ".status.size"),
        Column::text("SnapshotCreatedAt", ".status.snapshotCreatedAt"),
        // The release candidates named a field that does not exist, so the column was empty.
        Column::text("BackupTarget", ".status.backupTarget").since(Release::V1_8_0_RC1).until(Release::V1_8_0),
        Column::text("BackupTarget", ".status.backupTargetName").since(Release::V1_8_0),
        Column::text("State", ".status.state"),
        Column::text("LastSyncedAt", ".status.lastSyncedAt"),
    ]
}
