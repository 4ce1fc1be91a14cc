//! The plan of `upgrade`: its tables, its parameters, and what a seed makes of them.

use std::time::Duration;

use corral_core::random::Stream;
use corral_world::text::duration;
use corral_world::{ApiVerb, Arm, Fault, Parameter, Plan, PlannedFault, Trigger};
use longhorn_api::{Build, Release};
use serde::{Deserialize, Serialize};

use crate::catalogue::selection;

/// What the cluster is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterTable {
    /// Machines that run managers.
    pub machines: u32,
    /// Latency of the network between machines, in percent of a quiet one.
    #[serde(default = "normal")]
    pub network_percent: u64,
    /// Time the API server takes for a request, in percent of an idle one.
    #[serde(default = "idle")]
    pub api_percent: u32,
}

fn normal() -> u64 {
    100
}

fn idle() -> u32 {
    100
}

impl ClusterTable {
    /// Names of its worker machines.
    pub fn workers(&self) -> Vec<String> {
        (1..=self.machines).map(|number| format!("worker-{number}")).collect()
    }
}

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
    Parameter {
        key: "network-percent",
        default: "50 to 400",
        about: "network latency in percent of a quiet one",
        in_plan: true,
    },
    Parameter {
        key: "api-percent",
        default: "50 to 400",
        about: "API server's time for a request in percent of an idle one",
        in_plan: true,
    },
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

fn number(arm: &Arm, key: &str, low: u64, high: u64, draw: u64) -> Result<u64, String> {
    let Some(text) = arm.set.get(key) else { return Ok(draw) };
    let parsed = text.parse().ok().filter(|value| (low..=high).contains(value));
    parsed.ok_or_else(|| format!("--set {key}={text}: allowed is a whole number from {low} to {high}"))
}

/// The plan that a seed stands for.
///
/// # Errors
/// The arm is no upgrade, or a parameter's value is impossible.
pub fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    builds(arm)?;
    let mut random = Stream::new(seed, "plan");
    let scale = |random: &mut Stream| *random.pick(&[50, 100, 100, 200, 400]).expect("not empty");
    let (network, api, machines) = (scale(&mut random), scale(&mut random), random.between(1, 3));
    let (volumes, backups) = (random.between(1, 2), random.between(1, 6));
    let pause = random.duration(Duration::ZERO, Duration::from_secs(30));
    let cluster = ClusterTable {
        machines: number(arm, "machines", 1, 5, machines)? as u32,
        network_percent: number(arm, "network-percent", 1, 100_000, network)?,
        api_percent: number(arm, "api-percent", 1, 100_000, api)? as u32,
    };
    let volumes = number(arm, "volumes", 1, 8, volumes)?;
    let backups = number(arm, "backups", 1, 100, backups)? as u32;
    let filled = (1..=volumes).map(|volume| Action::FillStore { volume: format!("vol-{volume}"), backups });
    let steps = filled.chain([
        Action::SetBackupTarget {},
        Action::AwaitBackups { count: 1 },
        Action::Wait { lasts: pause },
        Action::Upgrade {},
    ]);
    let count = random.below(3);
    let faults = (0..number(arm, "faults", 0, 10, count)?).map(|_| fault(&mut random)).collect();
    Ok(Plan {
        cluster: toml::Table::try_from(&cluster).expect("a table of numbers"),
        steps: steps
            .map(|action| corral_world::Step { action: toml::Value::try_from(&action).expect("a table") })
            .collect(),
        faults,
    })
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
    let cluster: ClusterTable = if plan.cluster.is_empty() {
        ClusterTable { machines: 1, network_percent: 100, api_percent: 100 }
    } else {
        let read: Result<ClusterTable, toml::de::Error> = plan.cluster.clone().try_into();
        read.map_err(|error| format!("[cluster]: {}", error.message().trim()))?
    };
    if !(1..=5).contains(&cluster.machines) {
        return Err(format!("[cluster]: machines = {}; allowed are 1 to 5", cluster.machines));
    }
    let mut actions = Vec::new();
    let mut is_filling = true;
    for (index, step) in plan.steps.iter().enumerate() {
        let action: Result<Action, toml::de::Error> = step.action.clone().try_into();
        let action = action.map_err(|error| format!("[[step]] {}: {}", index + 1, error.message().trim()))?;
        if let Action::FillStore { backups, .. } = &action {
            if !(1..=100).contains(backups) {
                return Err(format!("[[step]] {}: backups = {backups}; allowed are 1 to 100", index + 1));
            }
            if !is_filling {
                return Err(format!("[[step]] {}: the store is filled before the workload begins", index + 1));
            }
        } else {
            is_filling = false;
        }
        actions.push(action);
    }
    Ok((cluster, actions))
}
