//! What a client can do: the vocabulary of every scenario's plans. Who does it is `crate::user`.

use std::collections::BTreeMap;
use std::time::Duration;

use corral_world::Plan;
use corral_world::text::{self, duration};
use longhorn_api::settings;
use serde::{Deserialize, Serialize};

use crate::clients::pod::MACHINE;
use crate::file_server::LARGEST_MEBIBYTES;
use crate::store;
use crate::tables::{ClusterTable, LONGEST};

/// One thing that the client does. It waits until what it asked for has come about.
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
    /// Longhorn is pointed at the store.
    SetBackupTarget {
        /// How often Longhorn asks the store what it holds.
        #[serde(default = "poll_interval", with = "duration", skip_serializing_if = "is_default_poll")]
        poll: Duration,
    },
    /// Longhorn is pointed at the store and asked for a synchronisation, until all that the store holds has its resource.
    PullBackups {},
    /// The client waits until so many Backups are there, whatever is known of them.
    AwaitBackups {
        /// How many.
        count: usize,
    },
    /// Backup volumes and backing-image backups are deleted through the Longhorn API, each waited for with a look a second.
    BackupstoreCleanup {},
    /// System backups are deleted through the Longhorn API.
    SystemBackupsCleanup {},
    /// Backups are listed at the Kubernetes API and deleted one by one.
    BackupCleanup {},
    /// A setting is changed, again and again until Longhorn takes the value.
    SetSetting {
        /// Its name.
        name: String,
        /// Its new value.
        value: String,
    },
    /// Every node gets its block device as a disk, until all of them take replicas.
    AddBlockDisks {},
    /// A node gets a tag, in place of those that it had.
    TagNode {
        /// The machine.
        machine: String,
        /// The tag.
        tag: String,
    },
    /// A backing image is made of a file that is downloaded, until enough disks have it.
    CreateImage {
        /// Its name.
        name: String,
        /// How large the file is.
        mebibytes: u32,
        /// How many disks are to have it.
        copies: u32,
        /// Only nodes with this tag may, if it says one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        tag: String,
    },
    /// A volume is created, until it is detached.
    CreateVolume {
        /// Its name.
        name: String,
        /// How many replicas.
        replicas: u32,
        /// What stores it.
        #[serde(default, skip_serializing_if = "is_v1")]
        data_engine: Engine,
        /// The backing image below it, if there is one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        image: String,
    },
    /// A volume is attached to a machine.
    AttachVolume {
        /// Its name.
        name: String,
        /// Where.
        #[serde(default = "clients_machine")]
        machine: String,
    },
    /// A volume is detached.
    DetachVolume {
        /// Its name.
        name: String,
    },
    /// Data is written to an attached volume, a piece at the beginning of each block of 2 MiB.
    WriteVolume {
        /// Its name.
        name: String,
        /// How many blocks.
        blocks: u32,
    },
    /// All attached volumes are read and written for a while.
    UseVolumes {
        /// How long.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
    },
    /// An attached volume has all its replicas.
    AwaitHealthy {
        /// Its name.
        name: String,
    },
    /// A snapshot of an attached volume is backed up, until that is completed or has failed.
    BackUpVolume {
        /// Its name.
        name: String,
    },
    /// All completed backups of a volume but the last are deleted, in a while and beside what comes next, as a retention job would.
    PruneBackups {
        /// The volume's name.
        name: String,
        /// How long it takes until then.
        #[serde(with = "duration")]
        after: Duration,
    },
    /// A volume is made of the last completed backup of another, and read; if none was completed, nothing is done.
    RestoreVolume {
        /// Its name.
        name: String,
        /// The other's name.
        from: String,
    },
    /// What was written to the volume, and to those of this name before it, is read; for this it is attached if it is not.
    CheckVolume {
        /// Its name.
        name: String,
    },
    /// A volume is deleted, until it is gone.
    DeleteVolume {
        /// Its name.
        name: String,
    },
    /// The system is backed up, until that is ready.
    SystemBackup {
        /// Its name.
        name: String,
    },
    /// The system is restored, until that is completed.
    SystemRestore {
        /// The system backup's name.
        name: String,
    },
    /// The client waits until a node is ready, or is not.
    AwaitNode {
        /// The machine.
        machine: String,
        /// Which of the two.
        ready: bool,
    },
    /// The manifest of the release to come is applied, until the upgrade has ended.
    Upgrade {},
    /// The client waits.
    Wait {
        /// How long.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
    },
}

fn poll_interval() -> Duration {
    store::POLL_INTERVAL
}

fn is_default_poll(poll: &Duration) -> bool {
    *poll == store::POLL_INTERVAL
}

/// A volume's data engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Files and Longhorn's own engine.
    #[default]
    V1,
    /// SPDK's logical volumes.
    V2,
}

fn one() -> u32 {
    1
}

fn is_v1(engine: &Engine) -> bool {
    *engine == Engine::V1
}

fn clients_machine() -> String {
    MACHINE.to_owned()
}

/// The steps of a plan, each checked.
///
/// # Errors
/// What is wrong in which step, and what is allowed.
pub fn read(plan: &Plan, cluster: &ClusterTable, upgrades: bool) -> Result<Vec<Action>, String> {
    let mut actions: Vec<Action> = Vec::new();
    let mut reach = Reach::default();
    for (index, step) in plan.steps.iter().enumerate() {
        let place = |error: String| format!("[[step]] {}: {error}", index + 1);
        let action: Result<Action, toml::de::Error> = step.action.clone().try_into();
        let action = action.map_err(|error| place(text::refusal(&error)))?;
        action.check(cluster, upgrades).and_then(|()| reach.check(&action)).map_err(place)?;
        if action.fills_the_store() && !actions.iter().all(Action::fills_the_store) {
            let late = "fill-store after another step; the store is filled before the workload begins";
            return Err(place(late.to_owned()));
        }
        actions.push(action);
    }
    Ok(actions)
}

impl Action {
    /// Longhorn is pointed at the store, and polls it as often as it does if nobody says otherwise.
    pub const SET_BACKUP_TARGET: Self = Self::SetBackupTarget { poll: store::POLL_INTERVAL };

    /// Whether it belongs to the set-up.
    pub fn fills_the_store(&self) -> bool {
        matches!(self, Self::FillStore { .. })
    }

    /// Whether there must be a store.
    pub fn needs_store(&self) -> bool {
        matches!(self, Self::FillStore { .. } | Self::SetBackupTarget { .. } | Self::PullBackups {})
    }

    /// Whether there must be a server of files.
    pub fn needs_files(&self) -> bool {
        matches!(self, Self::CreateImage { .. })
    }

    /// The volume or object that it is about.
    fn name(&self) -> Option<&str> {
        match self {
            Self::FillStore { volume: name, .. }
            | Self::CreateImage { name, .. }
            | Self::CreateVolume { name, .. }
            | Self::AttachVolume { name, .. }
            | Self::DetachVolume { name }
            | Self::WriteVolume { name, .. }
            | Self::CheckVolume { name }
            | Self::AwaitHealthy { name }
            | Self::BackUpVolume { name }
            | Self::PruneBackups { name, .. }
            | Self::RestoreVolume { name, .. }
            | Self::DeleteVolume { name }
            | Self::SystemBackup { name }
            | Self::SystemRestore { name } => Some(name),
            _ => None,
        }
    }

    fn check(&self, cluster: &ClusterTable, upgrades: bool) -> Result<(), String> {
        let within = |key: &str, value: u32, high: u32| match (1..=high).contains(&value) {
            true => Ok(()),
            false => Err(format!("{key} = {value}; allowed are 1 to {high}")),
        };
        let short = |key: &str, value: &Duration| match *value <= LONGEST {
            true => Ok(()),
            false => Err(format!("{key} is too long; allowed is up to 30 days")),
        };
        if let Some(name) = self.name().filter(|name| !is_name(name)) {
            return Err(format!(
                "{name:?} is no name for it; allowed are two to 63 lower-case letters, digits and \"-\""
            ));
        }
        match self {
            Self::FillStore { backups, blocks, .. } => {
                within("backups", *backups, 100).and_then(|()| within("blocks", *blocks, 64))
            }
            Self::CreateImage { mebibytes, copies, .. } => within("mebibytes", *mebibytes, LARGEST_MEBIBYTES)
                .and_then(|()| within("copies", *copies, cluster.machines)),
            Self::CreateVolume { replicas, .. } => within("replicas", *replicas, cluster.machines),
            Self::WriteVolume { blocks, .. } => within("blocks", *blocks, 32),
            Self::AttachVolume { machine, .. } | Self::AwaitNode { machine, .. } | Self::TagNode { machine, .. } => {
                let workers = cluster.workers();
                match workers.contains(machine) {
                    true => Ok(()),
                    false => Err(format!("machine = {machine:?}; allowed are {}", workers.join(", "))),
                }
            }
            Self::SetSetting { name, value } => check_setting(name, value),
            Self::Wait { lasts } | Self::UseVolumes { lasts } => short("for", lasts),
            Self::SetBackupTarget { poll } => short("poll", poll),
            Self::PruneBackups { after, .. } => short("after", after),
            Self::Upgrade {} if !upgrades => Err("upgrade: this scenario knows one release only".into()),
            _ => Ok(()),
        }
    }
}

/// Whether a release has such a setting, and it could have this value: the client would wait for any other in vain.
fn check_setting(name: &str, value: &str) -> Result<(), String> {
    let known = settings::TABLE.iter().map(|definition| definition.name);
    let definition = settings::definition(name).ok_or_else(|| text::unknown_name("setting", name, known))?;
    let allowed = match definition.value {
        _ if definition.takes(value) => return Ok(()),
        settings::Value::Integer(low, high) => format!("is a whole number from {low} to {high}"),
        _ => "are true and false".to_owned(),
    };
    Err(format!("set-setting: {name} = {value:?}; allowed {allowed}"))
}

/// Kubernetes' rule for names, with Longhorn's of at least two characters (util/util.go, `ValidateName`).
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (2..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

/// Which volumes the client can read and write, step by step: what is out of its reach would be waited for in vain.
#[derive(Default)]
struct Reach {
    /// Of each volume its engine, and where it is attached.
    volumes: BTreeMap<String, (Engine, Option<String>)>,
}

impl Reach {
    fn known(&mut self, name: &str) -> Result<&mut (Engine, Option<String>), String> {
        let unknown = || format!("no volume {name} is created before; create-volume or restore-volume comes first");
        self.volumes.get_mut(name).ok_or_else(unknown)
    }

    fn check(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::CreateVolume { name, data_engine, .. } => {
                self.volumes.insert(name.clone(), (*data_engine, None));
            }
            Action::RestoreVolume { name, .. } => {
                self.volumes.insert(name.clone(), (Engine::V1, None));
            }
            Action::AttachVolume { name, machine } => self.known(name)?.1 = Some(machine.clone()),
            Action::DetachVolume { name } | Action::DeleteVolume { name } => self.known(name)?.1 = None,
            Action::AwaitHealthy { name } => drop(self.known(name)?),
            Action::WriteVolume { name, .. } | Action::CheckVolume { name } | Action::BackUpVolume { name } => {
                match self.volumes.get(name) {
                    Some((Engine::V2, _)) => return Err(format!("{name} is a v2 volume; their data is not modelled")),
                    Some((_, Some(machine))) if machine != MACHINE => {
                        return Err(format!("{name} is attached to {machine}; the client is on {MACHINE}"));
                    }
                    Some((_, None)) | None if !matches!(action, Action::CheckVolume { .. }) => {
                        return Err(format!("{name} is not attached; attach-volume comes first"));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}
