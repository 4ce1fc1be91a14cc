//! Opening and closing a replica (pkg/replica/replica.go `construct`, `Reload`, `close`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::format::backing::BackingFile;
use crate::format::directory::{Directory, Found};
use crate::format::layers::{Layer, Layers};
use crate::format::meta::{DiskMeta, REPLICA_SECTOR_BYTES, VolumeMeta};
use crate::format::names::{self, META_SUFFIX, VOLUME_META};
use crate::format::revision::Revision;
use crate::format::{SECTOR_BYTES, now};

/// Longer chains cannot be opened.
pub const MAXIMUM_SNAPSHOTS: usize = 250;

/// How a replica is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The image below all layers.
    pub backing: Option<BackingFile>,
    /// Writes are not counted.
    pub revision_counter_disabled: bool,
    /// An unmap marks the snapshots behind the head as removed.
    pub unmap_mark_disk_chain_removed: bool,
    /// How many snapshots there may be.
    pub snapshot_max_count: i64,
    /// How large all snapshots together may become, in bytes; 0 for any size. The engine keeps to it, not the replica.
    pub snapshot_max_size_bytes: i64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            backing: None,
            revision_counter_disabled: false,
            unmap_mark_disk_chain_removed: false,
            snapshot_max_count: MAXIMUM_SNAPSHOTS as i64,
            snapshot_max_size_bytes: 0,
        }
    }
}

/// An open replica. Reads and writes may go on at the same time; whatever changes the chain wants it alone.
#[derive(Debug)]
pub struct Replica {
    pub(super) directory: Directory,
    pub(super) meta: VolumeMeta,
    /// `meta.dirty` as it is in memory: every write sets it.
    pub(super) dirty: AtomicBool,
    /// All disks, those outside the live chain and the backing file included.
    pub(super) disks: BTreeMap<String, DiskMeta>,
    pub(super) children: BTreeMap<String, BTreeSet<String>>,
    /// Names of the live chain, in the order of the layers.
    pub(super) active: Vec<String>,
    pub(super) layers: Layers,
    pub(super) read_only: bool,
    pub(super) options: Options,
    pub(super) revision: Option<Revision>,
    /// The first failure to look at a file: the replica counts as broken from then on.
    pub(super) failure: Mutex<String>,
}

impl Replica {
    /// Opens the replica in a directory, making it with this size if there is none.
    ///
    /// # Errors
    /// The directory cannot be read, or what is in it makes no replica.
    pub async fn open(directory: &Directory, size: i64, options: Options) -> Result<Replica> {
        if size % REPLICA_SECTOR_BYTES != 0 {
            let text = format!("size {size} not a multiple of sector size {REPLICA_SECTOR_BYTES}");
            return Err(Error::Refused(text));
        }
        directory.create().await?;
        Replica::construct(directory, size, None, options).await
    }

    /// Opens the chain below a snapshot for reading; nothing is written.
    ///
    /// # Errors
    /// There is no such snapshot, or the directory makes no replica.
    pub async fn open_snapshot(directory: &Directory, snapshot: &str) -> Result<Replica> {
        let meta = match directory.read_json::<VolumeMeta>(VOLUME_META).await? {
            Found::Valid(meta) => meta,
            Found::Nothing => VolumeMeta::default(),
        };
        let backing = match meta.backing_file_path.as_str() {
            "" => None,
            path => Some(BackingFile::find(path).await?),
        };
        Replica::open_read_only(directory, &names::snapshot_disk(snapshot), backing).await
    }

    /// Opens the chain below a disk for reading; nothing is written.
    ///
    /// # Errors
    /// There is no such disk, or the directory makes no replica.
    pub async fn open_read_only(directory: &Directory, disk: &str, backing: Option<BackingFile>) -> Result<Replica> {
        let options = Options { backing, revision_counter_disabled: true, ..Options::default() };
        Replica::construct(directory, 0, Some(disk), options).await
    }

    async fn construct(directory: &Directory, size: i64, head: Option<&str>, options: Options) -> Result<Replica> {
        let read_only = head.is_some();
        let meta = VolumeMeta { size, sector_size: REPLICA_SECTOR_BYTES, ..VolumeMeta::default() };
        let mut replica = Replica {
            directory: directory.clone(),
            meta,
            dirty: AtomicBool::default(),
            disks: BTreeMap::new(),
            children: BTreeMap::new(),
            active: Vec::new(),
            layers: Layers::default(),
            read_only,
            options,
            revision: None,
            failure: Mutex::default(),
        };
        replica.read_volume_meta(head).await?;
        replica.read_disks().await?;
        if let Some(backing) = &replica.options.backing {
            replica.meta.backing_file_path.clone_from(&backing.path);
        }
        if !replica.options.revision_counter_disabled && !read_only {
            replica.revision = Some(Revision::open(directory).await?);
        }
        let nothing = || Error::Refused("file does not exist".to_owned());
        let capacity = u64::try_from(replica.meta.size)
            .map_err(|_| Error::Metadata { path: directory.path(VOLUME_META), reason: "negative size".to_owned() })?;
        replica.layers = Layers::new(capacity);
        if let Some(head) = head {
            head.clone_into(&mut replica.meta.head);
        }
        replica.push_backing_file().await?;
        if !replica.disks_on_disk().is_empty() {
            replica.open_chain().await?;
        } else if read_only || size <= 0 {
            return Err(nothing());
        } else {
            replica.create_disk("000", false, &now(), None, capacity).await?;
        }
        replica.meta.parent = replica.disks.get(&replica.meta.head).map(|head| head.parent.clone()).unwrap_or_default();
        replica.write_volume_meta(true).await?;
        Ok(replica)
    }

    /// Reads `volume.meta`; one that is missing or empty is made again, with the first head that lies there.
    async fn read_volume_meta(&mut self, head: Option<&str>) -> Result<()> {
        match self.directory.read_json::<VolumeMeta>(VOLUME_META).await? {
            Found::Valid(meta) => {
                *self.dirty.get_mut() = meta.dirty;
                *self.failure.get_mut().unwrap_or_else(PoisonError::into_inner) = meta.error.clone();
                self.meta = meta;
                return Ok(());
            }
            Found::Nothing => {}
        }
        self.meta.head = match head {
            Some(head) => head.to_owned(),
            None => {
                let names = self.directory.names().await?;
                names.into_iter().find(|name| name.contains(names::HEAD)).unwrap_or_default()
            }
        };
        tracing::warn!(directory = self.directory.root(), head = self.meta.head, "recovering the volume's metadata");
        self.write_volume_meta(true).await
    }

    async fn read_disks(&mut self) -> Result<()> {
        for file in self.directory.names().await? {
            let Some(name) = file.strip_suffix(META_SUFFIX).filter(|_| file != VOLUME_META) else { continue };
            let path = self.directory.path(&file);
            let mut disk = match self.directory.read_json::<DiskMeta>(&file).await? {
                Found::Valid(disk) => disk,
                Found::Nothing => return Err(Error::Metadata { path, reason: "EOF".to_owned() }),
            };
            name.clone_into(&mut disk.name);
            if !disk.parent.is_empty() {
                self.add_child(&disk.parent.clone(), name);
            }
            self.disks.insert(name.to_owned(), disk);
        }
        Ok(())
    }

    /// The disks without the backing file, which is known before they are opened.
    fn disks_on_disk(&self) -> Vec<&String> {
        let backing = self.options.backing.as_ref().map(|backing| &backing.path);
        self.disks.keys().filter(|name| Some(*name) != backing).collect()
    }

    async fn push_backing_file(&mut self) -> Result<()> {
        let Some(backing) = self.options.backing.clone() else { return Ok(()) };
        let layer = Layer::new(backing.open().await?, backing.path.clone()).await?;
        self.layers.push(layer);
        self.active.push(backing.path.clone());
        self.disks.insert(backing.path.clone(), DiskMeta { name: backing.path, ..DiskMeta::default() });
        Ok(())
    }

    async fn open_chain(&mut self) -> Result<()> {
        let chain = self.chain()?;
        if chain.len() > MAXIMUM_SNAPSHOTS {
            return Err(Error::Refused(format!("live chain is too long: {}", chain.len())));
        }
        for name in chain.into_iter().rev() {
            let layer = Layer::new(self.directory.open_disk(&name).await?, self.directory.path(&name)).await?;
            self.layers.push(layer);
            self.active.push(name);
        }
        Ok(())
    }

    /// Writes `volume.meta` as it is in memory, but for the dirty flag.
    pub(super) async fn write_volume_meta(&self, dirty: bool) -> Result<()> {
        self.store_volume_meta(&VolumeMeta { dirty, ..self.info() }).await
    }

    pub(super) async fn store_volume_meta(&self, meta: &VolumeMeta) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.directory.write_json(VOLUME_META, meta).await
    }

    /// Opens what lies in the directory now as another replica. This one still has to be closed.
    ///
    /// # Errors
    /// As [`Replica::open`].
    pub async fn reload(&self) -> Result<Replica> {
        let mut replica = Replica::open(&self.directory, self.meta.size, self.options.clone()).await?;
        *replica.dirty.get_mut() = self.dirty.load(Ordering::Relaxed);
        Ok(replica)
    }

    /// Notes in the directory that the replica was closed in order.
    ///
    /// # Errors
    /// The metadata cannot be written.
    pub async fn close(&self) -> Result<()> {
        self.write_volume_meta(false).await
    }

    /// Removes the disks and the metadata. What cannot be removed stays.
    pub async fn delete(&self) {
        let backing = &self.meta.backing_file_path;
        for name in self.disks.keys().filter(|name| *name != backing) {
            if let Err(error) = self.directory.remove_disk(name).await {
                tracing::warn!(%error, disk = name, "failed to remove disk");
            }
        }
        for name in [VOLUME_META, names::REVISION_COUNTER] {
            if let Err(error) = self.directory.remove(name).await {
                tracing::warn!(%error, "failed to remove {name}");
            }
        }
    }

    /// The metadata as it is in memory.
    pub fn info(&self) -> VolumeMeta {
        let error = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        VolumeMeta { dirty: self.dirty.load(Ordering::Relaxed), error, ..self.meta.clone() }
    }

    /// Notes that a file could not be looked at, unless another could not be before.
    pub(super) fn note_failure(&self, text: impl FnOnce() -> String) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_empty() {
            *failure = text();
        }
    }

    /// How it is kept.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Changes how it is kept from now on.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The volume's size as it can be read and written.
    pub fn size(&self) -> u64 {
        self.layers.size()
    }

    /// Marks the replica as being rebuilt, or no longer.
    ///
    /// # Errors
    /// The metadata cannot be written.
    pub async fn set_rebuilding(&mut self, rebuilding: bool) -> Result<()> {
        let meta = VolumeMeta { dirty: true, rebuilding, ..self.info() };
        self.store_volume_meta(&meta).await?;
        self.meta.rebuilding = rebuilding;
        Ok(())
    }

    /// What the revision counter is at; 0 if there is none.
    pub async fn revision(&self) -> i64 {
        match &self.revision {
            Some(revision) => revision.get().await,
            None => 0,
        }
    }

    /// Sets the revision counter.
    ///
    /// # Errors
    /// It cannot be written, or there is none.
    pub async fn set_revision(&self, counter: i64) -> Result<()> {
        match &self.revision {
            Some(revision) => revision.set(counter).await,
            None => Err(Error::refused("BUG: revision file wasn't initialized")),
        }
    }
}

/// Sizes that do not fill their last sector have a map for it all the same.
const _: () = assert!(SECTOR_BYTES.is_multiple_of(REPLICA_SECTOR_BYTES.unsigned_abs()));
