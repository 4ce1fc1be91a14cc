//! The plan of `v2-disable-enable`: its tables, its parameters, and what a seed makes of them.

use std::time::Duration;

use corral_core::random::Stream;
use corral_world::text::duration;
use corral_world::{ApiVerb, Arm, Fault, Parameter, Plan, PlannedFault, Trigger};
use serde::{Deserialize, Serialize};

use crate::tables::{self, API_PERCENT, ClusterTable, NETWORK_PERCENT, flag, length};

/// One thing that the client does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// A setting is changed, again and again until Longhorn takes the value.
    SetSetting {
        /// Its name.
        name: String,
        /// Its new value.
        value: String,
    },
    /// Every node gets its block device as a disk; the client waits until all of them take replicas.
    AddBlockDisks {},
    /// A volume of the second data engine is created and attached to a machine; the client waits until all its replicas are in use.
    CreateVolume {
        /// Its name.
        name: String,
        /// How many replicas.
        replicas: u32,
        /// Where it is attached.
        machine: String,
    },
    /// A volume is deleted; the client waits until it is gone.
    DeleteVolume {
        /// Its name.
        name: String,
    },
    /// The client waits until a node is ready, or is not.
    AwaitNode {
        /// The machine.
        machine: String,
        /// Which of the two.
        ready: bool,
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
    Parameter { key: "machines", default: "2 or 3", about: "machines, 2 to 5", in_plan: true },
    Parameter {
        key: "v1",
        default: "true or false",
        about: "whether the first data engine is on beside the second",
        in_plan: true,
    },
    Parameter {
        key: "orphan",
        default: "true",
        about: "true, or false: the volume is deleted before the machine is lost",
        in_plan: true,
    },
    Parameter { key: "off", default: "150s to 400s", about: "how long the machine is off", in_plan: true },
    Parameter { key: "pause", default: "5s to 90s", about: "how long the second data engine stays off", in_plan: true },
    NETWORK_PERCENT,
    API_PERCENT,
];

/// The plan that a seed stands for.
///
/// # Errors
/// A parameter's value is impossible.
pub fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    let mut random = Stream::new(seed, "plan");
    let cluster = ClusterTable::draw(&mut random, arm, 2..=3, 2..=5)?;
    let v1 = random.between(0, 2) == 0;
    let seconds = |random: &mut Stream, low, high| random.duration(Duration::from_secs(low), Duration::from_secs(high));
    let (off, pause) = (seconds(&mut random, 150, 400), seconds(&mut random, 5, 90));
    let workers = cluster.workers();
    let lost = random.pick(&workers[1..]).expect("at least two").clone();
    let (off, pause) = (length(arm, "off", off)?, length(arm, "pause", pause)?);
    let lost_before = flag(arm, "orphan", true)?;
    let steps = steps(flag(arm, "v1", v1)?, cluster.machines, &lost, pause, lost_before);
    let on = if lost_before {
        Trigger::on_api(ApiVerb::Create, "Volume", 1)
    } else {
        Trigger::on_api(ApiVerb::Delete, "Volume", 1)
    };
    let faults = vec![PlannedFault {
        on: Some(on),
        after: seconds(&mut random, 60, 90),
        fault: Fault::PowerOff { lasts: off, machine: lost },
    }];
    Ok(tables::plan(&cluster, &steps, faults))
}

fn steps(v1: bool, machines: u32, lost: &str, pause: Duration, lost_before: bool) -> Vec<Action> {
    let set = |name: &str, value: &str| Action::SetSetting { name: name.to_owned(), value: value.to_owned() };
    let node = |ready| Action::AwaitNode { machine: lost.to_owned(), ready };
    let volume = || "vol-1".to_owned();
    let mut steps = vec![set("v2-data-engine", "true")];
    if !v1 {
        steps.push(set("v1-data-engine", "false"));
    }
    steps.extend([
        Action::AddBlockDisks {},
        Action::CreateVolume { name: volume(), replicas: machines, machine: "worker-1".to_owned() },
    ]);
    let deletion = Action::DeleteVolume { name: volume() };
    let away = [node(false), deletion.clone(), node(true)];
    let before = [deletion, node(false), node(true)];
    steps.extend(if lost_before { away } else { before });
    // Until its disks are asked for again, which the disk monitor does each 30 s, nothing is re-discovered.
    steps.push(Action::Wait { lasts: Duration::from_secs(150) });
    steps.extend([set("v2-data-engine", "false"), Action::Wait { lasts: pause }, set("v2-data-engine", "true")]);
    steps
}

/// The plan's tables, as this scenario reads them.
///
/// # Errors
/// What is wrong in them, and what is allowed.
pub fn read(plan: &Plan) -> Result<(ClusterTable, Vec<Action>), String> {
    let cluster = ClusterTable::read(plan, 3, 2..=5)?;
    let actions = tables::actions(plan, |action| match action {
        Action::CreateVolume { machine, .. } | Action::AwaitNode { machine, .. } => cluster.check_machine(machine),
        _ => Ok(()),
    })?;
    Ok((cluster, actions))
}
