//! An lvstore's metadata on its device: two copies written in turn, so that a write that is torn leaves the one before it.
//!
//! A copy is a header of 64 bytes (mark, generation, length and SHA-256 of the body) and a body of JSON. The copies share the clusters at the
//! beginning of the device; data begins behind them. Reading takes the newest copy that is whole. A device without a whole copy has no lvstore.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::block_device::BlockDevice;

/// What the device of an lvstore says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Metadata {
    /// Its identity.
    pub uuid: String,
    /// Its name: that of its disk.
    pub name: String,
    /// Bytes of a cluster.
    pub cluster_bytes: u64,
    /// Clusters of the whole device.
    pub device_clusters: u64,
    /// Logical volumes by UUID.
    pub lvols: BTreeMap<String, Lvol>,
}

/// A logical volume: thin, and a clone of its parent if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lvol {
    /// Its name, of which the lvstore has no second.
    pub name: String,
    /// Its size in clusters.
    pub clusters: u64,
    /// Whether it is a snapshot: read only.
    pub snapshot: bool,
    /// UUID of the snapshot that it was cloned from.
    pub parent: Option<String>,
    /// When it was made, in RFC 3339 with seconds.
    pub created: String,
    /// Attributes that whoever made it put on it.
    pub attributes: BTreeMap<String, String>,
    /// Clusters of its own: where each is on the device.
    pub allocated: BTreeMap<u64, u64>,
}

const MARK: &[u8; 8] = b"CORRALVS";
const HEADER_BYTES: usize = 64;
/// Room for metadata, in bytes a cluster of the device.
const BYTES_PER_CLUSTER: u64 = 4096;

impl Metadata {
    /// Clusters at the beginning of the device that are not for data.
    pub fn reserved_clusters(&self) -> u64 {
        reserved_clusters(self.device_clusters, self.cluster_bytes)
    }

    /// Clusters for data.
    pub fn data_clusters(&self) -> u64 {
        self.device_clusters - self.reserved_clusters()
    }

    /// Clusters that logical volumes have.
    pub fn allocated_clusters(&self) -> u64 {
        self.lvols.values().map(|lvol| lvol.allocated.len() as u64).sum()
    }

    fn copy_bytes(&self) -> u64 {
        copy_bytes(self.device_clusters, self.cluster_bytes)
    }

    /// Writes it as this generation and makes it durable.
    pub async fn write(&self, device: &BlockDevice, generation: u64) -> io::Result<()> {
        let body = serde_json::to_vec(self).map_err(io::Error::other)?;
        if (HEADER_BYTES + body.len()) as u64 > self.copy_bytes() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut copy = Vec::with_capacity(HEADER_BYTES + body.len());
        copy.extend_from_slice(MARK);
        copy.extend_from_slice(&generation.to_le_bytes());
        copy.extend_from_slice(&(body.len() as u64).to_le_bytes());
        copy.extend_from_slice(&Sha256::digest(&body));
        copy.resize(HEADER_BYTES, 0);
        copy.extend_from_slice(&body);
        device.file.write_all_at(&copy, (generation % 2) * self.copy_bytes()).await?;
        device.file.sync_all().await
    }
}

/// The newest whole copy on a device and its generation; none if there is no lvstore.
pub(super) async fn read(device: &BlockDevice, cluster_bytes: u64) -> io::Result<Option<(Metadata, u64)>> {
    let clusters = device.bytes / cluster_bytes;
    if clusters <= reserved_clusters(clusters, cluster_bytes) {
        return Ok(None);
    }
    let mut newest = None;
    for copy in 0..2 {
        let found =
            read_copy(device, copy * copy_bytes(clusters, cluster_bytes), copy_bytes(clusters, cluster_bytes)).await?;
        newest = std::cmp::max_by_key(newest, found, |found: &Option<(Metadata, u64)>| {
            found.as_ref().map(|(_, generation)| *generation)
        });
    }
    Ok(newest.filter(|(metadata, _)| metadata.device_clusters == clusters && metadata.cluster_bytes == cluster_bytes))
}

async fn read_copy(device: &BlockDevice, offset: u64, room: u64) -> io::Result<Option<(Metadata, u64)>> {
    let mut header = [0; HEADER_BYTES];
    device.file.read_exact_at(&mut header, offset).await?;
    let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let (generation, length) = (number(8), number(16));
    if !header.starts_with(MARK) || length > room - HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut body = vec![0; length as usize];
    device.file.read_exact_at(&mut body, offset + HEADER_BYTES as u64).await?;
    if Sha256::digest(&body)[..] != header[24..56] {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&body).ok().map(|metadata| (metadata, generation)))
}

/// Clusters that a device of so many keeps for metadata.
pub(super) fn reserved_clusters(device_clusters: u64, cluster_bytes: u64) -> u64 {
    (device_clusters * BYTES_PER_CLUSTER).div_ceil(cluster_bytes) + 1
}

fn copy_bytes(device_clusters: u64, cluster_bytes: u64) -> u64 {
    reserved_clusters(device_clusters, cluster_bytes) * cluster_bytes / 2
}
