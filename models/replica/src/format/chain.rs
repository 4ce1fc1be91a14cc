//! The tree of disks: what hangs on what, how large it is, what may be removed.

use std::collections::BTreeSet;

use host::fs;

use crate::error::{Error, Result};
use crate::format::meta::DiskInfo;
use crate::format::names::snapshot_disk;
use crate::format::open::Replica;

/// A step on the way to get rid of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoveAction {
    /// Nothing hangs on it: it can go.
    Remove {
        /// The disk.
        source: String,
    },
    /// Its only child's data is copied into it.
    Coalesce {
        /// The disk.
        source: String,
        /// Its child.
        target: String,
    },
    /// It takes its child's name.
    Replace {
        /// The disk.
        source: String,
        /// Its child.
        target: String,
    },
    /// What the head has as well is cut out of it; the disk stays.
    Prune {
        /// The disk.
        source: String,
        /// The head.
        target: String,
    },
}

impl RemoveAction {
    /// Action, source and target, as they go over the wire.
    pub fn parts(&self) -> (&'static str, &str, &str) {
        match self {
            RemoveAction::Remove { source } => ("remove", source, ""),
            RemoveAction::Coalesce { source, target } => ("coalesce", source, target),
            RemoveAction::Replace { source, target } => ("replace", source, target),
            RemoveAction::Prune { source, target } => ("prune", source, target),
        }
    }
}

impl Replica {
    /// The live chain from the head down.
    ///
    /// # Errors
    /// A parent is missing, or the chain comes back to itself.
    pub fn chain(&self) -> Result<Vec<String>> {
        let mut chain: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut current = self.meta.head.as_str();
        while !current.is_empty() {
            if !seen.insert(current) {
                return Err(Error::Refused(format!("the parents of {} form a loop at {current}", self.meta.head)));
            }
            let disk = self.disks.get(current);
            let disk = disk.ok_or_else(|| Error::Refused(format!("failed to find metadata for {current}")))?;
            chain.push(current.to_owned());
            current = &disk.parent;
        }
        if chain.is_empty() {
            return Err(Error::Refused("failed to find the volume's head".to_owned()));
        }
        Ok(chain)
    }

    /// The live chain without what is marked as removed.
    ///
    /// # Errors
    /// As [`Replica::chain`].
    pub fn displayed_chain(&self) -> Result<Vec<String>> {
        let mut chain = self.chain()?;
        chain.retain(|name| !self.disks[name].removed);
        Ok(chain)
    }

    /// All disks.
    pub async fn list_disks(&self) -> Vec<DiskInfo> {
        let mut disks = Vec::with_capacity(self.disks.len());
        for (name, disk) in &self.disks {
            disks.push(DiskInfo {
                name: name.clone(),
                parent: disk.parent.clone(),
                children: self.children.get(name).into_iter().flatten().cloned().collect(),
                removed: disk.removed,
                user_created: disk.user_created,
                created: disk.created.clone(),
                size_bytes: self.disk_bytes(name).await,
                labels: disk.labels.clone().unwrap_or_default(),
            });
        }
        disks
    }

    /// The space a disk takes; a replica that cannot tell is broken.
    async fn disk_bytes(&self, name: &str) -> i64 {
        let bytes = self.directory.allocated_bytes(name).await;
        if bytes < 0 {
            self.note_failure(|| format!("Failed to get file {} size", self.directory.path(name)));
        }
        bytes
    }

    /// Snapshots that count, and all disks. The backing file counts as a snapshot upstream.
    pub fn snapshot_counts(&self) -> (usize, usize) {
        let counts = |(name, disk): &(&String, &crate::format::DiskMeta)| !disk.removed && **name != self.meta.head;
        (self.disks.iter().filter(counts).count(), self.disks.len())
    }

    /// How many more snapshots there may be.
    pub fn remaining_snapshots(&self) -> i64 {
        self.options.snapshot_max_count - self.snapshot_counts().0 as i64
    }

    /// The space of the snapshots that count, in bytes.
    pub async fn snapshot_bytes(&self) -> i64 {
        let mut total = 0;
        for name in &self.active {
            if *name != self.meta.head && !self.disks.get(name).is_some_and(|disk| disk.removed) {
                total += self.disk_bytes(name).await;
            }
        }
        total
    }

    /// When the head was last written (nanoseconds since 1970), and the space it takes in bytes.
    pub async fn head_status(&self) -> (i64, i64) {
        match fs::metadata(&self.directory.path(&self.meta.head)).await {
            Ok(metadata) => {
                let modified = i64::try_from(metadata.modified.as_nanosecond()).unwrap_or_default();
                (modified, i64::try_from(metadata.allocated_bytes).unwrap_or_default())
            }
            Err(error) => {
                let error = Error::file("stat", &self.directory.path(&self.meta.head), &error);
                self.note_failure(|| error.to_string());
                (0, 0)
            }
        }
    }

    /// A disk's own name, given that or its snapshot's.
    pub(super) fn find_disk(&self, name: &str) -> Option<String> {
        [name.to_owned(), snapshot_disk(name)].into_iter().find(|disk| self.disks.contains_key(disk))
    }

    /// The number of a disk's layer in the live chain.
    pub(super) fn layer_number(&self, name: &str) -> Option<usize> {
        self.active.iter().position(|active| active == name).map(|index| index + 1)
    }

    pub(super) fn add_child(&mut self, parent: &str, child: &str) {
        self.children.entry(parent.to_owned()).or_default().insert(child.to_owned());
    }

    fn remove_child(&mut self, parent: &str, child: &str) {
        if let Some(children) = self.children.get_mut(parent) {
            children.remove(child);
            if children.is_empty() {
                self.children.remove(parent);
            }
        }
    }

    /// Lets a disk's parent have another child in its place, or none.
    pub(super) fn replace_child(&mut self, old: &str, new: Option<&str>) {
        let parent = self.disks.get(old).map(|disk| disk.parent.clone()).unwrap_or_default();
        self.remove_child(&parent, old);
        if let Some(new) = new {
            self.add_child(&parent, new);
        }
    }
}
