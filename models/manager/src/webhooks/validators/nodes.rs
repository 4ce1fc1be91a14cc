//! The validator of nodes, as far as it concerns what this storey has: eviction, and disks in the spec. CPU reservations come with the
//! instance managers that use them.

use longhorn_api::kinds::node::{DiskDriver, DiskSpec, DiskType};
use longhorn_api::{Node, settings};

use super::{Denial, takes_finalizer_off};
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore};

/// A Node's numbers and disks make sense.
pub fn new(datastore: &Datastore, node: &Node) -> Result<(), Denial> {
    check_request(node)?;
    let blocks = takes_blocks(datastore)?;
    node.spec.disks.iter().try_for_each(|(disk_name, disk)| {
        if disk.disk_type == DiskType::Block && !blocks {
            let (kind, why) = (&disk.disk_type, "is not supported since v2 data engine is disabled");
            return Err(Denial::invalid(format!("disk {disk_name} type {kind} {why}")));
        }
        check_driver(disk_name, disk)
    })
}

/// The finalizer of a terminating Node can always be taken off.
pub fn changed(datastore: &Datastore, old: &Node, new: &Node) -> Result<(), Denial> {
    if takes_finalizer_off(&old.metadata, &new.metadata) {
        return Ok(());
    }
    check_request(new)?;
    let old_name = name(&old.metadata);
    if new.spec.eviction_requested && new.spec.allow_scheduling {
        return Err(Denial::invalid(format!(
            "need to disable scheduling on node {old_name} for node eviction, or cancel eviction to enable scheduling on this node"
        )));
    }
    let followed = |node: &Node| {
        let mut disks = node.spec.disks.keys();
        node.spec.disks.len() == node.status.disk_status.len()
            && disks.all(|disk| node.status.disk_status.contains_key(disk))
    };
    if !followed(old) {
        let message = format!("spec and status of disks on node {old_name} are being syncing and please retry later.");
        return Err(Denial::forbidden(message));
    }
    let blocks = takes_blocks(datastore)?;
    new.spec.disks.iter().try_for_each(|(disk_name, disk)| changed_disk(new, disk_name, disk, blocks))?;
    old.spec.disks.iter().try_for_each(|(disk_name, disk)| kept_disk(old, new, disk_name, disk))
}

fn changed_disk(node: &Node, disk_name: &str, disk: &DiskSpec, blocks: bool) -> Result<(), Denial> {
    if disk.eviction_requested && disk.allow_scheduling {
        return Err(Denial::invalid(format!(
            "need to disable scheduling on disk {disk_name} for disk eviction, or cancel eviction to enable scheduling on this disk"
        )));
    }
    let (node_name, path) = (name(&node.metadata), &disk.path);
    if disk.storage_reserved < 0 {
        return Err(Denial::invalid(format!(
            "update disk on node {node_name} error: The storageReserved setting of disk {disk_name}({path}) is not valid, should be \
             positive and no more than storageMaximum and storageAvailable"
        )));
    }
    if disk.disk_type == DiskType::Block && !blocks {
        return Err(Denial::invalid(format!(
            "update disk on node {node_name} error: The disk {disk_name}({path}) is a block device, but the SPDK feature is not enabled"
        )));
    }
    check_driver(disk_name, disk)
}

/// A disk with replicas, or one that may get some, cannot be taken away; and none changes its type.
fn kept_disk(old: &Node, new: &Node, disk_name: &str, disk: &DiskSpec) -> Result<(), Denial> {
    let (node_name, path) = (name(&new.metadata), &disk.path);
    let Some(kept) = new.spec.disks.get(disk_name) else {
        let scheduled = old.status.disk_status.get(disk_name).map_or(0, |status| status.storage_scheduled);
        if disk.allow_scheduling || scheduled != 0 {
            return Err(Denial::invalid(format!(
                "Delete Disk on node {node_name} error: Please disable the disk {path} and remove all replicas first "
            )));
        }
        return Ok(());
    };
    if disk.disk_type != DiskType::Unset && disk.disk_type != kept.disk_type {
        return Err(Denial::invalid(format!(
            "update disk on node {node_name} error: The disk {disk_name}({path}) type is not allow to change"
        )));
    }
    Ok(())
}

fn check_request(node: &Node) -> Result<(), Denial> {
    if node.spec.instance_manager_cpu_request < 0 {
        return Err(Denial::invalid("instanceManagerCPURequest should be greater than or equal to 0"));
    }
    Ok(())
}

fn check_driver(disk_name: &str, disk: &DiskSpec) -> Result<(), Denial> {
    if disk.disk_type != DiskType::Block && disk.disk_driver != DiskDriver::None {
        let kind = &disk.disk_type;
        return Err(Denial::invalid(format!("disk {disk_name} type {kind} is not supported to specify disk driver")));
    }
    Ok(())
}

fn takes_blocks(datastore: &Datastore) -> Result<bool, Denial> {
    Ok(datastore.setting_flag(settings::V2_DATA_ENGINE).context(|| "failed to get spdk setting")?)
}

#[cfg(test)]
mod tests {
    use longhorn_api::{Build, labels};

    use super::super::super::tests::webhook_datastore;
    use super::*;

    fn datastore() -> Datastore {
        webhook_datastore(Build::parse_tag("v1.8.0").unwrap())
    }

    #[test]
    fn an_evicted_node_takes_no_replicas() {
        let mut node = Node::default();
        assert_eq!(changed(&datastore(), &node, &node), Ok(()));
        (node.spec.eviction_requested, node.spec.allow_scheduling) = (true, true);
        assert!(changed(&datastore(), &node, &node).is_err());
    }

    #[test]
    fn the_finalizer_of_a_terminating_node_goes_whatever_else() {
        let mut old = Node::default();
        labels::add_finalizer(&mut old.metadata);
        (old.spec.eviction_requested, old.spec.allow_scheduling) = (true, true);
        let mut new = old.clone();
        labels::remove_finalizer(&mut new.metadata);
        assert!(changed(&datastore(), &old, &new).is_err());
        old.metadata.deletion_timestamp = Some(crate::runtime::clock::now());
        assert_eq!(changed(&datastore(), &old, &new), Ok(()));
    }

    #[test]
    fn a_disk_that_takes_replicas_stays() {
        let mut old = Node::default();
        let disk = DiskSpec { allow_scheduling: true, ..DiskSpec::default() };
        old.spec.disks.insert("d", disk);
        let denial = changed(&datastore(), &old, &Node::default()).unwrap_err();
        assert!(denial.to_string().contains("are being syncing"), "the status knows nothing of it yet: {denial}");
        old.status.disk_status.insert("d", longhorn_api::kinds::node::DiskStatus::default());
        let denial = changed(&datastore(), &old, &Node::default()).unwrap_err();
        assert!(denial.to_string().contains("remove all replicas first"), "{denial}");
    }
}
