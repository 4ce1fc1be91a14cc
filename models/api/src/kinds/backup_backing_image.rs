//! BackupBackingImage: the backup of a backing image (v1beta2/backupbackingimage.go).
//!
//! Its name is the backing image's up to v1.7.2; from v1.8.0-rc1 on it has a random suffix and `spec.backingImage` tells the image.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::go::Map;
use crate::kinds::backup::{BackupCompressionMethod, BackupState};
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;

record! {
    /// What is asked of a BackupBackingImage.
    pub struct BackupBackingImageSpec {
        /// The backing image; not in v1.7.2, where the object's name is the image's.
        pub backing_image: String = "backingImage".since(Release::V1_8_0_RC1).required(),
        /// The backup target; not in v1.7.2.
        pub backup_target_name: String = "backupTargetName".since(Release::V1_8_0_RC1).nullable(),
        /// When a reconciliation with the store was last asked for.
        pub sync_requested_at: Option<Time> = "syncRequestedAt".nullable(),
        /// Whether it is to be uploaded; false for one that was pulled from a listing of the store.
        pub user_created: bool = "userCreated".required(),
        /// Labels that go into the store with the backup.
        pub labels: Map<String> = "labels",
    }
}

record! {
    /// What is known of a BackupBackingImage.
    pub struct BackupBackingImageStatus {
        /// The backing image.
        pub backing_image: String = "backingImage",
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Checksum of the image.
        pub checksum: String = "checksum",
        /// Where it is in the store.
        pub url: String = "url",
        /// Bytes of the image.
        pub size: i64 = "size",
        /// The labels found in the store.
        pub labels: Map<String> = "labels".nullable(),
        /// How far the upload is.
        pub state: BackupState = "state",
        /// Per cent uploaded.
        pub progress: i64 = "progress".any_width(),
        /// Why the upload failed.
        pub error: String = "error".omit_empty(),
        /// What went wrong when the store was read, by kind of error.
        pub messages: Map<String> = "messages".nullable(),
        /// The backing image manager that uploads.
        pub manager_address: String = "managerAddress",
        /// When the upload ended.
        pub backup_created_at: String = "backupCreatedAt",
        /// When it was last reconciled with the store.
        pub last_synced_at: Option<Time> = "lastSyncedAt".nullable(),
        /// How its blocks are compressed.
        pub compression_method: BackupCompressionMethod = "compressionMethod",
        /// The secret of an encrypted image; not in v1.7.2.
        pub secret: String = "secret".since(Release::V1_8_0_RC1),
        /// The namespace of that secret; not in v1.7.2.
        pub secret_namespace: String = "secretNamespace".since(Release::V1_8_0_RC1),
    }
}

custom_resource! {
    /// A backup of a backing image.
    pub struct BackupBackingImage: BackupBackingImageStatus {
        /// What is asked of it.
        pub spec: BackupBackingImageSpec = "spec",
    }
    "BackupBackingImage" ("backupbackingimages", "lhbbi") [
        Column::text("BackingImage", ".status.backingImage"),
        Column::text("Size", ".status.size"),
        Column::text("BackupCreatedAt", ".status.backupCreatedAt"),
        Column::text("State", ".status.state"),
        Column::text("LastSyncedAt", ".status.lastSyncedAt"),
    ]
}
