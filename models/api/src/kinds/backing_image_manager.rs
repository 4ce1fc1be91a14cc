//! BackingImageManager: the pod that keeps one disk's backing images (v1beta2/backingimagemanager.go).

use crate::go::Map;
use crate::kinds::backing_image::BackingImageState;
use crate::releases::Release;
use crate::resource::{Column, custom_resource};
use crate::schema::record;
use crate::text::words;

words! {
    /// Whether a backing image manager answers.
    pub enum BackingImageManagerState {
        Unset = "",
        Error = "error",
        Running = "running",
        Stopped = "stopped",
        Starting = "starting",
        Unknown = "unknown",
    }
}

record! {
    /// A file, as the pod says.
    pub struct BackingImageFileInfo {
        /// The backing image.
        pub name: String = "name",
        /// The backing image's UUID.
        pub uuid: String = "uuid",
        /// Bytes.
        pub size: i64 = "size",
        /// Bytes of the image it may hold.
        pub virtual_size: i64 = "virtualSize",
        /// Bytes on the disk; not in v1.7.2.
        pub real_size: i64 = "realSize".since(Release::V1_8_0_RC1),
        /// How far it is.
        pub state: BackingImageState = "state",
        /// SHA-512 of the file.
        pub current_checksum: String = "currentChecksum",
        /// Why it failed.
        pub message: String = "message",
        /// How many others it is sent to.
        pub sending_reference: i64 = "sendingReference".any_width(),
        /// From where it is received.
        pub sender_manager_address: String = "senderManagerAddress",
        /// Per cent.
        pub progress: i64 = "progress".any_width(),
    }
}

record! {
    /// Which disk, and which backing images.
    pub struct BackingImageManagerSpec {
        /// The container image.
        pub image: String = "image",
        /// The node.
        pub node_id: String = "nodeID",
        /// The disk.
        pub disk_uuid: String = "diskUUID",
        /// The disk's path.
        pub disk_path: String = "diskPath",
        /// The backing images' UUIDs, by name.
        pub backing_images: Map<String> = "backingImages",
    }
}

record! {
    /// What is known of a backing image manager.
    pub struct BackingImageManagerStatus {
        /// The node whose manager is responsible.
        pub owner_id: String = "ownerID",
        /// Whether it answers.
        pub current_state: BackingImageManagerState = "currentState",
        /// Its files, by backing image.
        pub backing_image_file_map: Map<BackingImageFileInfo> = "backingImageFileMap".nullable(),
        /// Address of its pod.
        pub ip: String = "ip",
        /// Address for the files' data.
        pub storage_ip: String = "storageIP",
        /// The oldest interface it understands.
        pub api_min_version: i64 = "apiMinVersion".any_width(),
        /// The interface it speaks.
        pub api_version: i64 = "apiVersion".any_width(),
    }
}

custom_resource! {
    /// What keeps a disk's backing images.
    pub struct BackingImageManager: BackingImageManagerStatus {
        /// Which disk.
        pub spec: BackingImageManagerSpec = "spec",
    }
    "BackingImageManager" ("backingimagemanagers", "lhbim") [
        Column::text("State", ".status.currentState"),
        Column::text("Image", ".spec.image"),
        Column::text("Node", ".spec.nodeID"),
        Column::text("DiskUUID", ".spec.diskUUID"),
        Column::text("DiskPath", ".spec.diskPath"),
        Column::AGE,
    ]
}
