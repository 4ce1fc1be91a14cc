//! Whether a data engine may be switched on or off (`ValidateV1DataEngineEnabled`, `ValidateV2DataEngineEnabled`).

use std::sync::Arc;

use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{InstanceManager, labels, settings};

use super::backups::name;
use super::datastore::Datastore;
use super::error::{Error, Result};

impl Datastore {
    /// The data engine's instance managers if it is to be off: then none of them may list an engine. Replicas and orphans are not asked about.
    /// The second one needs huge pages wherever there is an instance manager, if it is to be on.
    pub fn validate_data_engine(&self, engine: &DataEngine, enabled: bool) -> Result<Vec<Arc<InstanceManager>>> {
        if enabled {
            if *engine == DataEngine::V2 {
                self.validate_huge_pages()?;
            }
            return Ok(Vec::new());
        }
        let nodes = self.in_map_order(self.nodes.list());
        let on_node = |node: &Arc<longhorn_api::Node>| self.instance_managers_on(name(&node.metadata), engine, None);
        let managers: Vec<_> = nodes.iter().flat_map(on_node).collect();
        if managers.iter().any(|manager| !manager.status.instance_engines.is_empty()) {
            let setting = if *engine == DataEngine::V2 { settings::V2_DATA_ENGINE } else { settings::V1_DATA_ENGINE };
            return Err(Error::InvalidState(format!(
                "cannot apply {setting} setting to Longhorn workloads when there are attached {engine} volumes"
            )));
        }
        Ok(managers)
    }

    fn validate_huge_pages(&self) -> Result<()> {
        let wanted = self.setting_number(settings::V2_DATA_ENGINE_HUGEPAGE_LIMIT)?;
        for manager in self.instance_managers.list() {
            let node_name = &manager.spec.node_id;
            let Some(node) = self.kubernetes_nodes.get(node_name) else { continue };
            if labels::get(&node.metadata, labels::NODE_DISABLE_V2_DATA_ENGINE) == Some(labels::TRUE) {
                continue;
            }
            let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("hugepages-2Mi"));
            let Some(capacity) = capacity else {
                return Err(Error::message(format!("failed to get hugepages-2Mi capacity for node {node_name}")));
            };
            if mebibytes(&capacity.0) < wanted {
                return Err(Error::message(format!(
                    "not enough hugepages-2Mi capacity for node {node_name}, requested {wanted}Mi, capacity {}",
                    capacity.0
                )));
            }
        }
        Ok(())
    }

    /// Whether a label keeps the second data engine off a node.
    pub fn is_v2_disabled_on(&self, node: &str) -> Result<bool> {
        let node = self.kubernetes_nodes.require(node)?;
        Ok(labels::get(&node.metadata, labels::NODE_DISABLE_V2_DATA_ENGINE) == Some(labels::TRUE))
    }
}

/// A quantity of memory as Kubernetes writes it, in whole MiB.
fn mebibytes(quantity: &str) -> i64 {
    let units = [("Ki", 1024.0), ("Mi", 1.0), ("Gi", 1024.0), ("Ti", 1024.0 * 1024.0)];
    for (unit, scale) in units {
        if let Some(count) = quantity.strip_suffix(unit).and_then(|count| count.parse::<f64>().ok()) {
            return if unit == "Ki" { (count / scale) as i64 } else { (count * scale) as i64 };
        }
    }
    quantity.parse::<i64>().map_or(0, |bytes| bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_memory_are_read() {
        let read = ["0", "2Gi", "512Mi", "1048576Ki", "2147483648", "much"].map(mebibytes);
        assert_eq!(read, [0, 2048, 512, 1024, 2048, 0]);
    }
}
