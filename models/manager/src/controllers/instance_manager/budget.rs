//! PodDisruptionBudgets: while an instance manager runs, a drain must not evict its pod (`syncInstanceManagerPDB`).
//!
//! When a cordoned node's budget may go again (drain policies) belongs to draining, which is not here: it stays until the instance manager
//! is gone.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::{InstanceManager, labels};
use serde_json::json;

use super::InstanceManagerController;
use crate::runtime::backups::name;
use crate::runtime::{Error, Result};

impl InstanceManagerController {
    pub(super) async fn keep_budget(&self, manager: &InstanceManager) -> Result<()> {
        self.delete_budgets_of_gone_managers().await?;
        let (datastore, spec) = (&self.manager.datastore, &manager.spec);
        if manager.status.current_state != InstanceManagerState::Running
            || datastore.is_kubernetes_node_cordoned(&spec.node_id)?
            || datastore.disruption_budgets.find(name(&manager.metadata)).is_some()
        {
            return Ok(());
        }
        let budget = json!({
            "metadata": {"name": name(&manager.metadata), "namespace": datastore.namespace},
            "spec": {
                "minAvailable": 1,
                "selector": {"matchLabels": labels::of_instance_manager(&spec.node_id, &spec.image, spec.data_engine.as_str())},
            },
        });
        let budget: PodDisruptionBudget =
            serde_json::from_value(budget).map_err(|error| Error::message(error.to_string()))?;
        match datastore.disruption_budgets.api().create(&budget).await {
            Err(error) if error.is_already_exists() => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Budgets have no owner; every manager takes away those of instance managers that are gone.
    async fn delete_budgets_of_gone_managers(&self) -> Result<()> {
        let datastore = &self.manager.datastore;
        for budget in datastore.disruption_budgets.list() {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()?.match_labels.as_ref());
            let component = selector.and_then(|labels| labels.get(labels::COMPONENT));
            let budget_name = name(&budget.metadata);
            let is_left = component.is_some_and(|component| component == "instance-manager")
                && datastore.instance_managers.find(budget_name).is_none();
            if !is_left {
                continue;
            }
            match datastore.disruption_budgets.delete(budget_name).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
