//! What a process sees: its root and what is mounted below it.

use std::sync::Arc;

use crate::disk::Disk;
use crate::errno::{Errno, Outcome};
use crate::path::{NormalPath, is_within};

/// The file systems of a process, attached to it through [`corral_core::ProcessSpec::attachments`]. A path belongs to the mount with the
/// longest prefix of it.
#[derive(Clone)]
pub struct Mounts {
    /// The longest prefix first; the root last.
    mounts: Vec<Mount>,
}

#[derive(Clone)]
struct Mount {
    /// Normal path at which it is mounted; "" for the root.
    at: String,
    disk: Arc<Disk>,
    /// Normal path on the disk that is shown there.
    below: String,
    read_only: bool,
}

/// Where a path leads.
pub(crate) struct Location<'a> {
    pub(crate) disk: &'a Arc<Disk>,
    /// The normal path on the disk.
    pub(crate) path: String,
    pub(crate) must_be_directory: bool,
    /// It is the very top of a mount: it cannot be moved or removed.
    pub(crate) is_top: bool,
    pub(crate) read_only: bool,
    at: &'a str,
}

impl Mounts {
    /// This disk as the root, and nothing else.
    pub fn new(root: Arc<Disk>) -> Mounts {
        Mounts { mounts: vec![Mount { at: String::new(), disk: root, below: String::new(), read_only: false }] }
    }

    /// With a directory of a disk mounted. Both the directory and the mount point are made if they are missing, as container runtimes do.
    ///
    /// # Panics
    /// If one of the paths is impossible (empty, too long, or with a NUL).
    pub fn with_mount(self, at: &str, disk: Arc<Disk>, below: &str) -> Mounts {
        self.mounted(at, disk, below, false)
    }

    /// The same, read-only.
    ///
    /// # Panics
    /// As [`Mounts::with_mount`].
    pub fn with_read_only_mount(self, at: &str, disk: Arc<Disk>, below: &str) -> Mounts {
        self.mounted(at, disk, below, true)
    }

    fn mounted(mut self, at: &str, disk: Arc<Disk>, below: &str, read_only: bool) -> Mounts {
        let normal = |path: &str| NormalPath::parse(path).unwrap_or_else(|_| panic!("no path to mount: {path:?}")).text;
        // "" and "." mean the top of the disk.
        let (at, below) = (normal(at), if below.is_empty() { String::new() } else { normal(below) });
        // If a file is in the way, whoever uses the mount learns it: ENOTDIR.
        let _ = disk.create_directories(&below);
        if let Ok(parent) = self.locate(&at) {
            let _ = parent.disk.create_directories(&parent.path);
        }
        self.mounts.retain(|mount| mount.at != at);
        self.mounts.push(Mount { at, disk, below, read_only });
        self.mounts.sort_by_key(|mount| std::cmp::Reverse(mount.at.len()));
        self
    }

    /// Where a process's path leads.
    pub(crate) fn resolve(&self, path: &str) -> Outcome<Location<'_>> {
        let normal = NormalPath::parse(path)?;
        for prefix in &normal.climbed_from {
            let location = self.locate(prefix)?;
            location.disk.is_directory(&location.path)?;
        }
        let mut location = self.locate(&normal.text)?;
        location.must_be_directory = normal.directory;
        Ok(location)
    }

    fn locate(&self, path: &str) -> Outcome<Location<'_>> {
        let mount = self.mounts.iter().find(|mount| is_within(path, &mount.at)).ok_or(Errno::ENOENT)?;
        let rest = &path[mount.at.len()..];
        Ok(Location {
            disk: &mount.disk,
            path: format!("{}{rest}", mount.below),
            must_be_directory: false,
            is_top: rest.is_empty(),
            read_only: mount.read_only,
            at: &mount.at,
        })
    }
}

impl Location<'_> {
    /// Whether both are of the same mount; two mounts of one disk are two.
    pub(crate) fn same_mount(&self, other: &Location<'_>) -> bool {
        self.at == other.at
    }
}
