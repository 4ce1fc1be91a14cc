//! What engines and replicas have in common: each is an instance of an instance manager (v1beta2/instancemanager.go, InstanceSpec
//! and InstanceStatus).
//!
//! Go embeds one structure in both kinds, so that the fields stand flat in the JSON. `engine_or_replica!` declares a kind's record
//! with these fields first; [`Instance`] gives code that serves both kinds the common part as one value.

use crate::go::{List, QuotedInteger};
use crate::kinds::Condition;
use crate::kinds::volume::DataEngine;
use crate::resource::CustomResource;
use crate::text::words;

words! {
    /// Whether an engine or a replica runs.
    pub enum InstanceState {
        Unset = "",
        Running = "running",
        Stopped = "stopped",
        Error = "error",
        Starting = "starting",
        Stopping = "stopping",
        Unknown = "unknown",
        /// Deleted and not found; since v1.9.0, only in what the controllers make of orphans.
        Terminated = "terminated",
    }
}

words! {
    /// What kind of instance.
    pub enum InstanceType {
        None = "",
        Engine = "engine",
        Replica = "replica",
    }
}

/// Condition of an engine or a replica: its instance could be made.
pub const CONDITION_INSTANCE_CREATION: &str = "InstanceCreation";
/// Reason of [`CONDITION_INSTANCE_CREATION`]: it could not.
pub const REASON_INSTANCE_CREATION_FAILURE: &str = "InstanceCreationFailure";

/// What is asked of an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceSpec {
    /// The volume it is part of.
    pub volume_name: String,
    /// Bytes.
    pub volume_size: QuotedInteger,
    /// Where it is to run.
    pub node_id: String,
    /// The engine image it is to run.
    pub image: String,
    /// Whether it is to run.
    pub desire_state: InstanceState,
    /// Whether its log is wanted.
    pub log_requested: bool,
    /// Whether it is to take what is left of its data.
    pub salvage_requested: bool,
    /// Which data engine.
    pub data_engine: DataEngine,
}

/// What is known of an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceStatus {
    /// The node whose manager is responsible.
    pub owner_id: String,
    /// The instance manager it runs in.
    pub instance_manager_name: String,
    /// Whether it runs.
    pub current_state: InstanceState,
    /// The engine image it runs.
    pub current_image: String,
    /// Address of the instance manager's pod.
    pub ip: String,
    /// Address for replicas' data.
    pub storage_ip: String,
    /// First of its ports.
    pub port: i64,
    /// Whether it is starting; since v1.9.2.
    pub starting: bool,
    /// Whether it was seen running.
    pub started: bool,
    /// Whether its log was fetched.
    pub log_fetched: bool,
    /// Whether the salvage that was asked for is done.
    pub salvage_executed: bool,
    /// [`CONDITION_INSTANCE_CREATION`], and those of the kind.
    pub conditions: List<Condition>,
    /// Number of its ublk device; since v1.9.0.
    pub ublk_id: i32,
    /// Of this incarnation of the instance; since v1.9.2.
    pub uuid: String,
}

/// A kind whose objects are instances: Engine and Replica.
pub trait Instance: CustomResource {
    /// Which of the two.
    const INSTANCE_TYPE: InstanceType;

    /// The common part of its spec.
    fn instance_spec(&self) -> InstanceSpec;

    /// Changes the common part of its spec.
    fn set_instance_spec(&mut self, spec: InstanceSpec);

    /// The common part of its status.
    fn instance_status(&self) -> InstanceStatus;

    /// Changes the common part of its status.
    fn set_instance_status(&mut self, status: InstanceStatus);
}

/// Declares the spec and the status of a kind of instance: the common fields, then its own.
macro_rules! engine_or_replica {
    (
        $(#[$spec_meta:meta])*
        pub struct $spec:ident { $($own_spec:tt)* }
        $(#[$status_meta:meta])*
        pub struct $status:ident { $($own_status:tt)* }
    ) => {
        $crate::schema::record! {
            $(#[$spec_meta])*
            pub struct $spec {
                /// The volume it is part of.
                pub volume_name: String = "volumeName",
                /// Bytes.
                pub volume_size: $crate::go::QuotedInteger = "volumeSize",
                /// Where it is to run.
                pub node_id: String = "nodeID",
                /// The engine image it is to run.
                pub image: String = "image",
                /// Whether it is to run.
                pub desire_state: $crate::kinds::instance::InstanceState = "desireState",
                /// Whether its log is wanted.
                pub log_requested: bool = "logRequested",
                /// Whether it is to take what is left of its data.
                pub salvage_requested: bool = "salvageRequested",
                /// Which data engine.
                pub data_engine: $crate::kinds::volume::DataEngine = "dataEngine".one_of(&["v1", "v2"]),
                $($own_spec)*
            }
            earlier {
                engine_image: String = "engineImage".until($crate::Release::V1_9_0_DEV_00886872C),
                backend_store_driver: String = "backendStoreDriver".until($crate::Release::V1_9_0_DEV_00886872C),
            }
        }

        $crate::schema::record! {
            $(#[$status_meta])*
            pub struct $status {
                /// The node whose manager is responsible.
                pub owner_id: String = "ownerID",
                /// The instance manager it runs in.
                pub instance_manager_name: String = "instanceManagerName",
                /// Whether it runs.
                pub current_state: $crate::kinds::instance::InstanceState = "currentState",
                /// The engine image it runs.
                pub current_image: String = "currentImage",
                /// Address of the instance manager's pod.
                pub ip: String = "ip",
                /// Address for replicas' data.
                pub storage_ip: String = "storageIP",
                /// First of its ports.
                pub port: i64 = "port".any_width(),
                /// Whether it is starting.
                pub starting: bool = "starting".since($crate::Release::V1_9_2),
                /// Whether it was seen running.
                pub started: bool = "started",
                /// Whether its log was fetched.
                pub log_fetched: bool = "logFetched",
                /// Whether the salvage that was asked for is done.
                pub salvage_executed: bool = "salvageExecuted",
                /// What is worth saying of it.
                pub conditions: $crate::go::List<$crate::kinds::Condition> = "conditions".nullable(),
                /// Number of its ublk device.
                pub ublk_id: i32 = "ublkID".omit_empty().since($crate::Release::V1_9_0_DEV_00886872C),
                /// Of this incarnation of the instance.
                pub uuid: String = "uuid".omit_empty().since($crate::Release::V1_9_2),
                $($own_status)*
            }
        }
    };
}

pub(crate) use engine_or_replica;

/// Gives a kind that [`engine_or_replica!`] declared its [`Instance`].
macro_rules! instance {
    ($kind:ident: $type:expr) => {
        impl $crate::kinds::instance::Instance for $kind {
            const INSTANCE_TYPE: $crate::kinds::instance::InstanceType = $type;

            fn instance_spec(&self) -> $crate::kinds::instance::InstanceSpec {
                let spec = &self.spec;
                $crate::kinds::instance::InstanceSpec {
                    volume_name: spec.volume_name.clone(),
                    volume_size: spec.volume_size,
                    node_id: spec.node_id.clone(),
                    image: spec.image.clone(),
                    desire_state: spec.desire_state.clone(),
                    log_requested: spec.log_requested,
                    salvage_requested: spec.salvage_requested,
                    data_engine: spec.data_engine.clone(),
                }
            }

            fn set_instance_spec(&mut self, spec: $crate::kinds::instance::InstanceSpec) {
                self.spec.volume_name = spec.volume_name;
                self.spec.volume_size = spec.volume_size;
                self.spec.node_id = spec.node_id;
                self.spec.image = spec.image;
                self.spec.desire_state = spec.desire_state;
                self.spec.log_requested = spec.log_requested;
                self.spec.salvage_requested = spec.salvage_requested;
                self.spec.data_engine = spec.data_engine;
            }

            fn instance_status(&self) -> $crate::kinds::instance::InstanceStatus {
                let status = &self.status;
                $crate::kinds::instance::InstanceStatus {
                    owner_id: status.owner_id.clone(),
                    instance_manager_name: status.instance_manager_name.clone(),
                    current_state: status.current_state.clone(),
                    current_image: status.current_image.clone(),
                    ip: status.ip.clone(),
                    storage_ip: status.storage_ip.clone(),
                    port: status.port,
                    starting: status.starting,
                    started: status.started,
                    log_fetched: status.log_fetched,
                    salvage_executed: status.salvage_executed,
                    conditions: status.conditions.clone(),
                    ublk_id: status.ublk_id,
                    uuid: status.uuid.clone(),
                }
            }

            fn set_instance_status(&mut self, status: $crate::kinds::instance::InstanceStatus) {
                self.status.owner_id = status.owner_id;
                self.status.instance_manager_name = status.instance_manager_name;
                self.status.current_state = status.current_state;
                self.status.current_image = status.current_image;
                self.status.ip = status.ip;
                self.status.storage_ip = status.storage_ip;
                self.status.port = status.port;
                self.status.starting = status.starting;
                self.status.started = status.started;
                self.status.log_fetched = status.log_fetched;
                self.status.salvage_executed = status.salvage_executed;
                self.status.conditions = status.conditions;
                self.status.ublk_id = status.ublk_id;
                self.status.uuid = status.uuid;
            }
        }
    };
}

pub(crate) use instance;
