//! Scenario `backup-cleanup`: backups that the store holds are pulled, then a client does what Longhorn's test teardown does.
//!
//! The recorded race is longhorn#10120: a Backup that the client has listed is gone before its own deletion, because the garbage collector, set off by
//! the end of its BackupVolume, and the backup controller were faster. Nothing in here places that: the client polls each second, the collector
//! works through its queue, and the seed decides who is first.

mod cluster;
mod plan;
mod play;
mod teardown;

use std::sync::Arc;

use corral_core::journal::{Event, Record};
use corral_world::{Arm, Ground, Oracle, Parameter, Plan, Play, Probe, ProbeMemory, Scenario, Stage};

use crate::clients::pod;
use crate::oracles::{ClientMeetsNoUnexpectedError, NoBackupOutlivesItsVolumeAndRemote, NothingIsDeletingForEver};

pub use teardown::ORACLE as CLIENT_ORACLE;

/// The scenario.
pub struct BackupCleanup;

impl Scenario for BackupCleanup {
    fn name(&self) -> &'static str {
        "backup-cleanup"
    }

    fn about(&self) -> &'static str {
        "backups are pulled from a store, then deleted as Longhorn's test teardown does it (longhorn#10120)"
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
        vec![
            Box::new(ClientMeetsNoUnexpectedError),
            Box::new(NothingIsDeletingForEver),
            Box::new(NoBackupOutlivesItsVolumeAndRemote),
        ]
    }

    fn probes(&self) -> Vec<Probe> {
        vec![
            Probe {
                name: "backups-pulled",
                about: "a Backup was made from what the store holds",
                reached: |_, record| written(record, "create", "Backup").is_some(),
            },
            Probe {
                name: "deleted-while-listed",
                about: "a Backup went away after the client had listed the Backups, and not because the client deleted it",
                reached: deleted_while_listed,
            },
        ]
    }

    fn play(&self, stage: Arc<Stage>) -> Play {
        Box::pin(play::play(stage))
    }
}

/// The name of the object, if this is such a write.
fn written<'a>(record: &'a Record<'_>, wanted_verb: &str, wanted_kind: &str) -> Option<&'a str> {
    match &record.event {
        Event::ApiWrite { verb, kind, name, .. } if verb == wanted_verb && kind == wanted_kind => Some(name),
        _ => None,
    }
}

fn deleted_while_listed(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    const LISTED: &str = "the client has listed";
    match &record.event {
        Event::Step { what, .. } if what == "backup_cleanup: list" => {
            memory.insert(LISTED.to_owned(), record.at);
        }
        // What the client itself set deleting may go.
        Event::ApiWrite { kind, name, deleting: true, client, .. }
            if kind == "Backup" && client.starts_with(pod::CLIENT) =>
        {
            memory.insert(name.to_string(), record.at);
        }
        _ => {}
    }
    let gone = written(record, "delete", "Backup");
    memory.contains_key(LISTED) && gone.is_some_and(|name| !memory.contains_key(name))
}
