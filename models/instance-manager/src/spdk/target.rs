//! The target: what spdk_tgt keeps. Block devices by name, the lvstores on them, volumes, and what is exposed to the network.
//!
//! It is empty when the pod starts. Opening a block device loads the lvstore that is on it, as SPDK's examination of a new bdev does.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use host::random::Stream;
use tokio::sync::Mutex;

use super::block_device::{self, BlockDevice};
use super::fabric::{self, Exported, Exposure, Operation};
use super::lvstore::{LvolInfo, Lvstore, TargetError};
use crate::uuid::random_uuid;

/// The target of a pod.
pub(super) struct Target(Mutex<State>);

struct State {
    /// Block devices without an lvstore, by bdev name.
    bare: BTreeMap<String, BlockDevice>,
    /// Lvstores by the name of their bdev.
    lvstores: BTreeMap<String, Lvstore>,
    /// What is exposed, by name.
    exposures: BTreeMap<String, (u16, Exposure)>,
    random: Stream,
}

/// What is known of an lvstore.
#[derive(Clone, Debug)]
pub(super) struct LvstoreInfo {
    pub uuid: String,
    pub name: String,
    pub base: String,
    pub path: String,
    pub block_bytes: i64,
    pub cluster_bytes: u64,
    pub data_clusters: u64,
    pub free_clusters: u64,
}

impl State {
    fn lvstore(&mut self, uuid: &str) -> Result<&mut Lvstore, TargetError> {
        let found = self.lvstores.values_mut().find(|lvstore| lvstore.metadata().uuid == uuid);
        found.ok_or(TargetError::NoSuchDevice)
    }

    /// The lvstore that has a volume.
    fn lvstore_of(&mut self, lvol: &str) -> Result<&mut Lvstore, TargetError> {
        let found = self.lvstores.values_mut().find(|lvstore| lvstore.metadata().lvols.contains_key(lvol));
        found.ok_or(TargetError::NoSuchDevice)
    }
}

fn info_of(lvstore: &Lvstore) -> LvstoreInfo {
    let metadata = lvstore.metadata();
    LvstoreInfo {
        uuid: metadata.uuid.clone(),
        name: metadata.name.clone(),
        base: lvstore.base.clone(),
        path: lvstore.device().path.clone(),
        block_bytes: lvstore.device().block_bytes,
        cluster_bytes: metadata.cluster_bytes,
        data_clusters: metadata.data_clusters(),
        free_clusters: metadata.data_clusters() - metadata.allocated_clusters(),
    }
}

/// The time, as SPDK writes the making of a volume.
fn now() -> String {
    host::wall_clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Target {
    /// An empty one.
    pub fn new() -> Self {
        let random = host::random::stream("spdk-target");
        let (bare, lvstores, exposures) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self(Mutex::new(State { bare, lvstores, exposures, random }))
    }

    // ---- block devices

    /// Paths of open block devices by bdev name.
    pub async fn block_devices(&self) -> BTreeMap<String, String> {
        let state = self.0.lock().await;
        let bare = state.bare.iter().map(|(name, device)| (name.clone(), device.path.clone()));
        let used = state.lvstores.iter().map(|(name, lvstore)| (name.clone(), lvstore.device().path.clone()));
        bare.chain(used).collect()
    }

    /// Opens a block device, and the lvstore on it if there is one.
    pub async fn open_block_device(&self, name: &str, path: &str, block_bytes: i64) -> Result<(), TargetError> {
        let mut state = self.0.lock().await;
        if state.bare.contains_key(name) || state.lvstores.contains_key(name) {
            return Err(TargetError::Exists);
        }
        let device = block_device::open(path, block_bytes).await?;
        match Lvstore::load(name, device).await? {
            Ok(lvstore) => {
                state.lvstores.insert(name.to_owned(), lvstore);
            }
            Err(device) => {
                state.bare.insert(name.to_owned(), device);
            }
        }
        Ok(())
    }

    /// Closes a block device; what is on it stays.
    pub async fn close_block_device(&self, name: &str) -> Result<(), TargetError> {
        let mut state = self.0.lock().await;
        let closed = state.lvstores.remove(name).map(Lvstore::into_device).or_else(|| state.bare.remove(name));
        closed.map(drop).ok_or(TargetError::NoSuchDevice)
    }

    // ---- lvstores

    /// All lvstores.
    pub async fn lvstores(&self) -> Vec<LvstoreInfo> {
        self.0.lock().await.lvstores.values().map(info_of).collect()
    }

    /// The lvstore of this UUID.
    pub async fn lvstore(&self, uuid: &str) -> Result<LvstoreInfo, TargetError> {
        self.0.lock().await.lvstore(uuid).map(|lvstore| info_of(lvstore))
    }

    /// The lvstore of this name.
    pub async fn lvstore_named(&self, name: &str) -> Result<LvstoreInfo, TargetError> {
        self.lvstores().await.into_iter().find(|lvstore| lvstore.name == name).ok_or(TargetError::NoSuchDevice)
    }

    /// Makes an lvstore on an open block device; gives its UUID.
    pub async fn create_lvstore(&self, base: &str, name: &str) -> Result<String, TargetError> {
        let mut state = self.0.lock().await;
        if state.lvstores.contains_key(base) {
            return Err(TargetError::NotPermitted);
        }
        let uuid = random_uuid(&mut state.random);
        let device = state.bare.remove(base).ok_or(TargetError::NoSuchDevice)?;
        match Lvstore::format(base, device, name, uuid.clone()).await {
            Ok(lvstore) => {
                state.lvstores.insert(base.to_owned(), lvstore);
                Ok(uuid)
            }
            Err((error, device)) => {
                state.bare.insert(base.to_owned(), device);
                Err(error)
            }
        }
    }

    /// Gives an lvstore another name.
    pub async fn rename_lvstore(&self, uuid: &str, name: &str) -> Result<(), TargetError> {
        self.0.lock().await.lvstore(uuid)?.rename(name).await
    }

    // ---- volumes

    /// All volumes by name. Of two with one name, in two lvstores, the one is seen that a map of names happens to keep.
    pub async fn lvols(&self) -> BTreeMap<String, LvolInfo> {
        let state = self.0.lock().await;
        state.lvstores.values().flat_map(Lvstore::lvols).map(|lvol| (lvol.name.clone(), lvol)).collect()
    }

    /// A volume by lvstore and name.
    pub async fn lvol(&self, lvs_uuid: &str, name: &str) -> Result<LvolInfo, TargetError> {
        let mut state = self.0.lock().await;
        let found = state.lvstore(lvs_uuid)?.lvols().find(|lvol| lvol.name == name);
        found.ok_or(TargetError::NoSuchDevice)
    }

    /// Makes an empty volume.
    pub async fn create_lvol(&self, lvs_uuid: &str, name: &str, bytes: u64) -> Result<(), TargetError> {
        let mut state = self.0.lock().await;
        let uuid = random_uuid(&mut state.random);
        state.lvstore(lvs_uuid)?.create(name, bytes, uuid, now()).await
    }

    /// Makes a snapshot of a volume.
    pub async fn snapshot_lvol(
        &self,
        lvol: &str,
        name: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<(), TargetError> {
        let mut state = self.0.lock().await;
        let uuid = random_uuid(&mut state.random);
        state.lvstore_of(lvol)?.snapshot(lvol, name, uuid, now(), attributes).await
    }

    /// Makes a volume that begins as a snapshot is.
    pub async fn clone_lvol(&self, snapshot: &str, name: &str) -> Result<(), TargetError> {
        let mut state = self.0.lock().await;
        let uuid = random_uuid(&mut state.random);
        state.lvstore_of(snapshot)?.clone_of(snapshot, name, uuid, now()).await
    }

    /// Deletes a volume.
    pub async fn delete_lvol(&self, lvol: &str) -> Result<(), TargetError> {
        self.0.lock().await.lvstore_of(lvol)?.delete(lvol).await
    }

    // ---- what is exposed

    /// Exposes something under a name.
    pub async fn expose(&self, volume: Arc<impl Exported>, name: &str, address: SocketAddr) -> io::Result<()> {
        let exposure = fabric::expose(volume, name, address).await?;
        self.0.lock().await.exposures.insert(name.to_owned(), (address.port(), exposure));
        Ok(())
    }

    /// Stops exposing; false if nothing of this name was.
    pub async fn stop_exposing(&self, name: &str) -> bool {
        self.0.lock().await.exposures.remove(name).is_some()
    }

    /// The port at which this name is exposed.
    pub async fn exposed_port(&self, name: &str) -> Option<u16> {
        self.0.lock().await.exposures.get(name).map(|(port, _)| *port)
    }
}

/// A volume of the target, to be exposed.
pub(super) struct LocalVolume {
    pub target: Arc<Target>,
    pub lvol: String,
    pub bytes: u64,
}

impl Exported for LocalVolume {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn run(&self, operation: Operation) -> io::Result<Vec<u8>> {
        let mut state = self.target.0.lock().await;
        let lvstore = state.lvstore_of(&self.lvol).map_err(io::Error::other)?;
        let done = match operation {
            Operation::KeepAlive => Ok(Vec::new()),
            Operation::Read { offset, length } => lvstore.read(&self.lvol, offset, length as usize).await,
            Operation::Write { offset, data } => lvstore.write(&self.lvol, offset, &data).await.map(|()| Vec::new()),
            Operation::Flush => lvstore.flush().await.map(|()| Vec::new()),
        };
        done.map_err(io::Error::other)
    }
}
