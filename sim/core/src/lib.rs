//! The core of a simulated world: virtual time and timers, named random streams, machines and processes, the journal.
//!
//! Everything above (network, disks, Kubernetes, the system under test) stands on this and is unknown to it. [`run`] makes a world on a fresh
//! thread; inside it [`world`] finds it. The journal's types and the random streams exist without the simulator too, because what runs
//! in both worlds uses them.

mod fork;
pub mod journal;
pub mod latency;
pub mod nanos;
pub mod random;

#[cfg(madsim)]
mod logs;
#[cfg(madsim)]
pub mod machine;
#[cfg(madsim)]
pub mod process;
#[cfg(madsim)]
mod queue;
#[cfg(madsim)]
mod run;
#[cfg(madsim)]
mod timer;
#[cfg(madsim)]
mod world;

pub use fork::Fork;
pub use latency::Latency;
pub use nanos::Nanos;

#[cfg(madsim)]
pub use machine::{Machine, MachineId, MachineState, WallClock};
#[cfg(madsim)]
pub use process::{Attachments, ChildOf, Main, Process, ProcessId, ProcessSpec, Signal};
#[cfg(madsim)]
pub use queue::{EventQueue, Ticket};
#[cfg(madsim)]
pub use run::{BODY_ADDRESS, EPOCH_SECONDS, Failure, Options, Outcome, run, tasks_alive};
#[cfg(madsim)]
pub use timer::Sleep;
#[cfg(madsim)]
pub use world::{Kernel, World, in_simulation, now, sleep, try_world, world};
