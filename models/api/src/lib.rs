//! Longhorn's custom resources, names, labels, settings; releases and the table of recorded defects.
//!
//! * [`kinds`]: the resources of `longhorn.io/v1beta2`, one file a kind; [`crds`] their definitions as an API server wants them, and
//!   [`listing`] how these compare with a list of field paths.
//! * [`labels`], [`names`], [`settings`]: the vocabulary that controllers and clients share.
//! * [`releases`], [`defects`], [`builds`]: what code asks when releases differ.
//! * [`go`], [`schema`], [`resource`], [`text`], [`wire`]: how a Go program's types look on the wire, and what is derived from that.
//!
//! The kinds do not come from kube-derive's `CustomResource`, because it cannot say three things that are true of Longhorn's: its
//! `status` is an `Option`, where Go has a value that is there from the start (an absent and an empty status are one thing to
//! every comparison the controllers make); it wants a `spec`, which Setting has not; and without schemars it writes no schema,
//! while the fields of a kind depend on the release. [`resource`] has the few lines that take its place.

pub mod builds;
pub mod crds;
pub mod defects;
pub mod go;
pub mod kinds;
pub mod labels;
pub mod listing;
pub mod names;
pub mod releases;
pub mod resource;
pub mod schema;
pub mod settings;
pub mod text;
pub mod wire;

pub use builds::{Build, ClientBuild, Selection};
pub use defects::Defect;
pub use kinds::{
    BackingImage, BackingImageDataSource, BackingImageManager, Backup, BackupBackingImage, BackupTarget, BackupVolume,
    Engine, EngineImage, InstanceManager, Node, Orphan, RecurringJob, Replica, Setting, ShareManager, Snapshot,
    SupportBundle, SystemBackup, SystemRestore, Volume, VolumeAttachment,
};
pub use releases::{ClientRelease, Release};
pub use resource::CustomResource;

/// API group of every Longhorn resource; also the name of its finalizer ([`labels::FINALIZER`]).
pub const GROUP: &str = "longhorn.io";
/// The one version these types speak. Upstream serves v1beta1 beside it, for conversion only.
pub const VERSION: &str = "v1beta2";
/// `apiVersion` of every Longhorn object, and the value of the setting `crd-api-version`.
pub const API_VERSION: &str = "longhorn.io/v1beta2";
/// Where a Longhorn installation lives unless it is told otherwise.
pub const DEFAULT_NAMESPACE: &str = "longhorn-system";
