//! EngineImage: an engine binary that is on the nodes (v1beta2/engineimage.go).

use crate::go::{List, Map};
use crate::kinds::Condition;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// Whether the binary is on every node.
    pub enum EngineImageState {
        Unset = "",
        Deploying = "deploying",
        Deployed = "deployed",
        /// Deprecated, up to v1.8.2: `status.incompatible` took its place in v1.6.0.
        Incompatible = "incompatible",
        /// Up to v1.8.2.
        Error = "error",
    }
}

/// The condition type.
pub const CONDITION_READY: &str = "ready";
/// Reason of [`CONDITION_READY`]: the DaemonSet is not there or not complete.
pub const REASON_DAEMON_SET: &str = "daemonSet";
/// Reason of [`CONDITION_READY`]: the binary is not there or does not answer.
pub const REASON_BINARY: &str = "binary";

record! {
    /// Which image.
    pub struct EngineImageSpec {
        /// The container image.
        pub image: String = "image".required().at_least_long(1),
    }
}

record! {
    /// What is known of the image and its binary.
    pub struct EngineImageStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Whether it is on every node.
        pub state: EngineImageState = "state",
        /// How many volumes, engines and replicas use it.
        pub ref_count: i64 = "refCount".any_width(),
        /// Since when nothing uses it.
        pub no_ref_since: String = "noRefSince",
        /// Whether this manager cannot work with it.
        pub incompatible: bool = "incompatible",
        /// [`CONDITION_READY`] is the only one.
        pub conditions: List<Condition> = "conditions".nullable(),
        /// On which nodes it is.
        pub node_deployment_map: Map<bool> = "nodeDeploymentMap".nullable(),
        /// The binary's version.
        pub version: String = "version",
        /// The binary's commit.
        pub git_commit: String = "gitCommit",
        /// When the binary was built.
        pub build_date: String = "buildDate",
        /// The command line it speaks.
        pub cli_api_version: i64 = "cliAPIVersion".any_width(),
        /// The oldest command line it understands.
        pub cli_api_min_version: i64 = "cliAPIMinVersion".any_width(),
        /// The controller interface it speaks.
        pub controller_api_version: i64 = "controllerAPIVersion".any_width(),
        /// The oldest controller interface it understands.
        pub controller_api_min_version: i64 = "controllerAPIMinVersion".any_width(),
        /// The format it writes on disks.
        pub data_format_version: i64 = "dataFormatVersion".any_width(),
        /// The oldest format it reads.
        pub data_format_min_version: i64 = "dataFormatMinVersion".any_width(),
    }
}

custom_resource! {
    /// An engine binary on the nodes.
    pub struct EngineImage: EngineImageStatus {
        /// Which image.
        pub spec: EngineImageSpec = "spec",
    }
    "EngineImage" ("engineimages", "lhei") [
        Column::new("Incompatible", "boolean", ".status.incompatible"),
        Column::text("State", ".status.state"),
        Column::text("Image", ".spec.image"),
        Column::new("RefCount", "integer", ".status.refCount"),
        Column::new("BuildDate", "date", ".status.buildDate"),
        Column::AGE,
    ]
}
