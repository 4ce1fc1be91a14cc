//! The kinds of `longhorn.io/v1beta2`, one file each, and what several of them share ([`condition`]).
//!
//! To add a kind: write its file, add it to the lists here. Its definition, the tests of its fields and of its encoding follow.
//!
//! Types have the fields of v1.9.2. A field that a modelled release lacks says so (`since`), one that only earlier releases have
//! stands in the record's `earlier` block; [`crate::crds::all`] makes definitions accordingly, so that an API server drops what a
//! release does not know, and [`crate::wire::as_written_by`] is the same for a manager of that release.

pub mod backup;
pub mod backup_backing_image;
pub mod backup_target;
pub mod backup_volume;
pub mod condition;
pub mod engine_image;
pub mod node;
pub mod setting;
pub mod system_backup;
pub mod volume;
pub mod volume_attachment;

pub use backup::Backup;
pub use backup_backing_image::BackupBackingImage;
pub use backup_target::BackupTarget;
pub use backup_volume::BackupVolume;
pub use condition::Condition;
pub use engine_image::EngineImage;
pub use node::Node;
pub use setting::Setting;
pub use system_backup::SystemBackup;
pub use volume::Volume;
pub use volume_attachment::VolumeAttachment;

use crate::resource::{CustomResource, Definition};

/// Every kind's definition, ordered by kind.
pub const DEFINITIONS: &[&Definition] = &[
    Backup::DEFINITION,
    BackupBackingImage::DEFINITION,
    BackupTarget::DEFINITION,
    BackupVolume::DEFINITION,
    EngineImage::DEFINITION,
    Node::DEFINITION,
    Setting::DEFINITION,
    SystemBackup::DEFINITION,
    Volume::DEFINITION,
    VolumeAttachment::DEFINITION,
];
