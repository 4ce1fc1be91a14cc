//! What a run came to.

use std::collections::BTreeSet;
use std::time::Duration;

use corral_apiserver::Past;
use corral_core::Nanos;
use corral_core::journal::{Kept, LogEntry};
use serde::{Deserialize, Serialize};

use crate::oracle::Violation;

/// What a run came to: damage or none, and how it is told apart from every other run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Damage, in the order in which it was found.
    pub violations: Vec<Violation>,
    /// Situations that were reached.
    pub reached: BTreeSet<String>,
    /// Hazards seen, by name.
    pub hazards: std::collections::BTreeMap<String, u64>,
    /// Situations that were met, by their hashes, if they were asked for; see `RunOptions`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub situations: BTreeSet<u64>,
    /// Planned faults that never struck: their trigger did not come, or came when the workload was over.
    pub idle_faults: Vec<String>,
    /// The journal's digest, 32 hexadecimal digits.
    pub digest: String,
    /// Number of events in the journal.
    pub events: u64,
    /// How long the run was, in simulated time.
    pub simulated: Nanos,
    /// How long it took, in real time.
    #[serde(skip)]
    pub took: Duration,
    /// The full journal, if it was asked for.
    #[serde(skip)]
    pub journal: Option<Kept>,
    /// The models' logs, if they were asked for.
    #[serde(skip)]
    pub logs: Vec<LogEntry>,
    /// Every version of every object, if they were asked for.
    #[serde(skip)]
    pub objects: Option<Past>,
}

impl Verdict {
    /// Whether nothing was damaged.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

/// The oracle under which a panic of the system that is tested is reported.
pub const PANIC: &str = "no-process-panics";

/// The oracle under which the simulator's own failures are reported.
pub const OWN_FAULT: &str = "simulator-works";

/// The hazard that somebody wrote on the ground of a read that was out of date.
pub const STALE_READ: &str = "acted-on-a-stale-read";

/// The oracle of clusters that do not come to rest when faults and clients have ended.
pub const RESTLESS: &str = "a-settled-cluster-writes-nothing";
