//! Engine: what a volume's blocks are read and written through, while it is attached (v1beta2/engine.go).

use crate::go::{Map, QuotedInteger};
use crate::kinds::instance::{InstanceType, engine_or_replica, instance};
use crate::kinds::volume::VolumeFrontend;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// How an engine uses a replica.
    pub enum ReplicaMode {
        Unset = "",
        ReadWrite = "RW",
        /// While it is rebuilt.
        WriteOnly = "WO",
        Error = "ERR",
    }
}

record! {
    /// How far a backup is, as the engine says.
    pub struct EngineBackupStatus {
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
        /// The finished backup.
        pub backup_url: String = "backupURL".omit_empty(),
        /// Why it failed.
        pub error: String = "error".omit_empty(),
        /// The snapshot that is uploaded.
        pub snapshot_name: String = "snapshotName",
        /// `in_progress`, `complete`, `error`
        pub state: String = "state",
        /// The replica that uploads.
        pub replica_address: String = "replicaAddress",
    }
}

record! {
    /// How far the restore into one replica is, as the engine says.
    pub struct RestoreStatus {
        /// Whether it restores now.
        pub is_restoring: bool = "isRestoring",
        /// The last backup that was restored.
        pub last_restored: String = "lastRestored",
        /// The backup that is restored.
        pub current_restoring_backup: String = "currentRestoringBackup",
        /// Per cent.
        pub progress: i64 = "progress".any_width().omit_empty(),
        /// Why it failed.
        pub error: String = "error".omit_empty(),
        /// The file it is written into.
        pub filename: String = "filename".omit_empty(),
        /// `in_progress`, `complete`, `error`
        pub state: String = "state",
        /// Where the backup is.
        pub backup_url: String = "backupURL",
    }
}

record! {
    /// How far the purge of removed snapshots is in one replica.
    pub struct PurgeStatus {
        /// Why it failed.
        pub error: String = "error",
        /// Whether it runs.
        pub is_purging: bool = "isPurging",
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
        /// `in_progress`, `complete`, `error`
        pub state: String = "state",
    }
}

record! {
    /// How far the rebuild of one replica is.
    pub struct RebuildStatus {
        /// Why it failed.
        pub error: String = "error",
        /// Whether it runs.
        pub is_rebuilding: bool = "isRebuilding",
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
        /// `in_progress`, `complete`, `error`
        pub state: String = "state",
        /// The replica that is copied.
        pub from_replica_address: String = "fromReplicaAddress",
    }
}

record! {
    /// How far the copying of another volume's snapshot into one replica is.
    pub struct SnapshotCloneStatus {
        /// Whether it runs.
        pub is_cloning: bool = "isCloning",
        /// Why it failed.
        pub error: String = "error",
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
        /// `in_progress`, `complete`, `error`
        pub state: String = "state",
        /// The replica that is copied.
        pub from_replica_address: String = "fromReplicaAddress",
        /// The snapshot that is copied.
        pub snapshot_name: String = "snapshotName",
    }
}

record! {
    /// A snapshot, as the engine sees it; the one named `volume-head` is the live data.
    pub struct SnapshotInfo {
        /// Its name.
        pub name: String = "name",
        /// The snapshot below it.
        pub parent: String = "parent",
        /// The snapshots above it.
        pub children: Map<bool> = "children".nullable(),
        /// Whether it is marked removed.
        pub removed: bool = "removed",
        /// Whether a person made it. Not in camel case, as upstream has it.
        pub user_created: bool = "usercreated",
        /// When, in RFC 3339.
        pub created: String = "created",
        /// Bytes, in decimal.
        pub size: String = "size",
        /// What a person wrote on it.
        pub labels: Map<String> = "labels".nullable(),
    }
}

engine_or_replica! {
    /// What is asked of an engine.
    pub struct EngineSpec {
        /// How it shows on its node.
        pub frontend: VolumeFrontend = "frontend"
            .one_of(&["blockdev", "iscsi", "nvmf", "ublk", ""])
            .choice_since("ublk", Release::V1_9_0_DEV_00886872C),
        /// Its replicas' addresses, by replica name.
        pub replica_address_map: Map<String> = "replicaAddressMap",
        /// Its replicas' addresses while it changes its image without a detach.
        pub upgraded_replica_address_map: Map<String> = "upgradedReplicaAddressMap",
        /// The volume whose backups a restore reads.
        pub backup_volume: String = "backupVolume",
        /// The backup it is to restore.
        pub requested_backup_restore: String = "requestedBackupRestore",
        /// What it is to copy: see the volume's data source.
        pub requested_data_source: String = "requestedDataSource",
        /// Whether it is to run without a frontend.
        pub disable_frontend: bool = "disableFrontend",
        /// Whether replicas count their writes.
        pub revision_counter_disabled: bool = "revisionCounterDisabled",
        /// Whether a trim reaches into snapshots by marking them removed.
        pub unmap_mark_snap_chain_removed_enabled: bool = "unmapMarkSnapChainRemovedEnabled",
        /// Whether it is the volume's engine; during a migration there are two.
        pub active: bool = "active",
        /// How many snapshots it may have.
        pub snapshot_max_count: i64 = "snapshotMaxCount".any_width(),
        /// How many bytes its snapshots may have; zero for no limit.
        pub snapshot_max_size: QuotedInteger = "snapshotMaxSize",
    }
    /// What is known of an engine.
    pub struct EngineStatus {
        /// Bytes.
        pub current_size: QuotedInteger = "currentSize",
        /// The addresses it was started with.
        pub current_replica_address_map: Map<String> = "currentReplicaAddressMap".nullable(),
        /// How it uses its replicas, by replica name.
        pub replica_mode_map: Map<ReplicaMode> = "replicaModeMap".nullable(),
        /// Since when, in RFC 3339, by replica name.
        pub replica_transition_time_map: Map<String> = "replicaTransitionTimeMap",
        /// The block device, or an address.
        pub endpoint: String = "endpoint",
        /// The last backup that was restored.
        pub last_restored_backup: String = "lastRestoredBackup",
        /// Backups, by name.
        pub backup_status: Map<EngineBackupStatus> = "backupStatus".nullable(),
        /// Restores, by replica address.
        pub restore_status: Map<RestoreStatus> = "restoreStatus".nullable(),
        /// Purges, by replica address.
        pub purge_status: Map<PurgeStatus> = "purgeStatus".nullable(),
        /// Rebuilds, by replica address.
        pub rebuild_status: Map<RebuildStatus> = "rebuildStatus".nullable(),
        /// Copies, by replica address.
        pub clone_status: Map<SnapshotCloneStatus> = "cloneStatus".nullable(),
        /// Snapshots, by name.
        pub snapshots: Map<SnapshotInfo> = "snapshots".nullable(),
        /// Why the snapshots are not known.
        pub snapshots_error: String = "snapshotsError",
        /// Whether it is growing.
        pub is_expanding: bool = "isExpanding",
        /// Why it could not grow.
        pub last_expansion_error: String = "lastExpansionError",
        /// When it could not grow.
        pub last_expansion_failed_at: String = "lastExpansionFailedAt",
        /// Whether a trim reaches into snapshots.
        pub unmap_mark_snap_chain_removed_enabled: bool = "unmapMarkSnapChainRemovedEnabled",
        /// How many snapshots it may have.
        pub snapshot_max_count: i64 = "snapshotMaxCount".any_width(),
        /// How many bytes its snapshots may have.
        pub snapshot_max_size: QuotedInteger = "snapshotMaxSize",
    }
}

custom_resource! {
    /// What a volume is read and written through.
    pub struct Engine: EngineStatus {
        /// What is asked of it.
        pub spec: EngineSpec = "spec",
    }
    "Engine" ("engines", "lhe") [
        Column::text("Data Engine", ".spec.dataEngine"),
        Column::text("State", ".status.currentState"),
        Column::text("Node", ".spec.nodeID"),
        Column::text("InstanceManager", ".status.instanceManagerName"),
        Column::text("Image", ".status.currentImage"),
        Column::AGE,
    ]
}

instance!(Engine: InstanceType::Engine);
