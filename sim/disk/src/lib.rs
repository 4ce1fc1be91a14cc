//! Simulated disks and files: directories, open modes, sparse files, links, faults, and a page cache that a power cut empties.
//!
//! A [`Disk`] belongs to a machine and outlives its processes and its power. A process sees disks through its [`Mounts`] and uses [`fs`] and
//! [`File`]; errors are those of Linux. What happens to a process (its end) and to a machine (power cut, freeze) reaches the disks as a kernel of the
//! [`corral_core::World`].
//!
//! Fault model. A process's end loses nothing. A power cut may lose, keep or tear whatever was not synced, as a journaling file system
//! with ordered data does (see [`FileSystem`]): changes of names, sizes and allocations are lost from some point on, in order; dirty
//! pages one by one. The medium itself fails by [`FaultRule`]s. Not modelled: misdirected writes, memory pressure (nothing is evicted or written back early for want of memory).
//!
//! Known differences from Linux. There are no symbolic links, permissions, locks, extended attributes and access times. A directory is
//! always of 4096 bytes. A file in very many pieces takes no blocks for the list of them. Freed blocks can be used again at once.
//! O_DIRECT does not look at the alignment of memory. When both paths of a rename or link are wrong, which error is told can differ (length
//! and `..` of the second path are looked at first). A mount stays at its path when a directory above it is renamed.
#![cfg(madsim)]

mod block;
mod content;
mod data;
mod device;
mod disk;
mod errno;
mod fault;
mod file;
pub mod fs;
mod inode;
mod journal;
mod mounts;
mod names;
mod open;
mod options;
mod path;
mod power;
mod registry;
mod state;

pub use disk::Disk;
pub use fault::{FaultId, FaultKind, FaultRule};
pub use file::{Extent, File};
pub use inode::Metadata;
pub use mounts::Mounts;
pub use names::DirEntry;
pub use open::OpenOptions;
pub use options::{DiskOptions, FileSystem};
pub use power::CutSummary;
pub use state::Space;
