//! Scenario `v2-disable-enable`: a machine with replicas of the second data engine is lost, their volume is deleted meanwhile, the machine
//! comes back, and the second data engine is switched off and on again.
//!
//! The recorded race is longhorn#10791: an orphan of a replica that the returned machine re-discovers, and its instance manager, wait for
//! each other for ever once the instance manager is deleted. Nothing in here makes an orphan: the client creates, attaches and deletes a
//! volume, and switches a setting.

mod cluster;
mod plan;
mod play;

use std::sync::Arc;

use corral_core::Nanos;
use corral_core::journal::{Event, Record};
use corral_world::{Arm, Ground, Oracle, Parameter, Plan, Play, Probe, ProbeMemory, Scenario, Stage};

use crate::oracles::{ClientsAreServed, NothingIsDeletingForEver, V2InstanceManagersAreUsable};

/// The scenario.
pub struct V2DisableEnable;

impl Scenario for V2DisableEnable {
    fn name(&self) -> &'static str {
        "v2-disable-enable"
    }

    fn about(&self) -> &'static str {
        "a lost machine returns with replicas of a deleted v2 volume; v2-data-engine is switched off and on (longhorn#10791)"
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

    fn ground(&self, plan: &Plan, arm: &Arm) -> Ground {
        cluster::ground(plan, arm)
    }

    fn machines(&self, plan: &Plan) -> Vec<String> {
        plan::read(plan).map(|(cluster, _)| cluster.workers()).unwrap_or_default()
    }

    fn oracles(&self) -> Vec<Box<dyn Oracle>> {
        vec![Box::new(NothingIsDeletingForEver), Box::new(V2InstanceManagersAreUsable), Box::new(ClientsAreServed)]
    }

    fn probes(&self) -> Vec<Probe> {
        vec![
            Probe {
                name: "orphan-made",
                about: "an Orphan was made of what a returned machine has",
                reached: |_, record| is_write(record, "create", "Orphan"),
            },
            Probe {
                name: "instance-manager-gone-after-orphan",
                about: "an instance manager's pod went away after an Orphan was made",
                reached: pod_gone_after_orphan,
            },
        ]
    }

    fn play(&self, stage: Arc<Stage>) -> Play {
        Box::pin(play::play(stage))
    }
}

fn is_write(record: &Record<'_>, wanted_verb: &str, wanted_kind: &str) -> bool {
    matches!(&record.event, Event::ApiWrite { verb, kind, .. } if verb == wanted_verb && kind == wanted_kind)
}

fn pod_gone_after_orphan(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    const MADE: &str = "made";
    if is_write(record, "create", "Orphan") {
        memory.insert(MADE.to_owned(), record.at);
    }
    let is_manager = matches!(&record.event, Event::ApiWrite { name, .. } if name.starts_with("instance-manager-"));
    memory.get(MADE).is_some_and(|made| *made > Nanos::ZERO) && is_manager && is_write(record, "delete", "Pod")
}
