//! SystemRestore: a SystemBackup brought back into the cluster (v1beta2/systemrestore.go).

use crate::go::List;
use crate::kinds::Condition;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// How far a SystemRestore has come.
    pub enum SystemRestoreState {
        New = "",
        Completed = "Completed",
        Deleting = "Deleting",
        Downloading = "Downloading",
        Error = "Error",
        Initializing = "Initializing",
        InProgress = "InProgress",
        Pending = "Pending",
        Restoring = "Restoring",
        Unknown = "Unknown",
        Unpacking = "Unpacking",
    }
}

/// The condition type of a failure.
pub const CONDITION_ERROR: &str = "Error";
/// Reason of [`CONDITION_ERROR`]: it failed while resources were made.
pub const REASON_RESTORE: &str = "Restore";
/// Reason of [`CONDITION_ERROR`]: it failed while the file was unpacked.
pub const REASON_UNPACK: &str = "Unpack";
/// Message of [`REASON_RESTORE`].
pub const MESSAGE_FAILED: &str = "failed to restore Longhorn system";
/// Message of [`REASON_UNPACK`].
pub const MESSAGE_UNPACK_FAILED: &str = "failed to unpack system backup from file";

record! {
    /// What to bring back.
    pub struct SystemRestoreSpec {
        /// The SystemBackup.
        pub system_backup: String = "systemBackup".required(),
    }
}

record! {
    /// What is known of a SystemRestore.
    pub struct SystemRestoreStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// How far it is.
        pub state: SystemRestoreState = "state".omit_empty(),
        /// Where the SystemBackup is in the store.
        pub source_url: String = "sourceURL".omit_empty(),
        /// [`CONDITION_ERROR`] is the only one.
        pub conditions: List<Condition> = "conditions".nullable(),
    }
}

custom_resource! {
    /// A system backup brought back.
    pub struct SystemRestore: SystemRestoreStatus {
        /// What to bring back.
        pub spec: SystemRestoreSpec = "spec",
    }
    "SystemRestore" ("systemrestores", "lhsr") [
        Column::text("State", ".status.state"),
        Column::AGE,
    ]
}
