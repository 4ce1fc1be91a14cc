//! What is done to a volume from outside its engine process, over the engine's and the replicas' services (pkg/sync
//! upstream). The command line and the instance manager's proxy both call these.
//!
//! A [`Task`] is a client of one engine. Errors are texts: Longhorn's callers match on nothing else.

mod backup;
mod rebuild;
mod snapshot;

use std::future::Future;

use longhorn_replica::{COMMON_TIMEOUT, ReplicaClient, channel};
use longhorn_rpc::ptypes::controller_service_client::ControllerServiceClient;
use longhorn_rpc::{Channel, Identity, Status, ptypes, rpc_text};
use serde::Serialize;

pub use backup::{BackupCreateInfo, BackupCreateParameters, BackupStatusInfo, RestoreStatus};
pub use rebuild::{AddReplica, ReplicaRebuildStatus};
pub use snapshot::{
    SnapshotCloneStatus, SnapshotHashStatus, SnapshotInfo, SnapshotPurgeStatus, clone_snapshot, snapshots_info,
};

use crate::controller::Mode;

/// Result of a task.
pub type Result<T> = std::result::Result<T, TaskError>;

/// A task failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// For this reason.
    #[error("{0}")]
    Failed(String),
    /// Replicas failed.
    #[error("{}", .0.iter().map(|error| format!("{}: {}", error.address, error.message)).collect::<Vec<_>>().join("; "))]
    Replicas(Vec<ReplicaError>),
}

/// One replica's failure, as upstream writes it into JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReplicaError {
    /// The replica.
    pub address: String,
    /// What it said.
    pub message: String,
}

impl From<String> for TaskError {
    fn from(text: String) -> TaskError {
        TaskError::Failed(text)
    }
}

impl From<&str> for TaskError {
    fn from(text: &str) -> TaskError {
        TaskError::Failed(text.to_owned())
    }
}

/// Fails if any replica did.
fn check(errors: Vec<ReplicaError>) -> Result<()> {
    if errors.is_empty() { Ok(()) } else { Err(TaskError::Replicas(errors)) }
}

/// A replica as its engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// Its address.
    pub address: String,
    /// How it is used.
    pub mode: Mode,
}

/// A client of an engine.
#[derive(Clone, Debug)]
pub struct Task {
    address: String,
    volume: String,
    channel: Channel,
}

impl Task {
    /// A client of the engine at this address (`host:port`, with or without a scheme). Nothing is connected yet.
    pub fn new(address: &str, volume: &str, instance: &str) -> Task {
        let bare = ["tcp://", "http://"].iter().find_map(|scheme| address.strip_prefix(scheme)).unwrap_or(address);
        let bare = bare.split('/').next().unwrap_or_default().to_owned();
        let channel = channel(bare.clone(), &Identity::new(volume, instance));
        Task { address: bare, volume: volume.to_owned(), channel }
    }

    /// The engine's own service.
    pub fn controller(&self) -> ControllerServiceClient<Channel> {
        ControllerServiceClient::new(self.channel.clone().timeout(COMMON_TIMEOUT))
    }

    /// Puts what was tried before what the engine said.
    fn failed<'a>(&'a self, doing: &'a str) -> impl Fn(Status) -> TaskError + 'a {
        move |status| TaskError::Failed(format!("failed to {doing} {}: {}", self.address, rpc_text(&status)))
    }

    /// The volume.
    ///
    /// # Errors
    /// The engine cannot be reached, or is another one.
    pub async fn volume(&self) -> Result<ptypes::Volume> {
        let volume = self.controller().volume_get(()).await;
        Ok(volume.map_err(self.failed("get volume"))?.into_inner())
    }

    /// The volume's replicas.
    ///
    /// # Errors
    /// The engine cannot be reached, or is another one.
    pub async fn replicas(&self) -> Result<Vec<ReplicaInfo>> {
        let list = self.controller().replica_list(()).await.map_err(self.failed("list replicas for volume"))?;
        let replicas = list.into_inner().replicas.into_iter();
        let info = |replica: ptypes::ControllerReplica| ReplicaInfo {
            address: replica.address.unwrap_or_default().address,
            mode: Mode::from_rpc(replica.mode),
        };
        Ok(replicas.map(info).collect())
    }

    /// A client of a replica, whose own name is known or empty.
    fn replica(&self, address: &str, instance: &str) -> Result<ReplicaClient> {
        Ok(ReplicaClient::new(address, &Identity::new(self.volume.clone(), instance))?)
    }

    async fn replica_state(&self, address: &str, instance: &str) -> Result<ptypes::Replica> {
        let state = self.replica(address, instance)?.get().await;
        Ok(state.map_err(|status| replica_failed("get", address)(status))?)
    }

    /// Whether a replica is being rebuilt.
    async fn is_rebuilding(&self, address: &str) -> Result<bool> {
        Ok(self.replica_state(address, "").await?.rebuilding)
    }

    /// Does the same to all replicas at once, and collects what went wrong.
    async fn on_each<F>(&self, replicas: &[ReplicaInfo], action: impl Fn(ReplicaInfo) -> F) -> Vec<ReplicaError>
    where
        F: Future<Output = Result<()>>,
    {
        let each = replicas.iter().map(|replica| {
            let (address, done) = (replica.address.clone(), action(replica.clone()));
            async move {
                let message = done.await.err()?.to_string();
                Some(ReplicaError { address, message })
            }
        });
        futures_util::future::join_all(each).await.into_iter().flatten().collect()
    }
}

/// Puts what was tried before what a replica said.
fn replica_failed<'a>(doing: &'a str, address: &'a str) -> impl Fn(Status) -> String + 'a {
    move |status| format!("failed to {doing} replica {address}: {}", rpc_text(&status))
}
