//! Oracles state damage. Each watches the journal as it is written, and judges once the run has settled.

use std::collections::BTreeMap;
use std::sync::Mutex;

use corral_core::Nanos;
use corral_core::journal::Record;
use serde::{Deserialize, Serialize};

use crate::stage::Stage;

/// Damage that an oracle found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The oracle's name: the damage in kebab-case.
    pub oracle: String,
    /// What groups equal failures; see [`crate::text::normalised`].
    pub signature: String,
    /// The whole story, in one line.
    pub detail: String,
    /// When it was found.
    pub at: Nanos,
}

impl Violation {
    /// Oracle and signature: what equal failures have in common.
    pub fn group(&self) -> (String, String) {
        (self.oracle.clone(), self.signature.clone())
    }
}

/// Watches a run and judges it.
pub trait Oracle: Send + Sync {
    /// The damage, in kebab-case.
    fn name(&self) -> &'static str;

    /// What it demands, in one line, for `corral list oracles`.
    fn about(&self) -> &'static str;

    /// Whether it sees what damage comes to, not what it is: then another oracle's words say more of the same run.
    fn sees_symptoms(&self) -> bool {
        false
    }

    /// Sees every event as it happens; reports through the stage.
    fn observe(&self, _stage: &Stage, _record: &Record<'_>) {}

    /// Judges after faults have healed and the cluster had its time to settle.
    fn judge(&self, _stage: &Stage) {}
}

/// A named situation over generic journal events that an arm must meet, or its pass means nothing.
pub struct Probe {
    /// Its name.
    pub name: &'static str,
    /// What it means, in one line.
    pub about: &'static str,
    /// Whether this event, after all that `memory` holds, completes the situation.
    pub reached: fn(&mut ProbeMemory, &Record<'_>) -> bool,
}

/// What a probe remembers of the events it saw: names to times.
pub type ProbeMemory = BTreeMap<String, Nanos>;

/// Runs probes over the journal.
pub(crate) struct Probes {
    probes: Vec<Probe>,
    state: Mutex<Vec<(ProbeMemory, bool)>>,
}

impl Probes {
    pub(crate) fn new(probes: Vec<Probe>) -> Probes {
        let state = Mutex::new(probes.iter().map(|_| Default::default()).collect());
        Probes { probes, state }
    }

    /// Names of the probes that this event completes for the first time.
    pub(crate) fn observe(&self, record: &Record<'_>) -> Vec<&'static str> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut completed = Vec::new();
        for (probe, (memory, reached)) in self.probes.iter().zip(state.iter_mut()) {
            if !*reached && (probe.reached)(memory, record) {
                *reached = true;
                completed.push(probe.name);
            }
        }
        completed
    }
}
