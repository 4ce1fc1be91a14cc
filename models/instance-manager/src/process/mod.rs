//! The process manager: engines and replicas of the v1 data engine as child processes, by name (`pkg/process`).
//!
//! A process has a state (starting, running, stopping, stopped, error), a stretch of ports from a bitmap, and an identity that changes when a
//! process of the same name is started again. It is running once its gRPC server says so; what it does later changes its state only by ending.
//! The table is memory: with the pod it is gone, and so are the processes.
//!
//! Fault model: programs that are missing, end by themselves, never serve, or do not stop when they are asked to. Known from upstream and kept: a
//! process that is deleted while it is starting can become running once more; one that had to be killed stays in the table until somebody
//! deletes it again; a replacement whose binary is the same leaks its ports.

mod conditions;
mod exit;
mod manager;
mod one;
mod probe;
mod replace;
mod service;

use std::time::Duration;

pub use manager::Manager;
pub(crate) use service::Service;

/// How often something is looked for (`types.WaitInterval`).
const WAIT_INTERVAL: Duration = Duration::from_millis(100);
/// How many times it is looked for (`types.WaitCount`).
const WAIT_COUNT: u32 = 600;

/// States of processes, and of instances; the manager's controllers act on these words.
pub mod state {
    /// Begun, and not seen to serve.
    pub const STARTING: &str = "starting";
    /// Serves.
    pub const RUNNING: &str = "running";
    /// Asked to stop.
    pub const STOPPING: &str = "stopping";
    /// Ended well.
    pub const STOPPED: &str = "stopped";
    /// Could not be started, or ended with an error.
    pub const ERROR: &str = "error";
}
