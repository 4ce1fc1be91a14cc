//! The client of a replica and its sync agent (pkg/replica/client/client.go). Each client connects anew, as upstream's.

use std::time::Duration;

use longhorn_rpc::ptypes::replica_service_client::ReplicaServiceClient;
use longhorn_rpc::ptypes::sync_agent_service_client::SyncAgentServiceClient;
use longhorn_rpc::{Channel, ChannelOptions, Identity, Status, ptypes};

use crate::process::{DATA_PORT_OFFSET, SYNC_PORT_OFFSET};

/// How long most calls may take.
pub const COMMON_TIMEOUT: Duration = Duration::from_secs(3 * 60);
/// How long calls that move a volume may take.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Host and control port of an address such as `tcp://10.42.0.7:10000`.
///
/// # Errors
/// It is none.
pub fn host_and_port(address: &str) -> Result<(&str, u16), String> {
    let bare = address.strip_prefix("tcp://").unwrap_or(address);
    let bare = bare.split('/').next().unwrap_or_default();
    let (host, port) =
        bare.rsplit_once(':').ok_or_else(|| format!("invalid address {address}, must have a port in it"))?;
    let port = port.parse().map_err(|_| format!("invalid address {address}: invalid port"))?;
    Ok((host, port))
}

/// `host:port` of a replica's data server.
///
/// # Errors
/// The address is none.
pub fn data_address(address: &str) -> Result<String, String> {
    let (host, port) = host_and_port(address)?;
    Ok(format!("{host}:{}", port.saturating_add(DATA_PORT_OFFSET)))
}

/// A replica's client.
#[derive(Clone, Debug)]
pub struct ReplicaClient {
    host: String,
    control: Channel,
    sync: Channel,
}

/// A channel that is made for one task.
pub fn channel(address: String, identity: &Identity) -> Channel {
    Channel::with_options(address, ChannelOptions::default().identity(identity.clone())).timeout(COMMON_TIMEOUT)
}

impl ReplicaClient {
    /// A client of the replica at this address. Nothing is connected yet.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(address: &str, identity: &Identity) -> Result<ReplicaClient, String> {
        let (host, port) = host_and_port(address)?;
        let control = channel(format!("{host}:{port}"), identity);
        let sync = channel(format!("{host}:{}", port.saturating_add(SYNC_PORT_OFFSET)), identity);
        Ok(ReplicaClient { host: host.to_owned(), control, sync })
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The replica's own service.
    pub fn control(&self) -> ReplicaServiceClient<Channel> {
        ReplicaServiceClient::new(self.control.clone())
    }

    /// The sync agent's service.
    pub fn sync(&self) -> SyncAgentServiceClient<Channel> {
        SyncAgentServiceClient::new(self.sync.clone())
    }

    /// The sync agent's service, for calls that move a volume.
    pub fn long_sync(&self, timeout: Duration) -> SyncAgentServiceClient<Channel> {
        SyncAgentServiceClient::new(self.sync.clone().timeout(timeout))
    }

    /// The replica as it is.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn get(&self) -> Result<ptypes::Replica, Status> {
        Ok(self.control().replica_get(()).await?.into_inner().replica.unwrap_or_default())
    }
}
