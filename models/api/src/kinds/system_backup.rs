//! SystemBackup: Longhorn's resources, and on request its volumes, saved to the default backup target (v1beta2/systembackup.go).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::go::List;
use crate::kinds::Condition;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// How far a SystemBackup has come.
    pub enum SystemBackupState {
        New = "",
        Syncing = "Syncing",
        CreatingVolumeBackups = "CreatingVolumeBackups",
        CreatingBackingImageBackups = "CreatingBackingImageBackups",
        Generating = "Generating",
        Uploading = "Uploading",
        Ready = "Ready",
        Error = "Error",
        Deleting = "Deleting",
    }
}

words! {
    /// Which volumes are backed up first.
    pub enum VolumeBackupPolicy {
        Unset = "",
        IfNotPresent = "if-not-present",
        Always = "always",
        Disabled = "disabled",
    }
}

/// The condition type of a failure.
pub const CONDITION_ERROR: &str = "Error";
/// Reason of [`CONDITION_ERROR`]: it failed while it was deleted.
pub const REASON_DELETE: &str = "Delete";
/// Reason of [`CONDITION_ERROR`]: it failed while the resources were collected.
pub const REASON_GENERATE: &str = "Generate";
/// Reason of [`CONDITION_ERROR`]: it failed while it was uploaded.
pub const REASON_UPLOAD: &str = "Upload";
/// Reason of [`CONDITION_ERROR`]: it failed while it was read from the store.
pub const REASON_SYNC: &str = "Sync";

record! {
    /// What is asked of a SystemBackup.
    pub struct SystemBackupSpec {
        /// Which volumes to back up first.
        pub volume_backup_policy: VolumeBackupPolicy = "volumeBackupPolicy".nullable(),
    }
}

record! {
    /// What is known of a SystemBackup.
    pub struct SystemBackupStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// The Longhorn version that was saved.
        pub version: String = "version".nullable(),
        /// The commit of the manager that saved it.
        pub git_commit: String = "gitCommit".nullable(),
        /// The image of the manager that saved it.
        pub manager_image: String = "managerImage",
        /// How far it is.
        pub state: SystemBackupState = "state",
        /// [`CONDITION_ERROR`] is the only one.
        pub conditions: List<Condition> = "conditions".nullable(),
        /// When it was saved. Not nullable: while it has no time, the manager writes `null` and the API server drops it.
        pub created_at: Option<Time> = "createdAt",
        /// When it was last reconciled with the store.
        pub last_synced_at: Option<Time> = "lastSyncedAt".nullable(),
    }
}

custom_resource! {
    /// A backup of the whole system.
    pub struct SystemBackup: SystemBackupStatus {
        /// What is asked of it.
        pub spec: SystemBackupSpec = "spec",
    }
    "SystemBackup" ("systembackups", "lhsb") [
        Column::text("Version", ".status.version"),
        Column::text("State", ".status.state"),
        Column::text("Created", ".status.createdAt"),
        Column::text("LastSyncedAt", ".status.lastSyncedAt"),
    ]
}
