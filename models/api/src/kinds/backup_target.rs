//! BackupTarget: a store that backups go to (v1beta2/backuptarget.go).
//!
//! Up to v1.7.2 there is one, `default`, kept in step with three settings; since v1.8.0-rc1 there may be many. Its name being part of
//! other kinds is what makes their fields differ between these releases; its own fields do not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::go::{Duration, List};
use crate::kinds::Condition;
use crate::resource::{Column, custom_resource};
use crate::schema::record;

/// Condition type and, while it holds, reason: the store cannot be reached or has no URL.
pub const UNAVAILABLE: &str = "Unavailable";

/// Poll interval of a new target (types/setting.go).
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_seconds(300);

record! {
    /// Where the store is and how often to look.
    pub struct BackupTargetSpec {
        /// `s3://bucket@region/path`, `nfs://host:/path`, ...; empty for none.
        pub backup_target_url: String = "backupTargetURL",
        /// The secret with the credentials, in Longhorn's namespace.
        pub credential_secret: String = "credentialSecret",
        /// How often the store is listed; zero for never.
        pub poll_interval: Duration = "pollInterval",
        /// When a synchronisation was last asked for.
        pub sync_requested_at: Option<Time> = "syncRequestedAt".nullable(),
    }
}

record! {
    /// What is known of the store.
    pub struct BackupTargetStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Whether the last attempt to list it succeeded.
        pub available: bool = "available",
        /// [`UNAVAILABLE`] is the only one.
        pub conditions: List<Condition> = "conditions".nullable(),
        /// When the last synchronisation started.
        pub last_synced_at: Option<Time> = "lastSyncedAt".nullable(),
    }
}

custom_resource! {
    /// A store for backups.
    pub struct BackupTarget: BackupTargetStatus {
        /// Where it is.
        pub spec: BackupTargetSpec = "spec",
    }
    "BackupTarget" ("backuptargets", "lhbt") [
        Column::text("URL", ".spec.backupTargetURL"),
        Column::text("Credential", ".spec.credentialSecret"),
        // The head says something else than what the column shows; upstream's slip.
        Column::text("LastBackupAt", ".spec.pollInterval"),
        Column::new("Available", "boolean", ".status.available"),
        Column::text("LastSyncedAt", ".status.lastSyncedAt"),
    ]
}
