//! Many seeds: worker processes that run them, and the fuzz loop that feeds the workers and gathers what they find.
//!
//! Runs never share a process with the one who counts them: a worker that hangs, runs out of memory or dies is a finding, not the end of the night.

mod explain;
mod find;
mod fuzz;
mod job;
mod parallel;
mod pool;
mod watchdog;

pub use explain::{USUAL_LINES, explain_seed_file};
pub use find::{FindOptions, Search, find};
pub use fuzz::{FuzzOptions, Group, Progress, Summary, fuzz};
pub use job::{Job, JobResult, Outcome, serve};
pub use parallel::in_parallel;
pub use pool::{Limits, Pool};
pub use watchdog::{Watchdog, watchdog};
