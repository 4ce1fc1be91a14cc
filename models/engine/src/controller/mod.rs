//! The engine process: one volume over its replicas (pkg/controller upstream).
//!
//! Reads and writes share the state; whatever changes it (a snapshot, a replica that comes or goes, an expansion, an
//! unmap) wants it alone. A replica whose I/O failed is marked after the sharing ended and before it is had alone: in
//! between others may still use it, as upstream.

mod backend;
mod error;
mod expand;
mod io;
mod process;
mod rebuild;
mod replicas;
mod service;
mod snapshot;
mod start;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use longhorn_api::{Build, Release};
use longhorn_replica::data::SharedTimeouts;
use longhorn_rpc::{Identity, ptypes};
use tokio::sync::RwLock;

pub use error::ControllerError;
pub use process::{Process, exit_status};
pub use service::Service;

use crate::frontend::Frontend;
use backend::Backend;

/// How a replica is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is written to, and its data is not complete yet.
    WriteOnly,
    /// It is written to and read from.
    ReadWrite,
    /// It has failed, and is used no more.
    Error,
}

impl Mode {
    /// As it goes over the wire.
    pub fn to_rpc(self) -> ptypes::ReplicaMode {
        match self {
            Mode::WriteOnly => ptypes::ReplicaMode::Wo,
            Mode::ReadWrite => ptypes::ReplicaMode::Rw,
            Mode::Error => ptypes::ReplicaMode::Err,
        }
    }

    /// From what came over the wire; what is not known is an error.
    pub fn from_rpc(mode: i32) -> Mode {
        match ptypes::ReplicaMode::try_from(mode) {
            Ok(ptypes::ReplicaMode::Wo) => Mode::WriteOnly,
            Ok(ptypes::ReplicaMode::Rw) => Mode::ReadWrite,
            _ => Mode::Error,
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::WriteOnly => "WO",
            Mode::ReadWrite => "RW",
            Mode::Error => "ERR",
        })
    }
}

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The volume's name.
    pub volume: String,
    /// The engine's build.
    pub build: Build,
    /// Which frontend to start; none if empty.
    pub frontend: String,
    /// Another engine serves the volume still: counters may differ.
    pub is_upgrade: bool,
    /// Writes are not counted.
    pub revision_counter_disabled: bool,
    /// Only the best replica is wanted.
    pub salvage_requested: bool,
    /// An unmap marks the snapshots behind the head as removed.
    pub unmap_mark_chain_removed: bool,
    /// How long a replica may be silent while others are there.
    pub replica_timeout: Duration,
    /// How long a request of a file transfer may take.
    pub file_sync_timeout: Duration,
    /// How many snapshots there may be.
    pub snapshot_max_count: i64,
    /// How large all snapshots together may become, in bytes; 0 for any size.
    pub snapshot_max_size_bytes: i64,
}

/// A replica and how it is used.
#[derive(Clone)]
pub(crate) struct Replica {
    pub address: String,
    pub mode: Mode,
    /// There is none if the replica could not be used from the start.
    pub backend: Option<Arc<Backend>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub size: i64,
    pub sector_size: i64,
    pub replicas: Vec<Replica>,
    pub frontend: Option<Frontend>,
    pub is_expanding: bool,
    pub last_expansion_error: String,
    pub last_expansion_failed_at: String,
    pub unmap_mark_chain_removed: bool,
    pub snapshot_max_count: i64,
    pub snapshot_max_size_bytes: i64,
}

/// The controller of a volume. Clones are the same one.
#[derive(Clone)]
pub struct Controller(Arc<Shared>);

pub(crate) struct Shared {
    settings: Settings,
    timeouts: Arc<SharedTimeouts>,
    state: RwLock<State>,
    /// Who was read from last.
    next_reader: AtomicUsize,
    metrics: Mutex<io::Metrics>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Controller({})", self.0.settings.volume)
    }
}

impl Controller {
    /// A controller without replicas.
    pub fn new(settings: Settings) -> Controller {
        let state = State {
            frontend: Frontend::named(&settings.frontend, &settings.volume),
            unmap_mark_chain_removed: settings.unmap_mark_chain_removed,
            snapshot_max_count: settings.snapshot_max_count,
            snapshot_max_size_bytes: settings.snapshot_max_size_bytes,
            ..State::default()
        };
        let short = settings.replica_timeout;
        Controller(Arc::new(Shared {
            timeouts: Arc::new(SharedTimeouts::new(short, 2 * short)),
            settings,
            state: RwLock::new(state),
            next_reader: AtomicUsize::new(0),
            metrics: Mutex::default(),
        }))
    }

    /// The volume's name.
    pub fn volume_name(&self) -> &str {
        &self.0.settings.volume
    }

    /// The engine's build.
    pub(crate) fn build(&self) -> &Build {
        &self.0.settings.build
    }

    /// Whom calls to replicas are meant for: their names are not known here.
    pub(crate) fn identity(&self) -> Identity {
        Identity::new(self.volume_name(), "")
    }

    /// Whether a full disk is a state of its own, and not the end of a replica (longhorn#10718).
    pub(crate) fn tolerates_full_disks(&self) -> bool {
        self.0.settings.build.release().at_least(Release::V1_9_2)
    }

    /// Ends the frontend, then lets the replicas go.
    ///
    /// # Errors
    /// A replica could not be closed.
    pub async fn shutdown(&self) -> Result<(), ControllerError> {
        let shut = self.shutdown_frontend().await;
        let mut state = self.0.state.write().await;
        let replicas = std::mem::take(&mut state.replicas);
        let mut last = None;
        for replica in replicas.into_iter().filter(|replica| replica.mode != Mode::Error) {
            if let Some(backend) = replica.backend {
                last = backend.close().await.err().or(last);
            }
        }
        drop(state);
        match (shut.err(), last) {
            (None, None) => Ok(()),
            (frontend, backend) => {
                let frontend = frontend.map_or_else(|| "<nil>".to_owned(), |error| error.to_string());
                let backend = backend.map_or_else(String::new, |error| format!(": {error}"));
                Err(format!("errors when shutting down controller: frontend: {frontend} backend{backend}").into())
            }
        }
    }

    /// Ends the frontend.
    ///
    /// # Errors
    /// Its device cannot be removed.
    pub async fn shutdown_frontend(&self) -> Result<(), ControllerError> {
        // Writes must be able to go on meanwhile.
        let state = self.0.state.read().await;
        match &state.frontend {
            Some(frontend) => frontend.shutdown().await.map_err(ControllerError::from),
            None => Ok(()),
        }
    }

    /// Starts a frontend.
    ///
    /// # Errors
    /// Another one is up, there is no such frontend, or it cannot be started.
    pub async fn start_frontend(&self, name: &str) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        if state.is_expanding {
            return Err("cannot start frontend during the engine expansion".into());
        }
        if name.is_empty() {
            return Err("cannot start empty frontend".into());
        }
        if let Some(frontend) = &state.frontend
            && frontend.name() != name
            && frontend.is_up()
        {
            let text = format!("frontend {} is already started, cannot be set as {name}", frontend.name());
            return Err(text.into());
        }
        let frontend = Frontend::named(name, self.volume_name());
        let frontend =
            frontend.ok_or_else(|| format!("failed to find frontend: {name}: unsupported frontend type: {name}"))?;
        state.frontend = Some(frontend);
        self.start_frontend_of(&state).await
    }

    pub(crate) async fn start_frontend_of(&self, state: &State) -> Result<(), ControllerError> {
        let Some(frontend) = state.frontend.as_ref().filter(|_| !state.replicas.is_empty()) else { return Ok(()) };
        let started = frontend.start(self.clone(), state.size).await;
        started.map_err(|error| format!("failed to start up frontend: {error}").into())
    }

    /// Changes whether an unmap marks snapshots as removed.
    ///
    /// # Errors
    /// No replica could be told.
    pub async fn set_unmap_mark_chain_removed(&self, enabled: bool) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        state.unmap_mark_chain_removed = enabled;
        self.align_unmap_mark(&mut state).await
    }

    /// The volume as it is told to others.
    pub(crate) async fn describe(&self) -> ptypes::Volume {
        let state = self.0.state.read().await;
        let frontend = state.frontend.as_ref();
        ptypes::Volume {
            name: self.volume_name().to_owned(),
            size: state.size,
            replica_count: i32::try_from(state.replicas.len()).unwrap_or(i32::MAX),
            endpoint: frontend.map(Frontend::endpoint).unwrap_or_default(),
            frontend: frontend.map(|frontend| frontend.name().to_owned()).unwrap_or_default(),
            frontend_state: frontend.map(|frontend| frontend.state().to_owned()).unwrap_or_default(),
            is_expanding: state.is_expanding,
            last_expansion_error: state.last_expansion_error.clone(),
            last_expansion_failed_at: state.last_expansion_failed_at.clone(),
            unmap_mark_snap_chain_removed: state.unmap_mark_chain_removed,
            snapshot_max_count: i32::try_from(state.snapshot_max_count).unwrap_or(i32::MAX),
            snapshot_max_size: state.snapshot_max_size_bytes,
        }
    }

    /// The replicas as they are told to others.
    pub(crate) async fn list(&self) -> Vec<ptypes::ControllerReplica> {
        self.0.state.read().await.replicas.iter().map(Replica::describe).collect()
    }
}

impl Replica {
    pub(crate) fn describe(&self) -> ptypes::ControllerReplica {
        let address = ptypes::ReplicaAddress { address: self.address.clone(), instance_name: String::new() };
        ptypes::ControllerReplica { address: Some(address), mode: self.mode.to_rpc().into() }
    }
}
