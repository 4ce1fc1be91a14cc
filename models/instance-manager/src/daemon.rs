//! The pod's main: five services on five ports in a row, from the first to listen to the last to go (`app/cmd/start.go`).

use std::net::SocketAddr;

use host::net::TcpListener;
use longhorn_api::Build;
use longhorn_rpc::imrpc::disk_service_server::DiskServiceServer;
use longhorn_rpc::imrpc::instance_service_server::InstanceServiceServer;
use longhorn_rpc::imrpc::proxy_engine_service_server::ProxyEngineServiceServer;
use longhorn_rpc::process_manager::process_manager_service_server::ProcessManagerServiceServer;
use longhorn_rpc::spdkrpc::spdk_service_server::SpdkServiceServer;
use longhorn_rpc::{Health, Router, serve};

use crate::arguments::Arguments;
use crate::ports::Ports;
use crate::process::Manager;
use crate::version::Versions;
use crate::{disk, instance, process, proxy, spdk};

/// The services' ports, counted from the first.
mod offset {
    pub const PROCESS_MANAGER: u16 = 0;
    pub const PROXY: u16 = 1;
    pub const DISK: u16 = 2;
    pub const INSTANCE: u16 = 3;
    pub const SPDK: u16 = 4;
}

/// Runs until it is asked to stop; then it stops its processes, and ends when they have.
///
/// # Errors
/// The command line is wrong, or a port is taken.
pub(crate) async fn run(build: &Build, arguments: &[String]) -> Result<(), String> {
    let arguments = Arguments::parse(arguments).map_err(|error| error.to_string())?;
    let ports = |range: &str| Ports::parse(range).map_err(|error| error.to_string());
    let (process_ports, spdk_ports) = (ports(&arguments.process_ports)?, ports(&arguments.spdk_ports)?);
    let processes = Manager::new(build, process_ports);
    let spdk = arguments.spdk_enabled.then(|| spdk::Service::new(build, spdk_ports));
    let mut servers = Vec::new();
    for (offset, router) in routers(build, &processes, spdk) {
        let address = SocketAddr::from(([0, 0, 0, 0], arguments.port + offset));
        let listener = TcpListener::bind(address).await.map_err(|error| format!("listen tcp {address}: {error}"))?;
        servers.push(host::spawn(serve(listener, router)));
    }
    host::process::terminated().await;
    servers.iter().for_each(host::JoinHandle::abort);
    processes.shut_down().await;
    Ok(())
}

/// The services by the offset of their port.
fn routers(build: &Build, processes: &Manager, spdk: Option<spdk::Service>) -> Vec<(u16, Router)> {
    let versions = Versions::of(build);
    let health = Health::new();
    health.set_serving(true);
    let manager = process::Service { manager: processes.clone(), versions: versions.clone() };
    let disks = disk::Service { spdk: spdk.clone(), versions: versions.clone() };
    let instances = instance::Service::new(processes.clone(), spdk.clone(), versions);
    let mut routers = vec![
        (offset::DISK, Router::new().add(DiskServiceServer::new(disks))),
        (offset::INSTANCE, Router::new().add(InstanceServiceServer::new(instances))),
        (offset::PROXY, Router::new().add(ProxyEngineServiceServer::new(proxy::Service::new(build, spdk.clone())))),
        (offset::PROCESS_MANAGER, Router::new().add(ProcessManagerServiceServer::new(manager))),
    ];
    routers.extend(spdk.map(|spdk| (offset::SPDK, Router::new().add(SpdkServiceServer::new(spdk)))));
    routers.into_iter().map(|(offset, router)| (offset, router.health(&health))).collect()
}
