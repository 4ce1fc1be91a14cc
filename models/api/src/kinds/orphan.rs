//! Orphan: data or an instance on a node that no resource stands for (v1beta2/orphan.go).

use crate::go::{List, Map};
use crate::kinds::Condition;
use crate::kinds::volume::DataEngine;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// What is orphaned.
    pub enum OrphanType {
        Unset = "",
        /// A replica's folder, or its logical volume.
        ReplicaData = "replica",
        /// An engine in an instance manager; since v1.9.0.
        EngineInstance = "engine-instance",
        /// A replica in an instance manager; since v1.9.0.
        ReplicaInstance = "replica-instance",
    }
}

/// Condition: the clean-up failed.
pub const CONDITION_ERROR: &str = "Error";
/// Condition: the data can be deleted.
pub const CONDITION_DATA_CLEANABLE: &str = "DataCleanable";
/// Condition: the instance is there; since v1.9.0.
pub const CONDITION_INSTANCE_EXIST: &str = "InstanceExist";

/// Reason of [`CONDITION_DATA_CLEANABLE`]: the node is away.
pub const REASON_NODE_UNAVAILABLE: &str = "NodeUnavailable";
/// Reason of [`CONDITION_DATA_CLEANABLE`]: the node is being emptied.
pub const REASON_NODE_EVICTED: &str = "NodeEvicted";
/// Reason of [`CONDITION_DATA_CLEANABLE`]: the node has no such disk.
pub const REASON_DISK_INVALID: &str = "DiskInvalid";
/// Reason of [`CONDITION_DATA_CLEANABLE`]: the disk is being emptied.
pub const REASON_DISK_EVICTED: &str = "DiskEvicted";
/// Reason of [`CONDITION_DATA_CLEANABLE`]: another disk is in its place.
pub const REASON_DISK_CHANGED: &str = "DiskChanged";

/// Parameter: name of the engine or replica; since v1.9.0.
pub const PARAMETER_INSTANCE_NAME: &str = "InstanceName";
/// Parameter: the incarnation; since v1.9.2.
pub const PARAMETER_INSTANCE_UUID: &str = "InstanceUUID";
/// Parameter: the instance manager it runs in; since v1.9.0.
pub const PARAMETER_INSTANCE_MANAGER: &str = "InstanceManager";
/// Parameter: the folder or logical volume.
pub const PARAMETER_DATA_NAME: &str = "DataName";
/// Parameter: the disk's key in the node.
pub const PARAMETER_DISK_NAME: &str = "DiskName";
/// Parameter: the disk's UUID.
pub const PARAMETER_DISK_UUID: &str = "DiskUUID";
/// Parameter: the disk's path.
pub const PARAMETER_DISK_PATH: &str = "DiskPath";
/// Parameter: folder or block device.
pub const PARAMETER_DISK_TYPE: &str = "DiskType";

record! {
    /// What is orphaned, and where.
    pub struct OrphanSpec {
        /// The node whose manager cleans up.
        pub node_id: String = "nodeID",
        /// What is orphaned.
        pub orphan_type: OrphanType = "orphanType",
        /// The data engine of an instance; since v1.9.0.
        pub data_engine: DataEngine =
            "dataEngine".one_of(&["v1", "v2"]).omit_empty().since(Release::V1_9_0_DEV_00886872C),
        /// Which one: see the constants of this module.
        pub parameters: Map<String> = "parameters",
    }
}

record! {
    /// What is known of an orphan.
    pub struct OrphanStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// See the constants of this module.
        pub conditions: List<Condition> = "conditions".nullable(),
    }
}

custom_resource! {
    /// What is left on a node.
    pub struct Orphan: OrphanStatus {
        /// What, and where.
        pub spec: OrphanSpec = "spec",
    }
    "Orphan" ("orphans", "lho") [
        Column::text("Type", ".spec.orphanType"),
        Column::text("Node", ".spec.nodeID"),
    ]
}
