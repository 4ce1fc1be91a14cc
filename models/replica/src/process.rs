//! The replica process: its three ports and what stands behind them (app/cmd/replica.go, pkg/util `GetAddresses`).
//!
//! Upstream runs the sync agent as a child process, which dies with its parent and whose end ends the parent. Here it is
//! a set of tasks of the same process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use host::net::TcpListener;
use longhorn_backupstore::Context;
use longhorn_rpc::ptypes::replica_service_server::ReplicaServiceServer;
use longhorn_rpc::ptypes::sync_agent_service_server::SyncAgentServiceServer;
use longhorn_rpc::{Health, Identity, Router, ServerKind};

use crate::data;
use crate::error::go_text;
use crate::format::{Directory, Options};
use crate::server::Server;
use crate::service::Service;
use crate::sync::Agent;

/// The data server's port above the control port.
pub const DATA_PORT_OFFSET: u16 = 1;
/// The sync agent's port above the control port; those that receive files follow it.
pub const SYNC_PORT_OFFSET: u16 = 2;

/// What a replica process is started with.
#[derive(Clone)]
pub struct Process {
    /// The replica's directory.
    pub directory: Directory,
    /// `host:port` of the control port.
    pub listen: String,
    /// The volume's size in bytes, to make the replica if there is none.
    pub size: Option<i64>,
    /// How the replica is kept.
    pub options: Options,
    /// Whose replica it is.
    pub identity: Identity,
    /// How many ports there are to receive files.
    pub sync_ports: u16,
    /// How backups are made and restored.
    pub backups: Context,
}

/// An address to listen at.
///
/// # Errors
/// It is none.
pub fn listening_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("tcp://").unwrap_or(text);
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("address {text}: missing port in address"))?;
    let port: u16 = port.parse().map_err(|_| format!("address {text}: invalid port"))?;
    let ip = match host {
        "" | "0.0.0.0" => Ipv4Addr::UNSPECIFIED,
        "localhost" => Ipv4Addr::LOCALHOST,
        host => host.parse().map_err(|_| format!("address {text}: no such host"))?,
    };
    Ok((ip, port).into())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("listen tcp {address}: bind: {}", go_text(&error)))
}

impl Process {
    /// Runs until one of its servers fails.
    ///
    /// # Errors
    /// The replica cannot be made, or a port is taken.
    pub async fn run(self) -> Result<(), String> {
        let server = Arc::new(Server::new(self.directory, self.options));
        if let Some(size) = self.size {
            server.create(size).await.map_err(|error| error.to_string())?;
        }
        let control = listening_address(&self.listen)?;
        let above = |offset| SocketAddr::new(control.ip(), control.port().saturating_add(offset));
        let control_listener = bind(control).await?;
        let data_listener = bind(above(DATA_PORT_OFFSET)).await?;
        let sync_listener = bind(above(SYNC_PORT_OFFSET)).await?;
        let first = control.port().saturating_add(SYNC_PORT_OFFSET + 1);
        let ports = first..=first.saturating_add(self.sync_ports.saturating_sub(1));
        let agent = Agent::new(Arc::clone(&server), self.identity.clone(), control.to_string(), ports, self.backups);
        let replica_services = Router::new()
            .add(ReplicaServiceServer::new(Service(Arc::clone(&server))))
            .health(&Health::new())
            .identity(ServerKind::Replica, self.identity.clone());
        let agent_services =
            Router::new().add(SyncAgentServiceServer::new(agent)).identity(ServerKind::Replica, self.identity);
        tokio::join!(
            longhorn_rpc::serve(control_listener, replica_services),
            data::serve(data_listener, server),
            longhorn_rpc::serve(sync_listener, agent_services),
        );
        Ok(())
    }
}
