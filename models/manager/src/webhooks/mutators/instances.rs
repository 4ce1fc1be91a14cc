//! The mutators of instance managers and orphans (`webhook/resources/instancemanager/mutator.go`, `webhook/resources/orphan/mutator.go`).

use longhorn_api::kinds::instance::InstanceType;
use longhorn_api::kinds::orphan::{self, OrphanType};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{InstanceManager, Orphan, labels};
use serde_json::json;

use super::{Denial, Patch, put_finalizer, put_labels};
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::{Context, Datastore};

/// A new InstanceManager is labelled by its spec and belongs to its Longhorn node, whose deletion waits for it. It gets no finalizer.
pub fn instance_manager(
    datastore: &Datastore,
    patch: &mut Patch,
    manager: &InstanceManager,
    created: bool,
) -> Result<(), Denial> {
    if manager.spec.data_engine == DataEngine::Unset {
        patch.replace("/spec/dataEngine", DataEngine::V1.as_str());
    }
    if !created {
        return Ok(());
    }
    let spec = &manager.spec;
    let node = datastore.nodes.get(&spec.node_id);
    let node = node.context(|| format!("failed to get node {}", spec.node_id));
    let node = node.map_err(|error| Denial::invalid_field("spec.nodeID", error.to_string()))?;
    let engine = if spec.data_engine == DataEngine::Unset { DataEngine::V1 } else { spec.data_engine.clone() };
    patch.replace("/metadata/labels", json!(labels::of_instance_manager(&spec.node_id, &spec.image, engine.as_str())));
    if manager.metadata.owner_references.iter().flatten().next().is_none() {
        let mut owner = owner_reference(&*node);
        owner.block_owner_deletion = Some(true);
        patch.replace("/metadata/ownerReferences", json!([owner]));
    }
    Ok(())
}

/// A new Orphan is labelled by what it stands for.
pub fn orphan(datastore: &Datastore, patch: &mut Patch, orphan: &Orphan, created: bool) -> Result<(), Denial> {
    put_finalizer(patch, &orphan.metadata);
    if !created {
        return Ok(());
    }
    let parameter = |key: &str| orphan.spec.parameters.get(key).map_or("", String::as_str);
    let (node, instance) = (&orphan.spec.node_id, parameter(orphan::PARAMETER_INSTANCE_NAME));
    let of_instance = |kind: InstanceType| {
        let manager = parameter(orphan::PARAMETER_INSTANCE_MANAGER);
        labels::of_orphaned_instance(datastore.release(), &kind, node, manager, instance)
    };
    let more = match orphan.spec.orphan_type {
        OrphanType::ReplicaData => labels::of_orphaned_data(node),
        OrphanType::EngineInstance => of_instance(InstanceType::Engine),
        OrphanType::ReplicaInstance => of_instance(InstanceType::Replica),
        _ => return Err(Denial::invalid(format!("invalid orphan labels of {}", name(&orphan.metadata)))),
    };
    put_labels(patch, &orphan.metadata, more.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;

    use super::super::super::tests::webhook_datastore;
    use super::*;

    #[test]
    fn an_orphan_of_an_instance_is_found_by_its_manager_since_v1_9_2() {
        let mut made = Orphan::default();
        made.spec.orphan_type = OrphanType::ReplicaInstance;
        made.spec.node_id = "n1".to_owned();
        made.spec.parameters.insert(orphan::PARAMETER_INSTANCE_MANAGER, "im".to_owned());
        let labels_by = |tag: &str| {
            let mut patch = Patch::default();
            orphan(&webhook_datastore(Build::parse_tag(tag).unwrap()), &mut patch, &made, true).unwrap();
            patch.operations()[1]["value"].clone()
        };
        assert_eq!(labels_by("v1.9.2")[labels::INSTANCE_MANAGER], "im");
        assert!(labels_by("v1.9.0-dev.00886872c").get(labels::INSTANCE_MANAGER).is_none());
        assert_eq!(labels_by("v1.9.2")[labels::NODE], "n1");
    }

    #[test]
    fn an_instance_manager_needs_its_node() {
        let datastore = webhook_datastore(Build::parse_tag("v1.9.2").unwrap());
        let denial =
            instance_manager(&datastore, &mut Patch::default(), &InstanceManager::default(), true).unwrap_err();
        assert!(denial.to_string().starts_with("failed to get node "), "{denial}");
    }
}
