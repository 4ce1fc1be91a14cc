//! The plan of `backup-cleanup`: its tables, its parameters, and what a seed makes of them.

use std::time::Duration;

use corral_core::random::Stream;
use corral_world::text::{self, duration};
use corral_world::{Arm, Parameter, Plan, PlannedFault, Trigger};
use serde::{Deserialize, Serialize};

/// What the cluster is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterTable {
    /// Machines that run managers.
    pub machines: u32,
    /// Latency of the network between machines, in percent of a quiet one.
    #[serde(default = "quiet")]
    pub network_percent: u64,
    /// Time the API server takes for a request, in percent of an idle one.
    #[serde(default = "idle")]
    pub api_percent: u32,
    /// How long Longhorn has been running when the client begins. Kinds that are younger than the collector's resync of 30 s have no collector.
    #[serde(default = "settled", with = "duration")]
    pub age: Duration,
    /// Time the object store takes for an operation.
    #[serde(default = "store_latency", with = "duration")]
    pub store_latency: Duration,
}

fn quiet() -> u64 {
    100
}

fn idle() -> u32 {
    100
}

fn settled() -> Duration {
    Duration::from_secs(120)
}

fn store_latency() -> Duration {
    Duration::from_millis(2)
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
        /// Blocks of 2 MiB that change between one backup and the next.
        #[serde(default = "one")]
        blocks: u32,
    },
    /// The client points Longhorn at the store and asks for a synchronisation, until all that the store holds has its resource.
    PullBackups {},
    /// Backup volumes and backing-image backups are deleted through the Longhorn API, each waited for with a look a second.
    BackupstoreCleanup {},
    /// System backups are deleted through the Longhorn API.
    SystemBackupsCleanup {},
    /// Backups are listed at the Kubernetes API and deleted one by one.
    BackupCleanup {},
    /// The client waits.
    Wait {
        /// How long.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
    },
}

fn one() -> u32 {
    1
}

/// What `--set` may change.
pub const PARAMETERS: &[Parameter] = &[
    Parameter { key: "machines", default: "1 to 3", about: "machines that run managers, 1 to 5", in_plan: true },
    Parameter { key: "volumes", default: "1 or 2", about: "volumes with backups in the store, 1 to 8", in_plan: true },
    Parameter { key: "backups", default: "1 to 12", about: "backups of each volume, 1 to 100", in_plan: true },
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
    Parameter {
        key: "age",
        default: "60s to 300s",
        about: "how long Longhorn has been running when the client begins",
        in_plan: true,
    },
    Parameter {
        key: "store-latency",
        default: "1ms to 20ms",
        about: "time of an object store operation",
        in_plan: true,
    },
    Parameter { key: "faults", default: "0 to 2", about: "faults that strike, 0 to 10", in_plan: true },
    Parameter {
        key: "lock-wait",
        default: "2s",
        about: "how long the backup store's lock waits before it looks for others",
        in_plan: false,
    },
    Parameter {
        key: "collector-delay",
        default: "real",
        about: "real, or 0s: the garbage collector's client has no rate limit",
        in_plan: false,
    },
    Parameter {
        key: "client-delay",
        default: "real",
        about: "real, or 0s: the client takes no time of its own between its requests",
        in_plan: false,
    },
    Parameter {
        key: "pull",
        default: "true",
        about: "true, or false: the store's backups are never synchronised",
        in_plan: true,
    },
];

/// A parameter as a number between two bounds, or what the seed draws.
fn number(arm: &Arm, key: &str, low: u64, high: u64, draw: impl FnOnce() -> u64) -> Result<u64, String> {
    let Some(text) = arm.set.get(key) else { return Ok(draw()) };
    let parsed = text.parse().ok().filter(|value| (low..=high).contains(value));
    parsed.ok_or_else(|| format!("--set {key}={text}: allowed is a whole number from {low} to {high}"))
}

/// A parameter as a duration.
pub fn duration_of(arm: &Arm, key: &str) -> Result<Option<Duration>, String> {
    let is_real = |text: &&String| *text == "real" && ["collector-delay", "client-delay"].contains(&key);
    let parsed = arm.set.get(key).filter(|text| !is_real(text)).map(|text| text::parse_duration(text));
    let parsed = parsed.transpose().map_err(|error| format!("--set {key}: {error}"))?;
    match parsed {
        Some(long) if long > LONGEST => Err(format!("--set {key}={}: allowed is up to 30 days", arm.set[key])),
        parsed => Ok(parsed),
    }
}

/// The longest time that anything in a plan may take: the bench's idle run is a bit more than a day.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest that a store may take for an operation: clients give up after a minute.
const SLOWEST_STORE: Duration = Duration::from_secs(60);
/// Percentages of latencies, in parameters and plans.
const PERCENT: std::ops::RangeInclusive<u64> = 1..=100_000;

/// The plan that a seed stands for.
///
/// # Errors
/// A parameter's value is impossible.
pub fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    let mut random = Stream::new(seed, "plan");
    for key in ["collector-delay", "client-delay"] {
        if duration_of(arm, key)?.is_some_and(|delay| !delay.is_zero()) {
            return Err(format!("--set {key}={}: allowed are real and 0s", arm.set[key]));
        }
    }
    duration_of(arm, "lock-wait")?;
    let scale = |random: &mut Stream| *random.pick(&[50, 100, 100, 200, 400]).expect("not empty");
    let (network, api, store, age) =
        (scale(&mut random), scale(&mut random), random.between(1, 20), random.between(60, 300));
    let cluster = ClusterTable {
        machines: number(arm, "machines", 1, 5, || random.between(1, 3))? as u32,
        network_percent: number(arm, "network-percent", *PERCENT.start(), *PERCENT.end(), || network)?,
        api_percent: number(arm, "api-percent", *PERCENT.start(), *PERCENT.end(), || api)? as u32,
        age: duration_of(arm, "age")?.unwrap_or(Duration::from_secs(age)),
        store_latency: duration_of(arm, "store-latency")?.unwrap_or(Duration::from_millis(store)),
    };
    let volumes = number(arm, "volumes", 1, 8, || random.between(1, 2))?;
    let mut steps = Vec::new();
    for volume in 1..=volumes {
        let backups = number(arm, "backups", 1, 100, || random.between(1, 12))? as u32;
        steps.push(Action::FillStore { volume: format!("vol-{volume}"), backups, blocks: 1 });
    }
    match arm.set.get("pull").map(String::as_str) {
        None | Some("true") => steps.push(Action::PullBackups {}),
        Some("false") => {}
        Some(other) => return Err(format!("--set pull={other}: allowed are true and false")),
    }
    steps.extend([Action::BackupstoreCleanup {}, Action::SystemBackupsCleanup {}, Action::BackupCleanup {}]);
    let count = number(arm, "faults", 0, 10, || random.below(3))?;
    let faults = (0..count).map(|_| fault(&mut random)).collect();
    Ok(Plan {
        cluster: toml::Table::try_from(&cluster).expect("a table of numbers"),
        steps: steps
            .iter()
            .map(|action| corral_world::Step { action: toml::Value::try_from(action).expect("a table") })
            .collect(),
        faults,
    })
}

/// A fault that a teardown has to live through: slowness and lag. What would fail the client by itself (a manager killed under its request, a refused
/// write) is no draw, because its error would be deserved; a plan may hold it all the same.
fn fault(random: &mut Stream) -> PlannedFault {
    use corral_world::Fault;
    let lasts = random.duration(Duration::from_secs(2), Duration::from_secs(30));
    let extra =
        |random: &mut Stream, low, high| random.duration(Duration::from_millis(low), Duration::from_millis(high));
    let clients = ["", "longhorn-manager", "kube-controller-manager", "test-client"];
    let client = |random: &mut Stream| (*random.pick(&clients).expect("not empty")).to_owned();
    let fault = match random.below(4) {
        0 => Fault::SlowStore { lasts, per_operation: extra(random, 50, 800) },
        1 | 2 => Fault::SlowApi { lasts, extra: extra(random, 5, 100), client: client(random) },
        _ => {
            Fault::WatchLag { lasts, extra: extra(random, 100, 1500), client: client(random), resource: String::new() }
        }
    };
    PlannedFault {
        on: Some(Trigger::on_api(corral_world::ApiVerb::Deleting, "BackupVolume", 1)),
        after: random.duration(Duration::ZERO, Duration::from_secs(3)),
        fault,
    }
}

/// The plan's tables, as this scenario reads them.
///
/// # Errors
/// What is wrong in them, and what is allowed.
pub fn read(plan: &Plan) -> Result<(ClusterTable, Vec<Action>), String> {
    let cluster: ClusterTable = if plan.cluster.is_empty() {
        ClusterTable {
            machines: 1,
            network_percent: 100,
            api_percent: 100,
            age: settled(),
            store_latency: store_latency(),
        }
    } else {
        plan.cluster
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| format!("[cluster]: {}", error.message().trim()))?
    };
    cluster.check()?;
    let mut actions: Vec<Action> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let place = |error: &str| format!("[[step]] {}: {error}", index + 1);
        let action: Action =
            step.action.clone().try_into().map_err(|error: toml::de::Error| place(error.message().trim()))?;
        action.check().map_err(|error| place(&error))?;
        let fills = |action: &Action| matches!(action, Action::FillStore { .. });
        if fills(&action) && !actions.iter().all(fills) {
            return Err(place("fill-store after another step; the store is filled before the workload begins"));
        }
        actions.push(action);
    }
    Ok((cluster, actions))
}

impl ClusterTable {
    fn check(&self) -> Result<(), String> {
        let percents = [("network-percent", self.network_percent), ("api-percent", self.api_percent.into())];
        match self {
            _ if !(1..=5).contains(&self.machines) => {
                Err(format!("[cluster]: machines = {}; allowed are 1 to 5", self.machines))
            }
            _ if self.age > LONGEST => Err("[cluster]: age is too long; allowed is up to 30 days".into()),
            _ if self.store_latency > SLOWEST_STORE => {
                Err("[cluster]: store-latency is too long; allowed is up to 60s".into())
            }
            _ => percents.iter().find(|(_, value)| !PERCENT.contains(value)).map_or(Ok(()), |(key, value)| {
                Err(format!("[cluster]: {key} = {value}; allowed are {} to {}", PERCENT.start(), PERCENT.end()))
            }),
        }
    }
}

impl Action {
    fn check(&self) -> Result<(), String> {
        match self {
            Action::FillStore { volume, .. } if !is_volume_name(volume) => Err(format!(
                "volume = {volume:?} is no volume's name; allowed are lower-case letters, digits and \"-\""
            )),
            Action::FillStore { backups, .. } if !(1..=100).contains(backups) => {
                Err(format!("backups = {backups}; allowed are 1 to 100"))
            }
            Action::FillStore { blocks, .. } if !(1..=64).contains(blocks) => {
                Err(format!("blocks = {blocks}; allowed are 1 to 64"))
            }
            Action::Wait { lasts } if *lasts > LONGEST => Err("for is too long; allowed is up to 30 days".into()),
            _ => Ok(()),
        }
    }
}

/// Kubernetes' rule for names, as Longhorn's volumes have them.
fn is_volume_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}
