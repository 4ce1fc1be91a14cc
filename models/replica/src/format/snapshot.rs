//! New heads: snapshot, expansion, revert (createDisk and revertDisk in pkg/replica/replica.go).
//!
//! The order of the file operations is what a crash leaves behind, so it is upstream's: new head and its metadata; the
//! old head's files linked to the snapshot's names; `volume.meta`; the snapshot's metadata; the old head removed. A step
//! that fails takes back those before it.

use std::collections::BTreeMap;

use crate::error::{Code, Error, Result, RolledBack};
use crate::format::layers::Layer;
use crate::format::meta::{DiskMeta, Labels, VolumeMeta};
use crate::format::names::{self, CHECKSUM_SUFFIX, META_SUFFIX};
use crate::format::open::Replica;
use crate::format::{SECTOR_BYTES, now};

impl Replica {
    /// Turns the head into a snapshot and goes on with a new one.
    ///
    /// # Errors
    /// There is such a snapshot, there are too many, or a file operation failed and everything is as it was before.
    pub async fn snapshot(&mut self, name: &str, user_created: bool, created: &str, labels: Labels) -> Result<()> {
        let size = self.meta.size.unsigned_abs();
        self.create_disk(name, user_created, created, labels, size).await
    }

    /// Makes the volume larger: a snapshot whose head has the new size.
    ///
    /// # Errors
    /// The size is odd or too small; or as [`Replica::snapshot`].
    pub async fn expand(&mut self, size: i64) -> Result<()> {
        if size % SECTOR_BYTES as i64 != 0 {
            return Err(Error::Refused(format!(
                "failed to expend volume replica size {size}, because it is not multiple of volume sector size {SECTOR_BYTES}"
            )));
        }
        if self.meta.size > size {
            return Err(Error::Refused(format!("cannot expand replica to a smaller size {size}")));
        }
        if self.meta.size == size {
            return Ok(());
        }
        let larger = size.unsigned_abs();
        let labels = BTreeMap::from([(names::EXPANSION_LABEL.to_owned(), size.to_string())]);
        self.create_disk(&names::expansion_snapshot(larger), false, &now(), Some(labels), larger).await?;
        self.layers.expand(larger);
        Ok(())
    }

    pub(super) async fn create_disk(
        &mut self,
        name: &str,
        user_created: bool,
        created: &str,
        labels: Labels,
        size: u64,
    ) -> Result<()> {
        if self.read_only {
            return Err(Error::refused("cannot create disk on read-only replica"));
        }
        if self.remaining_snapshots() <= 0 {
            let layers = self.active.len() - usize::from(self.options.backing.is_some());
            return Err(Error::Refused(format!("too many active disks: {layers}")));
        }
        let old_head = self.meta.head.clone();
        let snapshot = if old_head.is_empty() { String::new() } else { names::snapshot_disk(name) };
        if !snapshot.is_empty() && self.disks.contains_key(&snapshot) {
            return Err(Error::Refused(format!("snapshot {snapshot} is already existing")));
        }
        let mut undo = Undo::default();
        let steps = self.change_disks(&old_head, &snapshot, (user_created, created, labels), size, &mut undo).await;
        match steps {
            Ok(()) => {
                if let Err(error) = self.directory.remove_disk(&old_head).await {
                    tracing::warn!(%error, head = old_head, "failed to remove old head");
                }
                Ok(())
            }
            Err(error) => Err(undo.run(self, name, &error).await),
        }
    }

    async fn change_disks(
        &mut self,
        old_head: &str,
        snapshot: &str,
        (user_created, created, labels): (bool, &str, Labels),
        size: u64,
        undo: &mut Undo,
    ) -> Result<()> {
        let (layer, new_head) = self.create_head(old_head, snapshot, created, size).await?;
        undo.created = Some(new_head.name.clone());
        self.link_head(old_head, snapshot).await?;
        undo.linked = Some(snapshot.to_owned());
        let meta = VolumeMeta {
            head: new_head.name.clone(),
            dirty: true,
            parent: snapshot.to_owned(),
            size: size as i64,
            ..self.info()
        };
        self.store_volume_meta(&meta).await?;
        undo.stored = true;
        let mut as_snapshot = self.disks.get(old_head).cloned().unwrap_or_default();
        if !snapshot.is_empty() {
            as_snapshot = DiskMeta { user_created, created: created.to_owned(), labels, ..as_snapshot };
            // It still bears the head's name in the file.
            self.directory.write_json(&format!("{snapshot}{META_SUFFIX}"), &as_snapshot).await?;
        }
        self.adopt(old_head, snapshot, as_snapshot, new_head, layer);
        self.meta = meta;
        *self.dirty.get_mut() = true;
        Ok(())
    }

    /// Takes the new state of the files into memory.
    fn adopt(&mut self, old_head: &str, snapshot: &str, as_snapshot: DiskMeta, new_head: DiskMeta, layer: Layer) {
        if !snapshot.is_empty() {
            self.add_child(snapshot, &new_head.name);
            self.replace_child(old_head, Some(snapshot).filter(|_| !as_snapshot.parent.is_empty()));
            self.disks.insert(snapshot.to_owned(), DiskMeta { name: snapshot.to_owned(), ..as_snapshot });
            if let Some(head) = self.active.last_mut() {
                snapshot.clone_into(head);
            }
        }
        self.disks.remove(old_head);
        self.layers.push(layer);
        self.active.push(new_head.name.clone());
        self.disks.insert(new_head.name.clone(), new_head);
    }

    /// Makes the next head and its metadata; takes it back if that fails.
    async fn create_head(&self, old_head: &str, parent: &str, created: &str, size: u64) -> Result<(Layer, DiskMeta)> {
        let name = names::next_head(old_head);
        let name = name.ok_or_else(|| Error::Refused(format!("invalid name {old_head} does not match pattern")))?;
        if self.directory.exists(&name).await {
            return Err(Error::Refused(format!("{name} already exists")));
        }
        let disk = DiskMeta {
            name: name.clone(),
            parent: parent.to_owned(),
            created: created.to_owned(),
            ..DiskMeta::default()
        };
        let made = async {
            let file = self.directory.create_disk(&name, size).await?;
            self.directory.write_json(&format!("{name}{META_SUFFIX}"), &disk).await?;
            Layer::new(file, self.directory.path(&name)).await
        };
        match made.await {
            Ok(layer) => Ok((layer, disk)),
            Err(error) => {
                let rollback = self.directory.remove_disk(&name).await;
                Err(rolled_back(&error, rollback.err()).into())
            }
        }
    }

    /// Gives the old head's files the snapshot's names as well, instead of what may have had them.
    async fn link_head(&self, old_head: &str, snapshot: &str) -> Result<()> {
        if old_head.is_empty() {
            return Ok(());
        }
        for suffix in [META_SUFFIX, CHECKSUM_SUFFIX, ""] {
            self.directory.remove(&format!("{snapshot}{suffix}")).await?;
        }
        let linked = async {
            self.directory.link(old_head, snapshot).await?;
            self.directory.link(&format!("{old_head}{META_SUFFIX}"), &format!("{snapshot}{META_SUFFIX}")).await
        };
        match linked.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let rollback = self.directory.remove_disk(snapshot).await;
                Err(rolled_back(&error, rollback.err()).into())
            }
        }
    }

    /// Leaves what was written since a snapshot behind. Returns the replica to go on with.
    ///
    /// # Errors
    /// There is no such disk, it is marked as removed, or a file operation failed.
    pub async fn revert(&self, disk: &str, created: &str) -> Result<Replica> {
        let path = self.directory.path(disk);
        host::fs::metadata(&path).await.map_err(|error| Error::file("stat", &path, &error))?;
        match self.disks.get(disk) {
            None => {
                let text = format!("cannot revert to disk file {disk} since it's not in the disk chain");
                return Err(Error::Refused(text));
            }
            Some(found) if found.removed => {
                let text = format!("cannot revert to disk file {disk} since it's already marked as removed");
                return Err(Error::Refused(text));
            }
            Some(_) => {}
        }
        let old_head = self.meta.head.clone();
        let (_layer, head) = self.create_head(&old_head, disk, created, self.meta.size.unsigned_abs()).await?;
        let meta = VolumeMeta { head: head.name, dirty: true, parent: head.parent, ..self.info() };
        if let Err(error) = self.store_volume_meta(&meta).await {
            self.store_volume_meta(&self.info()).await?;
            return Err(error);
        }
        // Before the directory is read again, so that the old head is no longer among the children.
        self.directory.remove_disk(&old_head).await?;
        self.reload().await
    }
}

fn rolled_back(error: &Error, rollback: Option<Error>) -> RolledBack {
    let code = match rollback {
        None => Code::FunctionFailedRollbackSucceeded,
        Some(_) => Code::FunctionFailedRollbackFailed,
    };
    let rollback_message = rollback.map(|error| error.to_string()).unwrap_or_default();
    RolledBack { code, message: error.to_string(), rollback_message }
}

/// What has to be taken back.
#[derive(Default)]
struct Undo {
    created: Option<String>,
    linked: Option<String>,
    stored: bool,
}

impl Undo {
    async fn run(self, replica: &Replica, name: &str, error: &Error) -> Error {
        let mut failures = Vec::new();
        for disk in [self.created, self.linked].into_iter().flatten() {
            failures.extend(replica.directory.remove_disk(&disk).await.err());
        }
        if self.stored {
            failures.extend(replica.store_volume_meta(&replica.info()).await.err());
        }
        let failures: Vec<String> = failures.iter().map(Error::to_string).collect();
        let rollback = (!failures.is_empty()).then(|| Error::Refused(failures.join(", ")));
        let mut undone = rolled_back(error, rollback);
        undone.message = format!("failed to create new disk {name}: {}", undone.message);
        undone.into()
    }
}
