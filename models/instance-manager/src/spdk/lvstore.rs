//! An lvstore: logical volumes on a device, thin, with snapshots and clones as SPDK's blobstore has them.
//!
//! Metadata is durable before an operation answers; data when the reader of the device asks for it. A cluster that a volume has not written is
//! its parent's, and zeros if no one has written it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::block_device::BlockDevice;
use super::metadata::{self, Lvol, Metadata};

/// A loaded lvstore.
pub(super) struct Lvstore {
    /// Name of the bdev that it is on.
    pub base: String,
    device: BlockDevice,
    metadata: Metadata,
    generation: u64,
    free: BTreeSet<u64>,
}

/// Why an operation fails: what SPDK answers over JSON-RPC.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    /// ENODEV.
    #[error("{{\"code\": -19,\"message\": \"No such device\"}}")]
    NoSuchDevice,
    /// EEXIST.
    #[error("{{\"code\": -17,\"message\": \"File exists\"}}")]
    Exists,
    /// ENOSPC.
    #[error("{{\"code\": -28,\"message\": \"No space left on device\"}}")]
    NoSpace,
    /// EPERM.
    #[error("{{\"code\": -1,\"message\": \"Operation not permitted\"}}")]
    NotPermitted,
    /// EINVAL.
    #[error("{{\"code\": -22,\"message\": \"Invalid argument\"}}")]
    Invalid,
    /// Anything of the device's.
    #[error("{{\"code\": -5,\"message\": \"{0}\"}}")]
    Io(#[from] io::Error),
}

/// What is known of a logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LvolInfo {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uuid: String,
    /// The lvstore's identity.
    pub lvs_uuid: String,
    /// The lvstore's name.
    pub lvs_name: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it takes of its own, in bytes.
    pub allocated_bytes: u64,
    /// Whether it is read only.
    pub snapshot: bool,
    /// Name of the snapshot behind it; empty without.
    pub parent: String,
    /// Names of what was cloned from it.
    pub clones: BTreeSet<String>,
    /// When it was made.
    pub created: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Lvstore {
    /// Loads what is on a device; gives the device back if there is no lvstore.
    pub async fn load(base: &str, device: BlockDevice) -> io::Result<Result<Self, BlockDevice>> {
        Ok(match metadata::read(&device, super::CLUSTER_BYTES).await? {
            Some((metadata, generation)) => Ok(Self::with(base, device, metadata, generation)),
            None => Err(device),
        })
    }

    /// Makes an empty lvstore on a device. What is on it is lost.
    pub async fn format(
        base: &str,
        device: BlockDevice,
        name: &str,
        uuid: String,
    ) -> Result<Self, (TargetError, BlockDevice)> {
        let cluster_bytes = super::CLUSTER_BYTES;
        let device_clusters = device.bytes / cluster_bytes;
        if device_clusters <= metadata::reserved_clusters(device_clusters, cluster_bytes) {
            return Err((TargetError::NoSpace, device));
        }
        let lvols = BTreeMap::new();
        let metadata = Metadata { uuid, name: name.to_owned(), cluster_bytes, device_clusters, lvols };
        // Both copies, so that none of an earlier lvstore is left; and nothing of its data.
        let written = async {
            device.file.punch_hole(0, device_clusters * cluster_bytes).await?;
            metadata.write(&device, 0).await?;
            metadata.write(&device, 1).await
        };
        match written.await {
            Ok(()) => Ok(Self::with(base, device, metadata, 1)),
            Err(error) => Err((error.into(), device)),
        }
    }

    fn with(base: &str, device: BlockDevice, metadata: Metadata, generation: u64) -> Self {
        let mut free: BTreeSet<u64> = (metadata.reserved_clusters()..metadata.device_clusters).collect();
        metadata.lvols.values().flat_map(|lvol| lvol.allocated.values()).for_each(|cluster| {
            free.remove(cluster);
        });
        Self { base: base.to_owned(), device, metadata, generation, free }
    }

    /// Lets go of the device.
    pub fn into_device(self) -> BlockDevice {
        self.device
    }

    /// Its metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The device it is on.
    pub fn device(&self) -> &BlockDevice {
        &self.device
    }

    /// Changes metadata and makes it durable; nothing is changed if that fails.
    async fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Metadata) -> Result<T, TargetError>,
    ) -> Result<T, TargetError> {
        let mut changed = self.metadata.clone();
        let result = change(&mut changed)?;
        changed.write(&self.device, self.generation + 1).await?;
        self.generation += 1;
        let freed = |lvols: &BTreeMap<String, Lvol>| -> BTreeSet<u64> {
            lvols.values().flat_map(|lvol| lvol.allocated.values().copied()).collect()
        };
        let (before, after) = (freed(&self.metadata.lvols), freed(&changed.lvols));
        self.free.extend(before.difference(&after));
        self.metadata = changed;
        Ok(result)
    }

    /// Gives it another name.
    pub async fn rename(&mut self, name: &str) -> Result<(), TargetError> {
        self.change(|metadata| {
            metadata.name = name.to_owned();
            Ok(())
        })
        .await
    }

    /// Makes an empty volume.
    pub async fn create(&mut self, name: &str, bytes: u64, uuid: String, created: String) -> Result<(), TargetError> {
        self.change(|metadata| {
            metadata.refuse_name(name)?;
            let clusters = bytes.div_ceil(metadata.cluster_bytes);
            metadata.lvols.insert(uuid, Lvol::new(name, clusters, None, created));
            Ok(())
        })
        .await
    }

    /// Makes a snapshot of a volume: it takes the volume's clusters and stands between it and its parent.
    pub async fn snapshot(
        &mut self,
        of: &str,
        name: &str,
        uuid: String,
        created: String,
        attributes: BTreeMap<String, String>,
    ) -> Result<(), TargetError> {
        self.change(|metadata| {
            metadata.refuse_name(name)?;
            let volume = metadata.lvols.get_mut(of).ok_or(TargetError::NoSuchDevice)?;
            let mut snapshot = Lvol::new(name, volume.clusters, volume.parent.replace(uuid.clone()), created);
            snapshot.snapshot = true;
            snapshot.attributes = attributes;
            snapshot.allocated = std::mem::take(&mut volume.allocated);
            metadata.lvols.insert(uuid, snapshot);
            Ok(())
        })
        .await
    }

    /// Makes a volume that begins as a snapshot is.
    pub async fn clone_of(
        &mut self,
        snapshot: &str,
        name: &str,
        uuid: String,
        created: String,
    ) -> Result<(), TargetError> {
        self.change(|metadata| {
            metadata.refuse_name(name)?;
            let parent = metadata.lvols.get(snapshot).filter(|lvol| lvol.snapshot).ok_or(TargetError::NoSuchDevice)?;
            let clone = Lvol::new(name, parent.clusters, Some(snapshot.to_owned()), created);
            metadata.lvols.insert(uuid, clone);
            Ok(())
        })
        .await
    }

    /// Deletes a volume. A snapshot with one clone leaves its clusters to it; one with more is in use.
    pub async fn delete(&mut self, uuid: &str) -> Result<(), TargetError> {
        self.change(|metadata| {
            let children: Vec<String> = metadata.clones_of(uuid).map(|(uuid, _)| uuid.clone()).collect();
            if children.len() > 1 {
                return Err(TargetError::NotPermitted);
            }
            let gone = metadata.lvols.remove(uuid).ok_or(TargetError::NoSuchDevice)?;
            if let Some(child) = children.first().and_then(|child| metadata.lvols.get_mut(child)) {
                child.parent = gone.parent;
                for (cluster, place) in gone.allocated {
                    child.allocated.entry(cluster).or_insert(place);
                }
            }
            Ok(())
        })
        .await
    }

    /// All volumes.
    pub fn lvols(&self) -> impl Iterator<Item = LvolInfo> {
        self.metadata.lvols.iter().map(|(uuid, lvol)| self.info(uuid, lvol))
    }

    fn info(&self, uuid: &str, lvol: &Lvol) -> LvolInfo {
        let metadata = &self.metadata;
        let parent = lvol.parent.as_ref().and_then(|parent| metadata.lvols.get(parent));
        LvolInfo {
            name: lvol.name.clone(),
            uuid: uuid.to_owned(),
            lvs_uuid: metadata.uuid.clone(),
            lvs_name: metadata.name.clone(),
            bytes: lvol.clusters * metadata.cluster_bytes,
            allocated_bytes: lvol.allocated.len() as u64 * metadata.cluster_bytes,
            snapshot: lvol.snapshot,
            parent: parent.map(|parent| parent.name.clone()).unwrap_or_default(),
            clones: metadata.clones_of(uuid).map(|(_, clone)| clone.name.clone()).collect(),
            created: lvol.created.clone(),
            attributes: lvol.attributes.clone(),
        }
    }

    /// Where a cluster of a volume is on the device: its own or an ancestor's.
    fn place_of(&self, uuid: &str, cluster: u64) -> Option<u64> {
        let mut next = Some(uuid);
        while let Some(lvol) = next.and_then(|uuid| self.metadata.lvols.get(uuid)) {
            if let Some(place) = lvol.allocated.get(&cluster) {
                return Some(*place);
            }
            next = lvol.parent.as_deref();
        }
        None
    }

    /// Reads a stretch of a volume.
    pub async fn read(&self, uuid: &str, offset: u64, length: usize) -> Result<Vec<u8>, TargetError> {
        self.check_range(uuid, offset, length)?;
        let cluster_bytes = self.metadata.cluster_bytes;
        let mut data = vec![0; length];
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let within = at % cluster_bytes;
            let count = (cluster_bytes - within).min((length - done) as u64) as usize;
            if let Some(place) = self.place_of(uuid, at / cluster_bytes) {
                let target = &mut data[done..done + count];
                self.device.file.read_exact_at(target, place * cluster_bytes + within).await?;
            }
            done += count;
        }
        Ok(data)
    }

    /// Writes a stretch of a volume; a cluster that is not its own is copied first.
    pub async fn write(&mut self, uuid: &str, offset: u64, data: &[u8]) -> Result<(), TargetError> {
        self.check_range(uuid, offset, data.len())?;
        if self.metadata.lvols[uuid].snapshot {
            return Err(TargetError::NotPermitted);
        }
        let cluster_bytes = self.metadata.cluster_bytes;
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let within = at % cluster_bytes;
            let count = (cluster_bytes - within).min((data.len() - done) as u64) as usize;
            let place = self.own(uuid, at / cluster_bytes).await?;
            self.device.file.write_all_at(&data[done..done + count], place * cluster_bytes + within).await?;
            done += count;
        }
        Ok(())
    }

    fn check_range(&self, uuid: &str, offset: u64, length: usize) -> Result<(), TargetError> {
        let lvol = self.metadata.lvols.get(uuid).ok_or(TargetError::NoSuchDevice)?;
        let end = offset.checked_add(length as u64).ok_or(TargetError::Invalid)?;
        if end > lvol.clusters * self.metadata.cluster_bytes { Err(TargetError::Invalid) } else { Ok(()) }
    }

    /// The place of a volume's own cluster, made if it has none.
    async fn own(&mut self, uuid: &str, cluster: u64) -> Result<u64, TargetError> {
        if let Some(place) = self.metadata.lvols[uuid].allocated.get(&cluster) {
            return Ok(*place);
        }
        let place = *self.free.first().ok_or(TargetError::NoSpace)?;
        let cluster_bytes = self.metadata.cluster_bytes;
        let mut content = vec![0; cluster_bytes as usize];
        if let Some(inherited) = self.place_of(uuid, cluster) {
            self.device.file.read_exact_at(&mut content, inherited * cluster_bytes).await?;
        }
        self.device.file.write_all_at(&content, place * cluster_bytes).await?;
        self.free.remove(&place);
        let taken = self.change(|metadata| {
            metadata.lvols.get_mut(uuid).ok_or(TargetError::NoSuchDevice)?.allocated.insert(cluster, place);
            Ok(())
        });
        let result = taken.await;
        if result.is_err() {
            self.free.insert(place);
        }
        result.map(|()| place)
    }

    /// Makes what was written durable.
    pub async fn flush(&self) -> Result<(), TargetError> {
        Ok(self.device.file.sync_all().await?)
    }
}

impl Metadata {
    fn refuse_name(&self, name: &str) -> Result<(), TargetError> {
        if self.lvols.values().any(|lvol| lvol.name == name) { Err(TargetError::Exists) } else { Ok(()) }
    }

    fn clones_of(&self, uuid: &str) -> impl Iterator<Item = (&String, &Lvol)> {
        self.lvols.iter().filter(move |(_, lvol)| lvol.parent.as_deref() == Some(uuid))
    }
}

impl Lvol {
    fn new(name: &str, clusters: u64, parent: Option<String>, created: String) -> Self {
        let (attributes, allocated) = (BTreeMap::new(), BTreeMap::new());
        Self { name: name.to_owned(), clusters, snapshot: false, parent, created, attributes, allocated }
    }
}
