//! The disk monitor: each 30 s, what the disks of the manager's own node are like (`controller/monitor/disk_monitor.go`, `disk_utils.go`).
//!
//! A file system's disk has a configuration file with its UUID, which the monitor makes if there is none. A block disk is asked for at the
//! disk service of a running instance manager of the second data engine, and created there if that does not know it: after a restart of the
//! pod that is how the disk, and with it its replicas, come back. The node controller is told when anything differs from last time, and
//! goes by what is collected here only if that is of the disks that it knows.
//!
//! The manager sees the node's files where its DaemonSet mounts them: file-system disks lie below `/var/lib/longhorn`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_kube_client::reads;
use host::time::sleep;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::node::{DiskSpec, DiskType};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Node, settings};
use serde::{Deserialize, Serialize};

use crate::engine::disk_service::{DiskOf, DiskServiceClient};
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::Queue;
use crate::runtime::{Context, Error, Result};

/// `DiskMonitorSyncPeriod`.
const PERIOD: Duration = Duration::from_secs(30);
/// The configuration file of a file system's disk.
const CONFIGURATION: &str = "longhorn-disk.cfg";
/// How often a UUID is drawn whose first four characters no other disk's has.
const UUID_TRIES: usize = 20;

/// The figures of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskFigures {
    /// A file system's id, a device's numbers.
    pub id: String,
    /// `ext2/ext3`, ...
    pub kind: String,
    /// Bytes in all.
    pub maximum: i64,
    /// Bytes free.
    pub available: i64,
}

/// What was found out of one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CollectedDisk {
    pub path: String,
    /// Whether the node or the disk is being emptied.
    pub is_evicted: bool,
    pub figures: Option<DiskFigures>,
    pub name: String,
    pub uuid: String,
    pub driver: String,
    /// Reason and message, if something is wrong.
    pub objection: Option<(&'static str, String)>,
    /// Data of replicas that no resource stands for.
    pub orphaned: BTreeSet<String>,
    /// Whose disk it is.
    pub instance_manager: String,
}

/// The file that names a disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Configuration {
    #[serde(rename = "diskName")]
    name: String,
    #[serde(rename = "diskUUID")]
    uuid: String,
    #[serde(rename = "diskDriver")]
    driver: String,
}

/// What was collected last, by disk.
pub(super) type Collected = BTreeMap<String, CollectedDisk>;

/// A monitor.
pub(super) struct DiskMonitor {
    manager: Arc<Manager>,
    collected: Mutex<Collected>,
}

impl DiskMonitor {
    /// Starts one; the first look is after one period.
    pub(super) fn start(manager: &Arc<Manager>, queue: &Queue) -> Arc<Self> {
        let monitor = Arc::new(Self { manager: manager.clone(), collected: Mutex::default() });
        let (running, queue) = (monitor.clone(), queue.clone());
        host::spawn(async move {
            loop {
                sleep(PERIOD).await;
                reads::scope("disk-monitor".to_owned(), running.look(&queue)).await;
            }
        });
        monitor
    }

    /// What was collected last.
    pub(super) fn collected(&self) -> Collected {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn look(&self, queue: &Queue) {
        let me = self.manager.node();
        let Some(node) = self.manager.datastore.nodes.find(me) else {
            return tracing::error!("failed to get longhorn node {me}");
        };
        let collected = self.collect(&node).await;
        let mut last = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != collected {
            *last = collected;
            queue.add(me);
        }
    }

    async fn collect(&self, node: &Node) -> Collected {
        let mut service = self.disk_service().await;
        let mut collected = Collected::new();
        for (disk_name, disk) in self.manager.datastore.in_map_order(node.spec.disks.iter()) {
            let one = OneDisk { manager: &self.manager, node, name: disk_name, spec: disk };
            collected.insert(disk_name.clone(), one.collect(&mut service).await);
        }
        collected
    }

    /// The disk service of the second data engine; none if that is switched off.
    async fn disk_service(&self) -> Option<Result<DiskServiceClient>> {
        let datastore = &self.manager.datastore;
        if !datastore.setting_flag(settings::V2_DATA_ENGINE).unwrap_or(false) {
            return None;
        }
        let me = self.manager.node();
        let Some(manager) = datastore.running_instance_manager(me, &DataEngine::V2) else {
            return Some(Err(Error::message(format!("failed to find running instance manager for node {me}"))));
        };
        Some(DiskServiceClient::connect(&manager).await)
    }
}

/// A disk while it is looked at.
struct OneDisk<'a> {
    manager: &'a Manager,
    node: &'a Node,
    name: &'a str,
    spec: &'a DiskSpec,
}

type Service = Option<Result<DiskServiceClient>>;

impl OneDisk<'_> {
    async fn collect(&self, service: &mut Service) -> CollectedDisk {
        let mut disk = CollectedDisk {
            path: self.spec.path.clone(),
            is_evicted: self.node.spec.eviction_requested || self.spec.eviction_requested,
            name: self.name.to_owned(),
            driver: self.known_driver(),
            ..CollectedDisk::default()
        };
        match self.serving_manager(service) {
            Ok(manager) => disk.instance_manager = manager,
            Err(why) => disk.objection = Some(("DiskServiceUnreachable", self.not_ready(&why))),
        }
        let found = match self.configuration(service).await {
            Ok(configuration) => self.figures(service, &configuration).await.map(|figures| (configuration, figures)),
            Err((what, error)) => Err((what, error)),
        };
        let (configuration, figures) = match found {
            Ok(found) => found,
            Err((what, error)) => {
                disk.objection = Some(("NoDiskInfo", self.not_ready(&format!("{what}: error: {error}"))));
                return disk;
            }
        };
        let orphaned = self.orphaned(service, &configuration).await;
        let Ok(orphaned) = orphaned.inspect_err(|error| {
            tracing::warn!(%error, "Failed to get replica data stores for disk {}({})", self.name, self.spec.path);
        }) else {
            return disk;
        };
        disk.objection = None;
        disk.name = if configuration.name.is_empty() { self.name.to_owned() } else { configuration.name };
        (disk.uuid, disk.driver) = (configuration.uuid, configuration.driver);
        disk.figures = Some(figures);
        disk.orphaned = orphaned;
        disk
    }

    fn not_ready(&self, why: &str) -> String {
        format!("Disk {}({}) on node {} is not ready: {why}", self.name, self.spec.path, name(&self.node.metadata))
    }

    fn is_block(&self) -> bool {
        self.spec.disk_type == DiskType::Block
    }

    fn known_driver(&self) -> String {
        let status = self.node.status.disk_status.get(self.name);
        status.map(|status| status.disk_driver.as_str().to_owned()).unwrap_or_default()
    }

    fn serving_manager(&self, service: &Service) -> Result<String, String> {
        match service {
            _ if !self.is_block() => {
                let me = self.manager.node();
                let manager = self.manager.datastore.default_instance_manager(me, &DataEngine::V1);
                Ok(manager.map(|manager| name(&manager.metadata).to_owned()).unwrap_or_default())
            }
            None => Err("data engine is disabled".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(client)) => Ok(client.instance_manager.clone()),
        }
    }

    fn as_asked<'b>(&'b self, uuid: &'b str, driver: &'b str) -> DiskOf<'b> {
        DiskOf { disk_type: &self.spec.disk_type, name: self.name, uuid, path: &self.spec.path, driver }
    }

    /// The disk's configuration, made if it has none.
    async fn configuration(&self, service: &mut Service) -> Result<Configuration, (&'static str, Error)> {
        const GET: &str = "failed to get disk config";
        const GENERATE: &str = "failed to generate disk config";
        if !self.is_block() {
            return match self.read_configuration().await.map_err(|error| (GET, error))? {
                Some(configuration) => Ok(configuration),
                None => self.write_configuration().await.map_err(|error| (GENERATE, error)),
            };
        }
        let Some(Ok(client)) = service else { return Err((GET, Error::message("disk service client is nil"))) };
        let known_driver = self.known_driver();
        match client.get(&self.as_asked("", &known_driver)).await {
            Ok(disk) => return Ok(configuration_of(disk)),
            Err(error) if !error.says_cannot_find() => return Err((GET, error)),
            Err(_) => {}
        }
        let status = self.node.status.disk_status.get(self.name);
        let uuid = status.map(|status| status.disk_uuid.clone()).unwrap_or_default();
        let driver = if known_driver.is_empty() { self.spec.disk_driver.as_str().to_owned() } else { known_driver };
        let created = client.create(&self.as_asked(&uuid, &driver)).await;
        created.map(configuration_of).map_err(|error| (GENERATE, error))
    }

    fn in_folder(&self, file: &str) -> String {
        format!("{}/{file}", self.spec.path.trim_end_matches('/'))
    }

    async fn read_configuration(&self) -> Result<Option<Configuration>> {
        let path = self.in_folder(CONFIGURATION);
        match host::fs::read(&path).await {
            Ok(content) => serde_json::from_slice(&content)
                .map(Some)
                .map_err(|error| Error::message(format!("failed to unmarshal host {path}: {error}"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::message(format!("failed to read host disk config file {CONFIGURATION}: {error}"))),
        }
    }

    async fn write_configuration(&self) -> Result<Configuration> {
        let configuration = Configuration { name: self.name.to_owned(), uuid: self.new_uuid()?, driver: String::new() };
        let content = serde_json::to_vec(&configuration).map_err(|error| Error::message(error.to_string()))?;
        let path = self.in_folder(CONFIGURATION);
        let failed = |error: std::io::Error| {
            Error::message(format!("failed to generate disk config for {}: {error}", self.spec.path))
        };
        let file = host::fs::OpenOptions::new().write(true).create_new(true).open(&path).await.map_err(failed)?;
        file.write_all_at(&content, 0).await.map_err(failed)?;
        host::fs::create_dir_all(&self.in_folder("replicas")).await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        Ok(configuration)
    }

    /// A UUID whose first four characters no disk of the cluster has: backing image managers were named after them.
    fn new_uuid(&self) -> Result<String> {
        let datastore = &self.manager.datastore;
        let nodes = datastore.nodes.list();
        let uuids = nodes.iter().flat_map(|node| node.status.disk_status.values().map(|disk| disk.disk_uuid.clone()));
        let taken: BTreeSet<String> = uuids.filter_map(|uuid| uuid.get(..4).map(str::to_owned)).collect();
        let drawn = (0..UUID_TRIES).map(|_| {
            let digits = datastore.random_digits(32);
            let variant = ["8", "9", "a", "b"][datastore.random_below(4) as usize];
            let part = |from: usize, to: usize| &digits[from..to];
            format!("{}-{}-4{}-{variant}{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
        });
        let free = drawn.into_iter().find(|uuid| !taken.contains(&uuid[..4]));
        free.ok_or_else(|| {
            Error::message(format!("failed to generate UUID with unique prefix after {UUID_TRIES} attempts"))
        })
    }

    async fn figures(
        &self,
        service: &mut Service,
        configuration: &Configuration,
    ) -> Result<DiskFigures, (&'static str, Error)> {
        const WHAT: &str = "Get disk information error";
        if self.is_block() {
            let Some(Ok(client)) = service else { return Err((WHAT, Error::message("disk service client is nil"))) };
            let disk = client.get(&self.as_asked("", &configuration.driver)).await.map_err(|error| (WHAT, error))?;
            return Ok(DiskFigures {
                id: disk.id,
                kind: disk.r#type,
                maximum: disk.total_size,
                available: disk.free_size,
            });
        }
        let room =
            host::fs::file_system(&self.spec.path).await.map_err(|error| (WHAT, Error::message(error.to_string())))?;
        let bytes = |blocks: u64| i64::try_from(blocks * room.block_bytes).unwrap_or(i64::MAX);
        Ok(DiskFigures {
            maximum: bytes(room.blocks),
            available: bytes(room.available_blocks),
            id: room.id,
            kind: room.kind,
        })
    }

    /// Data of replicas on the disk that no Replica stands for.
    async fn orphaned(&self, service: &mut Service, configuration: &Configuration) -> Result<BTreeSet<String>> {
        let datastore = &self.manager.datastore;
        if self.is_block() {
            let Some(Ok(client)) = service else { return Err(Error::message("disk service client is nil")) };
            let mut found = client.replicas(&self.as_asked("", self.spec.disk_driver.as_str())).await?;
            found.retain(|replica| !replica.is_empty() && datastore.replicas.find(replica).is_none());
            return Ok(found);
        }
        if !self.may_collect(&configuration.uuid) {
            return Ok(BTreeSet::new());
        }
        let entries = host::fs::read_dir(&self.in_folder("replicas")).await;
        let entries =
            entries.map_err(|error| Error::message(error.to_string())).context(|| "failed to list replicas")?;
        let replicas = datastore.replicas.list_labelled(&[(longhorn_api::labels::DISK_UUID, &configuration.uuid)]);
        let known: BTreeSet<&str> = replicas
            .iter()
            .filter(|replica| replica.spec.disk_path == self.spec.path)
            .map(|replica| replica.spec.data_directory_name.as_str())
            .collect();
        let mut orphaned = BTreeSet::new();
        for entry in entries.into_iter().filter(|entry| entry.is_dir && !known.contains(entry.name.as_str())) {
            // A folder without a volume's description is no replica's.
            let meta = self.in_folder(&format!("replicas/{}/volume.meta", entry.name));
            let is_replica = match host::fs::read(&meta).await {
                Ok(content) => serde_json::from_slice::<serde_json::Value>(&content).is_ok_and(|meta| meta.is_object()),
                Err(_) => false,
            };
            if is_replica && is_replica_folder(&entry.name) {
                orphaned.insert(entry.name);
            }
        }
        Ok(orphaned)
    }

    /// Folders are looked at only on a disk that is known and ready and stays.
    fn may_collect(&self, uuid: &str) -> bool {
        let status = self.node.status.disk_status.get(self.name);
        !self.node.spec.eviction_requested
            && !self.spec.eviction_requested
            && status.is_some_and(|status| {
                status.disk_uuid == uuid && status.conditions.condition("Ready").status == ConditionStatus::True
            })
    }
}

fn configuration_of(disk: longhorn_rpc::imrpc::Disk) -> Configuration {
    Configuration { name: disk.name, uuid: disk.uuid, driver: disk.driver }
}

/// `<volume>-<8 letters or digits>` (`GetPossibleReplicaDirectoryNames`).
fn is_replica_folder(folder: &str) -> bool {
    folder
        .rsplit_once('-')
        .is_some_and(|(_, random)| random.len() == 8 && random.chars().all(|letter| letter.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_replicas_end_in_eight_digits() {
        assert!(is_replica_folder("pvc-1-0a1b2c3d"));
        assert!(!is_replica_folder("lost+found") && !is_replica_folder("pvc-1-0a1b2c3"));
    }
}
