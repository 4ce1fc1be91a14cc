//! Scenario `system-restore`: a volume with data is backed up with the system, deleted, and comes back with the system.
//!
//! The recorded failure is longhorn#10057: the system backup saves a volume that does not know its last backup yet, and the volume comes back
//! empty. Nothing in here makes a volume forget its backup: the client writes, asks for a system backup, deletes, restores and reads.

mod plan;
mod play;

use std::sync::Arc;

use corral_core::journal::{Event, Record};
use corral_world::{Arm, Ground, Oracle, Parameter, Plan, Play, Probe, ProbeMemory, Scenario, Stage};

use crate::oracles::{ClientsAreServed, NothingIsDeletingForEver, RestoredVolumesHoldTheirData};

/// The scenario.
pub struct SystemRestore;

impl Scenario for SystemRestore {
    fn name(&self) -> &'static str {
        "system-restore"
    }

    fn about(&self) -> &'static str {
        "a volume is written, backed up with the system, deleted, restored with the system and read (longhorn#10057)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        plan::PARAMETERS
    }

    fn expand(&self, seed: u64, arm: &Arm) -> Result<Plan, String> {
        plan::expand(seed, arm)
    }

    fn check(&self, plan: &Plan) -> Result<(), String> {
        plan::read(plan).map(|_| ())
    }

    fn ground(&self, plan: &Plan, _arm: &Arm) -> Ground {
        plan::read(plan).expect("checked before the run").0.ground_with_store()
    }

    fn machines(&self, plan: &Plan) -> Vec<String> {
        plan::read(plan).map(|(cluster, _)| cluster.workers()).unwrap_or_default()
    }

    fn oracles(&self) -> Vec<Box<dyn Oracle>> {
        vec![Box::new(RestoredVolumesHoldTheirData), Box::new(ClientsAreServed), Box::new(NothingIsDeletingForEver)]
    }

    fn probes(&self) -> Vec<Probe> {
        vec![
            Probe {
                name: "system-backup-made",
                about: "a Backup became Completed before a system backup was saved",
                reached: |_, record| matches!(&record.event, Event::Step { what, .. } if what.starts_with("system backup ")),
            },
            Probe {
                name: "volume-restored",
                about: "a volume was created after one of its name was deleted",
                reached: volume_is_back,
            },
        ]
    }

    fn play(&self, stage: Arc<Stage>) -> Play {
        Box::pin(play::play(stage))
    }
}

fn volume_is_back(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    let Event::ApiWrite { verb, kind, name, .. } = &record.event else { return false };
    if kind != "Volume" {
        return false;
    }
    if verb == "delete" {
        memory.insert(name.to_string(), record.at);
    }
    verb == "create" && memory.contains_key(&**name)
}
