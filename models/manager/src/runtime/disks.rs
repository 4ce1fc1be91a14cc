//! Disks as backing images find them: by their id on a ready node, or any that can take one more file (`datastore/longhorn.go`).

use std::sync::Arc;

use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::node::{DiskStatus, DiskType};
use longhorn_api::{BackingImage, Node, settings};

use super::backups::name;
use super::datastore::Datastore;
use super::error::{Error, Result};

/// A disk on its node.
#[derive(Debug, Clone)]
pub struct DiskPlace {
    /// Name of the node.
    pub node: String,
    /// The disk's id.
    pub uuid: String,
    /// Where it is mounted.
    pub path: String,
}

impl DiskPlace {
    fn of(node: &Node, disk: &str, status: &DiskStatus) -> Option<Self> {
        let spec = node.spec.disks.get(disk)?;
        let (node, uuid, path) = (name(&node.metadata).to_owned(), status.disk_uuid.clone(), spec.path.clone());
        Some(Self { node, uuid, path })
    }
}

impl Datastore {
    /// The ready disk of this id on a ready node (`GetReadyDiskNode`).
    pub fn ready_disk(&self, uuid: &str) -> Option<DiskPlace> {
        let nodes = self.nodes.list();
        let ready =
            nodes.iter().filter(|node| node.status.conditions.condition("Ready").status == ConditionStatus::True);
        self.in_map_order(ready).into_iter().find_map(|node| {
            let (disk, status) = node.status.disk_status.iter().find(|(_, status)| status.disk_uuid == uuid)?;
            let is_ready = status.conditions.condition("Ready").status == ConditionStatus::True;
            DiskPlace::of(node, disk, status).filter(|_| is_ready)
        })
    }

    /// A disk at random that can take a file of a backing image and has none (`GetReadyNodeDiskForBackingImage`).
    pub fn disk_for_image(&self, image: &BackingImage) -> Result<DiskPlace> {
        let without_nodes = self.setting_flag(settings::ALLOW_EMPTY_NODE_SELECTOR_VOLUME)?;
        let without_disks = self.setting_flag(settings::ALLOW_EMPTY_DISK_SELECTOR_VOLUME)?;
        let nodes: Vec<Arc<Node>> = self.in_map_order(self.nodes.list());
        let can_schedule = |conditions: &longhorn_api::go::List<longhorn_api::kinds::Condition>| {
            conditions.condition("Schedulable").status == ConditionStatus::True
        };
        for node in nodes {
            let takes = fits(&node.spec.tags, &image.spec.node_selector, without_nodes);
            if !takes || !node.spec.allow_scheduling || !can_schedule(&node.status.conditions) {
                continue;
            }
            for (disk, status) in self.in_map_order(node.status.disk_status.iter()) {
                let Some(spec) = node.spec.disks.get(disk) else { continue };
                let takes = fits(&spec.tags, &image.spec.disk_selector, without_disks)
                    && spec.disk_type == DiskType::Filesystem
                    && !image.spec.disk_file_spec_map.contains_key(&status.disk_uuid)
                    && spec.allow_scheduling
                    && can_schedule(&status.conditions);
                if let Some(place) = DiskPlace::of(&node, disk, status).filter(|_| takes) {
                    return Ok(place);
                }
            }
        }
        Err(Error::message("unable to get a ready node disk"))
    }
}

/// Whether tags have all that selectors ask for; without selectors, whether things with tags may be used at all.
fn fits(tags: &[String], selectors: &[String], allow_empty: bool) -> bool {
    if selectors.is_empty() && !allow_empty && !tags.is_empty() {
        return false;
    }
    selectors.iter().all(|selector| tags.contains(selector))
}
