//! Scenario `upgrade`: Longhorn is upgraded to another release while it pulls what a store holds.
//!
//! The recorded failure is longhorn#10181: a Backup whose configuration could not be read yet does not say of which volume it is; the upgrade asks for
//! the volume of no name, which is an error and no "not found", and each manager of the new release ends with it. Nothing in here makes such a
//! Backup: a store that answers with errors for a while, or slowly, does.

mod plan;
mod play;

use std::sync::Arc;

use corral_core::journal::{Event, Record};
use corral_world::{Arm, Ground, Oracle, Parameter, Plan, Play, Probe, ProbeMemory, Scenario, Stage};

use crate::oracles::{BackupsBelongToATarget, ClientsAreServed, NothingIsDeletingForEver, UpgradesEnd};

/// The step in which the client notes how many Backups nobody has read when it upgrades.
const UNREAD: &str = "backups without a volume's name at the upgrade";

/// The scenario.
pub struct Upgrade;

impl Scenario for Upgrade {
    fn name(&self) -> &'static str {
        "upgrade"
    }

    fn about(&self) -> &'static str {
        "Longhorn is upgraded while backups are pulled from a failing store (longhorn#10181)"
    }

    fn upgrades(&self) -> bool {
        true
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
        vec![
            Box::new(UpgradesEnd),
            Box::new(BackupsBelongToATarget),
            Box::new(ClientsAreServed),
            Box::new(NothingIsDeletingForEver),
        ]
    }

    fn probes(&self) -> Vec<Probe> {
        vec![
            Probe {
                name: "backup-unread-at-upgrade",
                about: "when the upgrade began, a Backup did not say of which volume it is",
                reached: |_, record| matches!(&record.event, Event::Step { what, outcome } if *what == UNREAD && *outcome != "0"),
            },
            Probe {
                name: "backup-changed-after-upgrade",
                about: "a Backup was changed after the upgrade began",
                reached: changed_after_upgrade,
            },
        ]
    }

    fn play(&self, stage: Arc<Stage>) -> Play {
        Box::pin(play::play(stage))
    }
}

fn changed_after_upgrade(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    const BEGAN: &str = "began";
    match &record.event {
        Event::Step { what, .. } if *what == UNREAD => {
            memory.insert(BEGAN.to_owned(), record.at);
            false
        }
        Event::ApiWrite { verb, kind, .. } => memory.contains_key(BEGAN) && verb == "update" && kind == "Backup",
        _ => false,
    }
}
