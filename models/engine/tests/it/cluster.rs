//! Machines with replica processes, and one with the engine and its users.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corral_core::{Attachments, MachineId, Options, Process, ProcessSpec, Signal, world};
use corral_disk::{Disk, DiskOptions, Mounts};
use corral_object_store::BucketStore;
use longhorn_engine::task::Task;
use longhorn_engine::{Device, Engine};

pub const VOLUME: &str = "vol-1";
pub const SIZE: u64 = 16 << 20;
/// The engine's control port.
pub const ENGINE_PORT: u16 = 10_000;
/// A replica's control port.
pub const REPLICA_PORT: u16 = 10_100;
pub const STORE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 0, 99), 9000);
pub const TARGET: &str = "s3://backups@us-east-1/store/";

const ENGINE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

/// Runs a test in a fresh world.
pub fn simulated<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    corral_core::run(Options::new(11), async move { test().await }).unwrap();
}

/// A machine with a disk.
#[derive(Clone)]
pub struct Machine {
    pub id: MachineId,
    pub address: Ipv4Addr,
    pub disk: Arc<Disk>,
    name: String,
}

impl Machine {
    pub fn new(name: &str, address: Ipv4Addr) -> Machine {
        let id = world().add_machine(name).id;
        let disk = Disk::create(&world(), id, "root", DiskOptions::default());
        disk.create_directories("/replicas").expect("a directory");
        Machine { id, address, disk, name: name.to_owned() }
    }

    fn spec(&self, name: &str, arguments: Vec<String>) -> ProcessSpec {
        let mounts = Mounts::new(Arc::clone(&self.disk));
        let environment = [
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_ENDPOINTS", format!("http://{}:{}", STORE.0, STORE.1)),
        ];
        ProcessSpec {
            name: name.to_owned(),
            machine: self.id,
            address: self.address,
            hostname: self.name.clone(),
            arguments,
            environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            attachments: Attachments::default().with(Arc::new(mounts)),
        }
    }

    /// Runs the binary.
    pub fn longhorn(&self, line: &str) -> Arc<Process> {
        let arguments = std::iter::once("longhorn").chain(line.split_whitespace()).map(str::to_owned).collect();
        let main = longhorn_engine::main(Engine::of(longhorn_api::Build::default()));
        world().spawn_process(self.spec("longhorn", arguments), Box::pin(main))
    }

    /// Runs a program of the test's own to its end.
    pub async fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        program: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let main = async move {
            let _ = sender.send(program().await);
            0
        };
        let process = world().spawn_process(self.spec("user", vec!["user".to_owned()]), Box::pin(main));
        let end = process.wait().await;
        assert_eq!(end.code(), 0, "the user's program failed");
        receiver.await.expect("its result")
    }
}

/// A volume of several replicas.
pub struct Cluster {
    pub machines: Vec<Machine>,
    pub replicas: Vec<Arc<Process>>,
    pub engine_machine: Machine,
}

impl Cluster {
    pub fn new(replicas: usize) -> Cluster {
        let machine = |index: usize| {
            Machine::new(&format!("node-{index}"), Ipv4Addr::new(10, 1, 0, 10 + u8::try_from(index).expect("few")))
        };
        let machines: Vec<Machine> = (0..replicas).map(machine).collect();
        let mut cluster =
            Cluster { machines, replicas: Vec::new(), engine_machine: Machine::new("engine", ENGINE_ADDRESS) };
        for index in 0..replicas {
            let process = cluster.start_replica(index, "r", "");
            cluster.replicas.push(process);
        }
        cluster
    }

    /// Starts a machine's replica in a directory, with more flags.
    pub fn start_replica(&self, index: usize, directory: &str, flags: &str) -> Arc<Process> {
        self.machines[index].longhorn(&format!(
            "--volume-name {VOLUME} replica /replicas/{directory} --size {SIZE} --disableRevCounter \
             --replica-instance-name {VOLUME}-r-{index} --snapshot-max-count 250 --snapshot-max-size 0 \
             --sync-agent-port-count 7 --listen 0.0.0.0:{REPLICA_PORT} {flags}"
        ))
    }

    pub fn address(&self, index: usize) -> String {
        format!("tcp://{}:{REPLICA_PORT}", self.machines[index].address)
    }

    /// Starts the engine with these replicas.
    pub fn start_engine(&self, replicas: &[usize], flags: &str) -> Arc<Process> {
        let replicas: String = replicas.iter().map(|index| format!(" --replica {}", self.address(*index))).collect();
        self.engine_machine.longhorn(&format!(
            "--engine-instance-name {VOLUME}-e-0 controller {VOLUME} --frontend tgt-blockdev --disableRevCounter \
             --size {SIZE} --current-size {SIZE} --engine-replica-timeout 8 --file-sync-http-client-timeout 30 \
             --snapshot-max-count 250 --snapshot-max-size 0{replicas} --listen 0.0.0.0:{ENGINE_PORT} {flags}"
        ))
    }

    /// Starts an engine over all replicas and waits until it serves.
    pub async fn up(&self, flags: &str) -> Arc<Process> {
        pause(1).await;
        let all: Vec<usize> = (0..self.machines.len()).collect();
        let engine = self.start_engine(&all, flags);
        pause(2).await;
        assert!(engine.is_alive(), "{}", output(&engine));
        engine
    }

    /// Runs a program on the engine's machine, with a client of the engine.
    pub async fn user<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        program: impl FnOnce(Task) -> F + Send + 'static,
    ) -> T {
        self.engine_machine.run(move || program(task())).await
    }

    /// The modes of the replicas, by their addresses.
    pub async fn modes(&self) -> Vec<String> {
        let replicas = self.user(|task| async move { task.replicas().await.expect("a list") }).await;
        replicas.into_iter().map(|replica| format!("{} {}", replica.address, replica.mode)).collect()
    }

    pub fn kill(&self, process: &Arc<Process>) {
        world().signal(process, Signal::Kill);
    }
}

pub fn task() -> Task {
    Task::new(&format!("{ENGINE_ADDRESS}:{ENGINE_PORT}"), VOLUME, "vol-1-e-0")
}

pub async fn device() -> Device {
    Device::open(VOLUME).await.expect("a device")
}

pub async fn pause(seconds: u64) {
    corral_core::sleep(Duration::from_secs(seconds)).await;
}

pub fn output(process: &Process) -> String {
    let (stdout, stderr) = process.output();
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

/// Starts a server of backups.
pub fn start_store() -> Arc<BucketStore> {
    let store = BucketStore::new();
    store.create_bucket("backups");
    let machine = Machine::new("store", STORE.0);
    let served = Arc::clone(&store);
    let serve = async move { i32::from(corral_object_store::serve(served, SocketAddr::from(STORE)).await.is_err()) };
    drop(world().spawn_process(machine.spec("store", vec!["store".to_owned()]), Box::pin(serve)));
    store
}

/// Content that differs in every block and between generations.
pub fn pattern(generation: u8, blocks: std::ops::Range<u64>) -> BTreeMap<u64, Vec<u8>> {
    let block = |block: u64| {
        let seed = block.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(generation);
        (0..512_u64).flat_map(|word| seed.wrapping_mul(word | 1).to_le_bytes()).collect::<Vec<u8>>()
    };
    blocks.map(|number| (number, block(number))).collect()
}
