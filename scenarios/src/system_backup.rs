//! Scenario `system-backup`: volumes, some of them on backing images, are backed up with the system.
//!
//! The recorded failure is longhorn#10740: a synchronisation of the backup target deletes the BackupBackingImage of an upload that its listing is
//! too old to show; the one that takes its place asks another backing image manager, which finds the image in the store, skips it, and says for
//! ever that it has begun. Nothing in here makes that happen: the client writes to its volumes and asks for a system backup.

use std::time::Duration;

use corral_core::journal::{Event, Record};
use corral_core::random::Stream;
use corral_world::{Arm, Parameter, Plan, Probe, ProbeMemory};

use crate::clients::pod::MACHINE;
use crate::oracles::{
    BackingImageBackupsEnd, CompletedBackupsAreComplete, SystemBackupsEnd, backed_up_image, image_in_store,
};
use crate::scenario::LonghornScenario;
use crate::steps::{Action, Engine};
use crate::tables::{self, API_PERCENT, ClusterTable, FAULTS, LOCK_WAIT, NETWORK_PERCENT, RESYNC, number};

/// The longest that a drawn fault lasts.
const LONGEST_FAULT: Duration = Duration::from_secs(60);

/// The scenario.
pub fn scenario() -> LonghornScenario {
    LonghornScenario {
        name: "system-backup",
        about: "volumes on backing images are backed up with the system (longhorn#10740)",
        machines: 1..=5,
        upgrades: false,
        parameters: PARAMETERS,
        expand,
        oracles: || {
            vec![
                Box::new(BackingImageBackupsEnd::default()),
                Box::new(SystemBackupsEnd),
                Box::new(CompletedBackupsAreComplete),
            ]
        },
        probes,
    }
}

fn probes() -> Vec<Probe> {
    vec![
        Probe {
            name: "image-backup-lost",
            about: "a BackupBackingImage was deleted while its image was not in the store yet",
            reached: image_backup_is_lost,
        },
        Probe {
            name: "image-backed-up-twice",
            about: "a backing image manager was asked for a backup of an image for which one was asked before",
            reached: image_is_backed_up_twice,
        },
        Probe {
            name: "two-managers-asked",
            about: "two backing image managers were asked for a backup of the same image",
            reached: two_managers_back_up,
        },
    ]
}

/// The tag of nodes that backing images may be on.
const TAG: &str = "images";

/// What `--set` may change.
const PARAMETERS: &[Parameter] = &[
    Parameter { key: "machines", default: "2 or 3", about: "machines that run managers, 1 to 5", in_plan: true },
    Parameter {
        key: "images",
        default: "1 or 2",
        about: "backing images, each with a volume on it, 1 to 8",
        in_plan: true,
    },
    Parameter {
        key: "disks",
        default: "1 to all",
        about: "disks, each on a machine of its own, that every backing image is on, 1 to 5",
        in_plan: true,
    },
    Parameter { key: "volumes", default: "1 to 4", about: "volumes on no backing image, 0 to 8", in_plan: true },
    Parameter {
        key: "blocks",
        default: "1 to 24",
        about: "blocks of 2 MiB written to each volume on a backing image, 1 to 32",
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
    let mut cluster = ClusterTable::draw(&mut random, arm, 2..=3, 1..=5)?;
    let disks = random.between(1, cluster.machines.into());
    let (images, volumes) = (random.between(1, 2), random.between(1, 4));
    let (blocks, pause) = (random.between(1, 24), random.duration(Duration::ZERO, Duration::from_secs(30)));
    let disks = number(arm, "disks", 1..=5, disks)? as u32;
    if disks > cluster.machines {
        if arm.set.contains_key("machines") {
            return Err(format!("--set disks={disks}: there are {} machines, one disk each", cluster.machines));
        }
        cluster.machines = disks;
    }
    let blocks = number(arm, "blocks", 1..=32, blocks)? as u32;
    let (images, volumes) = (number(arm, "images", 1..=8, images)?, number(arm, "volumes", 0..=8, volumes)?);
    let mut steps = vec![Action::SET_BACKUP_TARGET];
    let tag = if disks < cluster.machines { TAG } else { "" };
    if !tag.is_empty() {
        let tagged = cluster.workers().into_iter().take(disks as usize);
        steps.extend(tagged.map(|machine| Action::TagNode { machine, tag: tag.to_owned() }));
    }
    for image in 1..=images {
        let mebibytes = random.between(2, 4) as u32;
        steps.push(Action::CreateImage { name: format!("bi-{image}"), mebibytes, copies: disks, tag: tag.to_owned() });
    }
    let plain = (1..=volumes).map(|volume| (format!("vol-{volume}"), String::new()));
    let based = (1..=images).map(|image| (format!("vol-bi-{image}"), format!("bi-{image}")));
    for (name, image) in plain.chain(based) {
        let own = random.between(1, 4) as u32;
        let (replicas, blocks) = if image.is_empty() { (cluster.machines.min(3), own) } else { (disks, blocks) };
        steps.extend([
            Action::CreateVolume { name: name.clone(), replicas, data_engine: Engine::V1, image },
            Action::AttachVolume { name: name.clone(), machine: MACHINE.to_owned() },
            Action::WriteVolume { name, blocks },
        ]);
    }
    steps.extend([Action::Wait { lasts: pause }, Action::SystemBackup { name: "backup-1".to_owned() }]);
    let faults = tables::faults(&mut random, arm, |random| tables::slow_system_backup(random, LONGEST_FAULT))?;
    Ok(tables::plan(&cluster, &steps, faults))
}

fn image_backup_is_lost(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    match &record.event {
        Event::StoreOperation { verb, key, code: 200, .. } if verb == "put" => {
            if let Some(image) = image_in_store(key) {
                memory.insert(image.to_owned(), record.at);
            }
            false
        }
        Event::ApiWrite { kind, name, deleting: true, .. } if kind == "BackupBackingImage" => {
            !memory.contains_key(backed_up_image(name))
        }
        _ => false,
    }
}

/// The image and the manager of a call for a backup that was taken.
fn image_backup_call<'a>(record: &'a Record<'_>) -> Option<(&'a str, &'a str)> {
    match &record.event {
        Event::Call { method, peer, outcome, .. } if *outcome == "ok" => {
            Some((method.strip_prefix("BackupCreate ")?, peer))
        }
        _ => None,
    }
}

fn image_is_backed_up_twice(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    image_backup_call(record).is_some_and(|(image, _)| memory.insert(image.to_owned(), record.at).is_some())
}

fn two_managers_back_up(memory: &mut ProbeMemory, record: &Record<'_>) -> bool {
    let Some((image, manager)) = image_backup_call(record) else { return false };
    let of_image = format!("{image} ");
    memory.insert(format!("{of_image}{manager}"), record.at);
    memory.keys().filter(|key| key.starts_with(&of_image)).count() > 1
}
