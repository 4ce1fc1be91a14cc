//! What the agent's tasks share: which of them run, and how far they are.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhorn_backupstore::Context;
use longhorn_rpc::Identity;
use tokio::sync::RwLock;

use crate::format::Directory;
use crate::server::Server;
use crate::sync::backup::BackupList;
use crate::sync::hash::HashList;
use crate::sync::restore::RestoreStatus;

/// A state as it goes over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was ever begun.
    #[default]
    None,
    Running,
    Complete,
    Error,
}

impl Progress {
    pub fn as_str(self) -> &'static str {
        match self {
            Progress::None => "",
            Progress::Running => "in_progress",
            Progress::Complete => "complete",
            Progress::Error => "error",
        }
    }
}

/// How far a task is that moves or merges files.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskStatus {
    pub state: Progress,
    pub error: String,
    pub percent: i32,
    pub from_address: String,
    pub snapshot: String,
    /// Bytes, or snapshots.
    pub done: u64,
    pub total: u64,
}

impl TaskStatus {
    pub fn advance(&mut self, by: u64) {
        self.done += by;
        self.percent = (self.done as f32 / self.total.max(1) as f32 * 100.0) as i32;
    }

    /// Notes how the task ended.
    pub fn finish(&mut self, error: Option<String>) {
        match error {
            Some(error) => {
                self.state = Progress::Error;
                self.error = error;
            }
            None => {
                self.state = Progress::Complete;
                self.percent = 100;
            }
        }
    }
}

/// Which tasks run, and which ports are taken.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub purging: bool,
    pub restoring: bool,
    pub rebuilding: bool,
    pub cloning: bool,
    ports: BTreeMap<u16, &'static str>,
    next_port: Option<u16>,
}

/// Statuses that are asked for while tasks run.
#[derive(Debug, Default)]
pub(crate) struct Statuses {
    pub purge: Mutex<TaskStatus>,
    pub rebuild: Arc<Mutex<TaskStatus>>,
    pub clone: Arc<Mutex<TaskStatus>>,
    pub restore: Arc<Mutex<RestoreStatus>>,
    pub backups: Mutex<BackupList>,
    pub hashes: Mutex<HashList>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Shared {
    pub server: Arc<Server>,
    pub identity: Identity,
    /// How the replica is called in texts.
    pub address: String,
    pub ports: RangeInclusive<u16>,
    pub backups: Context,
    pub running: RwLock<Running>,
    pub statuses: Statuses,
    /// One disk is hashed at a time. Upstream's lock is a file of the node's, shared by all its replicas.
    pub hashing: tokio::sync::Mutex<()>,
}

/// The sync agent of a replica.
#[derive(Clone)]
pub struct Agent(pub(crate) Arc<Shared>);

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Agent({})", self.0.address)
    }
}

impl Agent {
    /// An agent of this replica, which receives files at these ports.
    pub fn new(
        server: Arc<Server>,
        identity: Identity,
        address: String,
        ports: RangeInclusive<u16>,
        backups: Context,
    ) -> Agent {
        Agent(Arc::new(Shared {
            server,
            identity,
            address,
            ports,
            backups,
            running: RwLock::default(),
            statuses: Statuses::default(),
            hashing: tokio::sync::Mutex::default(),
        }))
    }

    pub(crate) fn directory(&self) -> &Directory {
        self.0.server.directory()
    }

    /// Takes a port to receive a file at.
    pub(crate) async fn take_port(&self, purpose: &'static str) -> Result<u16, String> {
        let mut running = self.0.running.write().await;
        let (first, last) = (*self.0.ports.start(), *self.0.ports.end());
        for _ in first..=last {
            let port = running.next_port.unwrap_or(first);
            running.next_port = Some(if port >= last { first } else { port + 1 });
            if let std::collections::btree_map::Entry::Vacant(vacant) = running.ports.entry(port) {
                vacant.insert(purpose);
                return Ok(port);
            }
        }
        Err("out of ports".to_owned())
    }

    pub(crate) async fn give_port_back(&self, port: u16) {
        self.0.running.write().await.ports.remove(&port);
    }

    /// Forgets all that was done, unless a restore runs.
    pub(crate) async fn reset(&self) -> Result<(), String> {
        let mut running = self.0.running.write().await;
        if running.restoring {
            return Err("replica is currently restoring, cannot reset".to_owned());
        }
        running.restoring = false;
        let statuses = &self.0.statuses;
        *lock(&statuses.purge) = TaskStatus::default();
        *lock(&statuses.rebuild) = TaskStatus::default();
        *lock(&statuses.clone) = TaskStatus::default();
        *lock(&statuses.restore) = RestoreStatus::default();
        *lock(&statuses.backups) = BackupList::default();
        *lock(&statuses.hashes) = HashList::default();
        Ok(())
    }
}
