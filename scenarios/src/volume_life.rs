//! Scenario `volume-life`: volumes are used, backed up, restored and their backups pruned while pods, processes, machines, the network and the store
//! fail under them.
//!
//! It is about no recorded race. Faults end by themselves before the client asks for what was promised: that everything acknowledged can be read,
//! that volumes get healthy again, that a completed backup holds what it held when it was made.

use std::time::Duration;

use corral_core::journal::{Event, FaultPhase};
use corral_core::random::Stream;
use corral_world::{Arm, DiskAccess, Fault, Parameter, Plan, PlannedFault, Probe};

use crate::clients::pod::MACHINE;
use crate::oracles::{
    AcknowledgedWritesAreReadable, CompletedBackupsHaveTheirBlocks, NoRemoteBackupIsDeletedOnAbsence,
    RestoredVolumesHoldTheirData,
};
use crate::scenario::LonghornScenario;
use crate::steps::{Action, Engine};
use crate::tables::{self, API_PERCENT, ClusterTable, FAULTS, LOCK_WAIT, MACHINES, NETWORK_PERCENT, RESYNC, number};

/// How long the volumes are used while faults strike; all of these end in it.
const USE: Duration = Duration::from_secs(300);
const LAST_FAULT: Duration = Duration::from_secs(180);
const LONGEST_FAULT: Duration = Duration::from_secs(90);
/// When old backups are deleted, counted from the client's asking for a restore: while that is under way, or soon after.
const LATEST_PRUNING: Duration = Duration::from_secs(30);

/// The scenario.
pub fn scenario() -> LonghornScenario {
    LonghornScenario {
        name: "volume-life",
        about: "volumes are used, backed up, restored and pruned while pods, processes, machines, the network and the store fail",
        machines: 1..=5,
        upgrades: false,
        parameters: PARAMETERS,
        expand,
        oracles: || {
            vec![
                Box::new(AcknowledgedWritesAreReadable),
                Box::new(RestoredVolumesHoldTheirData),
                Box::new(NoRemoteBackupIsDeletedOnAbsence::default()),
                Box::new(CompletedBackupsHaveTheirBlocks),
            ]
        },
        probes: || {
            vec![Probe {
                name: "fault-while-used",
                about: "a fault struck while the volumes were used",
                reached: |_, record| {
                    matches!(record.event, Event::Fault { phase: FaultPhase::Begins | FaultPhase::Once, .. })
                },
            }]
        },
    }
}

const PARAMETERS: &[Parameter] = &[
    MACHINES,
    Parameter { key: "volumes", default: "1 to 3", about: "volumes, 1 to 8", in_plan: true },
    Parameter { key: "backups", default: "0 to 2", about: "backups of each volume, 0 to 4", in_plan: true },
    NETWORK_PERCENT,
    API_PERCENT,
    FAULTS,
    LOCK_WAIT,
    RESYNC,
];

fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    let mut random = Stream::new(seed, "plan");
    let cluster = ClusterTable::draw(&mut random, arm, 1..=3, 1..=5)?;
    let (volumes, backups) = (random.between(1, 3), random.below(3));
    let volumes = number(arm, "volumes", 1..=8, volumes)?;
    let backups = number(arm, "backups", 0..=4, backups)?;
    let names: Vec<String> = (1..=volumes).map(|volume| format!("vol-{volume}")).collect();
    let mut steps = Vec::new();
    if backups > 0 {
        // longhorn-tests poll as often as each half minute.
        let poll = *random.pick(&[30, 60, 300]).expect("not empty");
        steps.push(Action::SetBackupTarget { poll: Duration::from_secs(poll) });
    }
    for name in &names {
        let replicas = random.between(1, u64::from(cluster.machines.min(3))) as u32;
        let name = || name.clone();
        steps.extend([
            Action::CreateVolume { name: name(), replicas, data_engine: Engine::V1, image: String::new() },
            Action::AttachVolume { name: name(), machine: MACHINE.to_owned() },
        ]);
    }
    for _ in 0..backups {
        steps.push(Action::UseVolumes { lasts: random.duration(Duration::from_secs(5), Duration::from_secs(30)) });
        steps.extend(names.iter().map(|name| Action::BackUpVolume { name: name.clone() }));
    }
    steps.push(Action::UseVolumes { lasts: USE });
    for name in &names {
        let name = || name.clone();
        steps.extend([Action::AwaitHealthy { name: name() }, Action::CheckVolume { name: name() }]);
        steps.extend([Action::DetachVolume { name: name() }, Action::CheckVolume { name: name() }]);
        if backups > 1 {
            steps.push(Action::PruneBackups { name: name(), after: random.duration(Duration::ZERO, LATEST_PRUNING) });
        }
        if backups > 0 {
            steps.push(Action::RestoreVolume { name: format!("{}-restored", name()), from: name() });
        }
        steps.push(Action::DeleteVolume { name: name() });
    }
    let workers = cluster.workers();
    let faults = tables::faults(&mut random, arm, |random| fault(random, &workers, backups > 0))?;
    Ok(tables::plan(&cluster, &steps, faults))
}

/// What an installation has to live through. The client's own machine keeps its power: with it the client would be gone.
fn fault(random: &mut Stream, workers: &[String], has_store: bool) -> PlannedFault {
    let lasts = random.duration(Duration::from_secs(2), LONGEST_FAULT);
    let any = random.pick(workers).expect("there is a machine").clone();
    let other = random.pick(&workers[1..]).cloned();
    let namespace = || longhorn_api::DEFAULT_NAMESPACE.to_owned();
    let component = |random: &mut Stream| {
        (*random.pick(&["instance-manager-", "longhorn-manager-"]).expect("not empty")).to_owned()
    };
    let kinds = if has_store { 13 } else { 11 };
    let fault = match (random.below(kinds), other) {
        (0, _) => {
            let (name, forced) = (component(random), random.chance(1, 2));
            Fault::DeletePods { namespace: namespace(), name, forced, machine: any }
        }
        (1, _) => Fault::KillProcess { namespace: namespace(), name: component(random), machine: any },
        (2, Some(machine)) => Fault::PowerOff { lasts, machine },
        (3, Some(machine)) => Fault::Freeze { lasts, machine },
        (4, Some(from)) => {
            Fault::Partition { lasts, from, to: String::new(), port: None, one_way: random.chance(1, 3) }
        }
        (5, _) => Fault::ApiErrors {
            lasts,
            code: *random.pick(&[429, 500, 503]).expect("not empty"),
            one_in: random.between(2, 10),
            client: "longhorn-manager".to_owned(),
        },
        (6, _) => Fault::WatchLag {
            lasts,
            extra: random.duration(Duration::from_millis(100), Duration::from_secs(5)),
            client: "longhorn-manager".to_owned(),
            resource: String::new(),
        },
        (7, _) => Fault::SlowApi {
            lasts,
            extra: random.duration(Duration::from_millis(5), Duration::from_millis(200)),
            client: "longhorn-manager".to_owned(),
        },
        (8 | 9, _) => disk_fault(random, lasts, any),
        (10, Some(from)) => link_fault(random, lasts, from),
        (11 | 12, _) => store_fault(random, lasts),
        // What takes a machine as a whole, and there is but one: its processes instead.
        _ => Fault::KillProcess { namespace: namespace(), name: component(random), machine: any },
    };
    PlannedFault { on: None, after: random.duration(Duration::from_secs(20), LAST_FAULT), fault }
}

/// What a disk does that fails for a while, or whose file system gives up. It is the one under Longhorn's own folder: replicas, binaries, the disk's mark.
fn disk_fault(random: &mut Stream, lasts: Duration, machine: String) -> Fault {
    let path = "longhorn/**".to_owned();
    match random.below(5) {
        0 => {
            let extra = random.duration(Duration::from_millis(10), Duration::from_secs(2));
            Fault::SlowDisk { lasts, machine, path, extra }
        }
        1 => Fault::DiskStalls { lasts, machine, path },
        2 => Fault::DiskReadOnly { lasts, machine, path },
        3 => Fault::DiskFull { lasts, machine, path },
        _ => {
            let only = *random.pick(&[None, Some(DiskAccess::Reads), Some(DiskAccess::Writes)]).expect("not empty");
            Fault::DiskErrors { lasts, machine, path, only }
        }
    }
}

/// What a switch does that is overloaded, or a cable that is loose.
fn link_fault(random: &mut Stream, lasts: Duration, from: String) -> Fault {
    let to = String::new();
    if random.chance(1, 2) {
        let extra = random.duration(Duration::from_millis(1), Duration::from_millis(500));
        Fault::SlowLink { lasts, from, to, extra }
    } else {
        Fault::LossyLink { lasts, from, to, one_in: random.between(3, 100) }
    }
}

/// What a store does that is away for a moment, or busy. One that never answers is no draw: Longhorn sets no limit to its requests' time, and what
/// waits for such an answer waits for ever.
fn store_fault(random: &mut Stream, lasts: Duration) -> Fault {
    match random.below(4) {
        0 => {
            let per_operation = random.duration(Duration::from_millis(20), Duration::from_secs(2));
            Fault::SlowStore { lasts, per_operation }
        }
        1 => {
            let code = *random.pick(&[403, 500, 503]).expect("not empty");
            Fault::StoreErrors { lasts, code, one_in: random.between(1, 10) }
        }
        2 => {
            let window = random.duration(Duration::from_secs(1), Duration::from_secs(30));
            Fault::StoreListsLate { lasts, window }
        }
        _ => Fault::StoreListsNothing { lasts },
    }
}
