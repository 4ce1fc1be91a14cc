//! A small volume service, and the two worlds to run it in.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corral_core::{Attachments, Process, ProcessSpec, world};
use host::net::TcpListener;
use host::time::sleep;
use longhorn_rpc::ptypes::controller_service_server::{ControllerService, ControllerServiceServer};
use longhorn_rpc::ptypes::{Volume, VolumeSnapshotReply, VolumeSnapshotRequest};
use longhorn_rpc::{Health, Request, Response, Router, Status, async_trait};

/// A volume; a snapshot takes as many seconds as its name says, and counts when it is done.
#[derive(Clone, Default)]
pub struct Volumes {
    pub snapshots_done: Arc<AtomicUsize>,
}

#[async_trait]
impl ControllerService for Volumes {
    async fn volume_get(&self, _: Request<()>) -> Result<Response<Volume>, Status> {
        Ok(Response::new(Volume { name: "v1".to_owned(), size: 1 << 30, ..Default::default() }))
    }

    async fn volume_snapshot(
        &self,
        request: Request<VolumeSnapshotRequest>,
    ) -> Result<Response<VolumeSnapshotReply>, Status> {
        let name = request.into_inner().name;
        let seconds: u64 = name.parse().map_err(|_| Status::invalid_argument(format!("{name} is no number")))?;
        sleep(Duration::from_secs(seconds)).await;
        self.snapshots_done.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(VolumeSnapshotReply { name }))
    }
}

impl Volumes {
    pub fn router(&self) -> Router {
        Router::new().add(ControllerServiceServer::new(self.clone())).health(&Health::new())
    }
}

/// The request for a snapshot that takes so long.
pub fn snapshot(seconds: u64) -> VolumeSnapshotRequest {
    VolumeSnapshotRequest { name: seconds.to_string(), ..Default::default() }
}

/// A listener on a free port, and its address.
pub async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(SocketAddr::new(host::net::local_ip(), 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    (listener, address)
}

/// Runs it on Linux, then under three seeds.
pub fn in_both_worlds<Fut>(function: fn() -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    host::real::block_on(function());
    for seed in 0..3 {
        corral_core::run(corral_core::Options::new(seed), async move { function().await }).unwrap();
    }
}

/// Starts a process with a machine and an address of its own.
pub fn start(name: &str, address: Ipv4Addr, main: impl Future<Output = ()> + Send + 'static) -> Arc<Process> {
    let world = world();
    let machine = world.machine_named(name).unwrap_or_else(|| world.add_machine(name));
    let spec = ProcessSpec {
        name: name.into(),
        machine: machine.id,
        address,
        hostname: name.into(),
        arguments: vec![name.into()],
        environment: Default::default(),
        attachments: Attachments::default(),
    };
    world.spawn_process(
        spec,
        Box::pin(async move {
            main.await;
            0
        }),
    )
}
