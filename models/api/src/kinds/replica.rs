//! Replica: one copy of a volume's data, on one disk (v1beta2/replica.go).

use crate::go::QuotedInteger;
use crate::kinds::instance::{InstanceType, engine_or_replica, instance};
use crate::releases::Release;
use crate::resource::{Column, custom_resource};

/// Condition: its rebuild failed.
pub const CONDITION_REBUILD_FAILED: &str = "RebuildFailed";
/// Condition: it waits for its backing image.
pub const CONDITION_WAIT_FOR_BACKING_IMAGE: &str = "WaitForBackingImage";
/// Reason of [`CONDITION_WAIT_FOR_BACKING_IMAGE`]: the backing image cannot be looked up.
pub const REASON_WAIT_FOR_BACKING_IMAGE_FAILED: &str = "GetBackingImageFailed";
/// Reason of [`CONDITION_WAIT_FOR_BACKING_IMAGE`]: the backing image is not ready.
pub const REASON_WAIT_FOR_BACKING_IMAGE_WAITING: &str = "Waiting";
/// Reason of [`CONDITION_REBUILD_FAILED`]: the connection broke.
pub const REASON_REBUILD_FAILED_DISCONNECTION: &str = "Disconnection";
/// Reason of [`CONDITION_REBUILD_FAILED`]: anything else.
pub const REASON_REBUILD_FAILED_GENERAL: &str = "General";

engine_or_replica! {
    /// What is asked of a replica.
    pub struct ReplicaSpec {
        /// The engine it serves.
        pub engine_name: String = "engineName",
        /// The second engine during a migration of the second data engine; not in v1.7.2.
        pub migration_engine_name: String = "migrationEngineName".since(Release::V1_8_0_RC1),
        /// When it became readable after it was made or rebuilt; cleared before a rebuild.
        pub healthy_at: String = "healthyAt",
        /// The same, never cleared.
        pub last_healthy_at: String = "lastHealthyAt",
        /// When it failed; cleared before a rebuild or salvage.
        pub failed_at: String = "failedAt",
        /// The same, never cleared.
        pub last_failed_at: String = "lastFailedAt",
        /// The disk, by its UUID.
        pub disk_id: String = "diskID",
        /// The disk's path.
        pub disk_path: String = "diskPath",
        /// Its folder on the disk.
        pub data_directory_name: String = "dataDirectoryName",
        /// The backing image below its data.
        pub backing_image: String = "backingImage",
        /// Whether it is one of the volume's replicas; during an upgrade there are twice as many.
        pub active: bool = "active",
        /// The only node it may be on.
        pub hard_node_affinity: String = "hardNodeAffinity",
        /// Whether it counts its writes.
        pub revision_counter_disabled: bool = "revisionCounterDisabled",
        /// Whether a trim reaches into snapshots by marking them removed.
        pub unmap_mark_disk_chain_removed_enabled: bool = "unmapMarkDiskChainRemovedEnabled",
        /// How often its rebuild was tried.
        pub rebuild_retry_count: i64 = "rebuildRetryCount".any_width(),
        /// Whether it is to move away.
        pub eviction_requested: bool = "evictionRequested",
        /// How many snapshots it may have.
        pub snapshot_max_count: i64 = "snapshotMaxCount".any_width(),
        /// How many bytes its snapshots may have; zero for no limit.
        pub snapshot_max_size: QuotedInteger = "snapshotMaxSize",
    }
    /// What is known of a replica.
    pub struct ReplicaStatus {
        /// Out of use: the spec's took its place.
        pub eviction_requested: bool = "evictionRequested",
    }
}

custom_resource! {
    /// A copy of a volume's data.
    pub struct Replica: ReplicaStatus {
        /// What is asked of it.
        pub spec: ReplicaSpec = "spec",
    }
    "Replica" ("replicas", "lhr") [
        Column::text("Data Engine", ".spec.dataEngine"),
        Column::text("State", ".status.currentState"),
        Column::text("Node", ".spec.nodeID"),
        Column::text("Disk", ".spec.diskID"),
        Column::text("InstanceManager", ".status.instanceManagerName"),
        Column::text("Image", ".status.currentImage"),
        Column::AGE,
    ]
}

instance!(Replica: InstanceType::Replica);
