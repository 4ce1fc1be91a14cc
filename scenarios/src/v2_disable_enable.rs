//! Scenario `v2-disable-enable`: a machine with replicas of the second data engine is lost, their volume is deleted meanwhile, the machine
//! comes back, and the second data engine is switched off and on again.
//!
//! The recorded race is longhorn#10791: an orphan of a replica that the returned machine re-discovers, and its instance manager, wait for
//! each other for ever once the instance manager is deleted. Nothing in here makes an orphan: the client creates, attaches and deletes a
//! volume, and switches a setting.

use std::time::Duration;

use corral_core::Nanos;
use corral_core::journal::{Event, Record};
use corral_core::random::Stream;
use corral_world::{ApiVerb, Arm, Fault, Parameter, Plan, PlannedFault, Probe, ProbeMemory, Trigger};

use crate::clients::pod::MACHINE;
use crate::oracles::V2InstanceManagersAreUsable;
use crate::scenario::LonghornScenario;
use crate::steps::{Action, Engine};
use crate::tables::{self, API_PERCENT, ClusterTable, NETWORK_PERCENT, RESYNC, flag, length};

/// The scenario.
pub fn scenario() -> LonghornScenario {
    LonghornScenario {
        name: "v2-disable-enable",
        about: "a lost machine returns with replicas of a deleted v2 volume; v2-data-engine is switched off and on (longhorn#10791)",
        machines: 2..=5,
        upgrades: false,
        parameters: PARAMETERS,
        expand,
        oracles: || vec![Box::new(V2InstanceManagersAreUsable)],
        probes,
    }
}

fn probes() -> Vec<Probe> {
    vec![
        Probe {
            name: "orphan-made",
            about: "an Orphan was made of what a returned machine has",
            reached: |_, record| is_write(record, "create", "Orphan"),
        },
        Probe {
            name: "instance-manager-gone-after-orphan",
            about: "an instance manager's pod went away after an Orphan was made",
            reached: pod_gone_after_orphan,
        },
    ]
}

/// What `--set` may change.
const PARAMETERS: &[Parameter] = &[
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
    RESYNC,
];

fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    let mut random = Stream::new(seed, "plan");
    let cluster = ClusterTable::draw(&mut random, arm, 2..=3, 2..=5)?;
    let v1 = random.between(0, 2) == 0;
    let seconds = |random: &mut Stream, low, high| random.duration(Duration::from_secs(low), Duration::from_secs(high));
    let (off, pause) = (seconds(&mut random, 150, 400), seconds(&mut random, 5, 90));
    let workers = cluster.workers();
    let lost = random.pick(&workers[1..]).expect("at least two").clone();
    let (off, pause) = (length(arm, "off")?.unwrap_or(off), length(arm, "pause")?.unwrap_or(pause));
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
        Action::CreateVolume { name: volume(), replicas: machines, data_engine: Engine::V2, image: String::new() },
        Action::AttachVolume { name: volume(), machine: MACHINE.to_owned() },
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

fn is_write(record: &Record<'_>, wanted_verb: &str, wanted_kind: &str) -> bool {
    matches!(&record.event, Event::ApiWrite { verb, kind, .. } if verb == wanted_verb && kind == wanted_kind)
}

fn pod_gone_after_orphan(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    const MADE: &str = "made";
    if is_write(record, "create", "Orphan") {
        memory.insert(MADE.to_owned(), record.at);
    }
    let is_manager = matches!(&record.event, Event::ApiWrite { name, .. } if name.starts_with("instance-manager-"));
    memory.get(MADE).is_some_and(|made| *made > Nanos::ZERO) && is_manager && is_write(record, "delete", "Pod")
}
