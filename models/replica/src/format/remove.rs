//! Removing snapshots: mark, prepare, remove, replace (pkg/replica/replica.go).

use crate::error::{Error, Result};
use crate::format::chain::RemoveAction;
use crate::format::layers::Layer;
use crate::format::names::META_SUFFIX;
use crate::format::open::Replica;

impl Replica {
    /// Marks a disk, given by its name or its snapshot's, as removed. One that is not there counts as removed already.
    ///
    /// # Errors
    /// It is the head, or its files are not there or cannot be written.
    pub async fn mark_removed(&mut self, name: &str) -> Result<()> {
        let Some(disk) = self.find_disk(name) else { return Ok(()) };
        if disk == self.meta.head {
            return Err(Error::refused("cannot mark the active differencing disk as removed"));
        }
        let marked = self.store_removed(&disk).await;
        marked.map_err(|error| Error::Refused(format!("failed to mark disk {disk} as removed: {error}")))
    }

    pub(super) async fn store_removed(&mut self, name: &str) -> Result<()> {
        let meta = format!("{name}{META_SUFFIX}");
        if !self.directory.is_file(name).await {
            return Err(Error::Refused(format!("cannot find disk file {name}")));
        }
        if !self.directory.is_file(&meta).await {
            return Err(Error::Refused(format!("cannot find disk metafile {meta}")));
        }
        let disk = self.disks.get_mut(name).ok_or_else(|| Error::Refused(format!("cannot find disk {name}")))?;
        disk.removed = true;
        self.directory.write_json(&meta, disk).await
    }

    /// What has to be done to get rid of a disk that is marked as removed; nothing if it has to wait, or is gone.
    ///
    /// # Errors
    /// It is the head, or not marked.
    pub fn prepare_remove(&self, name: &str) -> Result<Vec<RemoveAction>> {
        let Some(disk) = self.find_disk(name) else { return Ok(Vec::new()) };
        if disk == self.meta.head {
            return Err(Error::refused("cannot delete the active differencing disk"));
        }
        if !self.disks[&disk].removed {
            return Err(Error::Refused(format!("disk {disk} hasn't been marked as removed")));
        }
        let source = disk;
        let Some(children) = self.children.get(&source) else { return Ok(vec![RemoveAction::Remove { source }]) };
        let mut children = children.iter();
        Ok(match (children.next(), children.next()) {
            (Some(only), None) if *only == self.meta.head => {
                vec![RemoveAction::Prune { source, target: only.clone() }]
            }
            (Some(only), None) => vec![
                RemoveAction::Coalesce { source: source.clone(), target: only.clone() },
                RemoveAction::Replace { source, target: only.clone() },
            ],
            _ => Vec::new(),
        })
    }

    /// Takes a disk out of the tree and removes its files; its only child inherits its parent. A forced removal lets any
    /// one of several children inherit, for a rebuild replaces them all.
    ///
    /// # Errors
    /// It is the head or not there, it has several children, or a file operation failed.
    pub async fn remove_disk(&mut self, name: &str, force: bool) -> Result<()> {
        if name == self.meta.head {
            return Err(Error::refused("cannot delete the active differencing disk"));
        }
        self.unhook(name, force).await?;
        self.directory.remove_disk(name).await
    }

    async fn unhook(&mut self, name: &str, force: bool) -> Result<()> {
        let Some(disk) = self.disks.get(name) else {
            return Err(Error::Refused(format!("cannot find disk {name}")));
        };
        let grandparent = disk.parent.clone();
        let children = self.children.get(name).cloned().unwrap_or_default();
        if children.len() > 1 && !force {
            let text = format!("cannot remove snapshot {name} with {} children", children.len());
            return Err(Error::Refused(text));
        }
        let Some(child) = children.first() else {
            self.replace_child(name, None);
            self.disks.remove(name);
            return Ok(());
        };
        self.replace_child(name, Some(child));
        if let Some(heir) = self.disks.get_mut(child) {
            heir.parent = grandparent;
            self.directory.write_json(&format!("{child}{META_SUFFIX}"), heir).await?;
        }
        self.disks.remove(name);
        self.children.remove(name);
        if let Some(number) = self.layer_number(name) {
            self.layers.remove(number);
            self.active.remove(number - 1);
            // It was the head's parent.
            if number == self.active.len() {
                self.meta.parent = self.disks[&self.meta.head].parent.clone();
            }
        }
        Ok(())
    }

    /// Lets a disk take its child's name, once the child's data has been copied into it.
    ///
    /// # Errors
    /// The child is the head, a disk is not there, or a file operation failed.
    pub async fn replace_disk(&mut self, target: &str, source: &str) -> Result<()> {
        if target == self.meta.head {
            return Err(Error::refused("cannot replace the active differencing disk"));
        }
        if !self.directory.exists(source).await {
            return Err(Error::Refused(format!("cannot find source of replacing: {source}")));
        }
        let removed = self.directory.remove(target).await;
        removed.map_err(|error| Error::Refused(format!("failed to remove {target}: {error}")))?;
        let linked = self.directory.link(source, target).await;
        linked.map_err(|_| Error::Refused(format!("failed to hard link {source} to {target}")))?;
        self.unhook(source, false).await?;
        self.directory.remove_disk(source).await?;
        if let Some(number) = self.layer_number(target) {
            let file = self.directory.open_disk(target).await?;
            self.layers.replace(number, Layer::new(file, self.directory.path(target)).await?);
        }
        Ok(())
    }
}
