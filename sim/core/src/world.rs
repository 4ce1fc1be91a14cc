//! One run's world: clock, event queue, journal, machines and processes, and the kernels that the layers above add to it.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle};
use madsim::task::NodeId;

use crate::journal::{End, Event, Journal};
use crate::machine::{Machine, MachineId, MachineState};
use crate::nanos::Nanos;
use crate::process::{ChildOf, Main, Process, ProcessId, ProcessSpec, Signal};
use crate::queue::EventQueue;
use crate::random::Stream;
use crate::timer::Sleep;

/// What a layer above does when processes and machines come and go: sockets are closed, page caches lost. Called synchronously, before any
/// destructor of the process runs; must not touch madsim, only its own tables, the queue and the journal.
pub trait Kernel: Send + Sync {
    /// A process ended; its handles have no effect from now on.
    fn process_ended(&self, process: &Process, end: &End);
    /// A machine changed its state. For a power cut this comes before its processes end.
    fn machine_changed(&self, machine: &Machine, state: MachineState);
}

/// One run's world. Found from anywhere on the run's thread by [`world`].
pub struct World {
    seed: u64,
    epoch_ns: i128,
    queue: Arc<EventQueue>,
    journal: Arc<Journal>,
    processes: Mutex<Processes>,
    machines: Mutex<Vec<Arc<Machine>>>,
    kernels: Mutex<Arc<Vec<Arc<dyn Kernel>>>>,
    extensions: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    spawned: AtomicU64,
}

#[derive(Default)]
struct Processes {
    by_id: BTreeMap<ProcessId, Arc<Process>>,
    by_node: BTreeMap<NodeId, Arc<Process>>,
    last: u32,
    /// Nodes of madsim whose process has ended, and when: madsim keeps every node until the run is over, so they are used again.
    vacant: VecDeque<(Nanos, NodeId)>,
}

thread_local! {
    // Lives exactly as long as a run: each run has a thread of its own.
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread's run.
///
/// # Panics
/// Outside a simulation; see [`in_simulation`].
pub fn world() -> Arc<World> {
    try_world().expect("this thread runs no simulation")
}

/// The world of this thread's run, if it runs one.
pub fn try_world() -> Option<Arc<World>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Whether this thread runs a simulation.
pub fn in_simulation() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

pub(crate) fn set_world(world: Option<Arc<World>>) {
    let previous = CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), world));
    drop(previous);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(seed: u64, epoch_ns: i128, keep_journal: bool, time: madsim::time::TimeHandle) -> World {
        World {
            seed,
            epoch_ns,
            queue: Arc::new(EventQueue::new(time)),
            journal: Arc::new(Journal::new(keep_journal)),
            processes: Mutex::default(),
            machines: Mutex::default(),
            kernels: Mutex::default(),
            extensions: Mutex::default(),
            spawned: AtomicU64::new(0),
        }
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time now.
    pub fn now(&self) -> Nanos {
        self.queue.now()
    }

    /// True wall-clock time now, in nanoseconds since 1970.
    pub fn true_time_ns(&self) -> i128 {
        self.epoch_ns + i128::from(self.now().0)
    }

    /// The run's event queue.
    pub fn queue(&self) -> &Arc<EventQueue> {
        &self.queue
    }

    /// The run's journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Records an event of the current process, without a known cause; returns its sequence.
    pub fn record(&self, event: Event<'_>) -> u64 {
        self.record_caused_by(0, event)
    }

    /// Records an event of the current process that an earlier one led to; returns its sequence.
    pub fn record_caused_by(&self, cause: u64, event: Event<'_>) -> u64 {
        let process = self.current_process().map_or(0, |process| process.id.0);
        self.journal.record(self.now(), process, cause, event)
    }

    /// The stream of this name, split from the run's seed.
    pub fn stream(&self, name: &str) -> Stream {
        Stream::new(self.seed, name)
    }

    /// Completes at this time.
    pub fn sleep_until(&self, deadline: Nanos) -> Sleep {
        Sleep::new(self.queue.clone(), deadline)
    }

    // ---- layers above

    /// Adds a kernel; they are called in the order in which they were added.
    pub fn add_kernel(&self, kernel: Arc<dyn Kernel>) {
        Arc::make_mut(&mut lock(&self.kernels)).push(kernel);
    }

    fn each_kernel(&self, f: impl Fn(&dyn Kernel)) {
        let kernels = lock(&self.kernels).clone();
        kernels.iter().for_each(|kernel| f(kernel.as_ref()));
    }

    /// The run's value of this type, made by `make` when it is first asked for.
    pub fn extension<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(found) = self.try_extension() {
            return found;
        }
        let made = Arc::new(make());
        lock(&self.extensions).insert(TypeId::of::<T>(), made.clone());
        made
    }

    /// The run's value of this type, if it was made.
    pub fn try_extension<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        lock(&self.extensions).get(&TypeId::of::<T>())?.clone().downcast().ok()
    }

    // ---- machines

    /// Adds a running machine.
    pub fn add_machine(&self, name: &str) -> Arc<Machine> {
        let mut machines = lock(&self.machines);
        let machine = Arc::new(Machine::new(MachineId(machines.len() as u32), name.to_owned()));
        machines.push(machine.clone());
        drop(machines);
        self.record(Event::Machine { name: name.into(), state: MachineState::Running.name().into() });
        machine
    }

    /// A machine by its number.
    pub fn machine(&self, id: MachineId) -> Arc<Machine> {
        lock(&self.machines)[id.0 as usize].clone()
    }

    /// A machine by its name.
    pub fn machine_named(&self, name: &str) -> Option<Arc<Machine>> {
        lock(&self.machines).iter().find(|machine| machine.name == name).cloned()
    }

    /// All machines.
    pub fn machines(&self) -> Vec<Arc<Machine>> {
        lock(&self.machines).clone()
    }

    /// Cuts the power (its processes are gone without a word), freezes, or brings back. A machine that comes back runs nothing: whoever
    /// plays its firmware starts its first process.
    pub fn set_machine_state(&self, id: MachineId, state: MachineState) {
        let machine = self.machine(id);
        let before = machine.state();
        if before == state {
            return;
        }
        machine.set_state(state);
        self.record(Event::Machine { name: machine.name.as_str().into(), state: state.name().into() });
        self.each_kernel(|kernel| kernel.machine_changed(&machine, state));
        let handle = Handle::current();
        for process in self.processes_on(id) {
            match state {
                MachineState::Off => self.end_process(&process, End::MachineLost),
                MachineState::Frozen => handle.pause(process.node),
                MachineState::Running => handle.resume(process.node),
            }
        }
    }

    // ---- processes

    /// Begins a process. It ends when `main` returns, with that status.
    pub fn spawn_process(self: &Arc<World>, spec: ProcessSpec, main: Main) -> Arc<Process> {
        let node = self.vacant_node();
        let process = {
            let mut processes = lock(&self.processes);
            processes.last += 1;
            let process = Arc::new(Process::new(ProcessId(processes.last), node.id(), spec));
            processes.by_id.insert(process.id, process.clone());
            processes.by_node.insert(node.id(), process.clone());
            process
        };
        self.record(Event::ProcessBegan {
            process: process.id.0,
            name: process.spec.name.as_str().into(),
            machine: self.machine(process.spec.machine).name.as_str().into(),
            address: process.spec.address.octets(),
        });
        let running = process.clone();
        node.spawn(async move {
            let code = main.await;
            world().end_process(&running, End::Exited(code));
        });
        process
    }

    /// A node for a process: one whose process ended at an earlier time, so that its last task has been dropped, or a new one.
    fn vacant_node(&self) -> NodeHandle {
        let (handle, now) = (Handle::current(), self.now());
        // Not under the lock: madsim speaks of it, and drops what a node held.
        let vacant = lock(&self.processes).vacant.pop_front_if(|(since, _)| *since < now);
        match vacant {
            Some((_, node)) => {
                handle.restart(node);
                handle.get_node(node).expect("nodes are for ever")
            }
            None => handle.create_node().restart_on_panic().build(),
        }
    }

    /// The process whose task runs now; none on the run loop, in kernels, and in destructors of a dead process.
    pub fn current_process(&self) -> Option<Arc<Process>> {
        // Outside every task there is no node to ask for.
        let handle = madsim::plugin::node();
        lock(&self.processes).by_node.get(&handle).cloned()
    }

    /// A live process by its number.
    pub fn process(&self, id: ProcessId) -> Option<Arc<Process>> {
        lock(&self.processes).by_id.get(&id).cloned()
    }

    /// All live processes.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        lock(&self.processes).by_id.values().cloned().collect()
    }

    /// The live processes of a machine.
    pub fn processes_on(&self, machine: MachineId) -> Vec<Arc<Process>> {
        lock(&self.processes).by_id.values().filter(|process| process.spec.machine == machine).cloned().collect()
    }

    /// The live processes at an address.
    pub fn processes_at(&self, address: Ipv4Addr) -> Vec<Arc<Process>> {
        lock(&self.processes).by_id.values().filter(|process| process.spec.address == address).cloned().collect()
    }

    /// Sends a signal; nothing happens to a process that has ended.
    pub fn signal(&self, process: &Process, signal: Signal) {
        if !process.is_alive() {
            return;
        }
        match signal {
            Signal::Kill | Signal::HangUp => self.end_process(process, End::Killed),
            Signal::Terminate | Signal::Interrupt => {
                if !process.ask_to_terminate() {
                    self.end_process(process, End::Killed);
                }
            }
            Signal::Stop => Handle::current().pause(process.node),
            Signal::Continue => Handle::current().resume(process.node),
        }
    }

    /// Ends a process: first its kernel's side of everything it held, then its tasks.
    pub fn end_process(&self, process: &Process, end: End) {
        if self.bury(process, end) {
            let handle = Handle::current();
            // A paused node's futures would be dropped inside `kill`, under madsim's lock.
            handle.resume(process.node);
            handle.kill(process.node);
            lock(&self.processes).vacant.push_back((self.now(), process.node));
        }
    }

    fn bury(&self, process: &Process, end: End) -> bool {
        if !process.set_end(end.clone()) {
            return false;
        }
        {
            let mut processes = lock(&self.processes);
            processes.by_id.remove(&process.id);
            processes.by_node.remove(&process.node);
        }
        self.journal.record(self.now(), 0, 0, Event::ProcessEnded { process: process.id.0, end: end.clone() });
        self.each_kernel(|kernel| kernel.process_ended(process, &end));
        self.kill_children_of(process.id);
        true
    }

    /// Kills what a process that ended had started. Later in the same instant, since this may run inside madsim's own killing of a node.
    fn kill_children_of(&self, parent: ProcessId) {
        let is_child =
            |process: &&Arc<Process>| process.spec.attachments.get::<ChildOf>().is_some_and(|of| of.0 == parent);
        let children: Vec<_> = lock(&self.processes).by_id.values().filter(is_child).cloned().collect();
        for child in children {
            self.queue.run_at(self.now(), move || world().end_process(&child, End::Killed));
        }
    }

    /// A node was killed, by `end_process` or by madsim itself: one of its tasks panicked. Then madsim will restart it, some seconds later and whatever
    /// runs there by then: no process may have it any more.
    pub(crate) fn node_was_reset(&self, node: NodeId) {
        let process = {
            let mut processes = lock(&self.processes);
            processes.vacant.retain(|(_, vacant)| *vacant != node);
            processes.by_node.get(&node).cloned()
        };
        if let Some(process) = process {
            self.bury(&process, End::Panicked);
        }
    }

    /// Starts a task of the current process.
    pub fn spawn<F>(&self, future: F) -> madsim::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // madsim keeps a weak reference to every task ever spawned on a node until somebody counts them.
        if self.spawned.fetch_add(1, Ordering::Relaxed) % 10_000 == 9_999 {
            Handle::current().metrics().num_tasks();
        }
        #[expect(clippy::disallowed_methods, reason = "the one place that everything else is to use")]
        madsim::task::spawn(future)
    }

    /// Forgets everything, so that no cycle keeps the run's memory.
    pub(crate) fn close(&self) {
        self.queue.close();
        self.journal.forget_subscribers();
        let kernels = std::mem::take(&mut *lock(&self.kernels));
        let extensions = std::mem::take(&mut *lock(&self.extensions));
        let processes = std::mem::take(&mut *lock(&self.processes));
        drop((kernels, extensions, processes));
    }
}

/// The time now in this thread's run.
pub fn now() -> Nanos {
    world().now()
}

/// Completes after this long.
pub fn sleep(duration: Duration) -> Sleep {
    let world = world();
    world.sleep_until(world.now() + duration)
}
