//! Scenario `backup-cleanup`: backups that the store holds are pulled, then a client does what Longhorn's test teardown does.
//!
//! The recorded race is longhorn#10120: a Backup that the client has listed is gone before its own deletion, because the garbage collector, set off by
//! the end of its BackupVolume, and the backup controller were faster. Nothing in here places that: the client polls each second, the collector
//! works through its queue, and the seed decides who is first.

use std::time::Duration;

use corral_core::journal::{Event, Record};
use corral_core::random::Stream;
use corral_world::{ApiVerb, Arm, Fault, Oracle, Parameter, Plan, PlannedFault, Probe, ProbeMemory, Trigger};

use crate::clients::pod;
use crate::oracles::{ClientMeetsNoUnexpectedError, NoBackupOutlivesItsVolumeAndRemote};
use crate::scenario::LonghornScenario;
use crate::steps::Action;
use crate::tables::{
    self, API_PERCENT, ClusterTable, FAULTS, LOCK_WAIT, MACHINES, NETWORK_PERCENT, RESYNC, flag, is_instant, length,
    number,
};

/// The scenario.
pub fn scenario() -> LonghornScenario {
    LonghornScenario {
        name: "backup-cleanup",
        about: "backups are pulled from a store, then deleted as Longhorn's test teardown does it (longhorn#10120)",
        machines: 1..=5,
        upgrades: false,
        parameters: PARAMETERS,
        expand,
        oracles,
        probes,
    }
}

fn oracles() -> Vec<Box<dyn Oracle>> {
    vec![Box::new(ClientMeetsNoUnexpectedError), Box::new(NoBackupOutlivesItsVolumeAndRemote)]
}

fn probes() -> Vec<Probe> {
    vec![
        Probe {
            name: "backups-pulled",
            about: "a Backup was made from what the store holds",
            reached: |_, record| written(record, "create", "Backup").is_some(),
        },
        Probe {
            name: "deleted-while-listed",
            about: "a Backup went away after the client had listed the Backups, and not because the client deleted it",
            reached: deleted_while_listed,
        },
    ]
}

/// What `--set` may change.
const PARAMETERS: &[Parameter] = &[
    MACHINES,
    Parameter { key: "volumes", default: "1 or 2", about: "volumes with backups in the store, 1 to 8", in_plan: true },
    Parameter { key: "backups", default: "1 to 12", about: "backups of each volume, 1 to 100", in_plan: true },
    NETWORK_PERCENT,
    API_PERCENT,
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
    FAULTS,
    LOCK_WAIT,
    RESYNC,
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

fn expand(seed: u64, arm: &Arm) -> Result<Plan, String> {
    let mut random = Stream::new(seed, "plan");
    for key in ["collector-delay", "client-delay"] {
        is_instant(arm, key)?;
    }
    let mut cluster = ClusterTable::draw(&mut random, arm, 1..=3, 1..=5)?;
    let (store, age, volumes) = (random.between(1, 20), random.between(60, 300), random.between(1, 2));
    cluster.age = length(arm, "age")?.unwrap_or(Duration::from_secs(age));
    cluster.store_latency = length(arm, "store-latency")?.unwrap_or(Duration::from_millis(store));
    let mut steps = Vec::new();
    for volume in 1..=number(arm, "volumes", 1..=8, volumes)? {
        let backups = random.between(1, 12);
        let backups = number(arm, "backups", 1..=100, backups)? as u32;
        steps.push(Action::FillStore { volume: format!("vol-{volume}"), backups, blocks: 1 });
    }
    if flag(arm, "pull", true)? {
        steps.push(Action::PullBackups {});
    }
    steps.extend([Action::BackupstoreCleanup {}, Action::SystemBackupsCleanup {}, Action::BackupCleanup {}]);
    let faults = tables::faults(&mut random, arm, fault)?;
    Ok(tables::plan(&cluster, &steps, faults))
}

/// A fault that a teardown has to live through: slowness and lag. What would fail the client by itself (a manager killed under its request, a refused
/// write) is no draw, because its error would be deserved; a plan may hold it all the same.
fn fault(random: &mut Stream) -> PlannedFault {
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
        on: Some(Trigger::on_api(ApiVerb::Deleting, "BackupVolume", 1)),
        after: random.duration(Duration::ZERO, Duration::from_secs(3)),
        fault,
    }
}

/// The name of the object, if this is such a write.
fn written<'a>(record: &'a Record<'_>, wanted_verb: &str, wanted_kind: &str) -> Option<&'a str> {
    match &record.event {
        Event::ApiWrite { verb, kind, name, .. } if verb == wanted_verb && kind == wanted_kind => Some(name),
        _ => None,
    }
}

fn deleted_while_listed(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    const LISTED: &str = "the client has listed";
    match &record.event {
        Event::Step { what, .. } if what == "backup_cleanup: list" => {
            memory.insert(LISTED.to_owned(), record.at);
        }
        // What the client itself set deleting may go.
        Event::ApiWrite { kind, name, deleting: true, client, .. }
            if kind == "Backup" && client.starts_with(pod::CLIENT) =>
        {
            memory.insert(name.to_string(), record.at);
        }
        _ => {}
    }
    let gone = written(record, "delete", "Backup");
    memory.contains_key(LISTED) && gone.is_some_and(|name| !memory.contains_key(name))
}
