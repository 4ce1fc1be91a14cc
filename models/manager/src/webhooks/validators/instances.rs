//! The validators of instance managers and orphans (`webhook/resources/instancemanager/validator.go`,
//! `webhook/resources/orphan/validator.go`).

use longhorn_api::kinds::instance_manager::InstanceManagerType;
use longhorn_api::kinds::orphan::{self, OrphanType};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{InstanceManager, Orphan, Release};

use super::Denial;
use crate::runtime::backups::name;

/// An InstanceManager says what it is and whose.
pub fn instance_manager(manager: &InstanceManager) -> Result<(), Denial> {
    let missing = [
        (manager.metadata.labels.is_none(), "labels"),
        (manager.metadata.owner_references.is_none(), "ownerReferences"),
        (manager.spec.instance_manager_type == InstanceManagerType::Unset, "type"),
        (manager.spec.data_engine == DataEngine::Unset, "data engine"),
    ];
    match missing.into_iter().find(|(is_missing, _)| *is_missing) {
        Some((_, what)) => {
            let manager = name(&manager.metadata);
            Err(Denial::invalid(format!("{what} for instanceManager {manager} is not set")))
        }
        None => Ok(()),
    }
}

/// An Orphan has the parameters of its type.
pub fn orphan(release: Release, orphan: &Orphan) -> Result<(), Denial> {
    let orphan_name = name(&orphan.metadata);
    let failed = |why: String| Denial::invalid(format!("failed to check orphan {orphan_name} since {why}"));
    let is_of_instance = match orphan.spec.orphan_type {
        OrphanType::ReplicaData => false,
        OrphanType::EngineInstance | OrphanType::ReplicaInstance if release.at_least(Release::V1_9_0_DEV_00886872C) => {
            true
        }
        ref other => return Err(Denial::invalid(format!("unknown orphan type {other} for orphan {orphan_name}"))),
    };
    for key in parameters(release, is_of_instance) {
        match orphan.spec.parameters.get(*key) {
            None => return Err(failed(format!("parameter {key} for orphan {orphan_name} is missing"))),
            Some(value) if is_of_instance && value.is_empty() => {
                return Err(failed(format!("parameter {key} for orphan {orphan_name} is empty")));
            }
            Some(_) => {}
        }
    }
    let engine = &orphan.spec.data_engine;
    if is_of_instance && !matches!(engine, DataEngine::V1 | DataEngine::V2) {
        return Err(failed(format!("invalid data engine type {engine} for orphan {orphan_name}")));
    }
    Ok(())
}

fn parameters(release: Release, is_of_instance: bool) -> &'static [&'static str] {
    const OF_INSTANCE: &[&str] =
        &[orphan::PARAMETER_INSTANCE_NAME, orphan::PARAMETER_INSTANCE_MANAGER, orphan::PARAMETER_INSTANCE_UUID];
    const OF_DATA: &[&str] = &[
        orphan::PARAMETER_DATA_NAME,
        orphan::PARAMETER_DISK_NAME,
        orphan::PARAMETER_DISK_UUID,
        orphan::PARAMETER_DISK_PATH,
        orphan::PARAMETER_DISK_TYPE,
    ];
    match is_of_instance {
        false => OF_DATA,
        true if release.before(Release::V1_9_2) => &OF_INSTANCE[..2],
        true => OF_INSTANCE,
    }
}

/// Since v1.9.2 what an Orphan stands for cannot be changed.
pub fn changed_orphan(release: Release, old: &Orphan, new: &Orphan) -> Result<(), Denial> {
    if release.before(Release::V1_9_2) {
        return orphan(release, new);
    }
    if old.spec == new.spec {
        return Ok(());
    }
    Err(Denial::invalid(format!("orphan {} spec is immutable", name(&old.metadata))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_manager_without_labels_is_refused() {
        let denial = instance_manager(&InstanceManager::default()).unwrap_err();
        assert_eq!(denial.to_string(), "labels for instanceManager  is not set");
    }

    #[test]
    fn an_orphan_of_an_instance_names_its_incarnation_since_v1_9_2() {
        let mut made = Orphan::default();
        made.spec.orphan_type = OrphanType::EngineInstance;
        made.spec.data_engine = DataEngine::V1;
        made.spec.parameters.insert(orphan::PARAMETER_INSTANCE_NAME, "e".to_owned());
        made.spec.parameters.insert(orphan::PARAMETER_INSTANCE_MANAGER, "im".to_owned());
        assert_eq!(orphan(Release::V1_9_0_DEV_00886872C, &made), Ok(()));
        assert!(orphan(Release::V1_9_2, &made).is_err());
        assert!(orphan(Release::V1_8_1, &made).is_err(), "there were none yet");
        let mut other = made.clone();
        other.spec.node_id = "n2".to_owned();
        assert!(changed_orphan(Release::V1_9_2, &made, &other).is_err());
        assert_eq!(changed_orphan(Release::V1_9_0_DEV_00886872C, &made, &other), Ok(()));
    }
}
