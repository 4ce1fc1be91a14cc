//! BackupVolume: what a backup target holds of one volume (v1beta2/backupvolume.go).
//!
//! Its name is the volume's up to v1.7.2; from v1.8.0-rc1 on it has a suffix ([`crate::names::backup_volume`]) and `spec.volumeName`
//! tells the volume. The label [`crate::labels::BACKUP_VOLUME`] holds the volume's name in all releases.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::go::Map;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;

record! {
    /// What is asked of a BackupVolume.
    pub struct BackupVolumeSpec {
        /// The backup target; not in v1.7.2.
        pub backup_target_name: String = "backupTargetName".since(Release::V1_8_0_RC1).nullable(),
        /// When a reconciliation with the store was last asked for.
        pub sync_requested_at: Option<Time> = "syncRequestedAt".nullable(),
        /// The volume; not in v1.7.2, where the object's name is the volume's.
        pub volume_name: String = "volumeName".since(Release::V1_8_0_RC1),
    }
}

record! {
    /// What the store holds of the volume.
    pub struct BackupVolumeStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// When the volume's configuration in the store last changed; what tells whether to read it again.
        pub last_modification_time: Option<Time> = "lastModificationTime".nullable(),
        /// Bytes of the volume.
        pub size: String = "size",
        /// The labels found in the store.
        pub labels: Map<String> = "labels".nullable(),
        /// When the volume was created.
        pub created_at: String = "createdAt",
        /// The last backup of the volume.
        pub last_backup_name: String = "lastBackupName",
        /// When that backup was made.
        pub last_backup_at: String = "lastBackupAt",
        /// Bytes its blocks take in the store, before compression.
        pub data_stored: String = "dataStored",
        /// What went wrong when the store was read, by kind of error.
        pub messages: Map<String> = "messages".nullable(),
        /// The volume's backing image.
        pub backing_image_name: String = "backingImageName",
        /// Checksum of that image.
        pub backing_image_checksum: String = "backingImageChecksum",
        /// The storage class of the volume's claim.
        pub storage_class_name: String = "storageClassName",
        /// When it was last reconciled with the store.
        pub last_synced_at: Option<Time> = "lastSyncedAt".nullable(),
    }
}

custom_resource! {
    /// The backups of one volume in one backup target.
    pub struct BackupVolume: BackupVolumeStatus {
        /// What is asked of it.
        pub spec: BackupVolumeSpec = "spec",
    }
    "BackupVolume" ("backupvolumes", "lhbv") [
        Column::text("BackupTarget", ".spec.backupTargetName").since(Release::V1_8_0),
        Column::text("CreatedAt", ".status.createdAt"),
        Column::text("LastBackupName", ".status.lastBackupName"),
        Column::text("LastBackupAt", ".status.lastBackupAt"),
        Column::text("LastSyncedAt", ".status.lastSyncedAt"),
    ]
}
