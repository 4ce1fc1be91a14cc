//! InstanceManager: the pod that runs a node's engines and replicas of one data engine (v1beta2/instancemanager.go).
//!
//! It is the one kind besides RecurringJob, Setting and SystemRestore without Longhorn's finalizer; its manager deletes it in the foreground.

use crate::go::Map;
use crate::kinds::backing_image::BackingImageState;
use crate::kinds::instance::{InstanceState, InstanceType};
use crate::kinds::volume::DataEngine;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// Whether an instance manager answers.
    pub enum InstanceManagerState {
        Unset = "",
        Error = "error",
        Running = "running",
        Stopped = "stopped",
        Starting = "starting",
        Unknown = "unknown",
    }
}

words! {
    /// What instances it runs.
    pub enum InstanceManagerType {
        Unset = "",
        AllInOne = "aio",
        /// Before v1.5.0.
        Engine = "engine",
        /// Before v1.5.0.
        Replica = "replica",
    }
}

record! {
    /// Which instance.
    pub struct InstanceProcessSpec {
        /// Name of the engine or replica.
        pub name: String = "name",
        /// Which data engine.
        pub data_engine: DataEngine = "dataEngine",
    }
    earlier {
        backend_store_driver: String = "backendStoreDriver".until(Release::V1_9_0_DEV_00886872C),
    }
}

record! {
    /// What the instance manager's pod said of an instance.
    pub struct InstanceProcessStatus {
        /// Where its frontend is.
        pub endpoint: String = "endpoint",
        /// Why it failed.
        pub error_message: String = "errorMsg",
        /// What is wrong with it, for example `FilesystemReadOnly`.
        pub conditions: Map<bool> = "conditions".nullable(),
        /// Where it listens.
        pub listen: String = "listen",
        /// Last port.
        pub port_end: i32 = "portEnd",
        /// First port.
        pub port_start: i32 = "portStart",
        /// Last port of the target, where that is another instance.
        pub target_port_end: i32 = "targetPortEnd",
        /// First port of the target.
        pub target_port_start: i32 = "targetPortStart",
        /// Whether it runs.
        pub state: InstanceState = "state",
        /// Engine or replica.
        pub instance_type: InstanceType = "type",
        /// Counted up by the instance manager at changes; zero in practice.
        pub resource_version: i64 = "resourceVersion",
        /// Number of its ublk device; since v1.9.0.
        pub ublk_id: i32 = "ublkID".omit_empty().since(Release::V1_9_0_DEV_00886872C),
        /// Of this incarnation; since v1.9.2.
        pub uuid: String = "uuid".omit_empty().since(Release::V1_9_2),
    }
}

record! {
    /// An instance.
    pub struct InstanceProcess {
        /// Which.
        pub spec: InstanceProcessSpec = "spec",
        /// How it is.
        pub status: InstanceProcessStatus = "status",
    }
}

record! {
    /// A backing image on a disk of the second data engine (v1beta2/backingimagemanager.go).
    pub struct BackingImageV2CopyInfo {
        /// The backing image.
        pub name: String = "name",
        /// The backing image's UUID.
        pub uuid: String = "uuid",
        /// The disk.
        pub disk_uuid: String = "diskUUID",
        /// Bytes.
        pub size: i64 = "size",
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
        /// How far it is.
        pub state: BackingImageState = "state",
        /// SHA-512 of the file.
        pub current_checksum: String = "currentChecksum",
        /// Why it failed.
        pub message: String = "message",
    }
}

record! {
    /// What the second data engine's instance manager is to be started with.
    pub struct V2DataEngineSpec {
        /// Its CPUs; empty for the setting's.
        pub cpu_mask: String = "cpuMask",
    }
}

record! {
    /// What a data engine's instance manager is to be started with.
    pub struct DataEngineSpec {
        /// The second data engine's.
        pub v2: V2DataEngineSpec = "v2",
    }
}

record! {
    /// What the second data engine's instance manager was started with.
    pub struct V2DataEngineStatus {
        /// Its CPUs.
        pub cpu_mask: String = "cpuMask",
    }
}

record! {
    /// What a data engine's instance manager was started with.
    pub struct DataEngineStatus {
        /// The second data engine's.
        pub v2: V2DataEngineStatus = "v2",
    }
}

record! {
    /// Which instance manager.
    pub struct InstanceManagerSpec {
        /// The container image.
        pub image: String = "image",
        /// The node.
        pub node_id: String = "nodeID",
        /// What instances it runs.
        pub instance_manager_type: InstanceManagerType = "type".one_of(&["aio", "engine", "replica"]),
        /// Which data engine.
        pub data_engine: DataEngine = "dataEngine",
        /// What it is to be started with; not in v1.7.2.
        pub data_engine_spec: DataEngineSpec = "dataEngineSpec".since(Release::V1_8_0_RC1),
    }
}

record! {
    /// What is known of an instance manager.
    pub struct InstanceManagerStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Whether it answers.
        pub current_state: InstanceManagerState = "currentState",
        /// Its engines, by name.
        pub instance_engines: Map<InstanceProcess> = "instanceEngines".omit_empty().nullable(),
        /// Its replicas, by name.
        pub instance_replicas: Map<InstanceProcess> = "instanceReplicas".omit_empty().nullable(),
        /// Its disks' backing images; not in v1.7.2.
        pub backing_images: Map<BackingImageV2CopyInfo> =
            "backingImages".since(Release::V1_8_0_RC1).nullable_since(Release::V1_8_0),
        /// Address of its pod.
        pub ip: String = "ip",
        /// The oldest interface it understands.
        pub api_min_version: i64 = "apiMinVersion".any_width(),
        /// The interface it speaks.
        pub api_version: i64 = "apiVersion".any_width(),
        /// The oldest proxy interface it understands.
        pub proxy_api_min_version: i64 = "proxyApiMinVersion".any_width(),
        /// The proxy interface it speaks.
        pub proxy_api_version: i64 = "proxyApiVersion".any_width(),
        /// What it was started with; not in v1.7.2.
        pub data_engine_status: DataEngineStatus = "dataEngineStatus".since(Release::V1_8_0_RC1),
        /// Out of use: engines and replicas in one.
        pub instances: Map<InstanceProcess> = "instances".omit_empty().nullable(),
    }
}

custom_resource! {
    /// What runs a node's engines and replicas.
    pub struct InstanceManager: InstanceManagerStatus {
        /// Which.
        pub spec: InstanceManagerSpec = "spec",
    }
    "InstanceManager" ("instancemanagers", "lhim") [
        Column::text("Data Engine", ".spec.dataEngine"),
        Column::text("State", ".status.currentState"),
        Column::text("Type", ".spec.type"),
        Column::text("Node", ".spec.nodeID"),
        Column::AGE,
    ]
}
