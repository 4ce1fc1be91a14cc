//! SupportBundle: logs and resources collected for whoever helps (v1beta2/supportbundle.go).

use crate::go::List;
use crate::kinds::Condition;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// How far a bundle is.
    pub enum SupportBundleState {
        New = "",
        Purging = "Purging",
        Deleting = "Deleting",
        Error = "Error",
        Generating = "Generating",
        Ready = "ReadyForDownload",
        Replaced = "Replaced",
        Started = "Started",
        Unknown = "Unknown",
    }
}

/// The condition type of a failure.
pub const CONDITION_ERROR: &str = "Error";
/// The condition type of what its deployment does.
pub const CONDITION_MANAGER: &str = "Manager";

record! {
    /// What is asked of a bundle.
    pub struct SupportBundleSpec {
        /// The node whose manager should be responsible.
        pub node_id: String = "nodeID",
        /// The issue it is for.
        pub issue_url: String = "issueURL".nullable(),
        /// What happened.
        pub description: String = "description".required(),
    }
}

record! {
    /// What is known of a bundle.
    pub struct SupportBundleStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// The image that collects.
        pub image: String = "image",
        /// Address of the pod that collects.
        pub manager_ip: String = "managerIP",
        /// How far it is.
        pub state: SupportBundleState = "state".omit_empty(),
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
        /// The file.
        pub file_name: String = "filename".omit_empty(),
        /// Bytes.
        pub file_size: i64 = "filesize".omit_empty(),
        /// [`CONDITION_ERROR`], [`CONDITION_MANAGER`].
        pub conditions: List<Condition> = "conditions".omit_empty(),
    }
}

custom_resource! {
    /// Logs and resources for whoever helps.
    pub struct SupportBundle: SupportBundleStatus {
        /// What is asked of it.
        pub spec: SupportBundleSpec = "spec",
    }
    "SupportBundle" ("supportbundles", "lhbundle") [
        Column::text("State", ".status.state"),
        Column::text("Issue", ".spec.issueURL"),
        Column::text("Description", ".spec.description"),
        Column::AGE,
    ]
}
