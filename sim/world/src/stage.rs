//! What a play, its oracles and its faults share: the cluster, the plan, and the list of what went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use corral_cluster::Cluster;
use corral_core::journal::Event;
use corral_core::{Nanos, World, random::Stream};
use corral_object_store::BucketStore;

use crate::arm::Arm;
use crate::inject::{ApiFaults, Undo};
use crate::oracle::Violation;
use crate::plan::Plan;

/// The phase in which clients work and faults strike.
const WORKLOAD: &str = "workload";

/// What a run has found. It outlives the stage: a run that breaks off has found what it found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub violations: Vec<Violation>,
    pub reached: BTreeSet<String>,
    pub hazards: BTreeMap<String, u64>,
    /// Faults of the plan that have struck, by their place in it.
    pub struck: BTreeSet<usize>,
}

/// What a judging would have recorded.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// Whether it found damage.
    pub has_complaints: bool,
    /// Name, object and detail of the hazards that it saw.
    pub hazards: Vec<[String; 3]>,
}

/// One run's stage.
pub struct Stage {
    /// The plan.
    pub plan: Plan,
    /// What of the system runs.
    pub arm: Arm,
    world: Arc<World>,
    cluster: OnceLock<Cluster>,
    api_faults: Arc<ApiFaults>,
    stores: Vec<Arc<BucketStore>>,
    found: Arc<Mutex<Found>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: &'static str,
    undos: BTreeMap<u64, Undo>,
    /// Machines that are off or frozen: one fault has them at a time.
    held: BTreeSet<String>,
    last_undo: u64,
    /// While a judging is tried: what it has found.
    trial: Option<Trial>,
    last_change: Nanos,
    /// Kind of the object that was changed then, and who did it.
    last_changed: (String, String),
}

impl Stage {
    pub(crate) fn new(
        plan: Plan,
        arm: Arm,
        world: Arc<World>,
        api_faults: Arc<ApiFaults>,
        stores: Vec<Arc<BucketStore>>,
        found: Arc<Mutex<Found>>,
    ) -> Stage {
        Stage { plan, arm, world, cluster: OnceLock::new(), api_faults, stores, found, state: Mutex::default() }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's world.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The cluster.
    ///
    /// # Panics
    /// Before it was booted.
    pub fn cluster(&self) -> &Cluster {
        self.cluster.get().expect("the cluster is booted before the play begins")
    }

    pub(crate) fn set_cluster(&self, cluster: Cluster) {
        assert!(self.cluster.set(cluster).is_ok(), "a run boots one cluster");
    }

    pub(crate) fn api_faults(&self) -> &Arc<ApiFaults> {
        &self.api_faults
    }

    /// A random stream of the workload's, split from the seed.
    pub fn stream(&self, name: &str) -> Stream {
        self.world.stream(&format!("workload/{name}"))
    }

    /// The object stores.
    pub fn stores(&self) -> &[Arc<BucketStore>] {
        &self.stores
    }

    /// Enters a phase.
    pub fn phase(&self, name: &'static str) {
        self.state().phase = name;
        self.world.record(Event::Phase { name: name.into() });
    }

    /// The phase the run is in.
    pub fn current_phase(&self) -> &'static str {
        self.state().phase
    }

    /// The set-up is done, the clients begin: from here on faults may strike.
    pub fn begin_workload(self: &Arc<Stage>) {
        crate::inject::arm(self);
        self.phase(WORKLOAD);
    }

    /// Faults strike during the workload, and no longer.
    pub(crate) fn faults_may_strike(&self) -> bool {
        self.current_phase() == WORKLOAD
    }

    pub(crate) fn note_struck(&self, fault: usize) {
        self.found().struck.insert(fault);
    }

    /// Takes a machine for a fault; false if another one has it.
    pub(crate) fn hold(&self, machine: &str) -> bool {
        self.state().held.insert(machine.to_owned())
    }

    pub(crate) fn release(&self, machine: &str) {
        self.state().held.remove(machine);
    }

    pub(crate) fn keep_undo(&self, undo: Undo) -> u64 {
        let mut state = self.state();
        state.last_undo += 1;
        let id = state.last_undo;
        state.undos.insert(id, undo);
        id
    }

    pub(crate) fn take_undo(&self, id: u64) -> Option<Undo> {
        self.state().undos.remove(&id)
    }

    pub(crate) fn take_undos(&self) -> Vec<Undo> {
        std::mem::take(&mut self.state().undos).into_values().collect()
    }

    /// Records what a client did and what came back.
    pub fn step(&self, what: &str, outcome: &str) {
        self.world.record(Event::Step { what: what.into(), outcome: outcome.into() });
    }

    /// Records damage. The same damage (oracle and signature) is recorded once a run.
    pub fn violation(&self, oracle: &str, detail: &str) {
        self.violation_as(oracle, &crate::text::normalised(detail), detail);
    }

    /// What this judging would record; it records nothing.
    pub(crate) fn try_judging(&self, judging: impl FnOnce()) -> Trial {
        self.state().trial = Some(Trial::default());
        judging();
        self.state().trial.take().unwrap_or_default()
    }

    /// Records damage under a signature of the oracle's own making.
    pub fn violation_as(&self, oracle: &str, signature: &str, detail: &str) {
        if let Some(trial) = &mut self.state().trial {
            trial.has_complaints = true;
            return;
        }
        {
            let mut found = self.found();
            if found.violations.iter().any(|known| known.oracle == oracle && known.signature == signature) {
                return;
            }
            found.violations.push(Violation {
                oracle: oracle.to_owned(),
                signature: signature.to_owned(),
                detail: detail.to_owned(),
                at: self.world.now(),
            });
        }
        let event = Event::Violation { oracle: oracle.into(), signature: signature.into(), detail: detail.into() };
        self.world.record(event);
    }

    /// Records something dangerous that is no damage yet.
    pub fn hazard(&self, name: &str, object: &str, detail: &str) {
        if let Some(trial) = &mut self.state().trial {
            trial.hazards.push([name, object, detail].map(str::to_owned));
            return;
        }
        *self.found().hazards.entry(name.to_owned()).or_default() += 1;
        self.world.record(Event::Hazard { name: name.into(), object: object.into(), detail: detail.into() });
    }

    /// When the cluster last changed something that is neither a lease nor a heartbeat nor an event; of what kind it was, and who did it.
    pub(crate) fn last_change(&self) -> (Nanos, String, String) {
        let state = self.state();
        let (kind, client) = state.last_changed.clone();
        (state.last_change, kind, client)
    }

    pub(crate) fn note_change(&self, at: Nanos, (kind, client): (&str, &str)) {
        let mut state = self.state();
        state.last_change = at;
        kind.clone_into(&mut state.last_changed.0);
        client.clone_into(&mut state.last_changed.1);
    }

    pub(crate) fn reach(&self, probe: &str) {
        if self.found().reached.insert(probe.to_owned()) {
            self.world.record(Event::Probe { name: probe.into() });
        }
    }
}
