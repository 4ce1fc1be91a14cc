//! The disks of a node in its status, from what the monitor collected (`syncDiskStatus`).
//!
//! A disk is ready if the monitor found nothing wrong with it, it still is the disk that the status knows, and no other disk of the node is
//! on the same file system or device. A ready disk takes replicas while there is room by the scheduler's rules.

use std::collections::BTreeMap;

use corral_kube_client::EventType;
use longhorn_api::go::{List, Map};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::node::{DiskDriver, DiskStatus, DiskType};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Node, Release, labels, settings};

use super::NodeController;
use super::disk_monitor::{Collected, CollectedDisk, DiskFigures};
use crate::engine::disk_service::{DiskOf, DiskServiceClient};
use crate::runtime::backups::name;
use crate::runtime::{Error, Result, clock};
use crate::scheduler::DiskSpace;

/// Free space of a file system changes all the time; it is told in steps of this.
const ROUNDING_BYTES: i64 = 100 << 20;
/// Disks whose file system could not be asked for.
const UNKNOWN_ID: &str = "UNKNOWN_DISKID";

/// Whether what was collected is of the disks that the spec has.
pub(super) fn are_matching(node: &Node, collected: &Collected) -> bool {
    node.spec.disks.len() == collected.len()
        && collected.iter().all(|(disk_name, found)| {
            node.spec.disks.get(disk_name).is_some_and(|disk| {
                let is_evicted = node.spec.eviction_requested || disk.eviction_requested;
                is_evicted == found.is_evicted && disk.path == found.path
            })
        })
}

impl NodeController {
    pub(super) async fn update_disks(&self, node: &mut Node, collected: &Collected) -> Result<()> {
        self.align_disks(node).await;
        let (ready, not_ready) = sort_out(self, node, collected);
        for (disk_name, reason, message) in not_ready {
            self.set_disk_condition(node, &disk_name, "Ready", Some((reason, message)), EventType::Warning, "");
        }
        for (disk_name, figures) in ready {
            self.note_ready(node, &disk_name, &collected[&disk_name], &figures);
        }
        self.update_schedulable(node)
    }

    /// Gives every disk of the spec a status with figures of zero, and closes those that left the spec.
    async fn align_disks(&self, node: &mut Node) {
        node.status.disk_status.make();
        let has_backing_images = self.manager.datastore.release().at_least(Release::V1_8_0_RC1);
        for (disk_name, disk) in &node.spec.disks {
            if !node.status.disk_status.contains_key(disk_name) {
                node.status.disk_status.insert(disk_name.clone(), DiskStatus::default());
            }
            let status = node.status.disk_status.get_mut(disk_name).expect("there now");
            if status.conditions.is_nil() {
                status.conditions = List::from_iter([]);
            }
            status.scheduled_replica.make();
            if has_backing_images {
                status.scheduled_backing_image.make();
            }
            (status.storage_maximum, status.storage_available) = (0, 0);
            status.disk_type = disk.disk_type.clone();
        }
        let gone: Vec<String> =
            node.status.disk_status.keys().filter(|disk| !node.spec.disks.contains_key(*disk)).cloned().collect();
        for disk_name in gone {
            let Some(status) = node.status.disk_status.remove(&disk_name) else { continue };
            if let Err(error) = self.close_disk(&disk_name, &status).await {
                tracing::warn!(%error, "Failed to delete disk {disk_name}");
            }
        }
    }

    async fn close_disk(&self, disk_name: &str, status: &DiskStatus) -> Result<()> {
        let engine = if status.disk_type == DiskType::Block { DataEngine::V2 } else { DataEngine::V1 };
        let manager = self.manager.datastore.running_instance_manager(self.manager.node(), &engine);
        let missing = || Error::message(format!("failed to get running instance manager for data engine {engine}"));
        let mut client = DiskServiceClient::connect(&*manager.ok_or_else(missing)?).await?;
        let known = if status.disk_name.is_empty() { disk_name } else { &status.disk_name };
        let disk = DiskOf {
            disk_type: &status.disk_type,
            name: known,
            uuid: &status.disk_uuid,
            path: &status.disk_path,
            driver: status.disk_driver.as_str(),
        };
        client.delete(&disk).await
    }

    fn note_ready(&self, node: &mut Node, disk_name: &str, found: &CollectedDisk, figures: &DiskFigures) {
        let Some(status) = node.status.disk_status.get_mut(disk_name) else { return };
        status.disk_uuid.clone_from(&found.uuid);
        status.disk_driver = DiskDriver::from(found.driver.as_str());
        status.disk_name.clone_from(&found.name);
        status.disk_path.clone_from(&found.path);
        status.storage_available = figures.available;
        if status.disk_type == DiskType::Filesystem {
            status.storage_available = figures.available / ROUNDING_BYTES * ROUNDING_BYTES;
            status.filesystem_type.clone_from(&figures.kind);
        }
        status.storage_maximum = figures.maximum;
        status.instance_manager_name.clone_from(&found.instance_manager);
        let message = format!("Disk {disk_name}({}) on node {} is ready", found.path, name(&node.metadata));
        self.set_disk_condition(node, disk_name, "Ready", None, EventType::Normal, &message);
    }

    fn update_schedulable(&self, node: &mut Node) -> Result<()> {
        let disks: Vec<_> = node.spec.disks.iter().map(|(disk_name, disk)| (disk_name.clone(), disk.clone())).collect();
        let node_name = name(&node.metadata).to_owned();
        for (disk_name, disk) in disks {
            let path = &disk.path;
            let Some(status) = node.status.disk_status.get_mut(&disk_name) else { continue };
            if status.conditions.condition("Ready").status != ConditionStatus::True {
                status.storage_scheduled = 0;
                status.scheduled_replica = Map::default();
                status.scheduled_replica.make();
                let objection =
                    ("DiskNotReady", format!("Disk {disk_name} ({path}) on the node {node_name} is not ready"));
                self.set_disk_condition(node, &disk_name, "Schedulable", Some(objection), EventType::Warning, "");
                continue;
            }
            self.count_scheduled(status);
            let space = DiskSpace::of(&self.manager.datastore, &disk, status)?;
            match space.objection(0, 0) {
                None => {
                    let message = format!("Disk {disk_name}({path}) on node {node_name} is schedulable");
                    self.set_disk_condition(node, &disk_name, "Schedulable", None, EventType::Normal, &message);
                }
                Some(why) => {
                    let message = self.pressure(&disk_name, path, &node_name, status, disk.storage_reserved, &why)?;
                    let objection = Some(("DiskPressure", message));
                    self.set_disk_condition(node, &disk_name, "Schedulable", objection, EventType::Warning, "");
                }
            }
        }
        Ok(())
    }

    fn pressure(
        &self,
        disk: &str,
        path: &str,
        node: &str,
        status: &DiskStatus,
        reserved: i64,
        why: &str,
    ) -> Result<String> {
        let datastore = &self.manager.datastore;
        if datastore.release().at_least(Release::V1_9_2) {
            return Ok(format!("Disk {disk} ({path}) on the node {node} is not schedulable for more replica; {why}"));
        }
        let minimal = datastore.setting_number(settings::STORAGE_MINIMAL_AVAILABLE_PERCENTAGE)?;
        let available = status.storage_available;
        Ok(format!(
            "Disk {disk} ({path}) on the node {node} has {available} available, but requires reserved {reserved}, \
             minimal {minimal}% to schedule more replicas"
        ))
    }

    /// What is promised on a disk: to replicas, and to backing images as far as they are known to take room.
    fn count_scheduled(&self, status: &mut DiskStatus) {
        let datastore = &self.manager.datastore;
        let replicas = datastore.replicas.list_labelled(&[(labels::DISK_UUID, &status.disk_uuid)]);
        let of_replicas: BTreeMap<String, i64> =
            replicas.iter().map(|replica| (name(&replica.metadata).to_owned(), replica.spec.volume_size.0)).collect();
        let mut scheduled: i64 = of_replicas.values().sum();
        if datastore.release().at_least(Release::V1_8_0_RC1) {
            let images = datastore.backing_images.list();
            let on_disk = images.iter().filter(|image| image.spec.disk_file_spec_map.contains_key(&status.disk_uuid));
            let of_images: BTreeMap<String, i64> =
                on_disk.map(|image| (name(&image.metadata).to_owned(), image.status.real_size)).collect();
            scheduled += of_images.values().sum::<i64>();
            status.scheduled_backing_image = of_images.into_iter().collect();
        }
        status.storage_scheduled = scheduled;
        status.scheduled_replica = of_replicas.into_iter().collect();
    }

    /// Sets a disk's condition, false with an objection and true without, and tells people if its status changes.
    fn set_disk_condition(
        &self,
        node: &mut Node,
        disk_name: &str,
        condition: &str,
        objection: Option<(&str, String)>,
        event_type: EventType,
        message: &str,
    ) {
        let status = if objection.is_none() { ConditionStatus::True } else { ConditionStatus::False };
        let (reason, message) = objection.unwrap_or(("", message.to_owned()));
        let Some(disk) = node.status.disk_status.get_mut(disk_name) else { return };
        let changes = disk.conditions.condition(condition).status != status;
        disk.conditions.set_condition(condition, status, reason, &message, &clock::now_text());
        if changes {
            self.events.event(&*node, event_type, condition, message);
        }
    }
}

type NotReady = (String, &'static str, String);

/// Which disks are ready, and what is wrong with the others.
fn sort_out(
    controller: &NodeController,
    node: &Node,
    collected: &Collected,
) -> (Vec<(String, DiskFigures)>, Vec<NotReady>) {
    let node_name = name(&node.metadata);
    let (mut not_ready, mut groups) = (Vec::new(), BTreeMap::<String, Vec<(&String, &CollectedDisk)>>::new());
    for (disk_name, found) in collected {
        let id = found.figures.as_ref().map_or(UNKNOWN_ID, |figures| figures.id.as_str());
        let known = node.status.disk_status.get(disk_name).map(|status| status.disk_uuid.as_str()).unwrap_or_default();
        let is_another = !known.is_empty() && known != found.uuid;
        if let Some((reason, message)) = &found.objection {
            not_ready.push((disk_name.clone(), *reason, message.clone()));
        } else if is_another {
            let what = if found.uuid.is_empty() {
                "cannot find disk config file, maybe due to a mount error"
            } else {
                "record diskUUID doesn't match the one on the disk "
            };
            let message = format!("Disk {disk_name}({}) on node {node_name} is not ready: {what}", found.path);
            not_ready.push((disk_name.clone(), "DiskFilesystemChanged", message));
        } else {
            groups.entry(id.to_owned()).or_default().push((disk_name, found));
        }
    }
    let was_ready = |disk: &String| {
        let status = node.status.disk_status.get(disk);
        status.is_some_and(|status| status.conditions.condition("Ready").status == ConditionStatus::True)
    };
    let mut ready = Vec::new();
    for (id, group) in groups {
        let mut has_ready = false;
        for (disk_name, found) in controller.manager.datastore.in_map_order(group.clone()) {
            let another_is = group.iter().any(|(other, _)| *other != disk_name && was_ready(other));
            if another_is || has_ready {
                let others: Vec<&str> = group.iter().map(|(other, _)| other.as_str()).collect();
                let message = format!(
                    "Disk {disk_name}({}) on node {node_name} is not ready: disk has same file system ID {id} as other disks [{}]",
                    found.path,
                    others.join(" ")
                );
                not_ready.push((disk_name.clone(), "DiskFilesystemChanged", message));
            } else if let Some(figures) = &found.figures {
                has_ready = true;
                ready.push((disk_name.clone(), figures.clone()));
            }
        }
    }
    (ready, not_ready)
}
