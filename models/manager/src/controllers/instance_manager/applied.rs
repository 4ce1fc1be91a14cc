//! What settings say of instance managers' pods, and whether a pod still is as they say (`areDangerZoneSettingsSyncedToIMPod`).

use k8s_openapi::api::core::v1::{Node as KubernetesNode, Pod};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{InstanceManager, Release, labels, settings};
use serde_json::{Value, json};

use super::super::engine_image_daemon_set::{node_selector, tolerations};
use super::InstanceManagerController;
use crate::engine::instance_manager::InstanceManagerClient;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result};

/// Thousandths of a CPU that an instance manager's pod asks for (`GetInstanceManagerCPURequirement`).
pub(super) fn cpu_request(manager: &Manager, instance_manager: &InstanceManager) -> Result<i64> {
    let datastore = &manager.datastore;
    if instance_manager.spec.data_engine == DataEngine::V2 {
        return datastore.setting_number(settings::V2_DATA_ENGINE_GUARANTEED_INSTANCE_MANAGER_CPU);
    }
    let node_name = &instance_manager.spec.node_id;
    let of_node = datastore.nodes.get(node_name)?.spec.instance_manager_cpu_request;
    if of_node != 0 {
        return Ok(of_node);
    }
    let percentage = datastore.setting_number(settings::GUARANTEED_INSTANCE_MANAGER_CPU)?;
    let node = datastore.kubernetes_nodes.require(node_name)?;
    Ok((allocatable_millicpu(&node)? as f64 * percentage as f64 / 100.0).round() as i64)
}

/// `8` or `7500m`.
fn allocatable_millicpu(node: &KubernetesNode) -> Result<i64> {
    let quantity = node.status.as_ref().and_then(|status| status.allocatable.as_ref()?.get("cpu"));
    let text = quantity.map_or("0", |quantity| quantity.0.as_str());
    let parsed = match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().ok(),
        None => text.parse::<i64>().ok().map(|whole| whole * 1000),
    };
    parsed.ok_or_else(|| Error::message(format!("cannot parse the allocatable CPU {text} of a node")))
}

impl InstanceManagerController {
    /// Tells a running instance manager how much to log; in v1.7.2 only the second data engine's.
    pub(super) async fn apply_log_settings(&self, manager: &InstanceManager) -> Result<()> {
        let datastore = &self.manager.datastore;
        let is_v2 = manager.spec.data_engine == DataEngine::V2;
        let tells_all = datastore.release().at_least(Release::V1_8_0_RC1);
        if manager.status.current_state != InstanceManagerState::Running || !(is_v2 || tells_all) {
            return Ok(());
        }
        let manager_name = name(&manager.metadata);
        let client = InstanceManagerClient::connect(manager, false).await;
        let mut client = client.context(|| format!("failed to create instance manager client for {manager_name}"))?;
        if tells_all {
            client.set_log_level(&DataEngine::V1, &datastore.setting_value(settings::LOG_LEVEL)?).await?;
        }
        if is_v2 {
            client
                .set_log_level(&DataEngine::V2, &datastore.setting_value(settings::V2_DATA_ENGINE_LOG_LEVEL)?)
                .await?;
            client
                .set_log_flags(&DataEngine::V2, &datastore.setting_value(settings::V2_DATA_ENGINE_LOG_FLAGS)?)
                .await?;
        }
        Ok(())
    }

    /// Whether a running pod without running instances is not as the settings say. One that does not run is not judged by them.
    pub(super) fn must_be_replaced(&self, manager: &InstanceManager) -> Result<bool> {
        if manager.status.current_state != InstanceManagerState::Running {
            return Ok(false);
        }
        let status = &manager.status;
        let mut instances = status.instance_engines.values().chain(status.instance_replicas.values());
        if instances.any(|one| matches!(one.status.state, InstanceState::Running | InstanceState::Starting)) {
            return Ok(false);
        }
        let Some(pod) = self.manager.datastore.pods.find(name(&manager.metadata)) else { return Ok(false) };
        let as_settings_say = self.is_as_settings_say(manager, &pod)? && self.has_cpu_mask(manager)?;
        if !as_settings_say {
            tracing::warn!("Deleting instance manager pod {} since settings are not synced", name(&manager.metadata));
        }
        Ok(!as_settings_say)
    }

    fn has_cpu_mask(&self, manager: &InstanceManager) -> Result<bool> {
        let datastore = &self.manager.datastore;
        if manager.spec.data_engine != DataEngine::V2 || datastore.release().before(Release::V1_8_0_RC1) {
            return Ok(true);
        }
        let applied = &manager.status.data_engine_status.v2.cpu_mask;
        let own = &manager.spec.data_engine_spec.v2.cpu_mask;
        if !own.is_empty() {
            return Ok(own == applied);
        }
        Ok(datastore.setting_value(settings::V2_DATA_ENGINE_CPU_MASK)? == *applied)
    }

    fn is_as_settings_say(&self, manager: &InstanceManager, pod: &Pod) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let value = |setting| datastore.setting_value(setting);
        let spec = serde_json::to_value(&pod.spec).map_err(|error| Error::message(error.to_string()))?;
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        let tolerated = annotations.get(labels::LAST_APPLIED_TOLERATIONS).map_or("[]", String::as_str);
        let engine_is_on = match manager.spec.data_engine {
            DataEngine::V2 => datastore.setting_flag(settings::V2_DATA_ENGINE)?,
            _ => datastore.setting_flag(settings::V1_DATA_ENGINE)?,
        };
        let selector = node_selector(&value(settings::SYSTEM_MANAGED_COMPONENTS_NODE_SELECTOR)?);
        let selects = |spec: &Value| {
            spec["nodeSelector"] == selector || (spec["nodeSelector"].is_null() && selector == json!({}))
        };
        let wanted_tolerations = tolerations(&value(settings::TAINT_TOLERATION)?);
        Ok(engine_is_on
            && serde_json::from_str::<Value>(tolerated).is_ok_and(|tolerated| tolerated == wanted_tolerations)
            && selects(&spec)
            && spec["priorityClassName"].as_str().unwrap_or_default() == value(settings::PRIORITY_CLASS)?
            && self.has_cpu_request(manager, &spec)?
            && self.has_probe_timeout(&spec)?)
    }

    /// On a node that is not ready nothing is replaced for its CPU's sake.
    fn has_cpu_request(&self, manager: &InstanceManager, spec: &Value) -> Result<bool> {
        let node = self.manager.datastore.nodes.get(&manager.spec.node_id)?;
        if node.status.conditions.condition("Ready").status != ConditionStatus::True {
            return Ok(true);
        }
        let wanted = cpu_request(&self.manager, manager)?;
        let has = spec["containers"][0]["resources"]["requests"]["cpu"].as_str().unwrap_or("0");
        Ok(millicpu_text(wanted).unwrap_or_else(|| "0".to_owned()) == has)
    }

    fn has_probe_timeout(&self, spec: &Value) -> Result<bool> {
        if self.manager.datastore.release().before(Release::V1_9_2) {
            return Ok(true);
        }
        let wanted = self.manager.datastore.setting_number(settings::INSTANCE_MANAGER_POD_LIVENESS_PROBE_TIMEOUT)?;
        let probe = &spec["containers"][0]["livenessProbe"];
        Ok(probe.is_null() || probe["timeoutSeconds"] == wanted)
    }
}

/// As the API server writes the quantity; none for nothing.
pub(super) fn millicpu_text(thousandths: i64) -> Option<String> {
    match thousandths {
        0 => None,
        whole if whole % 1000 == 0 => Some((whole / 1000).to_string()),
        part => Some(format!("{part}m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_thousandths() {
        let node =
            |cpu: &str| serde_json::from_value(json!({"status": {"allocatable": {"cpu": cpu}}})).expect("a node");
        assert_eq!(allocatable_millicpu(&node("8")).ok(), Some(8000));
        assert_eq!(allocatable_millicpu(&node("7500m")).ok(), Some(7500));
        assert!(allocatable_millicpu(&node("many")).is_err());
        assert_eq!(millicpu_text(480).as_deref(), Some("480m"));
        assert_eq!(millicpu_text(2000).as_deref(), Some("2"));
    }
}
