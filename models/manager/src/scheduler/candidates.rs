//! Which nodes a replica may go to, and in which order they are tried: unused nodes in unused zones first, then as far down as the
//! anti-affinities allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::{Choice, DataEngine, VolumeRobustness};
use longhorn_api::{Node, Replica, Volume, settings};

use super::disks::DiskRules;
use super::reuse::{is_potentially_reusable, time_to_replacement};
use super::{Disk, Objections, ReplicaScheduler, fits_selectors};
use crate::runtime::{Context, Result};

/// For each node, the ids of the disks that are looked at.
pub(super) type DisksByNode = BTreeMap<String, BTreeSet<String>>;
type Nodes = BTreeMap<String, Arc<Node>>;

/// How the disks are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    /// Whether disks must be schedulable and have room.
    pub checks_room: bool,
    /// Whether a failed replica leaves its place free.
    pub ignores_failed_replicas: bool,
}

impl ReplicaScheduler<'_> {
    /// The disks that would do for a replica, by id; and why the others would not.
    pub(super) fn disks_for(
        &self,
        replica: &Replica,
        replicas: &BTreeMap<String, Replica>,
        volume: &Volume,
    ) -> Result<(BTreeMap<String, Disk>, Objections)> {
        let nodes = match self.nodes_for(replica) {
            Ok(nodes) => nodes,
            Err(objections) => return Ok((BTreeMap::new(), objections)),
        };
        let usable_disks = |node: &Arc<Node>| {
            let usable = node.status.disk_status.iter().filter(|(disk, status)| {
                let spec = node.spec.disks.get(*disk);
                spec.is_some_and(|spec| spec.allow_scheduling && !spec.eviction_requested)
                    && status.conditions.condition("Schedulable").status.as_str() == "True"
            });
            usable.map(|(_, status)| status.disk_uuid.clone()).collect()
        };
        let disks = nodes.iter().map(|(node_name, node)| (node_name.clone(), usable_disks(node))).collect();
        let search = Search { checks_room: true, ignores_failed_replicas: false };
        self.candidates(&nodes, &disks, replicas, volume, search)
    }

    /// The usable nodes on which an instance of the replica could run.
    fn nodes_for(&self, replica: &Replica) -> Result<Nodes, Objections> {
        let mut nodes = self.usable_nodes();
        let affinity = &replica.spec.hard_node_affinity;
        if !affinity.is_empty() {
            nodes.retain(|node, _| node == affinity);
            if nodes.is_empty() {
                return Err(Objections::of(Objections::HARD_AFFINITY));
            }
        }
        if nodes.is_empty() {
            return Err(Objections::of(Objections::NODE_UNAVAILABLE));
        }
        let (engine, image) = (&replica.spec.data_engine, &replica.spec.image);
        nodes.retain(|node, _| {
            self.has_instance_manager(node, engine)
                && self.datastore.is_data_engine_image_ready(image, engine, node).unwrap_or(false)
        });
        if nodes.is_empty() { Err(Objections::of(Objections::ENGINE_IMAGE_NOT_READY)) } else { Ok(nodes) }
    }

    /// Whether the node's instance manager runs; one that is being deleted is not asked (`CheckInstanceManagersReadiness`).
    fn has_instance_manager(&self, node: &str, engine: &DataEngine) -> bool {
        if *engine == DataEngine::V2 {
            return self.datastore.running_instance_manager(node, engine).is_some();
        }
        self.datastore.default_instance_manager(node, engine).is_some_and(|manager| {
            manager.status.current_state == InstanceManagerState::Running
                || manager.metadata.deletion_timestamp.is_some()
        })
    }

    /// The disks of the first group of nodes in which there is one that fits.
    pub(super) fn candidates(
        &self,
        nodes: &Nodes,
        disks: &DisksByNode,
        replicas: &BTreeMap<String, Replica>,
        volume: &Volume,
        search: Search,
    ) -> Result<(BTreeMap<String, Disk>, Objections)> {
        let rules = DiskRules::of(self.datastore, volume, search)?;
        let replaces_failed = volume.status.robustness == VolumeRobustness::Degraded
            && time_to_replacement(self.datastore, volume)
                .context(|| "failed to get time until replica replacement")?
                .is_zero();
        let used = Used::by(replicas, nodes, search.ignores_failed_replicas, replaces_failed);
        let allow_empty = self.datastore.setting_flag(settings::ALLOW_EMPTY_NODE_SELECTOR_VOLUME)?;
        let selected = |node: &Node| {
            fits_selectors(&node.spec.tags, &volume.spec.node_selector, allow_empty)
                && rules.image_takes_node(node, allow_empty)
        };
        let soft = |choice: &Choice, setting| match choice {
            Choice::Enabled => Ok(true),
            Choice::Disabled => Ok(false),
            _ => self.datastore.setting_flag(setting),
        };
        let zones_soft = soft(&volume.spec.replica_zone_soft_anti_affinity, settings::REPLICA_ZONE_SOFT_ANTI_AFFINITY)?;
        let nodes_soft = soft(&volume.spec.replica_soft_anti_affinity, settings::REPLICA_SOFT_ANTI_AFFINITY)?;

        let mut objections = Objections::default();
        for group in used.groups(zones_soft, nodes_soft) {
            let of_group = |(node_name, node): &(&String, &Arc<Node>)| match group {
                Group::UsedNodes => used.nodes.contains(*node_name),
                _ => selected(node) && used.is_in(group, node_name, &node.status.zone),
            };
            let mut found = BTreeMap::new();
            for (node_name, node) in nodes.iter().filter(of_group) {
                let of_node = disks.get(node_name).cloned().unwrap_or_default();
                rules.fitting(self.datastore, node, &of_node, replicas, volume, &mut found, &mut objections);
            }
            let found = rules.spread(found, replicas);
            if !found.is_empty() {
                return Ok((found, Objections::default()));
            }
        }
        Ok((BTreeMap::new(), objections))
    }
}

/// A group of nodes that is tried before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// No replica on the node, none in its zone.
    UnusedZones,
    /// Only replicas that move away, on the node and in its zone.
    ZonesAfterEviction,
    /// No replica on the node.
    UnusedNodes,
    /// Only replicas that move away on the node.
    NodesAfterEviction,
    /// A replica on the node. Upstream looks at selectors of nodes for all groups but this one.
    UsedNodes,
}

/// Where replicas of the volume are (`getCurrentNodesAndZones`).
struct Used {
    nodes: BTreeSet<String>,
    zones: BTreeSet<String>,
    /// Whether all replicas there move away.
    evicting_nodes: BTreeMap<String, bool>,
    evicting_zones: BTreeMap<String, bool>,
}

impl Used {
    fn by(replicas: &BTreeMap<String, Replica>, nodes: &Nodes, ignores_failed: bool, replaces_failed: bool) -> Self {
        let mut used = Self {
            nodes: BTreeSet::new(),
            zones: BTreeSet::new(),
            evicting_nodes: BTreeMap::new(),
            evicting_zones: BTreeMap::new(),
        };
        for replica in replicas.values() {
            let failed = !replica.spec.failed_at.is_empty();
            let counts = !failed || !(ignores_failed || replaces_failed || !is_potentially_reusable(replica));
            let Some(node) = nodes.get(&replica.spec.node_id) else { continue };
            if replica.metadata.deletion_timestamp.is_none() && counts {
                used.note(&replica.spec.node_id, &node.status.zone, replica.spec.eviction_requested);
            }
        }
        used
    }

    /// Nodes without a zone are all in one.
    fn note(&mut self, node: &str, zone: &str, evicting: bool) {
        if !evicting {
            self.evicting_nodes.insert(node.to_owned(), false);
            self.evicting_zones.insert(zone.to_owned(), false);
        } else {
            if !self.nodes.contains(node) {
                self.evicting_nodes.insert(node.to_owned(), true);
            }
            if !self.zones.contains(zone) {
                self.evicting_zones.insert(zone.to_owned(), true);
            }
        }
        self.nodes.insert(node.to_owned());
        self.zones.insert(zone.to_owned());
    }

    fn groups(&self, zones_soft: bool, nodes_soft: bool) -> Vec<Group> {
        let mut groups = vec![Group::UnusedZones];
        groups.extend(match (zones_soft, nodes_soft) {
            (false, _) => [Group::ZonesAfterEviction].as_slice(),
            (true, false) => &[Group::UnusedNodes, Group::NodesAfterEviction],
            (true, true) => &[Group::UnusedNodes, Group::UsedNodes],
        });
        groups
    }

    fn is_in(&self, group: Group, node: &str, zone: &str) -> bool {
        let evicting_node = self.evicting_nodes.get(node) == Some(&true);
        match group {
            Group::UnusedZones => !self.zones.contains(zone),
            Group::ZonesAfterEviction => evicting_node && self.evicting_zones.get(zone) == Some(&true),
            Group::UnusedNodes => !self.nodes.contains(node),
            Group::NodesAfterEviction => evicting_node,
            Group::UsedNodes => self.nodes.contains(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(places: &[(&str, &str, bool)]) -> Used {
        let mut used = Used::by(&BTreeMap::new(), &Nodes::new(), false, false);
        places.iter().for_each(|(node, zone, evicting)| used.note(node, zone, *evicting));
        used
    }

    #[test]
    fn zones_come_before_nodes() {
        let used = used(&[("a", "z1", false)]);
        assert!(!used.is_in(Group::UnusedZones, "b", "z1") && used.is_in(Group::UnusedNodes, "b", "z1"));
        assert!(used.is_in(Group::UnusedZones, "c", "z2"));
        assert_eq!(used.groups(true, false), [Group::UnusedZones, Group::UnusedNodes, Group::NodesAfterEviction]);
        assert_eq!(used.groups(false, true), [Group::UnusedZones, Group::ZonesAfterEviction], "a hard zone is harder");
    }

    #[test]
    fn a_replica_that_stays_keeps_its_node() {
        let leaving = used(&[("a", "", true)]);
        assert!(leaving.is_in(Group::NodesAfterEviction, "a", ""));
        let mixed = used(&[("a", "", true), ("a", "", false)]);
        assert!(!mixed.is_in(Group::NodesAfterEviction, "a", ""));
        let mixed = used(&[("a", "", false), ("a", "", true)]);
        assert!(!mixed.is_in(Group::NodesAfterEviction, "a", ""));
    }
}
