//! A whole cluster in a simulated world, and the means to break it.
//!
//! Addresses: control plane 10.0.0.10, workers 10.0.1.N, pods 10.42.N.x, services 10.43.0.0/16 with the API server at 10.43.0.1:443. The control plane is
//! one machine that runs no pods. The privileged half (power, freezing, stopping a kubelet, killing a container, looking into the store) is for run loops,
//! faults and oracles; what is under test uses the network like everybody else.

mod machines;
mod spec;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use corral_apiserver::Store;
use corral_core::{Machine, MachineState, Process, world};
use corral_disk::Disk;
use corral_net::Net;

use machines::{control_units, make_worker};
pub use spec::{ClusterSpec, WorkerSpec};

use crate::kubelet::runtime::Runtime;
use crate::kubelet::volumes::MachineDisks;
use crate::service_proxy::ServiceTable;
use crate::supervisor::Supervisor;

/// The address of the control plane's machine.
pub const CONTROL_PLANE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// Where the API server listens.
pub const API_PORT: u16 = 6443;
/// Where pods find the API server.
pub const API_SERVICE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 43, 0, 1), 443);

const API_SERVER: &str = "kube-apiserver";
const CONTROLLER_MANAGER: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";
const NAME_SERVER: &str = "coredns";
const KUBELET: &str = "kubelet";
const KUBE_PROXY: &str = "kube-proxy";
/// The control plane's machine, and its node if it had one.
const CONTROL_PLANE: &str = "control-plane";

struct Worker {
    machine: Arc<Machine>,
    supervisor: Arc<Supervisor>,
    runtime: Arc<Runtime>,
    disks: MachineDisks,
    services: Arc<ServiceTable>,
}

/// A running cluster.
pub struct Cluster {
    store: Arc<Store>,
    control_plane: Arc<Supervisor>,
    control_machine: Arc<Machine>,
    control_services: Arc<ServiceTable>,
    workers: BTreeMap<String, Worker>,
}

/// There is no such worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no worker {name:?}; there are {known}")]
pub struct NoSuchWorker {
    name: String,
    known: String,
}

impl Cluster {
    /// Makes the machines, starts everything, and waits until all nodes are ready and may take pods.
    ///
    /// # Panics
    /// If two workers have one name, or there are more than 250.
    pub async fn boot(spec: ClusterSpec) -> Cluster {
        let cluster = Cluster::start(spec);
        cluster.wait_until_ready().await;
        cluster
    }

    /// Makes the machines and starts everything; nothing is ready yet.
    ///
    /// # Panics
    /// As [`Cluster::boot`].
    pub fn start(spec: ClusterSpec) -> Cluster {
        assert!(spec.workers.len() <= 250, "addresses of workers end in one byte");
        let world = world();
        let store = Store::new(spec.history);
        let control_machine = world.add_machine(CONTROL_PLANE);
        let net = Net::of(&world);
        net.add_address(CONTROL_PLANE_ADDRESS, control_machine.id);
        net.set_name_server(CONTROL_PLANE_ADDRESS);
        let control_services = Arc::new(ServiceTable::default());
        let units = control_units(&spec, &store, &control_machine, &control_services);
        let control_plane = Supervisor::install(&world, control_machine.id, units);
        control_plane.boot();
        let mut workers = BTreeMap::new();
        for (index, worker) in spec.workers.iter().enumerate() {
            let made = make_worker(&world, &spec, worker, index as u8 + 1);
            made.supervisor.boot();
            let before = workers.insert(worker.name.clone(), made);
            assert!(before.is_none(), "two workers are named {}", worker.name);
        }
        Cluster { store, control_plane, control_machine, control_services, workers }
    }

    /// Waits until every worker's node is ready and has no taint.
    pub async fn wait_until_ready(&self) {
        let is_ready = |name: &String| {
            let Some(node) = self.store.object("nodes", "", name) else { return false };
            let conditions = node.value.pointer("/status/conditions").and_then(|list| list.as_array());
            let ready = conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True");
            let taints = node.value.pointer("/spec/taints").and_then(|list| list.as_array());
            ready && taints.is_none_or(Vec::is_empty)
        };
        while !self.workers.keys().all(is_ready) {
            corral_core::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `host:port` of the API server, for clients outside the pods' network.
    pub fn api_address(&self) -> String {
        format!("{CONTROL_PLANE_ADDRESS}:{API_PORT}")
    }

    /// What the API server stores: for oracles and triggers.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The names of the workers, sorted.
    pub fn worker_names(&self) -> impl Iterator<Item = &str> {
        self.workers.keys().map(String::as_str)
    }

    fn worker(&self, name: &str) -> Result<&Worker, NoSuchWorker> {
        self.workers.get(name).ok_or_else(|| NoSuchWorker {
            name: name.to_owned(),
            known: self.workers.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// A worker's machine.
    ///
    /// # Errors
    /// No such worker.
    pub fn machine(&self, worker: &str) -> Result<Arc<Machine>, NoSuchWorker> {
        Ok(self.worker(worker)?.machine.clone())
    }

    /// The control plane's machine.
    pub fn control_plane_machine(&self) -> &Arc<Machine> {
        &self.control_machine
    }

    /// A worker's disks, by where they are mounted; the first is the root.
    ///
    /// # Errors
    /// No such worker.
    pub fn disks(&self, worker: &str) -> Result<Vec<(String, Arc<Disk>)>, NoSuchWorker> {
        Ok(self.worker(worker)?.disks.disks())
    }

    // ---- machines

    /// Cuts a worker's power: everything on it is gone without a word.
    ///
    /// # Errors
    /// No such worker.
    pub fn power_off(&self, worker: &str) -> Result<(), NoSuchWorker> {
        let worker = self.worker(worker)?;
        let world = world();
        world.set_machine_state(worker.machine.id, MachineState::Off);
        worker.services.clear(&Net::of(&world), worker.machine.id);
        Ok(())
    }

    /// Gives a worker its power back; it boots its kubelet and its proxy.
    ///
    /// # Errors
    /// No such worker.
    pub fn power_on(&self, worker: &str) -> Result<(), NoSuchWorker> {
        let worker = self.worker(worker)?;
        world().set_machine_state(worker.machine.id, MachineState::Running);
        worker.supervisor.boot();
        Ok(())
    }

    /// Freezes a worker as a whole: silence now, everything late.
    ///
    /// # Errors
    /// No such worker.
    pub fn freeze(&self, worker: &str) -> Result<(), NoSuchWorker> {
        world().set_machine_state(self.worker(worker)?.machine.id, MachineState::Frozen);
        Ok(())
    }

    /// Lets a frozen worker go on.
    ///
    /// # Errors
    /// No such worker.
    pub fn thaw(&self, worker: &str) -> Result<(), NoSuchWorker> {
        world().set_machine_state(self.worker(worker)?.machine.id, MachineState::Running);
        Ok(())
    }

    // ---- processes

    /// Kills a worker's kubelet and leaves it dead; its containers live on.
    ///
    /// # Errors
    /// No such worker.
    pub fn kubelet_stop(&self, worker: &str) -> Result<(), NoSuchWorker> {
        self.worker(worker)?.supervisor.stop(KUBELET);
        Ok(())
    }

    /// Starts a worker's kubelet again.
    ///
    /// # Errors
    /// No such worker.
    pub fn kubelet_start(&self, worker: &str) -> Result<(), NoSuchWorker> {
        self.worker(worker)?.supervisor.start(KUBELET);
        Ok(())
    }

    /// Kills a container's processes; false if none of this name runs.
    pub fn kill_container(&self, namespace: &str, pod: &str, container: &str) -> bool {
        self.workers.values().any(|worker| worker.runtime.kill_container(namespace, pod, container, false))
    }

    /// Kills a container's processes as a kernel does that is out of memory; false if none of this name runs.
    pub fn kill_container_out_of_memory(&self, namespace: &str, pod: &str, container: &str) -> bool {
        self.workers.values().any(|worker| worker.runtime.kill_container(namespace, pod, container, true))
    }

    /// The first process of a running container: to be stopped, or to have its output read.
    pub fn container_process(&self, namespace: &str, pod: &str, container: &str) -> Option<Arc<Process>> {
        self.workers.values().find_map(|worker| worker.runtime.container_process(namespace, pod, container))
    }

    /// Kills a process of the control plane (`kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `coredns`, `kube-proxy`) and leaves it dead.
    pub fn control_plane_stop(&self, process: &str) {
        self.control_plane.stop(process);
    }

    /// Starts a process of the control plane again.
    pub fn control_plane_start(&self, process: &str) {
        self.control_plane.start(process);
    }

    /// A process of the control plane, if it runs.
    pub fn control_plane_process(&self, process: &str) -> Option<Arc<Process>> {
        self.control_plane.process(process)
    }

    /// Cuts the control plane's power.
    pub fn control_plane_power_off(&self) {
        let world = world();
        world.set_machine_state(self.control_machine.id, MachineState::Off);
        self.control_services.clear(&Net::of(&world), self.control_machine.id);
    }

    /// Gives the control plane its power back. Its store is durable.
    pub fn control_plane_power_on(&self) {
        world().set_machine_state(self.control_machine.id, MachineState::Running);
        self.control_plane.boot();
    }
}
