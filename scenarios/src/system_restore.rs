//! Scenario `system-restore`: a volume with data is backed up with the system, deleted, and comes back with the system.
//!
//! The recorded failure is longhorn#10057: the system backup saves a volume that does not know its last backup yet, and the volume comes back
//! empty. Nothing in here makes a volume forget its backup: the client writes, asks for a system backup, deletes, restores and reads.

use std::time::Duration;

use corral_core::journal::{Event, Record};
use corral_core::random::Stream;
use corral_world::{Arm, Parameter, Plan, Probe, ProbeMemory};

use crate::clients::pod::MACHINE;
use crate::oracles::RestoredVolumesHoldTheirData;
use crate::scenario::LonghornScenario;
use crate::steps::{Action, Engine};
use crate::tables::{
    self, API_PERCENT, ClusterTable, FAULTS, LOCK_WAIT, MACHINES, NETWORK_PERCENT, RESYNC, flag, number,
};

/// The longest that a drawn fault lasts.
const LONGEST_FAULT: Duration = Duration::from_secs(40);

/// The scenario.
pub fn scenario() -> LonghornScenario {
    LonghornScenario {
        name: "system-restore",
        about: "a volume is written, backed up with the system, deleted, restored with the system and read (longhorn#10057)",
        machines: 1..=5,
        upgrades: false,
        parameters: PARAMETERS,
        expand,
        oracles: || vec![Box::new(RestoredVolumesHoldTheirData)],
        probes,
    }
}

fn probes() -> Vec<Probe> {
    vec![
        Probe {
            name: "system-backup-made",
            about: "a system backup that the client asked for is ready",
            reached: |_, record| {
                matches!(&record.event, Event::Step { what, outcome }
                if what.starts_with("system backup ") && what.ends_with(" is ready") && *outcome == "yes")
            },
        },
        Probe {
            name: "volume-restored",
            about: "a volume was created after one of its name was deleted",
            reached: volume_is_back,
        },
    ]
}

/// What `--set` may change.
const PARAMETERS: &[Parameter] = &[
    MACHINES,
    Parameter { key: "volumes", default: "1 or 2", about: "volumes, 1 to 4", in_plan: true },
    Parameter {
        key: "attached",
        default: "true",
        about: "true, or false: volumes are detached when the system is backed up",
        in_plan: true,
    },
    NETWORK_PERCENT,
    API_PERCENT,
    FAULTS,
    LOCK_WAIT,
    RESYNC,
];

fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    let mut random = Stream::new(seed, "plan");
    let cluster = ClusterTable::draw(&mut random, arm, 1..=3, 1..=5)?;
    let (volumes, pause) = (random.between(1, 2), random.duration(Duration::ZERO, Duration::from_secs(60)));
    let volumes = number(arm, "volumes", 1..=4, volumes)?;
    let attached = flag(arm, "attached", true)?;
    let names: Vec<String> = (1..=volumes).map(|volume| format!("vol-{volume}")).collect();
    let mut steps = vec![Action::SET_BACKUP_TARGET];
    for name in &names {
        let blocks = random.between(1, 4) as u32;
        steps.extend([
            Action::CreateVolume {
                name: name.clone(),
                replicas: cluster.machines.min(3),
                data_engine: Engine::V1,
                image: String::new(),
            },
            Action::AttachVolume { name: name.clone(), machine: MACHINE.to_owned() },
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
    let faults = tables::faults(&mut random, arm, |random| tables::slow_system_backup(random, LONGEST_FAULT))?;
    Ok(tables::plan(&cluster, &steps, faults))
}

fn volume_is_back(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    let Event::ApiWrite { verb, kind, name, .. } = &record.event else { return false };
    if kind != "Volume" {
        return false;
    }
    if verb == "delete" {
        memory.insert(name.to_string(), record.at);
    }
    verb == "create" && memory.contains_key(&**name)
}
