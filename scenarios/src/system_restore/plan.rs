//! The plan of `system-restore`: its steps, its parameters, and what a seed makes of them.

use std::time::Duration;

use corral_core::random::Stream;
use corral_world::text::duration;
use corral_world::{ApiVerb, Arm, Fault, Parameter, Plan, PlannedFault, Trigger};
use serde::{Deserialize, Serialize};

use crate::tables::{self, API_PERCENT, ClusterTable, NETWORK_PERCENT, flag, number};

/// One thing that the client does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Longhorn is pointed at the store.
    SetBackupTarget {},
    /// A volume is created; the client waits until it is detached.
    CreateVolume {
        /// Its name.
        name: String,
        /// How many replicas.
        replicas: u32,
    },
    /// A volume is attached to the client's machine; the client waits until it is.
    AttachVolume {
        /// Its name.
        name: String,
    },
    /// A volume is detached; the client waits until it is.
    DetachVolume {
        /// Its name.
        name: String,
    },
    /// Data is written to an attached volume, a piece at the beginning of each block of 2 MiB.
    WriteVolume {
        /// Its name.
        name: String,
        /// How many blocks.
        blocks: u32,
    },
    /// The system is backed up; the client waits until the backup is ready.
    SystemBackup {
        /// Its name.
        name: String,
    },
    /// A volume is deleted; the client waits until it is gone.
    DeleteVolume {
        /// Its name.
        name: String,
    },
    /// The system is restored; the client waits until the restore has ended.
    SystemRestore {
        /// The system backup's name.
        name: String,
    },
    /// The client waits until a volume is restored, attaches it and reads what was written to the volume of this name.
    CheckVolume {
        /// Its name.
        name: String,
    },
    /// The client waits.
    Wait {
        /// How long.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
    },
}

/// What `--set` may change.
pub const PARAMETERS: &[Parameter] = &[
    Parameter { key: "machines", default: "1 to 3", about: "machines that run managers, 1 to 5", in_plan: true },
    Parameter { key: "volumes", default: "1 or 2", about: "volumes, 1 to 4", in_plan: true },
    Parameter {
        key: "attached",
        default: "true",
        about: "true, or false: volumes are detached when the system is backed up",
        in_plan: true,
    },
    NETWORK_PERCENT,
    API_PERCENT,
    Parameter { key: "faults", default: "0 to 2", about: "faults that strike, 0 to 10", in_plan: true },
];

/// The plan that a seed stands for.
///
/// # Errors
/// A parameter's value is impossible.
pub fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    let mut random = Stream::new(seed, "plan");
    let cluster = ClusterTable::draw(&mut random, arm, 1..=3, 1..=5)?;
    let (volumes, pause) = (random.between(1, 2), random.duration(Duration::ZERO, Duration::from_secs(60)));
    let volumes = number(arm, "volumes", 1..=4, volumes)?;
    let attached = flag(arm, "attached", true)?;
    let names: Vec<String> = (1..=volumes).map(|volume| format!("vol-{volume}")).collect();
    let mut steps = vec![Action::SetBackupTarget {}];
    for name in &names {
        let blocks = random.between(1, 4) as u32;
        steps.extend([
            Action::CreateVolume { name: name.clone(), replicas: cluster.machines.min(3) },
            Action::AttachVolume { name: name.clone() },
            Action::WriteVolume { name: name.clone(), blocks },
        ]);
        if !attached {
            steps.push(Action::DetachVolume { name: name.clone() });
        }
    }
    let backup = || "backup-1".to_owned();
    steps.extend([Action::Wait { lasts: pause }, Action::SystemBackup { name: backup() }]);
    steps.extend(names.iter().map(|name| Action::DeleteVolume { name: name.clone() }));
    steps.push(Action::SystemRestore { name: backup() });
    steps.extend(names.iter().map(|name| Action::CheckVolume { name: name.clone() }));
    let count = random.below(3);
    let faults = (0..number(arm, "faults", 0..=10, count)?).map(|_| fault(&mut random)).collect();
    Ok(tables::plan(&cluster, &steps, faults))
}

/// Slowness and lag between the making of backups and the saving of volumes. What would fail a backup by itself is no draw.
fn fault(random: &mut Stream) -> PlannedFault {
    let lasts = random.duration(Duration::from_secs(5), Duration::from_secs(40));
    let extra = |random: &mut Stream, high| random.duration(Duration::from_millis(5), Duration::from_millis(high));
    let fault = match random.below(3) {
        0 => Fault::SlowStore { lasts, per_operation: extra(random, 800) },
        1 => Fault::SlowApi { lasts, extra: extra(random, 100), client: "longhorn-manager".to_owned() },
        _ => Fault::WatchLag {
            lasts,
            extra: extra(random, 1500),
            client: "longhorn-manager".to_owned(),
            resource: String::new(),
        },
    };
    PlannedFault {
        on: Some(Trigger::on_api(ApiVerb::Create, "SystemBackup", 1)),
        after: random.duration(Duration::ZERO, Duration::from_secs(10)),
        fault,
    }
}

/// The plan's tables, as this scenario reads them.
///
/// # Errors
/// What is wrong in them, and what is allowed.
pub fn read(plan: &Plan) -> Result<(ClusterTable, Vec<Action>), String> {
    let cluster = ClusterTable::read(plan, 1, 1..=5)?;
    let actions = tables::actions(plan, |action| match action {
        Action::WriteVolume { blocks, .. } if !(1..=32).contains(blocks) => {
            Err(format!("blocks = {blocks}; allowed are 1 to 32"))
        }
        Action::CreateVolume { replicas, .. } if !(1..=cluster.machines).contains(replicas) => {
            Err(format!("replicas = {replicas}; allowed are 1 to {}, one a machine", cluster.machines))
        }
        _ => Ok(()),
    })?;
    Ok((cluster, actions))
}
