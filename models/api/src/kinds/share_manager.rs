//! ShareManager: the NFS server of a volume that many nodes use (v1beta2/sharemanager.go).

use crate::kinds::volume::ShareManagerState;
use crate::resource::{Column, custom_resource};
use crate::schema::record;

record! {
    /// Which image.
    pub struct ShareManagerSpec {
        /// The container image.
        pub image: String = "image",
    }
}

record! {
    /// What is known of it.
    pub struct ShareManagerStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Whether it is up.
        pub state: ShareManagerState = "state",
        /// Where the file system is mounted from.
        pub endpoint: String = "endpoint",
    }
}

custom_resource! {
    /// The NFS server of a volume.
    pub struct ShareManager: ShareManagerStatus {
        /// Which image.
        pub spec: ShareManagerSpec = "spec",
    }
    "ShareManager" ("sharemanagers", "lhsm") [
        Column::text("State", ".status.state"),
        Column::text("Node", ".status.ownerID"),
        Column::AGE,
    ]
}
