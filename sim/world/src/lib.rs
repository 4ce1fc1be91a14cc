//! Plans, faults, triggers, the run loop, verdicts.
//!
//! A run is (scenario, arm, seed): the scenario expands the seed into a [`Plan`], [`run`] boots the cluster, lets the scenario play, injects the
//! plan's faults when their triggers fire, heals, lets the cluster settle, and asks the oracles. Everything random comes from the seed, everything
//! that happens is in the journal.

mod arm;
mod bound;
mod fault;
mod inject;
mod oracle;
mod plan;
mod plan_text;
mod pods;
mod recipe;
mod run;
mod scenario;
pub mod seed;
mod seed_file;
mod situations;
mod stage;
mod stale_reads;
pub mod text;
mod verdict;

pub use arm::Arm;
pub use fault::{DiskAccess, Fault, MENU as FAULT_MENU};
pub use oracle::{Oracle, Probe, ProbeMemory, Violation};
pub use plan::{ApiVerb, Plan, PlannedFault, Step, StoreVerb, Trigger};
pub use recipe::Recipe;
pub use run::{RunOptions, run};
pub use scenario::{Catalogue, Ground, Parameter, Play, Scenario};
pub use seed_file::{Expectation, Found, SeedFile, SeedFileError};
pub use stage::Stage;
pub use verdict::{OWN_FAULT, PANIC, RESTLESS, STALE_READ, Verdict};
