//! A replica as the controller uses it: its data connection, and its control service (pkg/backend/remote).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::JoinHandle;
use longhorn_replica::data::{DataClient, SharedTimeouts};
use longhorn_replica::{ReplicaClient, data_address, go_text};
use longhorn_rpc::{Identity, Status, ptypes, rpc_text};

/// Time between a good ping and the next one.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(2);

/// An open replica.
pub(crate) struct Backend {
    pub address: String,
    pub data: DataClient,
    identity: Identity,
    monitor: Mutex<Option<JoinHandle<()>>>,
}

/// What failed, and whether it was because nobody was there.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub text: String,
    pub unavailable: bool,
}

impl From<String> for Unreachable {
    fn from(text: String) -> Unreachable {
        let unavailable = text.contains("rpc error: code = Unavailable");
        Unreachable { text, unavailable }
    }
}

impl Backend {
    /// Connects to a closed replica and opens it.
    pub async fn open(
        address: &str,
        identity: &Identity,
        timeouts: Arc<SharedTimeouts>,
    ) -> Result<Backend, Unreachable> {
        let client = ReplicaClient::new(address, identity)?;
        let replica = client
            .get()
            .await
            .map_err(|status| format!("failed to get replica {address} info from remote: {}", rpc_text(&status)))?;
        if replica.state != "closed" {
            return Err(format!("replica must be closed, cannot add in state: {}", replica.state).into());
        }
        let at = data_address(address)?;
        let resolved = host::net::lookup(&at).await.ok().and_then(|addresses| addresses.into_iter().next());
        let resolved = resolved.ok_or_else(|| format!("dial tcp {at}: no such host"))?;
        let data = DataClient::connect(resolved, timeouts).await;
        let data = data.map_err(|error| format!("dial tcp {at}: connect: {}", go_text(&error)))?;
        let opened = ReplicaClient::new(address, identity)?.control().replica_open(()).await;
        opened.map_err(|status| format!("failed to open replica {address} from remote: {}", rpc_text(&status)))?;
        Ok(Backend { address: address.to_owned(), data, identity: identity.clone(), monitor: Mutex::default() })
    }

    /// A client for one call: each connects anew.
    pub fn client(&self) -> ReplicaClient {
        ReplicaClient::new(&self.address, &self.identity).expect("the address was good when it was connected to")
    }

    /// The replica as it is.
    pub async fn info(&self) -> Result<ptypes::Replica, Unreachable> {
        let failed = |status: Status| {
            Unreachable::from(format!("failed to get replica {} info from remote: {}", self.address, rpc_text(&status)))
        };
        self.client().get().await.map_err(failed)
    }

    /// The replica's size in bytes.
    pub async fn size(&self) -> Result<i64, Unreachable> {
        size_of(&self.info().await?)
    }

    pub async fn snapshot(&self, request: ptypes::ReplicaSnapshotRequest) -> Result<(), String> {
        let taken = self.client().control().replica_snapshot(request).await;
        taken
            .map(drop)
            .map_err(|status| format!("failed to snapshot replica {} from remote: {}", self.address, rpc_text(&status)))
    }

    pub async fn set_revision(&self, counter: i64) -> Result<(), String> {
        let set = self.client().control().revision_counter_set(ptypes::RevisionCounterSetRequest { counter }).await;
        set.map(drop).map_err(|status| {
            let (address, error) = (&self.address, rpc_text(&status));
            format!("failed to set revision counter to {counter} for replica {address} from remote: {error}")
        })
    }

    pub async fn revision(&self) -> Result<i64, String> {
        let info = self.info().await.map_err(|error| error.text)?;
        match info.state.as_str() {
            "open" | "dirty" => Ok(info.revision_counter),
            state => Err(format!("invalid state {state} for getting revision counter")),
        }
    }

    pub async fn set_rebuilding(&self, rebuilding: bool) -> Result<(), String> {
        let set = self.client().control().rebuilding_set(ptypes::RebuildingSetRequest { rebuilding }).await;
        set.map(drop).map_err(|status| {
            format!("failed to set replica {} rebuild to {rebuilding}: {}", self.address, rpc_text(&status))
        })
    }

    /// Pings until a ping fails, and calls then.
    pub fn watch<F: Future<Output = ()> + Send>(
        self: &Arc<Backend>,
        on_failure: impl FnOnce(String) -> F + Send + 'static,
    ) {
        // The task must not keep what it watches: a backend that nobody holds any more closes its connections.
        let watched = Arc::downgrade(self);
        let task = host::spawn(async move {
            loop {
                host::time::sleep(PING_INTERVAL).await;
                let Some(backend) = watched.upgrade() else { return };
                if let Err(error) = backend.data.ping().await {
                    backend.data.fail(&error);
                    drop(backend);
                    return on_failure(error.to_string()).await;
                }
            }
        });
        *self.monitor.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(task);
    }

    /// Pings no more.
    pub fn stop_watching(&self) {
        if let Some(task) = self.monitor.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            task.abort();
        }
    }

    /// Lets the replica go.
    pub async fn close(&self) -> Result<(), String> {
        self.stop_watching();
        self.data.close();
        let closed = self.client().control().replica_close(()).await;
        closed
            .map(drop)
            .map_err(|status| format!("failed to close replica {} from remote: {}", self.address, rpc_text(&status)))
    }
}

/// A replica's size as it was told.
pub(crate) fn size_of(info: &ptypes::Replica) -> Result<i64, Unreachable> {
    info.size.parse().map_err(|_| Unreachable::from(format!("invalid size {:?}", info.size)))
}
