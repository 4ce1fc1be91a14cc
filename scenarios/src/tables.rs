//! What the plans of all scenarios have in common beside their steps: the cluster's table, and parameters as text.

use std::ops::RangeInclusive;
use std::time::Duration;

use corral_core::random::Stream;
use corral_world::text::{self, duration};
use corral_world::{ApiVerb, Arm, Fault, Parameter, Plan, PlannedFault, Trigger};
use serde::{Deserialize, Serialize};

use crate::steps::Action;

/// The longest time that anything in a plan may take: the bench's idle run is a bit more than a day.
pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest that a store may take for an operation: clients give up after a minute.
const SLOWEST_STORE: Duration = Duration::from_secs(60);
/// Percentages of latencies, in parameters and plans.
const PERCENT: RangeInclusive<u64> = 1..=100_000;

/// The parameter of most clusters' machines.
pub const MACHINES: Parameter =
    Parameter { key: "machines", default: "1 to 3", about: "machines that run managers, 1 to 5", in_plan: true };
/// The parameter of every cluster's network.
pub const NETWORK_PERCENT: Parameter = Parameter {
    key: "network-percent",
    default: "50 to 400",
    about: "network latency in percent of a quiet one",
    in_plan: true,
};
/// The parameter of every cluster's API server.
pub const API_PERCENT: Parameter = Parameter {
    key: "api-percent",
    default: "50 to 400",
    about: "API server's time for a request in percent of an idle one",
    in_plan: true,
};
/// The parameter of every plan's faults.
pub const FAULTS: Parameter =
    Parameter { key: "faults", default: "0 to 2", about: "faults that strike, 0 to 10", in_plan: true };

/// The wait of every lock in a backup store.
pub const LOCK_WAIT: Parameter = Parameter {
    key: "lock-wait",
    default: "2s",
    about: "how long the backup store's lock waits before it looks for others",
    in_plan: false,
};
/// The resync of every manager's controllers.
pub const RESYNC: Parameter = Parameter {
    key: "resync",
    default: "30s",
    about: "how often managers look at every object again; 0s: never",
    in_plan: false,
};

/// What the cluster is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterTable {
    /// Machines that run managers.
    pub machines: u32,
    /// Latency of the network between machines, in percent of a quiet one.
    #[serde(default = "as_measured")]
    pub network_percent: u64,
    /// Time the API server takes for a request, in percent of an idle one.
    #[serde(default = "as_measured")]
    pub api_percent: u64,
    /// How long Longhorn has been running when the client begins. Kinds that are younger than the collector's resync of 30 s have no collector.
    #[serde(default, with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub age: Duration,
    /// Time the object store takes for an operation.
    #[serde(default = "store_latency", with = "duration")]
    pub store_latency: Duration,
}

fn as_measured() -> u64 {
    100
}

fn store_latency() -> Duration {
    Duration::from_millis(2)
}

impl ClusterTable {
    /// What a seed draws of machines, network and API server, unless the arm says something else.
    ///
    /// # Errors
    /// A parameter's value is impossible.
    pub fn draw(
        random: &mut Stream,
        arm: &Arm,
        machines: RangeInclusive<u64>,
        allowed: RangeInclusive<u64>,
    ) -> Result<Self, String> {
        length(arm, LOCK_WAIT.key)?;
        length(arm, RESYNC.key)?;
        let scale = |random: &mut Stream| *random.pick(&[50, 100, 100, 200, 400]).expect("not empty");
        let (network, api) = (scale(random), scale(random));
        let machines = random.between(*machines.start(), *machines.end());
        Ok(Self {
            machines: number(arm, "machines", allowed, machines)? as u32,
            network_percent: number(arm, NETWORK_PERCENT.key, PERCENT, network)?,
            api_percent: number(arm, API_PERCENT.key, PERCENT, api)?,
            age: Duration::ZERO,
            store_latency: store_latency(),
        })
    }

    /// Reads it from a plan; one that says nothing has as few machines as may be.
    ///
    /// # Errors
    /// What is wrong in it, and what is allowed.
    pub fn read(plan: &Plan, allowed: RangeInclusive<u32>) -> Result<Self, String> {
        let (low, high) = (*allowed.start(), *allowed.end());
        let mut table = plan.cluster.clone();
        if table.is_empty() {
            table.insert("machines".to_owned(), low.into());
        }
        let cluster: Result<Self, toml::de::Error> = table.try_into();
        let cluster = cluster.map_err(|error| format!("[cluster]: {}", text::refusal(&error)))?;
        let percents = [(NETWORK_PERCENT.key, cluster.network_percent), (API_PERCENT.key, cluster.api_percent)];
        match percents.iter().find(|(_, value)| !PERCENT.contains(value)) {
            Some((key, value)) => {
                Err(format!("[cluster]: {key} = {value}; allowed are {} to {}", PERCENT.start(), PERCENT.end()))
            }
            None if !allowed.contains(&cluster.machines) => {
                Err(format!("[cluster]: machines = {}; allowed are {low} to {high}", cluster.machines))
            }
            None if cluster.age > LONGEST => Err("[cluster]: age is too long; allowed is up to 30 days".into()),
            None if cluster.store_latency > SLOWEST_STORE => {
                Err("[cluster]: store-latency is too long; allowed is up to 60s".into())
            }
            None => Ok(cluster),
        }
    }

    /// Names of its worker machines.
    pub fn workers(&self) -> Vec<String> {
        (1..=self.machines).map(|number| format!("worker-{number}")).collect()
    }
}

/// A plan of these parts.
pub fn plan(cluster: &ClusterTable, actions: &[Action], faults: Vec<PlannedFault>) -> Plan {
    let step = |action| corral_world::Step { action: toml::Value::try_from(action).expect("a table") };
    Plan {
        cluster: toml::Table::try_from(cluster).expect("a table of numbers"),
        steps: actions.iter().map(step).collect(),
        faults,
    }
}

/// As many faults as the arm asks for, or else none, one or two.
///
/// # Errors
/// The arm asks for an impossible number.
pub fn faults(
    random: &mut Stream,
    arm: &Arm,
    fault: impl Fn(&mut Stream) -> PlannedFault,
) -> Result<Vec<PlannedFault>, String> {
    let count = random.below(3);
    Ok((0..number(arm, FAULTS.key, 0..=10, count)?).map(|_| fault(random)).collect())
}

/// Slowness and lag, for at most so long, while the system is backed up. What would fail a backup by itself is no draw.
pub fn slow_system_backup(random: &mut Stream, longest: Duration) -> PlannedFault {
    let lasts = random.duration(Duration::from_secs(5), longest);
    let extra = |random: &mut Stream, high| random.duration(Duration::from_millis(5), Duration::from_millis(high));
    let client = || "longhorn-manager".to_owned();
    let fault = match random.below(3) {
        0 => Fault::SlowStore { lasts, per_operation: extra(random, 800) },
        1 => Fault::SlowApi { lasts, extra: extra(random, 100), client: client() },
        _ => Fault::WatchLag { lasts, extra: extra(random, 1500), client: client(), resource: String::new() },
    };
    PlannedFault {
        on: Some(Trigger::on_api(ApiVerb::Create, "SystemBackup", 1)),
        after: random.duration(Duration::ZERO, Duration::from_secs(10)),
        fault,
    }
}

/// A parameter as a number, or what the seed drew.
///
/// # Errors
/// It is no number, or an impossible one.
pub fn number(arm: &Arm, key: &str, allowed: RangeInclusive<u64>, draw: u64) -> Result<u64, String> {
    let Some(text) = arm.set.get(key) else { return Ok(draw) };
    let parsed = text.parse().ok().filter(|value| allowed.contains(value));
    let (low, high) = (allowed.start(), allowed.end());
    parsed.ok_or_else(|| format!("--set {key}={text}: allowed is a whole number from {low} to {high}"))
}

/// A parameter as true or false, or what the seed drew.
///
/// # Errors
/// It is neither.
pub fn flag(arm: &Arm, key: &str, draw: bool) -> Result<bool, String> {
    let Some(text) = arm.set.get(key) else { return Ok(draw) };
    text.parse().map_err(|_| format!("--set {key}={text}: allowed are true and false"))
}

/// A parameter as a length of time, if the arm says one.
///
/// # Errors
/// It is none, or longer than anything may be.
pub fn length(arm: &Arm, key: &str) -> Result<Option<Duration>, String> {
    let Some(text) = arm.set.get(key) else { return Ok(None) };
    match text::parse_duration(text).map_err(|error| format!("--set {key}: {error}"))? {
        long if long > LONGEST => Err(format!("--set {key}={text}: allowed is up to 30 days")),
        length => Ok(Some(length)),
    }
}

/// Whether a parameter takes away what is there in reality.
///
/// # Errors
/// It is neither `real` nor `0s`.
pub fn is_instant(arm: &Arm, key: &str) -> Result<bool, String> {
    match arm.set.get(key).map(String::as_str) {
        None | Some("real") => Ok(false),
        Some("0s") => Ok(true),
        Some(other) => Err(format!("--set {key}={other}: allowed are real and 0s")),
    }
}
