//! The kinds of `longhorn.io/v1beta2`, one file each, and what several of them share ([`condition`], [`instance`]).
//!
//! To add a kind: write its file, add it to the lists here. Its definition, the tests of its fields and of its encoding follow.
//!
//! Types have the fields of v1.9.2. A field that a modelled release lacks says so (`since`), one that only earlier releases have
//! stands in the record's `earlier` block; [`crate::crds::all`] makes definitions accordingly, so that an API server drops what a
//! release does not know, and [`crate::wire::as_written_by`] is the same for a manager of that release.

pub mod backing_image;
pub mod backing_image_data_source;
pub mod backing_image_manager;
pub mod backup;
pub mod backup_backing_image;
pub mod backup_target;
pub mod backup_volume;
pub mod condition;
pub mod engine;
pub mod engine_image;
pub mod instance;
pub mod instance_manager;
pub mod node;
pub mod orphan;
pub mod recurring_job;
pub mod replica;
pub mod setting;
pub mod share_manager;
pub mod snapshot;
pub mod support_bundle;
pub mod system_backup;
pub mod system_restore;
pub mod volume;
pub mod volume_attachment;

pub use backing_image::BackingImage;
pub use backing_image_data_source::BackingImageDataSource;
pub use backing_image_manager::BackingImageManager;
pub use backup::Backup;
pub use backup_backing_image::BackupBackingImage;
pub use backup_target::BackupTarget;
pub use backup_volume::BackupVolume;
pub use condition::Condition;
pub use engine::Engine;
pub use engine_image::EngineImage;
pub use instance_manager::InstanceManager;
pub use node::Node;
pub use orphan::Orphan;
pub use recurring_job::RecurringJob;
pub use replica::Replica;
pub use setting::Setting;
pub use share_manager::ShareManager;
pub use snapshot::Snapshot;
pub use support_bundle::SupportBundle;
pub use system_backup::SystemBackup;
pub use system_restore::SystemRestore;
pub use volume::Volume;
pub use volume_attachment::VolumeAttachment;

use crate::resource::{CustomResource, Definition};

/// Every kind's definition, ordered by kind.
pub const DEFINITIONS: &[&Definition] = &[
    BackingImage::DEFINITION,
    BackingImageDataSource::DEFINITION,
    BackingImageManager::DEFINITION,
    Backup::DEFINITION,
    BackupBackingImage::DEFINITION,
    BackupTarget::DEFINITION,
    BackupVolume::DEFINITION,
    Engine::DEFINITION,
    EngineImage::DEFINITION,
    InstanceManager::DEFINITION,
    Node::DEFINITION,
    Orphan::DEFINITION,
    RecurringJob::DEFINITION,
    Replica::DEFINITION,
    Setting::DEFINITION,
    ShareManager::DEFINITION,
    Snapshot::DEFINITION,
    SupportBundle::DEFINITION,
    SystemBackup::DEFINITION,
    SystemRestore::DEFINITION,
    Volume::DEFINITION,
    VolumeAttachment::DEFINITION,
];
