//! The replica scheduler: on which node and disk a replica goes, which failed replica is used again, and when a new one takes its place
//! (`scheduler/replica_scheduler.go`).
//!
//! It decides from the caches of the manager that owns the volume. Two volumes with different owners may promise the same space twice.

mod candidates;
mod disks;
mod reuse;
mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longhorn_api::kinds::node::{DiskSpec, DiskStatus};
use longhorn_api::{Node, Replica, Volume, names};

pub use reuse::{MAXIMUM_REBUILD_RETRIES, is_potentially_reusable};
pub use space::DiskSpace;

use crate::runtime::backups::name;
use crate::runtime::{Datastore, Error, Result};

/// Why nothing fits, in the words of a volume's condition; each word once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objections(BTreeSet<String>);

impl Objections {
    /// Disks lack the room.
    pub const INSUFFICIENT_STORAGE: &'static str = "insufficient storage";
    /// A disk is in no status.
    pub const DISK_NOT_FOUND: &'static str = "disk not found";
    /// A node has no usable disk.
    pub const DISK_UNAVAILABLE: &'static str = "disks are unavailable";
    /// Selectors of the volume fit no disk.
    pub const TAGS_NOT_FULFILLED: &'static str = "tags not fulfilled";
    /// No node is ready and takes replicas.
    pub const NODE_UNAVAILABLE: &'static str = "nodes are unavailable";
    /// No node has the engine's binary.
    pub const ENGINE_IMAGE_NOT_READY: &'static str = "none of the node candidates contains a ready engine image";
    /// The one node that would do does not.
    pub const HARD_AFFINITY: &'static str = "hard affinity cannot be satisfied";
    /// Without particulars.
    pub const SCHEDULING_FAILED: &'static str = "replica scheduling failed";
    /// There is no place for one more replica, so none is made.
    pub const PRECHECK_FAILED: &'static str = "precheck new replica failed";

    /// One word.
    pub fn of(word: impl Into<String>) -> Self {
        Self(BTreeSet::from([word.into()]))
    }

    /// Adds one word.
    pub fn add(&mut self, word: impl Into<String>) {
        self.0.insert(word.into());
    }

    /// Adds the words of others.
    pub fn append(&mut self, others: Objections) {
        self.0.extend(others.0);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, as a condition's message has them.
    pub fn join(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join(";")
    }
}

/// A disk that would do.
#[derive(Debug, Clone)]
struct Disk {
    uuid: String,
    node: String,
    spec: DiskSpec,
    status: DiskStatus,
}

/// Places replicas, by one manager's view of the cluster.
pub struct ReplicaScheduler<'a> {
    datastore: &'a Datastore,
}

impl<'a> ReplicaScheduler<'a> {
    /// A scheduler that looks at these caches.
    pub fn new(datastore: &'a Datastore) -> Self {
        Self { datastore }
    }

    /// Gives an unplaced replica a node, a disk and a folder; or says why there is no place.
    pub fn schedule(
        &self,
        replica: &mut Replica,
        replicas: &BTreeMap<String, Replica>,
        volume: &Volume,
    ) -> Result<Option<Objections>> {
        let replica_name = name(&replica.metadata).to_owned();
        if !replica.spec.node_id.is_empty() {
            let node = &replica.spec.node_id;
            return Err(Error::message(format!("BUG: Replica {replica_name} has been scheduled to node {node}")));
        }
        if replica.spec.healthy_at.is_empty() && !replica.spec.failed_at.is_empty() {
            tracing::warn!("Failed replica {replica_name} is not scheduled");
            return Ok(Some(Objections::default()));
        }
        let (disks, objections) = self.disks_for(replica, replicas, volume)?;
        let Some(disk) = self.with_most_room(disks) else {
            tracing::error!("There's no available disk for replica {replica_name}, size {}", replica.spec.volume_size);
            return Ok(Some(objections));
        };
        let spec = &mut replica.spec;
        spec.node_id = disk.node;
        spec.disk_id = disk.uuid;
        spec.disk_path = disk.spec.path;
        let digits = self.datastore.random_digits(names::SHORT_RANDOM_CHARACTERS);
        spec.data_directory_name = format!("{}-{digits}", spec.volume_name);
        tracing::info!("Schedule replica {replica_name} to node {}, disk {}", spec.node_id, spec.disk_id);
        Ok(None)
    }

    /// Whether there would be a place for a new replica; if not, why.
    pub fn has_place_for(
        &self,
        replica: &Replica,
        replicas: &BTreeMap<String, Replica>,
        volume: &Volume,
    ) -> Result<Result<(), Objections>> {
        let (disks, objections) = self.disks_for(replica, replicas, volume)?;
        Ok(if disks.is_empty() { Err(objections) } else { Ok(()) })
    }

    /// Whether the disks of a volume's replicas take its growth; if not, why.
    pub fn check_expansion(&self, volume: &Volume, old_size: i64, new_size: i64) -> Result<Result<(), String>> {
        let mut disks: BTreeMap<String, (DiskSpace, i64)> = BTreeMap::new();
        for replica in self.datastore.replicas_of_volume(name(&volume.metadata)).values() {
            let (node_name, disk) = (&replica.spec.node_id, &replica.spec.disk_id);
            if node_name.is_empty() {
                continue;
            }
            let node = self.datastore.nodes.get(node_name)?;
            let Some((spec, status)) = disk_of(&node, disk) else {
                return Ok(Err(format!("cannot find the disk {disk} in node {node_name}")));
            };
            let space = DiskSpace::of(self.datastore, &spec, status)?;
            disks.entry(disk.clone()).or_insert((space, 0)).1 += 1;
        }
        for (disk, (space, replicas)) in disks {
            let more = (new_size - old_size) * replicas;
            if !space.takes(more, 0) {
                return Ok(Err(format!("cannot schedule {more} more bytes to disk {disk} with {space:?}")));
            }
        }
        Ok(Ok(()))
    }

    /// The disk with the most bytes that are neither used nor reserved; of equal ones, whichever Go's map gives last.
    fn with_most_room(&self, disks: BTreeMap<String, Disk>) -> Option<Disk> {
        let room = |disk: &Disk| disk.status.storage_available - disk.spec.storage_reserved;
        self.datastore.in_map_order(disks.into_values()).into_iter().max_by_key(room)
    }

    /// Nodes that are ready and take replicas, by name.
    fn usable_nodes(&self) -> BTreeMap<String, Arc<Node>> {
        let holds =
            |node: &Node, condition: &str| node.status.conditions.condition(condition).status.as_str() == "True";
        let usable = |node: &Arc<Node>| {
            node.metadata.deletion_timestamp.is_none()
                && holds(node, "Ready")
                && holds(node, "Schedulable")
                && node.spec.allow_scheduling
        };
        let nodes = self.datastore.nodes.list();
        nodes.into_iter().filter(usable).map(|node| (name(&node.metadata).to_owned(), node)).collect()
    }
}

/// Spec and status of the disk with this id on a node; a disk that is only in the status has an empty spec.
pub fn disk_of<'a>(node: &'a Node, disk_uuid: &str) -> Option<(DiskSpec, &'a DiskStatus)> {
    let (disk, status) = node.status.disk_status.iter().find(|(_, status)| status.disk_uuid == disk_uuid)?;
    Some((node.spec.disks.get(disk).cloned().unwrap_or_default(), status))
}

/// Whether tags have all that selectors ask for; without selectors, whether things with tags may be used for it at all.
fn fits_selectors(tags: &[String], selectors: &[String], allow_empty_selector: bool) -> bool {
    if selectors.is_empty() && !allow_empty_selector && !tags.is_empty() {
        return false;
    }
    selectors.iter().all(|selector| tags.contains(selector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_ask_for_all_of_their_tags() {
        let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(fits_selectors(&texts(&["fast", "ssd"]), &texts(&["ssd"]), true));
        assert!(!fits_selectors(&texts(&["fast"]), &texts(&["ssd"]), true));
        assert!(fits_selectors(&texts(&["fast"]), &[], true));
        assert!(!fits_selectors(&texts(&["fast"]), &[], false));
    }

    #[test]
    fn each_objection_is_said_once() {
        let mut objections = Objections::of(Objections::TAGS_NOT_FULFILLED);
        objections.add(Objections::INSUFFICIENT_STORAGE);
        objections.append(Objections::of(Objections::INSUFFICIENT_STORAGE));
        assert_eq!(objections.join(), "insufficient storage;tags not fulfilled");
    }
}
