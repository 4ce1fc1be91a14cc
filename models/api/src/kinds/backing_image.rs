//! BackingImage: a file below volumes' data, on several disks (v1beta2/backingimage.go).

use crate::go::{List, Map};
use crate::kinds::backing_image_data_source::BackingImageDataSourceType;
use crate::kinds::volume::DataEngine;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// How far one copy of the file is.
    pub enum BackingImageState {
        Unset = "",
        Pending = "pending",
        Starting = "starting",
        ReadyForTransfer = "ready-for-transfer",
        Ready = "ready",
        InProgress = "in-progress",
        Failed = "failed",
        FailedAndCleanUp = "failed-and-cleanup",
        Unknown = "unknown",
    }
}

record! {
    /// A copy of the file, as it is wanted.
    pub struct BackingImageDiskFileSpec {
        /// Whether it is to move away.
        pub eviction_requested: bool = "evictionRequested",
        /// Which data engine; not in v1.7.2.
        pub data_engine: DataEngine = "dataEngine".one_of(&["v1", "v2"]).since(Release::V1_8_0_RC1),
    }
}

record! {
    /// A copy of the file, as it is.
    pub struct BackingImageDiskFileStatus {
        /// Which data engine; not in v1.7.2.
        pub data_engine: DataEngine = "dataEngine".one_of(&["v1", "v2"]).since(Release::V1_8_0_RC1),
        /// How far it is.
        pub state: BackingImageState = "state",
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
        /// Why it failed.
        pub message: String = "message",
        /// When `state` last changed.
        pub last_state_transition_time: String = "lastStateTransitionTime",
    }
}

record! {
    /// A backing image, as a person wants it.
    pub struct BackingImageSpec {
        /// Out of use: `diskFileSpecMap` took its place.
        pub disks: Map<String> = "disks",
        /// The copies, by disk UUID.
        pub disk_file_spec_map: Map<BackingImageDiskFileSpec> = "diskFileSpecMap",
        /// SHA-512 it must have; may be empty.
        pub checksum: String = "checksum",
        /// Where it comes from.
        pub source_type: BackingImageDataSourceType =
            "sourceType".one_of(&["download", "upload", "export-from-volume", "restore", "clone"]),
        /// What that takes.
        pub source_parameters: Map<String> = "sourceParameters",
        /// How many copies there should be.
        pub min_number_of_copies: i64 = "minNumberOfCopies".any_width(),
        /// Tags its disks must have.
        pub disk_selector: List<String> = "diskSelector",
        /// Tags its nodes must have.
        pub node_selector: List<String> = "nodeSelector",
        /// The key, if it is encrypted.
        pub secret: String = "secret",
        /// Where the key is.
        pub secret_namespace: String = "secretNamespace",
        /// Which data engine; not in v1.7.2.
        pub data_engine: DataEngine =
            "dataEngine".one_of(&["v1", "v2"]).defaults_to("v1").since(Release::V1_8_0_RC1),
    }
}

record! {
    /// A backing image, as it is.
    pub struct BackingImageStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Part of its folders' names.
        pub uuid: String = "uuid",
        /// Bytes.
        pub size: i64 = "size",
        /// Bytes of the image it may hold; zero until known.
        pub virtual_size: i64 = "virtualSize",
        /// Bytes on the disk; zero until known; not in v1.7.2.
        pub real_size: i64 = "realSize".since(Release::V1_8_0_RC1),
        /// SHA-512 of the file.
        pub checksum: String = "checksum",
        /// The copies, by disk UUID.
        pub disk_file_status_map: Map<BackingImageDiskFileStatus> = "diskFileStatusMap".nullable(),
        /// When a replica last used a copy, by disk UUID.
        pub disk_last_ref_at_map: Map<String> = "diskLastRefAtMap".nullable(),
        /// How far the second data engine's first copy is; not in v1.7.2.
        pub v2_first_copy_status: BackingImageState = "v2FirstCopyStatus".since(Release::V1_8_0_RC1),
        /// Where the second data engine's first copy is; not in v1.7.2.
        pub v2_first_copy_disk: String = "v2FirstCopyDisk".since(Release::V1_8_0_RC1),
    }
}

custom_resource! {
    /// A file below volumes' data.
    pub struct BackingImage: BackingImageStatus {
        /// As a person wants it.
        pub spec: BackingImageSpec = "spec",
    }
    "BackingImage" ("backingimages", "lhbi") [
        Column::text("UUID", ".status.uuid"),
        Column::text("SourceType", ".spec.sourceType"),
        Column::text("Size", ".status.size"),
        Column::text("VirtualSize", ".status.virtualSize"),
        Column::AGE,
    ]
}
