//! A replica's directory: names, metadata, layers, and the operations that change them.

mod backing;
mod chain;
mod directory;
mod layers;
mod layout;
mod merge;
mod meta;
pub mod names;
mod open;
mod remove;
mod revision;
mod snapshot;
mod write;

pub use backing::BackingFile;
pub use chain::RemoveAction;
pub use directory::{Directory, Found};
pub use layout::Stretch;
pub use merge::{coalesce, prune};
pub use meta::{DiskInfo, DiskMeta, Labels, REPLICA_SECTOR_BYTES, VolumeMeta};
pub use open::{MAXIMUM_SNAPSHOTS, Options, Replica};

/// The unit in which it is known where data lies.
pub const SECTOR_BYTES: u64 = 4096;

/// The time as metadata has it.
pub fn now() -> String {
    longhorn_backupstore::now()
}
