//! Longhorn's backup store: what lies in a backup target, and the operations on it.
//!
//! Byte-compatible with the store that Longhorn v1.9.2 writes (facts from longhorn/backupstore as vendored by
//! longhorn-engine v1.7.2 to v1.9.2, and from archives written by the real one, which the tests read). What differs
//! between releases stands in [`Behaviour`].
//!
//! Operations start at a [`Backupstore`], opened by its target's address with a [`Context`] that the process's
//! operations share.

mod backing_image;
mod backup;
pub mod block;
pub mod config;
mod context;
mod credentials;
mod delete;
pub mod driver;
mod error;
pub mod gopath;
pub mod info;
pub mod json;
pub mod layout;
mod lock;
mod log;
mod read;
mod release;
mod restore;
mod store;
mod system_backup;
mod upload;
pub mod url;

pub use backing_image::{BackingImageBackupRequest, BackingImageReader, BackingImageWriter};
pub use backup::{BackupRequest, BackupStatus, SnapshotReader, StartedBackup};
pub use context::Context;
pub use credentials::Credentials;
pub use error::{Error, Result};
pub use lock::{FileLock, LockKind};
pub use log::{Level, Log};
pub use release::Behaviour;
pub use restore::RestoreTarget;
pub use store::Backupstore;
pub use system_backup::SystemBackupMaker;
pub use upload::Extent;

/// The time as configurations have it: RFC 3339 in whole seconds.
pub fn now() -> String {
    host::wall_clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
