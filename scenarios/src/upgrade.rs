//! Scenario `upgrade`: Longhorn is upgraded to another release while it pulls what a store holds.
//!
//! The recorded failure is longhorn#10181: a Backup whose configuration could not be read yet does not say of which volume it is; the upgrade asks for
//! the volume of no name, which is an error and no "not found", and each manager of the new release ends with it. Nothing in here makes such a
//! Backup: a store that answers with errors for a while, or slowly, does.

use std::time::Duration;

use corral_core::journal::{Event, Record};
use corral_core::random::Stream;
use corral_world::{ApiVerb, Arm, Fault, Parameter, Plan, PlannedFault, Probe, ProbeMemory, Trigger};
use longhorn_api::{Build, Release};

use crate::catalogue::selection;
use crate::oracles::{BackupsBelongToATarget, UpgradesEnd};
use crate::scenario::LonghornScenario;
use crate::steps::Action;
use crate::tables::{self, API_PERCENT, ClusterTable, FAULTS, LOCK_WAIT, MACHINES, NETWORK_PERCENT, RESYNC, number};

/// The step in which the client notes how many Backups nobody has read when it upgrades.
pub const UNREAD: &str = "backups without a volume's name at the upgrade";

/// The scenario.
pub fn scenario() -> LonghornScenario {
    LonghornScenario {
        name: "upgrade",
        about: "Longhorn is upgraded while backups are pulled from a failing store (longhorn#10181)",
        machines: 1..=5,
        upgrades: true,
        parameters: PARAMETERS,
        expand,
        oracles: || vec![Box::new(UpgradesEnd), Box::new(BackupsBelongToATarget)],
        probes,
    }
}

fn probes() -> Vec<Probe> {
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

/// What `--set` may change.
const PARAMETERS: &[Parameter] = &[
    MACHINES,
    Parameter { key: "volumes", default: "1 or 2", about: "volumes with backups in the store, 1 to 8", in_plan: true },
    Parameter { key: "backups", default: "1 to 6", about: "backups of each volume, 1 to 100", in_plan: true },
    NETWORK_PERCENT,
    API_PERCENT,
    FAULTS,
    LOCK_WAIT,
    RESYNC,
];

/// The Longhorn that is there, and the one to come. Without `--from` it is the last release of the minor version before.
///
/// # Errors
/// The arm asks for what is no upgrade, or for one that Longhorn refuses.
pub fn builds(arm: &Arm) -> Result<(Build, Build), String> {
    let mut selection = selection(arm)?;
    let to = selection.release;
    let minor_is_nine = to.at_least(Release::V1_9_0_DEV_00886872C);
    let from = *selection.from.get_or_insert(if minor_is_nine { Release::V1_8_2 } else { Release::V1_7_2 });
    if from == to || from.at_least(to) {
        return Err(format!("--from {from} --release {to}: that is no upgrade"));
    }
    if minor_is_nine && !from.at_least(Release::V1_8_0_RC1) {
        return Err(format!("--from {from} --release {to}: Longhorn takes one minor version at a time"));
    }
    let text = |error: longhorn_api::builds::BuildError| error.to_string();
    let from = selection.upgrade_from().map_err(text)?.expect("set above");
    Ok((from, selection.longhorn().map_err(text)?))
}

fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    builds(arm)?;
    let mut random = Stream::new(seed, "plan");
    let cluster = ClusterTable::draw(&mut random, arm, 1..=3, 1..=5)?;
    let (volumes, backups) = (random.between(1, 2), random.between(1, 6));
    let pause = random.duration(Duration::ZERO, Duration::from_secs(30));
    let volumes = number(arm, "volumes", 1..=8, volumes)?;
    let backups = number(arm, "backups", 1..=100, backups)? as u32;
    let filled = (1..=volumes).map(|volume| Action::FillStore { volume: format!("vol-{volume}"), backups, blocks: 1 });
    let steps: Vec<Action> = filled
        .chain([
            Action::SET_BACKUP_TARGET,
            Action::AwaitBackups { count: 1 },
            Action::Wait { lasts: pause },
            Action::Upgrade {},
        ])
        .collect();
    let faults = tables::faults(&mut random, arm, fault)?;
    Ok(tables::plan(&cluster, &steps, faults))
}

/// A fault between the listing of a store and the reading of what was listed, which an upgrade has to live through.
fn fault(random: &mut Stream) -> PlannedFault {
    let lasts = random.duration(Duration::from_secs(20), Duration::from_secs(300));
    let fault = match random.below(4) {
        0 | 1 => Fault::StoreErrors { lasts, code: *random.pick(&[500, 503]).expect("not empty"), one_in: 1 },
        2 => Fault::SlowStore {
            lasts,
            per_operation: random.duration(Duration::from_millis(500), Duration::from_secs(10)),
        },
        _ => Fault::SlowApi {
            lasts,
            extra: random.duration(Duration::from_millis(5), Duration::from_millis(100)),
            client: "longhorn-manager".to_owned(),
        },
    };
    PlannedFault {
        on: Some(Trigger::on_api(ApiVerb::Create, "Backup", 1)),
        after: random.duration(Duration::ZERO, Duration::from_millis(500)),
        fault,
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
