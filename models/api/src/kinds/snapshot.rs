//! Snapshot: a volume's content at one moment (v1beta2/snapshot.go).

use crate::go::Map;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// How far the checksum of a snapshot is, as the engine says.
    pub enum SnapshotHashState {
        New = "",
        InProgress = "in_progress",
        Completed = "complete",
        Error = "error",
    }
}

record! {
    /// Which snapshot.
    pub struct SnapshotSpec {
        /// The volume.
        pub volume: String = "volume".required(),
        /// Whether the engine is to make it, or has it already.
        pub create_snapshot: bool = "createSnapshot",
        /// What to write on it.
        pub labels: Map<String> = "labels".nullable(),
    }
}

record! {
    /// What is known of a snapshot.
    pub struct SnapshotStatus {
        /// The snapshot below it.
        pub parent: String = "parent",
        /// The snapshots above it.
        pub children: Map<bool> = "children".nullable(),
        /// Whether it is marked removed.
        pub mark_removed: bool = "markRemoved",
        /// Whether a person made it.
        pub user_created: bool = "userCreated",
        /// When, in RFC 3339.
        pub creation_time: String = "creationTime",
        /// Bytes.
        pub size: i64 = "size",
        /// What is written on it.
        pub labels: Map<String> = "labels".nullable(),
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Why it could not be made, or is lost.
        pub error: String = "error".omit_empty(),
        /// Bytes of the volume when it was made.
        pub restore_size: i64 = "restoreSize",
        /// Whether it can be used.
        pub ready_to_use: bool = "readyToUse",
        /// CRC-64 of its content, once known.
        pub checksum: String = "checksum",
    }
}

custom_resource! {
    /// A volume's content at one moment.
    pub struct Snapshot: SnapshotStatus {
        /// Which.
        pub spec: SnapshotSpec = "spec",
    }
    "Snapshot" ("snapshots", "lhsnap") [
        Column::text("Volume", ".spec.volume"),
        Column::text("CreationTime", ".status.creationTime"),
        Column::new("ReadyToUse", "boolean", ".status.readyToUse"),
        Column::text("RestoreSize", ".status.restoreSize"),
        Column::text("Size", ".status.size"),
        Column::AGE,
    ]
}
