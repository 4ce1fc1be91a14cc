//! Many seeds: worker processes that run them, and the fuzz loop that feeds the workers and gathers what they find.
//!
//! Runs never share a process with the one who counts them: a worker that hangs, runs out of memory or dies is a finding, not the end of the night.

mod attribute;
mod explain;
mod find;
mod forks;
mod fuzz;
mod guide;
mod investigate;
mod job;
mod parallel;
mod pool;
mod shrink;
mod tally;
mod twin;
mod watchdog;
mod whole;

pub use attribute::{Attribution, Part, Share, attribute};
pub use explain::{
    Divergence, Explanation, USUAL_LINES, explain, explain_seed_file, first_violation, parting, violations,
};
pub use find::{FindOptions, Search, find};
pub use forks::{Decided, Failing, decided};
pub use fuzz::{FuzzOptions, Shard, Watcher, fuzz};
pub use investigate::{Effort, Files, Finding, Origin, investigate, with_plan};
pub use job::{Job, JobResult, Keep, Outcome, Signature, serve};
pub use parallel::in_parallel;
pub use pool::{Limits, Pool, Ticket, Workers};
pub use shrink::{ShrinkBudget, Shrunk, shrink};
pub use tally::{Group, Ran, Tally};
pub use twin::{Twin, twin, twin_of_seed_file};
pub use watchdog::{Watchdog, watchdog};
pub use whole::write_whole;
