//! What can happen in a run, as types. Not one word of Longhorn: machines, processes, connections, API writes, store operations, faults, verdicts.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::nanos::Nanos;

/// Text in an event: borrowed while it is recorded, owned when it is read back.
pub type Text<'a> = Cow<'a, str>;

/// How a process came to its end. Its `Display` follows the process's name: `was killed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Its main returned, or it called exit.
    Exited(i32),
    /// SIGKILL, or a signal that it does not handle.
    Killed,
    /// It panicked; its exit status is 2.
    Panicked,
    /// Its machine lost power.
    MachineLost,
}

impl End {
    /// The exit status a parent sees: 128 + 9 for a kill, as a shell has it.
    pub fn code(&self) -> i32 {
        match self {
            End::Exited(code) => *code,
            End::Panicked => 2,
            End::Killed | End::MachineLost => 137,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(code) => write!(f, "exited with {code}"),
            End::Killed => f.write_str("was killed"),
            End::Panicked => f.write_str("panicked"),
            End::MachineLost => f.write_str("was lost with its machine"),
        }
    }
}

/// What a client had read before it wrote: the evidence for "who acted on what, how old".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read<'a> {
    /// Kind of the object.
    pub kind: Text<'a>,
    /// Its name, with the namespace before a slash where it has one.
    pub name: Text<'a>,
    /// The resourceVersion that was seen; 0 for "absent".
    pub resource_version: u64,
    /// How long ago that version had arrived, in nanoseconds.
    pub age_ns: u64,
    /// True if it came from an informer's cache, false if from the server.
    pub cached: bool,
}

/// A name as [`Read`] has it.
pub fn full_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// One typed event. Recorded through [`super::Journal::record`]; its kind is the variant's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event<'a> {
    /// The run begins. `what` names scenario and release for the reader.
    RunBegan {
        /// The run's seed.
        seed: u64,
        /// Scenario, release and changes to it, as a reader would say them.
        what: Text<'a>,
    },
    /// The run loop enters a phase: set-up, workload, heal, settle, judge.
    Phase {
        /// Name of the phase.
        name: Text<'a>,
    },
    /// A machine changed its state: running, frozen, off.
    Machine {
        /// The machine's name.
        name: Text<'a>,
        /// Its new state.
        state: Text<'a>,
    },
    /// A process began.
    ProcessBegan {
        /// The new process.
        process: u32,
        /// Its name: the pod and container, or the program.
        name: Text<'a>,
        /// Where it runs.
        machine: Text<'a>,
        /// Its address.
        address: [u8; 4],
    },
    /// A process ended.
    ProcessEnded {
        /// The process.
        process: u32,
        /// How it ended.
        end: End,
    },
    /// A task panicked and took its process with it.
    Panicked {
        /// The panic's message.
        message: Text<'a>,
        /// File and line.
        location: Text<'a>,
    },
    /// A process ran a program to its end.
    Executed {
        /// The program and its arguments.
        command: Text<'a>,
        /// Its exit status.
        code: i32,
        /// How long it ran, in nanoseconds.
        took_ns: u64,
    },
    /// A connection was opened, refused or given up.
    Connected {
        /// Where to, as `address:port`.
        to: Text<'a>,
        /// `ok`, or the error.
        outcome: Text<'a>,
    },
    /// A client sent a request that was to write, and this is what it was told. Recorded at the client.
    ApiRequest {
        /// `create`, `update`, `patch`, `delete`, `deletecollection`.
        verb: Text<'a>,
        /// Kind of the object.
        kind: Text<'a>,
        /// Subresource, or empty.
        subresource: Text<'a>,
        /// Namespace and name.
        name: Text<'a>,
        /// HTTP status; 0 if no answer came.
        code: u16,
        /// resourceVersion of the answered object, 0 if none.
        resource_version: u64,
        /// Why: the reconcile or step this request belongs to.
        within: Text<'a>,
        /// What it had read before.
        reads: Vec<Read<'a>>,
    },
    /// The API server committed a write. Recorded at the server.
    ApiWrite {
        /// `create`, `update`, `delete`; a patch is an update here.
        verb: Text<'a>,
        /// Kind of the object.
        kind: Text<'a>,
        /// Subresource, or empty.
        subresource: Text<'a>,
        /// Namespace, or empty.
        namespace: Text<'a>,
        /// Name.
        name: Text<'a>,
        /// The object's uid.
        uid: Text<'a>,
        /// The revision of this write.
        resource_version: u64,
        /// True while the object waits for its finalizers.
        deleting: bool,
        /// The client's user agent.
        client: Text<'a>,
        /// xxh3 of the object as stored.
        content: u64,
    },
    /// The API server refused a request that was to write, or a fault made it.
    ApiRefused {
        /// The verb.
        verb: Text<'a>,
        /// Kind of the object.
        kind: Text<'a>,
        /// Namespace and name.
        name: Text<'a>,
        /// HTTP status.
        code: u16,
        /// The Status' reason.
        reason: Text<'a>,
        /// The client's user agent.
        client: Text<'a>,
    },
    /// An object store did something that changes what it holds, or failed to.
    StoreOperation {
        /// `put`, `delete`.
        verb: Text<'a>,
        /// Bucket and key.
        key: Text<'a>,
        /// Bytes of the object.
        bytes: u64,
        /// HTTP status.
        code: u16,
        /// Who asked for it, by its process or address.
        client: Text<'a>,
    },
    /// A remote procedure call ended. Recorded at the client.
    Call {
        /// Service and method.
        method: Text<'a>,
        /// Who was called.
        peer: Text<'a>,
        /// Status code's name.
        outcome: Text<'a>,
        /// How long it took, in nanoseconds.
        took_ns: u64,
        /// Why: the reconcile or step this call belongs to.
        within: Text<'a>,
        /// What the caller had read before.
        reads: Vec<Read<'a>>,
    },
    /// A step of the workload, as the client saw it.
    Step {
        /// What was done.
        what: Text<'a>,
        /// What came back.
        outcome: Text<'a>,
    },
    /// A fault strikes or ends.
    Fault {
        /// The fault's kind.
        kind: Text<'a>,
        /// What it strikes.
        target: Text<'a>,
        /// Which of the two, or both.
        phase: FaultPhase,
    },
    /// A named situation was reached.
    Probe {
        /// The probe.
        name: Text<'a>,
    },
    /// Something dangerous that is no damage yet.
    Hazard {
        /// The hazard's name.
        name: Text<'a>,
        /// The object it concerns.
        object: Text<'a>,
        /// What was seen.
        detail: Text<'a>,
    },
    /// An oracle found damage.
    Violation {
        /// The oracle.
        oracle: Text<'a>,
        /// What groups equal failures.
        signature: Text<'a>,
        /// The whole story.
        detail: Text<'a>,
    },
    /// A remark of a component, for the reader.
    Note {
        /// The remark.
        text: Text<'a>,
    },
    /// A draw from the schedule's own generator: the last event of every journal, so that a schedule that went another way shows.
    ScheduleDraw {
        /// The number drawn.
        value: u64,
    },
}

impl Event<'_> {
    /// The variant's name in kebab-case, as people write it in probes and filters.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::RunBegan { .. } => "run-began",
            Event::Phase { .. } => "phase",
            Event::Machine { .. } => "machine",
            Event::ProcessBegan { .. } => "process-began",
            Event::ProcessEnded { .. } => "process-ended",
            Event::Panicked { .. } => "panicked",
            Event::Executed { .. } => "executed",
            Event::Connected { .. } => "connected",
            Event::ApiRequest { .. } => "api-request",
            Event::ApiWrite { .. } => "api-write",
            Event::ApiRefused { .. } => "api-refused",
            Event::StoreOperation { .. } => "store-operation",
            Event::Call { .. } => "call",
            Event::Step { .. } => "step",
            Event::Fault { .. } => "fault",
            Event::Probe { .. } => "probe",
            Event::Hazard { .. } => "hazard",
            Event::Violation { .. } => "violation",
            Event::Note { .. } => "note",
            Event::ScheduleDraw { .. } => "schedule-draw",
        }
    }
}

/// What of a fault happens. Its `Display` follows the fault's name: `strikes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultPhase {
    /// It strikes and lasts.
    Begins,
    /// It is over.
    Ends,
    /// It strikes, and is over at once.
    Once,
}

impl fmt::Display for FaultPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == FaultPhase::Ends { "ends" } else { "strikes" })
    }
}

/// An event with its place in the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// Position in the journal, from 1.
    pub sequence: u64,
    /// When.
    pub at: Nanos,
    /// The process that did it; 0 for the run loop and the kernels.
    pub process: u32,
    /// The sequence of the event that led to this one; 0 if none is known.
    pub cause: u64,
    /// Everything too frequent to be an event (segments, file operations) since the last one, hashed.
    pub folded: u64,
    /// What happened.
    pub event: Event<'a>,
}
