//! Which disks of a node fit a volume, and how replicas are spread over them.

use std::collections::{BTreeMap, BTreeSet};

use longhorn_api::kinds::node::DiskType;
use longhorn_api::kinds::volume::{Choice, DataEngine};
use longhorn_api::{Node, Release, Replica, Volume, settings};

use super::candidates::Search;
use super::reuse::is_potentially_reusable;
use super::{Disk, DiskSpace, Objections, fits_selectors};
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Result};

/// Largest volume on an ext file system, in bytes (`MaxExt4VolumeSize`).
const LARGEST_ON_EXT: i64 = 16 << 40;

/// What disks are judged by.
pub(super) struct DiskRules {
    search: Search,
    soft: bool,
    allow_empty_selector: bool,
    counts_only_usable_replicas: bool,
    /// Selectors of nodes and disks that the volume's backing image has, if there is one.
    image: Option<(Vec<String>, Vec<String>)>,
}

impl DiskRules {
    /// The rules for a volume.
    pub(super) fn of(datastore: &Datastore, volume: &Volume, search: Search) -> Result<Self> {
        let mut image_selectors = None;
        let image = &volume.spec.backing_image;
        if !image.is_empty() {
            let image =
                datastore.backing_images.get(image).context(|| format!("failed to get backing image {image}"))?;
            image_selectors = Some((image.spec.node_selector.to_vec(), image.spec.disk_selector.to_vec()));
        }
        let soft = match volume.spec.replica_disk_soft_anti_affinity {
            Choice::Enabled => true,
            Choice::Disabled => false,
            _ => datastore.setting_flag(settings::REPLICA_DISK_SOFT_ANTI_AFFINITY)?,
        };
        let allow_empty_selector = datastore.setting_flag(settings::ALLOW_EMPTY_DISK_SELECTOR_VOLUME)?;
        let counts_only_usable_replicas = datastore.release().at_least(Release::V1_8_1);
        Ok(Self { search, soft, allow_empty_selector, counts_only_usable_replicas, image: image_selectors })
    }

    /// Whether the volume's backing image may be on the node.
    pub(super) fn image_takes_node(&self, node: &Node, allow_empty_selector: bool) -> bool {
        let selectors = self.image.as_ref().map(|(nodes, _)| nodes);
        selectors.is_none_or(|selectors| fits_selectors(&node.spec.tags, selectors, allow_empty_selector))
    }

    /// Adds the disks of a node that fit.
    #[allow(clippy::too_many_arguments, reason = "what is judged and what is found")]
    pub(super) fn fitting(
        &self,
        datastore: &Datastore,
        node: &Node,
        disks: &BTreeSet<String>,
        replicas: &BTreeMap<String, Replica>,
        volume: &Volume,
        found: &mut BTreeMap<String, Disk>,
        objections: &mut Objections,
    ) {
        if disks.is_empty() {
            objections.add(Objections::DISK_UNAVAILABLE);
        }
        for disk in disks {
            match self.judge(datastore, node, disk, replicas, volume) {
                Ok(disk) => {
                    found.insert(disk.uuid.clone(), disk);
                }
                Err(Some(objection)) => objections.add(objection),
                Err(None) => {}
            }
        }
    }

    /// The disk if it fits, or why not; none for what is not even a candidate.
    fn judge(
        &self,
        datastore: &Datastore,
        node: &Node,
        disk_uuid: &str,
        replicas: &BTreeMap<String, Replica>,
        volume: &Volume,
    ) -> Result<Disk, Option<String>> {
        let usable = |status: &longhorn_api::kinds::node::DiskStatus| {
            status.disk_uuid == disk_uuid
                && (!self.search.checks_room || status.conditions.condition("Schedulable").status.as_str() == "True")
        };
        let Some((disk_name, status)) = node.status.disk_status.iter().find(|(_, status)| usable(status)) else {
            return Err(Some(Objections::DISK_NOT_FOUND.to_owned()));
        };
        let spec = node.spec.disks.get(disk_name).cloned().unwrap_or_default();
        let fits = match volume.spec.data_engine {
            DataEngine::V2 => spec.disk_type == DiskType::Block,
            _ => spec.disk_type == DiskType::Filesystem,
        };
        let size = volume.spec.size.0;
        let too_large = status.filesystem_type.starts_with("ext") && size >= LARGEST_ON_EXT;
        if !fits || (volume.spec.data_engine != DataEngine::V2 && too_large) {
            return Err(None);
        }
        if self.search.checks_room {
            let space = DiskSpace::of(datastore, &spec, status)
                .map_err(|_| Some("failed to retrieve scheduling settings failed to retrieve".to_owned()))?;
            // Replicas of this volume that the node's status does not count yet.
            let on_node = replicas.iter().filter(|(replica, object)| {
                !status.scheduled_replica.contains_key(*replica) && object.spec.node_id == name(&node.metadata)
            });
            let more = on_node.map(|(_, replica)| replica.spec.volume_size.0).sum();
            if !space.with_scheduled(more).takes(size, volume.status.actual_size) {
                return Err(Some(Objections::INSUFFICIENT_STORAGE.to_owned()));
            }
        }
        let fits = |selectors: &[String]| fits_selectors(&spec.tags, selectors, self.allow_empty_selector);
        if !fits(&volume.spec.disk_selector) || !self.image.as_ref().is_none_or(|(_, disks)| fits(disks)) {
            return Err(Some(Objections::TAGS_NOT_FULFILLED.to_owned()));
        }
        Ok(Disk { uuid: disk_uuid.to_owned(), node: name(&node.metadata).to_owned(), spec, status: status.clone() })
    }

    /// The disks without a replica of the volume; if there is none and that is allowed, all of them.
    pub(super) fn spread(
        &self,
        disks: BTreeMap<String, Disk>,
        replicas: &BTreeMap<String, Replica>,
    ) -> BTreeMap<String, Disk> {
        let counts = |replica: &&Replica| {
            replica.spec.failed_at.is_empty()
                || !self.counts_only_usable_replicas
                || (!self.search.ignores_failed_replicas && is_potentially_reusable(replica))
        };
        let used: BTreeSet<&str> =
            replicas.values().filter(counts).map(|replica| replica.spec.disk_id.as_str()).collect();
        let empty: BTreeMap<String, Disk> = disks
            .iter()
            .filter(|(disk, _)| !used.contains(disk.as_str()))
            .map(|(id, disk)| (id.clone(), disk.clone()))
            .collect();
        if empty.is_empty() && self.soft { disks } else { empty }
    }
}
