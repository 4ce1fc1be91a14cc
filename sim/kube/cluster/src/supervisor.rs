//! What starts a machine's own processes and starts them again when they end: systemd, or the kubelet of a control plane's static pods.
//!
//! It lives outside every process, in the run's event queue: whoever cuts a machine's power cuts it too, and whoever gives power back tells it to boot.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_core::journal::End;
use corral_core::{
    Attachments, Kernel, Machine, MachineId, MachineState, Nanos, Process, ProcessId, ProcessSpec, Signal, World, world,
};
use host::process::Program;

/// How long a process that ended by itself stays away. Source: the kubelet's systemd unit, RestartSec=10.
const RESTART_DELAY: Duration = Duration::from_secs(10);

/// A process of a machine's own.
#[derive(Clone)]
pub(crate) struct Unit {
    pub name: String,
    pub address: Ipv4Addr,
    pub hostname: String,
    pub program: Program,
    pub attachments: Attachments,
}

struct State {
    units: BTreeMap<String, Unit>,
    /// Units that somebody has stopped.
    stopped: BTreeMap<String, ()>,
    running: BTreeMap<String, Arc<Process>>,
    by_process: BTreeMap<ProcessId, String>,
    powered: bool,
}

/// The supervisor of one machine.
pub(crate) struct Supervisor {
    machine: MachineId,
    state: Mutex<State>,
}

struct SupervisorKernel(Arc<Supervisor>);

impl Kernel for SupervisorKernel {
    fn process_ended(&self, process: &Process, end: &End) {
        self.0.process_ended(process.id, end);
    }

    fn machine_changed(&self, machine: &Machine, state: MachineState) {
        if machine.id == self.0.machine && state == MachineState::Off {
            self.0.state().powered = false;
        }
    }
}

impl Supervisor {
    /// A supervisor of a machine, with these units; nothing is started yet.
    pub fn install(world: &World, machine: MachineId, units: Vec<Unit>) -> Arc<Supervisor> {
        let units = units.into_iter().map(|unit| (unit.name.clone(), unit)).collect();
        let state = State {
            units,
            stopped: BTreeMap::new(),
            running: BTreeMap::new(),
            by_process: BTreeMap::new(),
            powered: false,
        };
        let supervisor = Arc::new(Supervisor { machine, state: Mutex::new(state) });
        world.add_kernel(Arc::new(SupervisorKernel(supervisor.clone())));
        supervisor
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts every unit that nobody has stopped.
    pub fn boot(self: &Arc<Self>) {
        let names: Vec<String> = {
            let mut state = self.state();
            state.powered = true;
            state.units.keys().cloned().collect()
        };
        names.iter().for_each(|name| self.begin(name));
    }

    /// Starts a unit, and keeps it running.
    pub fn start(self: &Arc<Self>, name: &str) {
        self.state().stopped.remove(name);
        self.begin(name);
    }

    /// Kills a unit and leaves it dead.
    pub fn stop(&self, name: &str) {
        let process = {
            let mut state = self.state();
            state.stopped.insert(name.to_owned(), ());
            state.running.get(name).cloned()
        };
        if let Some(process) = process {
            world().signal(&process, Signal::Kill);
        }
    }

    /// The process of a unit, if it runs.
    pub fn process(&self, name: &str) -> Option<Arc<Process>> {
        self.state().running.get(name).cloned()
    }

    fn begin(self: &Arc<Self>, name: &str) {
        let mut state = self.state();
        if !state.powered || state.stopped.contains_key(name) || state.running.contains_key(name) {
            return;
        }
        let Some(unit) = state.units.get(name).cloned() else { return };
        let spec = ProcessSpec {
            name: unit.name.clone(),
            machine: self.machine,
            address: unit.address,
            hostname: unit.hostname.clone(),
            arguments: vec![unit.name],
            environment: BTreeMap::new(),
            attachments: unit.attachments,
        };
        let program = unit.program;
        // The future is made inside the process, so that what it draws from its first line on is its own.
        let process = world().spawn_process(spec, Box::pin(async move { program().await }));
        state.by_process.insert(process.id, name.to_owned());
        state.running.insert(name.to_owned(), process);
    }

    fn process_ended(self: &Arc<Self>, process: ProcessId, end: &End) {
        let mut state = self.state();
        let Some(name) = state.by_process.remove(&process) else { return };
        state.running.remove(&name);
        if *end == End::MachineLost || state.stopped.contains_key(&name) {
            return;
        }
        drop(state);
        let world = world();
        let at: Nanos = world.now() + RESTART_DELAY;
        let supervisor = Arc::downgrade(self);
        world.queue().run_at(at, move || {
            if let Some(supervisor) = supervisor.upgrade() {
                supervisor.begin(&name);
            }
        });
    }
}
