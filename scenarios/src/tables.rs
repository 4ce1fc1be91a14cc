//! What the plans of several scenarios have in common: the cluster's table, steps as tables, parameters as text.

use std::ops::RangeInclusive;
use std::time::Duration;

use corral_cluster::{ClusterSpec, Images, WorkerSpec};
use corral_core::random::Stream;
use corral_core::{Latency, world};
use corral_net::{LinkProfile, Net};
use corral_object_store::BucketStore;
use corral_world::text;
use corral_world::{Arm, Ground, Parameter, Plan, PlannedFault};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clients::pod::{self, ClientWork};
use crate::{images, store};

/// Percentages of latencies, in parameters and plans.
const PERCENT: RangeInclusive<u64> = 1..=100_000;
/// One way between two machines of one rack.
const BETWEEN_MACHINES: Latency = Latency::heavy(Duration::from_micros(200), Duration::from_micros(80));

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
}

fn as_measured() -> u64 {
    100
}

impl ClusterTable {
    /// What a seed draws, unless the arm says something else.
    ///
    /// # Errors
    /// A parameter's value is impossible.
    pub fn draw(
        random: &mut Stream,
        arm: &Arm,
        machines: RangeInclusive<u64>,
        allowed: RangeInclusive<u64>,
    ) -> Result<Self, String> {
        let scale = |random: &mut Stream| *random.pick(&[50, 100, 100, 200, 400]).expect("not empty");
        let (network, api) = (scale(random), scale(random));
        let machines = random.between(*machines.start(), *machines.end());
        Ok(Self {
            machines: number(arm, "machines", allowed, machines)? as u32,
            network_percent: number(arm, NETWORK_PERCENT.key, PERCENT, network)?,
            api_percent: number(arm, API_PERCENT.key, PERCENT, api)?,
        })
    }

    /// Reads it from a plan; one that says nothing has so many machines.
    ///
    /// # Errors
    /// What is wrong in it, and what is allowed.
    pub fn read(plan: &Plan, machines: u32, allowed: RangeInclusive<u32>) -> Result<Self, String> {
        let cluster = if plan.cluster.is_empty() {
            Self { machines, network_percent: as_measured(), api_percent: as_measured() }
        } else {
            let read: Result<Self, toml::de::Error> = plan.cluster.clone().try_into();
            read.map_err(|error| format!("[cluster]: {}", error.message().trim()))?
        };
        if !allowed.contains(&cluster.machines) {
            let (low, high) = (allowed.start(), allowed.end());
            return Err(format!("[cluster]: machines = {}; allowed are {low} to {high}", cluster.machines));
        }
        let percents = [(NETWORK_PERCENT.key, cluster.network_percent), (API_PERCENT.key, cluster.api_percent)];
        match percents.iter().find(|(_, value)| !PERCENT.contains(value)) {
            Some((key, value)) => {
                Err(format!("[cluster]: {key} = {value}; allowed are {} to {}", PERCENT.start(), PERCENT.end()))
            }
            None => Ok(cluster),
        }
    }

    /// Names of its worker machines.
    pub fn workers(&self) -> Vec<String> {
        (1..=self.machines).map(|number| format!("worker-{number}")).collect()
    }

    /// Whether it has this machine.
    ///
    /// # Errors
    /// It has not; which there are.
    pub fn check_machine(&self, machine: &str) -> Result<(), String> {
        let workers = self.workers();
        match workers.iter().any(|worker| worker == machine) {
            true => Ok(()),
            false => Err(format!("machine = {machine:?}; allowed are {}", workers.join(", "))),
        }
    }

    /// What a plan with volumes and a store plays on: plain workers, every image, one bucket.
    pub fn ground_with_store(&self) -> Ground {
        let world = world();
        let buckets = BucketStore::new();
        buckets.create_bucket(store::BUCKET);
        let work = world.extension(ClientWork::default);
        let images = images::longhorn(&world, None)
            .with(store::REPOSITORY, store::image(buckets.clone()))
            .with(pod::REPOSITORY, work.image());
        let mut spec = self.spec(images);
        spec.workers = self.workers().iter().map(|name| WorkerSpec::named(name)).collect();
        Ground { cluster: spec, stores: vec![buckets] }
    }

    /// The cluster to boot, without workers yet; sets the network's latencies.
    pub fn spec(&self, images: Images) -> ClusterSpec {
        Net::of(&world()).set_default_link(LinkProfile::of(BETWEEN_MACHINES.scaled(self.network_percent, 100)));
        let mut spec = ClusterSpec::workers(0).images(images);
        spec.api_server.webhook_scheme = corral_apiserver::WebhookScheme::Http;
        spec.storage = spec.storage.scaled(self.api_percent as u32);
        spec
    }
}

/// A plan of these parts.
pub fn plan<A: Serialize>(cluster: &ClusterTable, actions: &[A], faults: Vec<PlannedFault>) -> Plan {
    let step = |action| corral_world::Step { action: toml::Value::try_from(action).expect("a table") };
    Plan {
        cluster: toml::Table::try_from(cluster).expect("a table of numbers"),
        steps: actions.iter().map(step).collect(),
        faults,
    }
}

/// The steps of a plan, each checked.
///
/// # Errors
/// What is wrong in which step, and what is allowed.
pub fn actions<A: DeserializeOwned>(plan: &Plan, check: impl Fn(&A) -> Result<(), String>) -> Result<Vec<A>, String> {
    let read = |(index, step): (usize, &corral_world::Step)| {
        let place = |error: &str| format!("[[step]] {}: {error}", index + 1);
        let action: Result<A, toml::de::Error> = step.action.clone().try_into();
        let action = action.map_err(|error| place(error.message().trim()))?;
        check(&action).map_err(|error| place(&error))?;
        Ok(action)
    };
    plan.steps.iter().enumerate().map(read).collect()
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

/// A parameter as a length of time, or what the seed drew.
///
/// # Errors
/// It is none.
pub fn length(arm: &Arm, key: &str, draw: Duration) -> Result<Duration, String> {
    let Some(text) = arm.set.get(key) else { return Ok(draw) };
    text::parse_duration(text).map_err(|error| format!("--set {key}: {error}"))
}
