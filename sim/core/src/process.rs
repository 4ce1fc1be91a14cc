//! Processes: one madsim node each, as long as they live. A process has a machine, an address, arguments, an environment and two output streams.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use madsim::task::NodeId;

use crate::journal::End;
use crate::machine::MachineId;

/// Number of a process in its run, from 1; 0 stands for the kernels and the run loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

/// What a process runs: its main, giving an exit status.
pub type Main = Pin<Box<dyn Future<Output = i32> + Send>>;

/// What is known of a process before it begins.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// Name for journal and logs: pod and container, or the program.
    pub name: String,
    /// Where it runs.
    pub machine: MachineId,
    /// Its pod's address.
    pub address: Ipv4Addr,
    /// What gethostname answers: the pod's name.
    pub hostname: String,
    /// Arguments, the program's name first.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// What the layers above hang on a process (its root file system, its programs), inherited by its children.
    pub attachments: Attachments,
}

/// Values of the layers above, one a type.
#[derive(Clone, Default)]
pub struct Attachments {
    values: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Attachments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} attachments", self.values.len())
    }
}

impl Attachments {
    /// Adds or replaces the value of this type.
    pub fn with<T: Any + Send + Sync>(mut self, value: Arc<T>) -> Attachments {
        self.values.insert(TypeId::of::<T>(), value);
        self
    }

    /// The value of this type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.values.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }
}

/// Which process started this one with [`crate::World::spawn_process`] as its child: it is killed when that one ends (PR_SET_PDEATHSIG, and what the
/// kernel does to a container whose first process ends). An attachment, replaced for each generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildOf(pub ProcessId);

/// Signals that this system uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks to stop; ends a process that does not listen.
    Terminate,
    /// As terminate; what the instance manager sends first.
    Interrupt,
    /// SIGHUP, for which nothing here listens: ends the process.
    HangUp,
    /// Ends the process at once.
    Kill,
    /// Stops the process; its kernel lives on.
    Stop,
    /// Ends a stop.
    Continue,
}

/// A process of the run.
pub struct Process {
    /// Its number.
    pub id: ProcessId,
    /// What it was begun with.
    pub spec: ProcessSpec,
    pub(crate) node: NodeId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    end: Option<End>,
    waiters: Vec<Waker>,
    terminated: bool,
    listens: bool,
    termination_waiters: Vec<Waker>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Bytes of output kept a stream; a container's log is cut at its beginning beyond this.
const OUTPUT_LIMIT_BYTES: usize = 16 << 20;

impl Process {
    pub(crate) fn new(id: ProcessId, node: NodeId, spec: ProcessSpec) -> Process {
        Process { id, spec, node, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, if it did.
    pub fn end(&self) -> Option<End> {
        self.state().end.clone()
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.state().end.is_none()
    }

    /// Notes the end and wakes who waits for it; false if it had ended before.
    pub(crate) fn set_end(&self, end: End) -> bool {
        let waiters = {
            let mut state = self.state();
            if state.end.is_some() {
                return false;
            }
            state.end = Some(end);
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
        true
    }

    /// Waits for its end.
    pub async fn wait(&self) -> End {
        poll_fn(|context| {
            let mut state = self.state();
            match &state.end {
                Some(end) => Poll::Ready(end.clone()),
                None => {
                    state.waiters.push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Resolves once the process was asked to stop; calling it is what makes a process survive that request.
    pub async fn terminated(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            state.listens = true;
            if state.terminated {
                return Poll::Ready(());
            }
            state.termination_waiters.retain(|waker| !waker.will_wake(context.waker()));
            state.termination_waiters.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Delivers a request to stop; false if the process does not listen and is to be killed.
    pub(crate) fn ask_to_terminate(&self) -> bool {
        let waiters = {
            let mut state = self.state();
            state.terminated = true;
            if !state.listens {
                return false;
            }
            std::mem::take(&mut state.termination_waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
        true
    }

    /// Appends to its standard output.
    pub fn print(&self, text: &[u8]) {
        append(&mut self.state().stdout, text);
    }

    /// Appends to its standard error.
    pub fn print_error(&self, text: &[u8]) {
        append(&mut self.state().stderr, text);
    }

    /// What it wrote so far: standard output and standard error.
    pub fn output(&self) -> (Vec<u8>, Vec<u8>) {
        let state = self.state();
        (state.stdout.clone(), state.stderr.clone())
    }
}

fn append(stream: &mut Vec<u8>, text: &[u8]) {
    stream.extend_from_slice(text);
    if stream.len() > OUTPUT_LIMIT_BYTES {
        stream.drain(..stream.len() - OUTPUT_LIMIT_BYTES);
    }
}
