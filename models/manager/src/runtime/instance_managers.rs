//! Which instance manager an instance belongs to, as the caches know them (`datastore/longhorn.go`).
//!
//! For v1 it is the one of the default image on the instance's node; for v2 there is one image at a time, and of several managers the
//! running one counts. Running means what the resource's status says: a terminating manager whose status is no longer kept counts as well.

use std::sync::Arc;

use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{InstanceManager, labels, names, settings};

use super::datastore::Datastore;
use super::error::{Context, Error, Result};

impl Datastore {
    /// The instance manager of an instance on this node (`GetInstanceManagerByInstanceRO`).
    pub fn instance_manager_for(&self, node: &str, engine: &DataEngine) -> Result<Arc<InstanceManager>> {
        if node.is_empty() {
            return Err(Error::message(
                "invalid request for GetInstanceManagerByInstance: no NodeID specified for instance",
            ));
        }
        let mut found = if *engine == DataEngine::V2 {
            self.instance_managers_on(node, engine, None)
        } else {
            let image = self.existing_setting_value(settings::DEFAULT_INSTANCE_MANAGER_IMAGE);
            let image = image.context(|| "failed to get default instance manager image")?;
            self.instance_managers_on(node, engine, Some(&image))
        };
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(Error::message(format!("no instance manager found for node {node}"))),
            (Some(only), true) => Ok(only),
            (Some(last), false) if *engine == DataEngine::V2 => {
                found.push(last);
                self.first_running(found).ok_or_else(|| Error::message("failed to find a running instance manager"))
            }
            _ => Err(Error::message(format!("ambiguous instance manager selection for node {node}"))),
        }
    }

    /// The instance manager of the default image on a node (`GetDefaultInstanceManagerByNodeRO`).
    pub fn default_instance_manager(&self, node: &str, engine: &DataEngine) -> Option<Arc<InstanceManager>> {
        let image = self.existing_setting_value(settings::DEFAULT_INSTANCE_MANAGER_IMAGE).ok()?;
        self.in_map_order(self.instance_managers_on(node, engine, Some(&image))).into_iter().next()
    }

    /// A running instance manager on a node, of the default image if that runs (`GetRunningInstanceManagerByNodeRO`).
    pub fn running_instance_manager(&self, node: &str, engine: &DataEngine) -> Option<Arc<InstanceManager>> {
        let default = self.default_instance_manager(node, engine);
        let default = default.filter(|manager| manager.status.current_state == InstanceManagerState::Running);
        default.or_else(|| self.first_running(self.instance_managers_on(node, engine, None)))
    }

    /// The instance managers of a data engine on a node, of one image or of all.
    pub fn instance_managers_on(
        &self,
        node: &str,
        engine: &DataEngine,
        image: Option<&str>,
    ) -> Vec<Arc<InstanceManager>> {
        let image = image.map(names::instance_manager_image);
        let mut selector = vec![
            (labels::MANAGED_BY, labels::MANAGED_BY_VALUE),
            (labels::COMPONENT, "instance-manager"),
            (labels::INSTANCE_MANAGER_TYPE, "aio"),
            (labels::DATA_ENGINE, engine.as_str()),
            (labels::COMPONENT_NODE, node),
        ];
        selector.extend(image.iter().map(|image| (labels::INSTANCE_MANAGER_IMAGE, image.as_str())));
        self.instance_managers.list_labelled(&selector)
    }

    fn first_running(&self, managers: Vec<Arc<InstanceManager>>) -> Option<Arc<InstanceManager>> {
        let running = |manager: &Arc<InstanceManager>| manager.status.current_state == InstanceManagerState::Running;
        self.in_map_order(managers).into_iter().find(running)
    }
}
