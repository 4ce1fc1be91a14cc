//! The container runtime of a machine: sandboxes and containers, and what is remembered of them after they ended.
//!
//! It outlives its kubelet, as containerd does: a kubelet that starts again finds the containers running. When the machine loses power, sandboxes
//! are no longer ready and containers have ended with status 255; the records stay, because they are on disk.
//! Fault model: processes end by themselves, by a signal or with their machine; what a container's first process started is killed with it.

mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_core::journal::End;
use corral_core::{
    Attachments, Kernel, Machine, MachineId, MachineState, Process, ProcessId, ProcessSpec, Signal, World, world,
};
use corral_net::Net;
use host::random::Stream;
use host::time::Instant;
use jiff::Timestamp;
use tokio::sync::Notify;

use records::forget_old_runs;
pub(crate) use records::{ContainerRecord, Finished, RuntimePod, Sandbox};

use super::addresses::AddressPool;
use crate::images::{NoSuchProgram, TaggedImage};

/// What kernels report for a process of which nothing is known.
const UNKNOWN_EXIT_CODE: i32 = 255;

/// Marks all processes of a container, the children of its first process included.
#[derive(Debug, PartialEq, Eq)]
struct ContainerTag(String);

/// What a container is started with.
pub(crate) struct StartContainer {
    pub namespace: String,
    pub pod_name: String,
    pub uid: String,
    pub container: String,
    pub hostname: String,
    pub image_name: String,
    pub image: TaggedImage,
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub attempt: u32,
    /// What the machine hangs on the process besides its programs.
    pub attachments: Attachments,
}

struct State {
    pods: BTreeMap<String, RuntimePod>,
    addresses: AddressPool,
    /// Those of the pods that were lost with the machine's power, as long as it has none.
    lost_addresses: Vec<Ipv4Addr>,
    pulled: BTreeSet<String>,
    changed: BTreeSet<String>,
    by_process: BTreeMap<ProcessId, (String, String)>,
    /// Processes that the kernel kills for want of memory.
    out_of_memory: BTreeSet<ProcessId>,
    random: Stream,
}

/// The runtime of one machine.
pub(crate) struct Runtime {
    machine: MachineId,
    host_address: Ipv4Addr,
    state: Mutex<State>,
    something_changed: Notify,
}

/// The runtimes of a run, by machine.
#[derive(Default)]
pub(crate) struct Runtimes {
    by_machine: Mutex<BTreeMap<MachineId, Arc<Runtime>>>,
}

struct RuntimeKernel(Arc<Runtimes>);

impl Kernel for RuntimeKernel {
    fn process_ended(&self, process: &Process, end: &End) {
        if let Some(runtime) = self.0.of(process.spec.machine) {
            runtime.process_ended(process, end);
        }
    }

    fn machine_changed(&self, machine: &Machine, state: MachineState) {
        let Some(runtime) = self.0.of(machine.id) else { return };
        match state {
            MachineState::Off => runtime.machine_lost_power(),
            MachineState::Running => runtime.machine_runs(),
            MachineState::Frozen => {}
        }
    }
}

impl Runtimes {
    /// The runtimes of this world.
    pub fn of_world(world: &World) -> Arc<Runtimes> {
        if let Some(runtimes) = world.try_extension::<Runtimes>() {
            return runtimes;
        }
        let runtimes = world.extension(Runtimes::default);
        world.add_kernel(Arc::new(RuntimeKernel(runtimes.clone())));
        runtimes
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MachineId, Arc<Runtime>>> {
        self.by_machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, machine: MachineId) -> Option<Arc<Runtime>> {
        self.lock().get(&machine).cloned()
    }

    /// Installs a runtime on a machine.
    pub fn install(&self, machine: &Machine, host_address: Ipv4Addr, pod_network: [u8; 3]) -> Arc<Runtime> {
        let random = world().stream(&format!("container runtime {}", machine.name));
        let state = State {
            pods: BTreeMap::new(),
            addresses: AddressPool::new(pod_network),
            lost_addresses: Vec::new(),
            pulled: BTreeSet::new(),
            changed: BTreeSet::new(),
            by_process: BTreeMap::new(),
            out_of_memory: BTreeSet::new(),
            random,
        };
        let runtime = Arc::new(Runtime {
            machine: machine.id,
            host_address,
            state: Mutex::new(state),
            something_changed: Notify::new(),
        });
        self.lock().insert(machine.id, runtime.clone());
        runtime
    }
}

/// What the machine's own clock says now.
fn machine_time(world: &World, machine: MachineId) -> Timestamp {
    let ahead = i128::from(world.machine(machine).clock().ahead_ns(world.now()));
    Timestamp::from_nanosecond(world.true_time_ns() + ahead).unwrap_or(Timestamp::MAX)
}

impl Runtime {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_change(&self, state: &mut State, uid: &str) {
        state.changed.insert(uid.to_owned());
        self.something_changed.notify_one();
    }

    /// Waits until a pod's containers or sandbox have changed.
    pub async fn changed(&self) {
        while self.state().changed.is_empty() {
            self.something_changed.notified().await;
        }
    }

    /// The pods that have changed since this was last asked.
    pub fn take_changed(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.state().changed)
    }

    pub fn pod(&self, uid: &str) -> Option<RuntimePod> {
        self.state().pods.get(uid).cloned()
    }

    pub fn pods(&self) -> Vec<RuntimePod> {
        self.state().pods.values().cloned().collect()
    }

    // ---- images

    pub fn has_image(&self, image: &str) -> bool {
        self.state().pulled.contains(image)
    }

    pub fn image_pulled(&self, image: &str) {
        self.state().pulled.insert(image.to_owned());
    }

    // ---- sandboxes

    /// Gives a pod its network; none if no address is left.
    pub fn make_sandbox(&self, namespace: &str, name: &str, uid: &str, host_network: bool) -> Option<Sandbox> {
        let mut state = self.state();
        let address = if host_network { self.host_address } else { state.addresses.take()? };
        if !host_network {
            Net::of(&world()).add_address(address, self.machine);
        }
        let pod = state.pods.entry(uid.to_owned()).or_insert_with(|| RuntimePod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            sandbox: None,
            containers: Vec::new(),
        });
        let attempt = pod.sandbox.as_ref().map_or(0, |sandbox| sandbox.attempt + 1);
        let sandbox = Sandbox { address, host_network, ready: true, attempt };
        pod.sandbox = Some(sandbox.clone());
        self.note_change(&mut state, uid);
        Some(sandbox)
    }

    /// Takes a pod's network away: from now on its address has no route.
    pub fn stop_sandbox(&self, uid: &str) {
        let mut state = self.state();
        let Some(sandbox) = state.pods.get_mut(uid).and_then(|pod| pod.sandbox.as_mut()) else { return };
        let was_ready = std::mem::replace(&mut sandbox.ready, false);
        let (address, host_network) = (sandbox.address, sandbox.host_network);
        if was_ready && !host_network {
            state.addresses.give_back(address);
            Net::of(&world()).remove_address(address);
        }
        self.note_change(&mut state, uid);
    }

    /// Forgets a pod whose containers have ended.
    pub fn remove_pod(&self, uid: &str) {
        self.stop_sandbox(uid);
        let mut state = self.state();
        state.pods.remove(uid);
        state.changed.remove(uid);
    }

    // ---- containers

    /// Begins a container's first process.
    pub fn start_container(&self, start: StartContainer) -> Result<String, NoSuchProgram> {
        let first = start.arguments.first().cloned().unwrap_or_default();
        let program = start.image.resolve(&first)?;
        let world = world();
        let mut state = self.state();
        let id = state.random.hex(64);
        let (address, sandbox_attempt) = match state.pods.get(&start.uid).and_then(|pod| pod.sandbox.as_ref()) {
            Some(sandbox) => (sandbox.address, sandbox.attempt),
            None => (self.host_address, 0),
        };
        let spec = ProcessSpec {
            name: format!("{}/{}/{}", start.namespace, start.pod_name, start.container),
            machine: self.machine,
            address,
            hostname: start.hostname,
            arguments: start.arguments,
            environment: start.environment,
            attachments: start
                .attachments
                .with(Arc::new(start.image.programs()))
                .with(Arc::new(ContainerTag(id.clone()))),
        };
        // The future is made inside the process, so that what it draws from its first line on is its own.
        let process = world.spawn_process(spec, Box::pin(async move { program().await }));
        let record = ContainerRecord {
            id: id.clone(),
            name: start.container,
            image: start.image_name,
            attempt: start.attempt,
            sandbox_attempt,
            started_at: machine_time(&world, self.machine),
            started: Instant::now(),
            process: Some(process.clone()),
            finished: None,
        };
        state.by_process.insert(process.id, (start.uid.clone(), id.clone()));
        if let Some(pod) = state.pods.get_mut(&start.uid) {
            pod.containers.push(record);
            forget_old_runs(&mut pod.containers);
        }
        self.note_change(&mut state, &start.uid);
        Ok(id)
    }

    /// Runs a program inside a container, for an exec probe.
    pub fn exec(&self, container: &ContainerRecord, command: &[String]) -> Result<Arc<Process>, NoSuchProgram> {
        let first = command.first().cloned().unwrap_or_default();
        let parent = container.process.as_ref().ok_or_else(|| NoSuchProgram(first.clone()))?;
        let programs = parent.spec.attachments.get::<host::process::Programs>();
        let found = programs.as_ref().and_then(|programs| {
            let by_name = |path: &&String| path.rsplit('/').next() == Some(first.as_str());
            programs.by_path.get(&first).or_else(|| programs.by_path.get(programs.by_path.keys().find(by_name)?))
        });
        let program = found.cloned().ok_or(NoSuchProgram(first))?;
        let mut spec = parent.spec.clone();
        spec.name = format!("{}:exec", parent.spec.name);
        spec.arguments = command.to_vec();
        Ok(world().spawn_process(spec, Box::pin(async move { program().await })))
    }

    /// Asks a container to stop, and kills it when the grace is over. Completes when it has ended.
    pub async fn stop_container(&self, container: &ContainerRecord, grace: Duration) {
        let Some(process) = &container.process else { return };
        let world = world();
        world.signal(process, Signal::Terminate);
        if host::time::timeout(grace, process.wait()).await.is_err() {
            world.signal(process, Signal::Kill);
            process.wait().await;
        }
    }

    /// The first process of a running container.
    pub fn container_process(&self, namespace: &str, pod: &str, container: &str) -> Option<Arc<Process>> {
        self.state().pods.values().find_map(|candidate| {
            let named = candidate.namespace == namespace && candidate.name == pod;
            candidate.running().find(|run| named && run.name == container)?.process.clone()
        })
    }

    /// Kills a container at once, perhaps for want of memory; false if none of this name runs.
    pub fn kill_container(&self, namespace: &str, pod: &str, container: &str, out_of_memory: bool) -> bool {
        let found = self.container_process(namespace, pod, container);
        if let Some(process) = &found {
            if out_of_memory {
                self.state().out_of_memory.insert(process.id);
            }
            world().signal(process, Signal::Kill);
        }
        found.is_some()
    }

    // ---- what the kernel reports

    fn process_ended(&self, process: &Process, end: &End) {
        let mut state = self.state();
        let Some((uid, id)) = state.by_process.remove(&process.id) else { return };
        let world = world();
        let finished = Finished {
            at: machine_time(&world, self.machine),
            when: Instant::now(),
            exit_code: if *end == End::MachineLost { UNKNOWN_EXIT_CODE } else { end.code() },
            reason: match end {
                _ if state.out_of_memory.remove(&process.id) => "OOMKilled",
                End::MachineLost => "Unknown",
                End::Exited(0) => "Completed",
                _ => "Error",
            },
        };
        let pod = state.pods.get_mut(&uid);
        if let Some(container) = pod.and_then(|pod| pod.containers.iter_mut().find(|container| container.id == id)) {
            container.finished = Some(finished);
            container.process = None;
        }
        self.note_change(&mut state, &uid);
        drop(state);
        // A kernel may not end processes; the rest of the process namespace goes right after.
        let machine = self.machine;
        world.queue().run_at(world.now(), move || end_namespace(machine, &id));
    }

    /// What is sent to its pods goes to a machine that does not answer, not even that they are gone.
    fn machine_lost_power(&self) {
        let mut state = self.state();
        let State { pods, lost_addresses, .. } = &mut *state;
        for sandbox in pods.values_mut().filter_map(|pod| pod.sandbox.as_mut()) {
            if std::mem::replace(&mut sandbox.ready, false) && !sandbox.host_network {
                lost_addresses.push(sandbox.address);
            }
        }
    }

    /// Its kernel answers again, that nobody has the addresses of the pods that it had when it lost power.
    fn machine_runs(&self) {
        let mut state = self.state();
        let State { addresses, lost_addresses, .. } = &mut *state;
        let net = Net::of(&world());
        for address in lost_addresses.drain(..) {
            addresses.give_back(address);
            net.remove_address(address);
        }
    }
}

/// Kills what a container's first process has left behind.
fn end_namespace(machine: MachineId, id: &str) {
    let world = world();
    for process in world.processes_on(machine) {
        if process.spec.attachments.get::<ContainerTag>().is_some_and(|tag| tag.0 == id) {
            world.end_process(&process, End::Killed);
        }
    }
}
