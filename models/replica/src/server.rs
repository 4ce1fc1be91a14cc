//! What a replica process serves: the replica in its directory, opened and closed by its engine (pkg/replica/server.go).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::data::{Failure, Processor};
use crate::error::{Error, Result};
use crate::format::names::VOLUME_META;
use crate::format::{Directory, Found, Labels, Options, RemoveAction, Replica, VolumeMeta};

/// How a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// There is none yet.
    Initial,
    /// It is there, and nobody uses it.
    Closed,
    /// It is used.
    Open,
    /// It is used, and has been written to.
    Dirty,
    /// It is being rebuilt.
    Rebuilding,
    /// It cannot be used.
    Error,
}

impl ReplicaState {
    /// As it goes over the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ReplicaState::Initial => "initial",
            ReplicaState::Closed => "closed",
            ReplicaState::Open => "open",
            ReplicaState::Dirty => "dirty",
            ReplicaState::Rebuilding => "rebuilding",
            ReplicaState::Error => "error",
        }
    }
}

impl std::fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The replica of one directory.
#[derive(Debug)]
pub struct Server {
    directory: Directory,
    options: Mutex<Options>,
    replica: RwLock<Option<Replica>>,
    /// Whether `replica` holds one, for pings, which wait for nobody.
    is_open: AtomicBool,
}

impl Server {
    /// A server of this directory.
    pub fn new(directory: Directory, options: Options) -> Server {
        Server { directory, options: Mutex::new(options), replica: RwLock::new(None), is_open: AtomicBool::new(false) }
    }

    /// The directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// How a replica is to be opened.
    pub fn options(&self) -> Options {
        self.options.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The open replica, if it is open, for looking.
    pub async fn replica(&self) -> RwLockReadGuard<'_, Option<Replica>> {
        self.replica.read().await
    }

    /// How the replica is.
    pub async fn status(&self) -> (ReplicaState, VolumeMeta) {
        self.status_of(self.replica.read().await.as_ref()).await
    }

    /// How the replica is that was found open, or the directory if none was.
    pub async fn status_of(&self, replica: Option<&Replica>) -> (ReplicaState, VolumeMeta) {
        let Some(replica) = replica else {
            return match self.directory.read_json::<VolumeMeta>(VOLUME_META).await {
                Ok(Found::Valid(meta)) => (ReplicaState::Closed, meta),
                Ok(Found::Nothing) => (ReplicaState::Initial, VolumeMeta::default()),
                Err(error) => {
                    tracing::error!(%error, "failed to read the volume's metadata");
                    (ReplicaState::Error, VolumeMeta::default())
                }
            };
        };
        let info = replica.info();
        let state = match &info {
            info if !info.error.is_empty() => ReplicaState::Error,
            info if info.rebuilding => ReplicaState::Rebuilding,
            info if info.dirty => ReplicaState::Dirty,
            _ => ReplicaState::Open,
        };
        (state, info)
    }

    /// Makes the replica unless there is one, and leaves it closed.
    ///
    /// # Errors
    /// As [`Replica::open`].
    pub async fn create(&self, size: i64) -> Result<()> {
        let replica = self.replica.write().await;
        if self.status_of(replica.as_ref()).await.0 != ReplicaState::Initial {
            return Ok(());
        }
        Replica::open(&self.directory, size, self.options()).await?.close().await
    }

    /// Opens the replica.
    ///
    /// # Errors
    /// It is open already; or as [`Replica::open`].
    pub async fn open(&self) -> Result<()> {
        let mut replica = self.replica.write().await;
        if replica.is_some() {
            return Err(Error::refused("replica is already open"));
        }
        let (_, info) = self.status_of(None).await;
        *replica = Some(Replica::open(&self.directory, info.size, self.options()).await?);
        self.is_open.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Closes the replica if it is open.
    ///
    /// # Errors
    /// Its metadata cannot be written; it stays open then.
    pub async fn close(&self) -> Result<()> {
        let mut replica = self.replica.write().await;
        let Some(open) = replica.as_ref() else { return Ok(()) };
        open.close().await?;
        *replica = None;
        self.is_open.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Opens anew what lies in the directory. The old one is closed afterwards, and what it writes to `volume.meta` then
    /// is how it knew the volume: upstream's order.
    ///
    /// # Errors
    /// As [`Replica::open`]; the old one stays then.
    pub async fn reload(&self) -> Result<()> {
        let mut replica = self.replica.write().await;
        let Some(open) = replica.as_ref() else { return Ok(()) };
        let reloaded = open.reload().await?;
        if let Some(old) = replica.replace(reloaded)
            && let Err(error) = old.close().await
        {
            tracing::error!(%error, "failed to close old replica");
        }
        Ok(())
    }

    /// Removes the replica if it is open.
    ///
    /// # Errors
    /// As [`Server::close`].
    pub async fn delete(&self) -> Result<()> {
        let mut replica = self.replica.write().await;
        let Some(open) = replica.as_ref() else { return Ok(()) };
        open.close().await?;
        open.delete().await;
        *replica = None;
        self.is_open.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Goes back to a disk, if the replica is open.
    ///
    /// # Errors
    /// As [`Replica::revert`].
    pub async fn revert(&self, disk: &str, created: &str) -> Result<()> {
        let mut replica = self.replica.write().await;
        let Some(open) = replica.as_ref() else { return Ok(()) };
        *replica = Some(open.revert(disk, created).await?);
        Ok(())
    }

    /// Takes a snapshot, if the replica is open.
    ///
    /// # Errors
    /// As [`Replica::snapshot`].
    pub async fn snapshot(&self, name: &str, user_created: bool, created: &str, labels: Labels) -> Result<()> {
        match self.replica.write().await.as_mut() {
            Some(replica) => replica.snapshot(name, user_created, created, labels).await,
            None => Ok(()),
        }
    }

    /// Makes the volume larger, if the replica is open.
    ///
    /// # Errors
    /// As [`Replica::expand`].
    pub async fn expand(&self, size: i64) -> Result<()> {
        match self.replica.write().await.as_mut() {
            Some(replica) => replica.expand(size).await,
            None => Ok(()),
        }
    }

    /// Removes a disk, if the replica is open.
    ///
    /// # Errors
    /// As [`Replica::remove_disk`].
    pub async fn remove_disk(&self, name: &str, force: bool) -> Result<()> {
        match self.replica.write().await.as_mut() {
            Some(replica) => replica.remove_disk(name, force).await,
            None => Ok(()),
        }
    }

    /// Lets a disk take its child's name, if the replica is open.
    ///
    /// # Errors
    /// As [`Replica::replace_disk`].
    pub async fn replace_disk(&self, target: &str, source: &str) -> Result<()> {
        match self.replica.write().await.as_mut() {
            Some(replica) => replica.replace_disk(target, source).await,
            None => Ok(()),
        }
    }

    /// Marks a disk as removed, if the replica is open.
    ///
    /// # Errors
    /// As [`Replica::mark_removed`].
    pub async fn mark_removed(&self, name: &str) -> Result<()> {
        match self.replica.write().await.as_mut() {
            Some(replica) => replica.mark_removed(name).await,
            None => Ok(()),
        }
    }

    /// What has to be done to get rid of a disk.
    ///
    /// # Errors
    /// As [`Replica::prepare_remove`].
    pub async fn prepare_remove(&self, name: &str) -> Result<Vec<RemoveAction>> {
        match self.replica.write().await.as_ref() {
            Some(replica) => replica.prepare_remove(name),
            None => Ok(Vec::new()),
        }
    }

    /// Marks the replica as being rebuilt, or no longer.
    ///
    /// # Errors
    /// Its state does not allow that, or its metadata cannot be written.
    pub async fn set_rebuilding(&self, rebuilding: bool) -> Result<()> {
        let mut replica = self.replica.write().await;
        let (state, _) = self.status_of(replica.as_ref()).await;
        let allowed = match rebuilding {
            true => matches!(state, ReplicaState::Open | ReplicaState::Dirty),
            false => state == ReplicaState::Rebuilding,
        };
        match replica.as_mut().filter(|_| allowed) {
            Some(replica) => replica.set_rebuilding(rebuilding).await,
            None => Err(Error::Refused(format!("cannot set rebuilding={rebuilding} from state {state}"))),
        }
    }

    /// Sets the revision counter, if the replica is open.
    ///
    /// # Errors
    /// As [`Replica::set_revision`].
    pub async fn set_revision(&self, counter: i64) -> Result<()> {
        match self.replica.write().await.as_ref() {
            Some(replica) => replica.set_revision(counter).await,
            None => Ok(()),
        }
    }

    /// Changes how the replica is kept, now and when it is opened again.
    pub async fn change_options(&self, change: impl Fn(&mut Options) + Send) {
        let mut replica = self.replica.write().await;
        change(&mut self.options.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        if let Some(replica) = replica.as_mut() {
            change(replica.options_mut());
        }
    }
}

fn gone() -> Failure {
    Failure::Error("replica no longer exist".to_owned())
}

fn failure(error: &Error) -> Failure {
    Failure::Error(error.to_string())
}

fn position(offset: i64) -> std::result::Result<u64, Failure> {
    u64::try_from(offset).map_err(|_| Failure::Error(format!("negative offset {offset}")))
}

impl Processor for Server {
    async fn read(&self, offset: i64, size: u32) -> std::result::Result<Bytes, Failure> {
        let offset = position(offset)?;
        let replica = self.replica.read().await;
        let replica = replica.as_ref().ok_or_else(gone)?;
        if offset.saturating_add(u64::from(size)) > replica.size() {
            return Err(failure(&Error::UnexpectedEof));
        }
        let mut buffer = vec![0; size as usize];
        replica.read_at(&mut buffer, offset).await.map_err(|error| failure(&error))?;
        Ok(buffer.into())
    }

    async fn write(&self, offset: i64, data: Bytes) -> std::result::Result<u32, Failure> {
        let offset = position(offset)?;
        let replica = self.replica.read().await;
        let replica = replica.as_ref().ok_or_else(gone)?;
        replica.write_at(&data, offset).await.map_err(|(_, error)| failure(&error))?;
        Ok(data.len() as u32)
    }

    async fn unmap(&self, offset: i64, size: u32) -> std::result::Result<u32, Failure> {
        let offset = position(offset)?;
        let mut replica = self.replica.write().await;
        let replica = replica.as_mut().ok_or_else(gone)?;
        let freed = replica.unmap_at(size, offset).await.map_err(|error| failure(&error))?;
        Ok(u32::try_from(freed).unwrap_or(u32::MAX))
    }

    async fn ping(&self) -> std::result::Result<(), Failure> {
        let state = match self.replica.try_read() {
            Ok(replica) => {
                let (state, info) = self.status_of(replica.as_ref()).await;
                if state == ReplicaState::Error {
                    return Err(Failure::Error(format!("ping failure due to {}", info.error)));
                }
                state
            }
            // Somebody changes it right now.
            Err(_) if self.is_open.load(Ordering::Relaxed) => ReplicaState::Open,
            Err(_) => ReplicaState::Closed,
        };
        match state {
            ReplicaState::Open | ReplicaState::Dirty | ReplicaState::Rebuilding => Ok(()),
            state => Err(Failure::Error(format!("ping failure: replica state {state}"))),
        }
    }
}
