//! The plan of `upgrade`: its tables, its parameters, and what a seed makes of them.

use std::time::Duration;

use corral_core::random::Stream;
use corral_world::text::duration;
use corral_world::{ApiVerb, Arm, Fault, Parameter, Plan, PlannedFault, Trigger};
use longhorn_api::{Build, Release};
use serde::{Deserialize, Serialize};

use crate::catalogue::selection;
use crate::tables::{self, API_PERCENT, ClusterTable, NETWORK_PERCENT, number};

/// One thing that the client does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Before anything else: the store holds backups of a volume, made by another installation.
    FillStore {
        /// The volume's name.
        volume: String,
        /// How many backups of it.
        backups: u32,
    },
    /// Longhorn is pointed at the store.
    SetBackupTarget {},
    /// The client waits until so many Backups are there, whatever is known of them.
    AwaitBackups {
        /// How many.
        count: usize,
    },
    /// The manifest of the release to come is applied; the client waits until the upgrade has ended.
    Upgrade {},
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
    Parameter { key: "volumes", default: "1 or 2", about: "volumes with backups in the store, 1 to 8", in_plan: true },
    Parameter { key: "backups", default: "1 to 6", about: "backups of each volume, 1 to 100", in_plan: true },
    NETWORK_PERCENT,
    API_PERCENT,
    Parameter { key: "faults", default: "0 to 2", about: "faults that strike, 0 to 10", in_plan: true },
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

/// The plan that a seed stands for.
///
/// # Errors
/// The arm is no upgrade, or a parameter's value is impossible.
pub fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    builds(arm)?;
    let mut random = Stream::new(seed, "plan");
    let cluster = ClusterTable::draw(&mut random, arm, 1..=3, 1..=5)?;
    let (volumes, backups) = (random.between(1, 2), random.between(1, 6));
    let pause = random.duration(Duration::ZERO, Duration::from_secs(30));
    let volumes = number(arm, "volumes", 1..=8, volumes)?;
    let backups = number(arm, "backups", 1..=100, backups)? as u32;
    let filled = (1..=volumes).map(|volume| Action::FillStore { volume: format!("vol-{volume}"), backups });
    let steps: Vec<Action> = filled
        .chain([
            Action::SetBackupTarget {},
            Action::AwaitBackups { count: 1 },
            Action::Wait { lasts: pause },
            Action::Upgrade {},
        ])
        .collect();
    let count = random.below(3);
    let faults = (0..number(arm, "faults", 0..=10, count)?).map(|_| fault(&mut random)).collect();
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

/// The plan's tables, as this scenario reads them.
///
/// # Errors
/// What is wrong in them, and what is allowed.
pub fn read(plan: &Plan) -> Result<(ClusterTable, Vec<Action>), String> {
    let cluster = ClusterTable::read(plan, 1, 1..=5)?;
    let actions = tables::actions(plan, |action| match action {
        Action::FillStore { backups, .. } if !(1..=100).contains(backups) => {
            Err(format!("backups = {backups}; allowed are 1 to 100"))
        }
        _ => Ok(()),
    })?;
    let fills = |action: &Action| matches!(action, Action::FillStore { .. });
    if let Some(late) = (1..actions.len()).find(|step| fills(&actions[*step]) && !fills(&actions[step - 1])) {
        return Err(format!("[[step]] {}: the store is filled before the workload begins", late + 1));
    }
    Ok((cluster, actions))
}
