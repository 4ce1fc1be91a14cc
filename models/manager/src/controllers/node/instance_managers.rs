//! The instance managers of a node: one of the default image for each data engine (`syncInstanceManagers`).
//!
//! Their names follow from node, image and data engine. One that exists counts, even while it is being deleted: nothing takes its place
//! before it is gone, and nothing could, for its name is taken.

use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::instance_manager::{InstanceManagerState, InstanceManagerType};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{InstanceManager, Node, labels, names, settings};

use super::NodeController;
use crate::runtime::backups::name;
use crate::runtime::{Error, Result};

impl NodeController {
    pub(super) async fn keep_instance_managers(&self, node: &Node) -> Result<()> {
        let datastore = &self.manager.datastore;
        let image = datastore.existing_setting_value(settings::DEFAULT_INSTANCE_MANAGER_IMAGE)?;
        for engine in self.data_engines()? {
            if !self.keep_instance_manager(node, &image, &engine).await? {
                break;
            }
        }
        Ok(())
    }

    /// The data engines that are switched on and can run.
    fn data_engines(&self) -> Result<Vec<DataEngine>> {
        let datastore = &self.manager.datastore;
        let mut engines = Vec::new();
        if datastore.setting_flag(settings::V1_DATA_ENGINE)? {
            engines.push(DataEngine::V1);
        }
        if datastore.setting_flag(settings::V2_DATA_ENGINE)? {
            match datastore.validate_data_engine(&DataEngine::V2, true) {
                Ok(_) => engines.push(DataEngine::V2),
                Err(error) => tracing::warn!(%error, "Failed to validate {} setting", settings::V2_DATA_ENGINE),
            }
        }
        Ok(engines)
    }

    /// False if the node is to be looked at again first.
    async fn keep_instance_manager(&self, node: &Node, image: &str, engine: &DataEngine) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let node_name = name(&node.metadata);
        let is_disabled = *engine == DataEngine::V2 && datastore.is_v2_disabled_on(node_name)?;
        let mut is_there = false;
        for manager in datastore.in_map_order(datastore.instance_managers_on(node_name, engine, None)) {
            check_labels(&manager)?;
            let manager_name = name(&manager.metadata);
            let is_default = manager.spec.image == image;
            is_there |= is_default;
            let is_waited_for = manager.status.current_state == InstanceManagerState::Unknown
                && manager.metadata.deletion_timestamp.is_none();
            let is_superfluous = match is_default {
                true => is_disabled && !has_active_instance(&manager),
                false => !has_active_instance(&manager) && !is_waited_for,
            };
            if is_superfluous {
                tracing::info!(
                    "Cleaning up the redundant instance manager {manager_name} when there is no running/starting instance"
                );
                datastore.instance_managers.delete_foreground(manager_name).await?;
            }
        }
        if is_there || is_disabled {
            return Ok(true);
        }
        self.create_instance_manager(node_name, image, engine).await
    }

    async fn create_instance_manager(&self, node: &str, image: &str, engine: &DataEngine) -> Result<bool> {
        let store = &self.manager.datastore.instance_managers;
        let manager_name = names::instance_manager(node, image, engine.as_str());
        tracing::info!("Creating default instance manager {manager_name}, image: {image}, dataEngine: {engine}");
        let mut manager = InstanceManager::default();
        manager.metadata.name = Some(manager_name.clone());
        manager.spec.image = image.to_owned();
        manager.spec.node_id = node.to_owned();
        manager.spec.instance_manager_type = InstanceManagerType::AllInOne;
        manager.spec.data_engine = engine.clone();
        match store.create(&manager).await {
            // One that the labels do not find is of no use.
            Err(error) if error.is_already_exists() => {
                tracing::warn!(%error, "Deleting instance manager {manager_name} because it cannot be obtained by selector labels");
                store.delete_foreground(&manager_name).await?;
                self.queue.add(node);
                Ok(false)
            }
            other => other.map(|_| true),
        }
    }
}

/// Whether something runs or starts in an instance manager that runs and stays.
fn has_active_instance(manager: &InstanceManager) -> bool {
    let status = &manager.status;
    let is_active = |state: &InstanceState| matches!(state, InstanceState::Running | InstanceState::Starting);
    let mut instances = status.instance_engines.values().chain(status.instance_replicas.values());
    status.current_state == InstanceManagerState::Running
        && manager.metadata.deletion_timestamp.is_none()
        && instances.any(|instance| is_active(&instance.status.state))
}

/// An instance manager whose label says another node than its spec is nobody's to keep.
fn check_labels(manager: &InstanceManager) -> Result<()> {
    let labelled = labels::get(&manager.metadata, labels::COMPONENT_NODE).unwrap_or_default();
    if labelled == manager.spec.node_id {
        return Ok(());
    }
    Err(Error::message(format!(
        "instance manager {} nodeID {} is not consistent with the label {}={labelled}",
        name(&manager.metadata),
        manager.spec.node_id,
        labels::COMPONENT_NODE
    )))
}
