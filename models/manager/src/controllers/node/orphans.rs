//! Orphans of a node's disks, and which orphans go because of the node (`syncOrphans`).

use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::orphan::{self, OrphanType};
use longhorn_api::{Node, Orphan, Release, labels, names, settings};

use super::super::instance_manager::{deletes_by_itself, is_of_instance, is_past_grace, parameter};
use super::NodeController;
use super::disk_monitor::{Collected, CollectedDisk};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result};

impl NodeController {
    pub(super) async fn keep_orphans(&self, node: &Node, collected: &Collected) -> Result<()> {
        let datastore = &self.manager.datastore;
        for (disk_name, found) in datastore.in_map_order(collected.iter()) {
            self.create_orphans(node, disk_name, found)
                .await
                .context(|| format!("failed to create orphans for disk {disk_name}"))?;
            self.delete_orphans(node, disk_name, found)
                .await
                .context(|| format!("failed to delete orphans for disk {disk_name}"))?;
        }
        match datastore.release() {
            release if release.before(Release::V1_9_0_DEV_00886872C) => Ok(()),
            release if release.before(Release::V1_9_2) && !node.spec.eviction_requested => Ok(()),
            _ => self.delete_instance_orphans(node).await,
        }
    }

    async fn create_orphans(&self, node: &Node, disk_name: &str, found: &CollectedDisk) -> Result<()> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let (Some(disk), Some(status)) = (node.spec.disks.get(disk_name), node.status.disk_status.get(disk_name))
        else {
            return Ok(());
        };
        for data in datastore.in_map_order(found.orphaned.iter()) {
            let orphan_name = names::orphaned_replica(me, disk_name, &found.path, &found.uuid, data);
            if datastore.orphans.find(&orphan_name).is_some() {
                continue;
            }
            let mut orphan = Orphan::default();
            orphan.metadata.name = Some(orphan_name);
            orphan.spec.node_id = me.to_owned();
            orphan.spec.orphan_type = OrphanType::ReplicaData;
            let parameters = [
                (orphan::PARAMETER_DATA_NAME, data.as_str()),
                (orphan::PARAMETER_DISK_NAME, disk_name),
                (orphan::PARAMETER_DISK_UUID, status.disk_uuid.as_str()),
                (orphan::PARAMETER_DISK_PATH, disk.path.as_str()),
                (orphan::PARAMETER_DISK_TYPE, disk.disk_type.as_str()),
            ];
            for (key, value) in parameters {
                orphan.spec.parameters.insert(key, value.to_owned());
            }
            match datastore.orphans.create(&orphan).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes the orphans whose data is gone from the disk; and of all orphans that this manager owns those that settings have deleted, and
    /// those whose data cannot be reached.
    async fn delete_orphans(&self, node: &Node, disk_name: &str, found: &CollectedDisk) -> Result<()> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let by_itself = if datastore.release().before(Release::V1_9_0_DEV_00886872C) {
            datastore.setting_flag(settings::ORPHAN_AUTO_DELETION)?
        } else {
            let kind = if datastore.release().before(Release::V1_9_2) { "replicaData" } else { "replica-data" };
            deletes_by_itself(datastore, kind)?
        };
        let is_of_disk = |orphan: &Orphan| {
            orphan.spec.orphan_type == OrphanType::ReplicaData
                && parameter(orphan, orphan::PARAMETER_DISK_NAME) == disk_name
                && parameter(orphan, orphan::PARAMETER_DISK_UUID) == found.uuid
                && parameter(orphan, orphan::PARAMETER_DISK_PATH) == found.path
        };
        for orphan in datastore.orphans.list_labelled(&[(labels::NODE, name(&node.metadata))]) {
            let data = parameter(&orphan, orphan::PARAMETER_DATA_NAME);
            if is_of_disk(&orphan) && !found.orphaned.contains(data) {
                self.delete_orphan(name(&orphan.metadata)).await?;
            }
        }
        for orphan in datastore.orphans.list() {
            let cleanable = orphan.status.conditions.condition(orphan::CONDITION_DATA_CLEANABLE).status;
            if orphan.status.owner_id != me || cleanable == ConditionStatus::Unknown {
                continue;
            }
            if cleanable == ConditionStatus::False || (by_itself && is_past_grace(datastore, &orphan)?) {
                self.delete_orphan(name(&orphan.metadata)).await?;
            }
        }
        Ok(())
    }

    /// Orphans of instances go when their node is emptied; since v1.9.2 also when their instance manager is gone or goes.
    async fn delete_instance_orphans(&self, node: &Node) -> Result<()> {
        let datastore = &self.manager.datastore;
        let follows_managers = datastore.release().at_least(Release::V1_9_2);
        let mut failures = Vec::new();
        for orphan in datastore.orphans.list_labelled(&[(labels::NODE, name(&node.metadata))]) {
            if !is_of_instance(&orphan) {
                continue;
            }
            let manager = datastore.instance_managers.find(parameter(&orphan, orphan::PARAMETER_INSTANCE_MANAGER));
            let goes = manager.is_none_or(|manager| manager.metadata.deletion_timestamp.is_some());
            if node.spec.eviction_requested || (follows_managers && goes) {
                let orphan_name = name(&orphan.metadata);
                if let Err(error) = self.delete_orphan(orphan_name).await {
                    failures.push(format!("{orphan_name}: {error}"));
                }
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(Error::message(format!("node controller failed to delete instance orphans: {failures:?}")))
    }

    async fn delete_orphan(&self, orphan: &str) -> Result<()> {
        match self.manager.datastore.orphans.delete(orphan).await {
            Err(error) if !error.is_not_found() => Err(error).context(|| format!("failed to delete orphan {orphan}")),
            _ => Ok(()),
        }
    }
}
