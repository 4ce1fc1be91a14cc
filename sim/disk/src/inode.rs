//! Inodes: files and directories, with their times, links and handles.

use std::collections::BTreeMap;

use crate::block::PAGE;
use crate::content::FileData;
use crate::errno::{Errno, Outcome};

/// Number of an inode on its disk. The root is [`ROOT`].
pub(crate) type InodeNumber = u64;

/// The root directory, numbered as ext4 does.
pub(crate) const ROOT: InodeNumber = 2;

/// File type bits of a mode (S_IFREG, S_IFDIR).
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// What stat answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Size in bytes.
    pub len: u64,
    /// Bytes allocated: st_blocks x 512.
    pub allocated_bytes: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Last change of content, by the machine's wall clock, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// Last change of content or metadata, likewise.
    pub changed_ns: i128,
    /// How many names it has; for a directory, 2 and one for each directory in it.
    pub links: u32,
    /// File type and permission bits, as st_mode.
    pub mode: u32,
    /// Number of the inode.
    pub inode: u64,
}

/// Modification and change time, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) modified: i128,
    pub(crate) changed: i128,
}

/// A file or a directory.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) mode: u32,
    /// Names it has; 1 for a directory that has not been removed.
    pub(crate) links: u32,
    /// Open handles.
    pub(crate) opens: u32,
    /// Journal entries that would bring a name of it back.
    pub(crate) retained: u32,
    /// Its room was given back: no name, no handle.
    pub(crate) released: bool,
    pub(crate) times: Times,
    /// The journal entry that keeps its previous times.
    pub(crate) times_sequence: u64,
    /// A path it had, for faults that meet write-back.
    pub(crate) path: String,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    File(FileData),
    Directory(Directory),
}

/// The names in a directory.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) entries: BTreeMap<String, InodeNumber>,
    pub(crate) subdirectories: u32,
}

impl Inode {
    pub(crate) fn file(permissions: u32, times: Times, path: &str) -> Inode {
        Inode::new(REGULAR | permissions & 0o7777, times, path, Kind::File(FileData::default()))
    }

    pub(crate) fn directory(permissions: u32, times: Times, path: &str) -> Inode {
        Inode::new(DIRECTORY | permissions & 0o7777, times, path, Kind::Directory(Directory::default()))
    }

    fn new(mode: u32, times: Times, path: &str, kind: Kind) -> Inode {
        let path = path.to_owned();
        Inode { mode, links: 0, opens: 0, retained: 0, released: false, times, times_sequence: 0, path, kind }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    pub(crate) fn as_directory(&self) -> Outcome<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn as_file(&self) -> Outcome<&FileData> {
        match &self.kind {
            Kind::File(data) => Ok(data),
            Kind::Directory(_) => Err(Errno::EISDIR),
        }
    }

    pub(crate) fn as_file_mut(&mut self) -> Outcome<&mut FileData> {
        match &mut self.kind {
            Kind::File(data) => Ok(data),
            Kind::Directory(_) => Err(Errno::EISDIR),
        }
    }

    /// Pages it takes on the disk.
    pub(crate) fn pages(&self) -> u64 {
        match &self.kind {
            Kind::File(data) => data.pages.len() as u64,
            Kind::Directory(_) => 1,
        }
    }

    pub(crate) fn metadata(&self, number: InodeNumber) -> Metadata {
        let (len, links) = match &self.kind {
            Kind::File(data) => (data.size, self.links),
            Kind::Directory(directory) if self.links > 0 => (PAGE, 2 + directory.subdirectories),
            Kind::Directory(_) => (0, 0),
        };
        Metadata {
            len,
            allocated_bytes: self.pages() * PAGE,
            is_dir: self.is_directory(),
            modified_ns: self.times.modified,
            changed_ns: self.times.changed,
            links,
            mode: self.mode,
            inode: number,
        }
    }
}
