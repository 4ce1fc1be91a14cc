//! A machine with an instance manager's pod on it, a program that stands in for the `longhorn` binary, and clients.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use corral_core::{Attachments, Machine, Options, Process, ProcessSpec, Signal, world};
use corral_disk::{Disk, DiskOptions, Mounts};
use host::net::TcpListener;
use host::process::{Programs, args, print, program};
use host::time::{Instant, sleep};
use longhorn_api::{Build, Release};
use longhorn_rpc::imrpc::disk_service_client::DiskServiceClient;
use longhorn_rpc::imrpc::instance_service_client::InstanceServiceClient;
use longhorn_rpc::imrpc::proxy_engine_service_client::ProxyEngineServiceClient;
use longhorn_rpc::imrpc::{DataEngine, InstanceGetRequest, InstanceResponse};
use longhorn_rpc::process_manager::process_manager_service_client::ProcessManagerServiceClient;
use longhorn_rpc::{Channel, Health, Router, Status, serve};

/// Where the stand-in is found; another copy is another engine image's.
pub const BINARY: &str = "/engine-binaries/one/longhorn";
pub const OTHER_BINARY: &str = "/engine-binaries/two/longhorn";

/// Runs a test under a few seeds.
pub fn simulate<Fut: Future<Output = ()> + Send + 'static>(test: fn() -> Fut) {
    for seed in 0..4 {
        corral_core::run(Options::new(seed), async move { test().await }).unwrap();
    }
}

/// The newest modelled release.
pub fn newest() -> Build {
    Build::published(Release::V1_9_2)
}

/// A machine with a disk that outlives its pods.
pub struct Node {
    pub machine: Arc<Machine>,
    pub disk: Arc<Disk>,
    pub address: Ipv4Addr,
}

impl Node {
    /// A machine whose pods have this address.
    pub fn new(name: &str, address: [u8; 4]) -> Node {
        let machine = world().add_machine(name);
        let disk = Disk::create(&world(), machine.id, "system", DiskOptions::default());
        Node { machine, disk, address: address.into() }
    }

    /// Puts a block device of this size on the machine.
    pub async fn add_device(&self, path: &str, bytes: u64) {
        let (path, mounts) = (path.to_owned(), Mounts::new(self.disk.clone()));
        let made = self.spawn("mkdev", Vec::new(), mounts, move || {
            let path = path.clone();
            async move {
                host::fs::create_dir_all("/dev").await.unwrap();
                let options = host::fs::OpenOptions::new().write(true).create(true);
                let device = options.open(&path).await.unwrap();
                device.set_len(bytes).await.unwrap();
                device.sync_all().await.unwrap();
                host::fs::sync_dir("/dev").await.unwrap();
                0
            }
        });
        assert_eq!(made.wait().await.code(), 0);
    }

    /// Starts a pod of the v1 data engine.
    pub async fn boot_v1(&self, build: Build) -> Arc<Process> {
        self.boot(build, "instance-manager --debug daemon --listen 0.0.0.0:8500").await
    }

    /// Starts a pod of the v2 data engine.
    pub async fn boot_v2(&self, build: Build) -> Arc<Process> {
        let line = "instance-manager --spdk-log all --spdk-cpumask 0x1 --enable-spdk --debug daemon --spdk-enabled --listen 0.0.0.0:8500";
        self.boot(build, line).await
    }

    async fn boot(&self, build: Build, line: &str) -> Arc<Process> {
        let root = Disk::create(&world(), self.machine.id, "container", DiskOptions::ephemeral());
        let mounts = Mounts::new(root).with_mount("/host", self.disk.clone(), "/");
        let arguments = line.split(' ').map(str::to_owned).collect();
        let pod = self.spawn("instance-manager", arguments, mounts, move || {
            let build = build.clone();
            longhorn_instance_manager::main(build)
        });
        sleep(Duration::from_millis(10)).await;
        assert!(pod.is_alive(), "{:?}", String::from_utf8_lossy(&pod.output().1));
        pod
    }

    fn spawn<Fut: Future<Output = i32> + Send + 'static>(
        &self,
        name: &str,
        arguments: Vec<String>,
        mounts: Mounts,
        main: impl Fn() -> Fut + Send + 'static,
    ) -> Arc<Process> {
        let binaries = [BINARY, OTHER_BINARY].map(|path| (path.to_owned(), program(stand_in)));
        let programs = Programs { by_path: BTreeMap::from(binaries) };
        let spec = ProcessSpec {
            name: name.to_owned(),
            machine: self.machine.id,
            address: self.address,
            hostname: name.to_owned(),
            arguments,
            environment: BTreeMap::new(),
            attachments: Attachments::default().with(Arc::new(mounts)).with(Arc::new(programs)),
        };
        world().spawn_process(spec, Box::pin(async move { main().await }))
    }

    fn channel(&self, port: u16) -> Channel {
        Channel::new(format!("{}:{port}", self.address)).timeout(Duration::from_secs(60))
    }

    pub fn processes(&self) -> ProcessManagerServiceClient<Channel> {
        ProcessManagerServiceClient::new(self.channel(8500))
    }

    pub fn proxy(&self) -> ProxyEngineServiceClient<Channel> {
        ProxyEngineServiceClient::new(self.channel(8501))
    }

    pub fn disks(&self) -> DiskServiceClient<Channel> {
        DiskServiceClient::new(self.channel(8502))
    }

    pub fn instances(&self) -> InstanceServiceClient<Channel> {
        InstanceServiceClient::new(self.channel(8503))
    }

    /// An instance as it is now.
    pub async fn instance(&self, engine: DataEngine, kind: &str, name: &str) -> Result<InstanceResponse, Status> {
        let request = InstanceGetRequest {
            name: name.to_owned(),
            r#type: kind.to_owned(),
            data_engine: engine.into(),
            ..InstanceGetRequest::default()
        };
        self.instances().instance_get(request).await.map(|answer| answer.into_inner())
    }
}

/// An instance's state, in a word.
pub fn state(instance: &InstanceResponse) -> String {
    instance.status.clone().unwrap_or_default().state
}

/// Waits until it holds, and says how long that took.
///
/// # Panics
/// If it does not hold within so long.
pub async fn eventually<Fut: Future<Output = bool>>(limit: Duration, holds: impl Fn() -> Fut) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < limit, "it did not come to that in {limit:?}");
        sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

pub fn kill(process: &Process) {
    world().signal(process, Signal::Kill);
}

/// Stands in for the `longhorn` binary: its first argument says how it behaves.
async fn stand_in() -> i32 {
    let arguments = args();
    print(&format!("begun as {}\n", arguments.join(" ")));
    let behaviour = arguments.get(1).map(String::as_str).unwrap_or_default();
    if behaviour == "fail" {
        sleep(Duration::from_millis(300)).await;
        return 61;
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--listen")
        && behaviour != "mute"
    {
        let listener = TcpListener::bind(arguments[at + 1].parse().unwrap()).await.unwrap();
        host::spawn(serve(listener, Router::new().health(&Health::new())));
    }
    host::process::terminated().await;
    if behaviour == "stubborn" {
        std::future::pending::<()>().await;
    }
    0
}
