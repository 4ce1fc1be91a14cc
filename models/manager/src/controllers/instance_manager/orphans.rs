//! Orphans of instances: what a pod runs and no resource stands for (`createOrphanForInstances`, `deleteOrphans`).
//!
//! Before v1.9.2 an orphan stands for an instance's name on a node, of either data engine, and each instance manager of the node judges all
//! of them: the one of the other data engine does not list the instance and deletes the orphan as done with. From v1.9.2 on an orphan
//! stands for one incarnation in one instance manager, and only the first data engine has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use longhorn_api::kinds::instance::{Instance, InstanceState, InstanceType};
use longhorn_api::kinds::instance_manager::{InstanceManagerState, InstanceProcess};
use longhorn_api::kinds::orphan::{self, OrphanType};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Defect, InstanceManager, Orphan, Release, labels, names, settings};

use super::monitor::{Instances, Monitor};
use super::{InstanceManagerController, has_pod, pod};
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Error, Result, clock};

/// Whether an orphan is of an instance.
pub(in super::super) fn is_of_instance(orphan: &Orphan) -> bool {
    matches!(orphan.spec.orphan_type, OrphanType::EngineInstance | OrphanType::ReplicaInstance)
}

/// Orphans of instances that concern an instance manager: those of its node, from v1.9.2 on its own.
fn of_manager(datastore: &Datastore, manager: &InstanceManager) -> Vec<Arc<Orphan>> {
    let label = if datastore.release().before(Release::V1_9_2) {
        (labels::NODE, manager.spec.node_id.as_str())
    } else {
        (labels::INSTANCE_MANAGER, name(&manager.metadata))
    };
    datastore.orphans.list_labelled(&[label]).into_iter().filter(|orphan| is_of_instance(orphan)).collect()
}

/// Which kinds of orphans are deleted by themselves: setting `orphan-resource-auto-deletion`, `a;b`.
pub(in super::super) fn deletes_by_itself(datastore: &Datastore, kind: &str) -> Result<bool> {
    let kinds = datastore.setting_value(settings::ORPHAN_RESOURCE_AUTO_DELETION)?;
    Ok(kinds.split(';').any(|one| one.trim() == kind))
}

/// Whether an orphan is older than the grace period before it is deleted by itself; since v1.9.2.
pub(in super::super) fn is_past_grace(datastore: &Datastore, orphan: &Orphan) -> Result<bool> {
    if datastore.release().before(Release::V1_9_2) {
        return Ok(true);
    }
    let grace = datastore.setting_number(settings::ORPHAN_RESOURCE_AUTO_DELETION_GRACE_PERIOD)?;
    let created = orphan.metadata.creation_timestamp.as_ref();
    Ok(created.is_some_and(|created| clock::now().0.duration_since(created.0).as_secs() > grace))
}

/// What an instance's resource says of where it is.
struct Resource {
    state: InstanceState,
    desired: InstanceState,
    owner: String,
    node: String,
    instance_manager: String,
    is_terminating: bool,
    is_engine: bool,
}

fn resource_of(datastore: &Datastore, instance_type: &InstanceType, instance: &str) -> Option<Resource> {
    fn describe<K: Instance>(object: &K) -> Resource {
        let (spec, status) = (object.instance_spec(), object.instance_status());
        Resource {
            state: status.current_state,
            desired: spec.desire_state,
            owner: status.owner_id,
            node: spec.node_id,
            instance_manager: status.instance_manager_name,
            is_terminating: object.meta().deletion_timestamp.is_some(),
            is_engine: K::INSTANCE_TYPE == InstanceType::Engine,
        }
    }
    match instance_type {
        InstanceType::Engine => datastore.engines.find(instance).map(|engine| describe(&*engine)),
        _ => datastore.replicas.find(instance).map(|replica| describe(&*replica)),
    }
}

impl Resource {
    /// Whether its place is being changed, so that nothing certain can be said; since v1.9.2.
    fn is_in_transition(&self) -> bool {
        let moves =
            if self.is_engine { !self.node.is_empty() && self.node != self.owner } else { self.node != self.owner };
        self.is_terminating
            || self.owner.is_empty()
            || self.state == InstanceState::Unset
            || self.state != self.desired
            || moves
    }

    /// Whether it certainly belongs elsewhere than to this instance manager.
    fn is_elsewhere(&self, datastore: &Datastore, manager: &InstanceManager) -> bool {
        if datastore.release().before(Release::V1_9_2) {
            return match (self.state == self.desired, &self.state) {
                (true, InstanceState::Running) => self.owner == self.node && self.node != manager.spec.node_id,
                (true, InstanceState::Stopped) => self.node != manager.spec.node_id,
                _ => false,
            };
        }
        match &self.state {
            _ if self.is_in_transition() => false,
            InstanceState::Running => self.instance_manager != name(&manager.metadata),
            // A stopped instance is assigned to no instance manager.
            InstanceState::Stopped => true,
            _ => false,
        }
    }

    /// Whether it certainly is back where its orphan is.
    fn is_back(&self, datastore: &Datastore, orphan: &Orphan) -> bool {
        if datastore.release().before(Release::V1_9_2) {
            return match (self.state == self.desired, &self.state) {
                (true, InstanceState::Running) => self.owner == self.node && self.node == orphan.spec.node_id,
                (true, InstanceState::Stopped) => self.node == orphan.spec.node_id,
                _ => false,
            };
        }
        let manager = parameter(orphan, orphan::PARAMETER_INSTANCE_MANAGER);
        !self.is_in_transition() && self.state == InstanceState::Running && self.instance_manager == manager
    }
}

/// A parameter of an orphan; empty if it has it not.
pub(in super::super) fn parameter<'a>(orphan: &'a Orphan, key: &str) -> &'a str {
    orphan.spec.parameters.get(key).map_or("", String::as_str)
}

impl Monitor {
    /// Makes an orphan of every listed instance that no resource, or one elsewhere, stands for.
    pub(super) async fn make_orphans(&self, manager: &InstanceManager, engines: Instances, replicas: Instances) {
        let datastore = &self.manager.datastore;
        let mut existing: BTreeSet<String> =
            of_manager(datastore, manager).iter().map(|orphan| name(&orphan.metadata).to_owned()).collect();
        for (kind, instances) in [(InstanceType::Engine, engines), (InstanceType::Replica, replicas)] {
            for (instance_name, instance) in datastore.in_map_order(instances) {
                match self.make_orphan(manager, &kind, &instance_name, &instance, &existing).await {
                    Ok(Some(made)) => {
                        existing.insert(made);
                    }
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "Failed to create orphan for instance {instance_name}"),
                }
            }
        }
    }

    async fn make_orphan(
        &self,
        manager: &InstanceManager,
        kind: &InstanceType,
        instance_name: &str,
        instance: &InstanceProcess,
        existing: &BTreeSet<String>,
    ) -> Result<Option<String>> {
        let datastore = &self.manager.datastore;
        if datastore.release().at_least(Release::V1_9_2) && !is_certain(instance) {
            return Ok(None);
        }
        let (release, me) = (datastore.release(), self.manager.node());
        let engine = &instance.spec.data_engine;
        let (manager_name, uuid) = (name(&manager.metadata), &instance.status.uuid);
        let orphan_name = names::orphaned_instance(release, instance_name, uuid, manager_name, me, engine.as_str());
        if existing.contains(&orphan_name) {
            return Ok(None);
        }
        let is_orphaned = resource_of(datastore, kind, instance_name)
            .is_none_or(|resource| resource.is_elsewhere(datastore, manager));
        if !is_orphaned || datastore.orphans.find(&orphan_name).is_some() {
            return Ok(None);
        }
        tracing::info!("Instance {instance_name} is orphaned");
        let mut orphan = Orphan::default();
        orphan.metadata.name = Some(orphan_name.clone());
        if datastore.build.has(Defect::Issue10791OwnerReference) {
            let owner =
                serde_json::from_value(pod::owner(manager)).map_err(|error| Error::message(error.to_string()))?;
            orphan.metadata.owner_references = Some(vec![owner]);
        }
        orphan.spec.node_id = me.to_owned();
        orphan.spec.data_engine = engine.clone();
        orphan.spec.orphan_type = match kind {
            InstanceType::Engine => OrphanType::EngineInstance,
            _ => OrphanType::ReplicaInstance,
        };
        orphan.spec.parameters.insert(orphan::PARAMETER_INSTANCE_NAME, instance_name.to_owned());
        orphan.spec.parameters.insert(orphan::PARAMETER_INSTANCE_MANAGER, manager_name.to_owned());
        if release.at_least(Release::V1_9_2) {
            orphan.spec.parameters.insert(orphan::PARAMETER_INSTANCE_UUID, uuid.clone());
        }
        datastore.orphans.create(&orphan).await?;
        Ok(Some(orphan_name))
    }
}

/// Whether a listed instance may be an orphan at all; since v1.9.2: one that starts or ends is not, one of the second data engine never is,
/// and one without a UUID cannot be told from its successor.
fn is_certain(instance: &InstanceProcess) -> bool {
    !matches!(instance.status.state, InstanceState::Starting | InstanceState::Stopping | InstanceState::Stopped)
        && instance.spec.data_engine == DataEngine::V1
        && !instance.status.uuid.is_empty()
}

impl InstanceManagerController {
    /// Deletes the orphans whose instance is gone: with its pod, by itself, or because its resource is back; and those that settings have
    /// deleted. While another manager owns the instance manager, nobody watches it, and its orphans go too.
    pub(super) async fn delete_orphans(&self, manager: &InstanceManager) -> Result<()> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let is_gone = manager.status.current_state != InstanceManagerState::Running
            || !has_pod(&self.manager, manager)
            || manager.spec.node_id != me;
        let mut failures = Vec::new();
        for orphan in datastore.in_map_order(of_manager(datastore, manager)) {
            if orphan.metadata.deletion_timestamp.is_some() || !self.may_delete(manager, &orphan, is_gone)? {
                continue;
            }
            let orphan_name = name(&orphan.metadata);
            tracing::info!("Deleting Orphan {orphan_name}");
            match datastore.orphans.delete(orphan_name).await {
                Err(error) if !error.is_not_found() => failures.push(format!("{orphan_name}: {error}")),
                _ => {}
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(Error::message(format!("failed to delete orphans: {failures:?}")))
        }
    }

    fn may_delete(&self, manager: &InstanceManager, orphan: &Orphan, is_gone: bool) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let before_grace = datastore.release().before(Release::V1_9_2);
        let (kind, listed, setting) = match orphan.spec.orphan_type {
            OrphanType::EngineInstance => (InstanceType::Engine, &manager.status.instance_engines, "engineInstance"),
            _ => (InstanceType::Replica, &manager.status.instance_replicas, "replicaInstance"),
        };
        let setting = if before_grace { setting } else { "instance" };
        let by_itself =
            deletes_by_itself(datastore, setting).context(|| "failed to get the setting of orphans' deletion")?;
        let instance_name = parameter(orphan, orphan::PARAMETER_INSTANCE_NAME);
        let is_back =
            resource_of(datastore, &kind, instance_name).is_some_and(|resource| resource.is_back(datastore, orphan));
        Ok(is_gone
            || !listed.contains_key(instance_name)
            || is_back
            || (by_itself && is_past_grace(datastore, orphan)?))
    }
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;

    use super::*;
    use crate::runtime::Readers;

    fn datastore(tag: &str) -> Datastore {
        let build = Build::parse_tag(tag).unwrap();
        Datastore::new("127.0.0.1:1", "longhorn-system", build, Readers::Controllers).unwrap()
    }

    fn stopped_on(node: &str) -> Resource {
        Resource {
            state: InstanceState::Stopped,
            desired: InstanceState::Stopped,
            owner: node.to_owned(),
            node: node.to_owned(),
            instance_manager: String::new(),
            is_terminating: false,
            is_engine: false,
        }
    }

    fn manager_on(node: &str) -> InstanceManager {
        let mut manager = InstanceManager::default();
        manager.spec.node_id = node.to_owned();
        manager
    }

    #[test]
    fn a_stopped_replica_that_is_listed_is_judged_by_node_and_then_by_manager() {
        let dev = datastore("v1.9.0-dev.00886872c");
        assert!(!stopped_on("n1").is_elsewhere(&dev, &manager_on("n1")));
        assert!(stopped_on("n1").is_elsewhere(&dev, &manager_on("n2")));
        let mut starting = stopped_on("n1");
        starting.desired = InstanceState::Running;
        assert!(!starting.is_elsewhere(&dev, &manager_on("n2")), "nothing is certain while it changes");
        assert!(stopped_on("n1").is_elsewhere(&datastore("v1.9.2"), &manager_on("n1")), "it should run in no manager");
    }

    #[test]
    fn from_v1_9_2_on_only_running_processes_of_v1_are_orphans() {
        let mut instance = InstanceProcess::default();
        instance.spec.data_engine = DataEngine::V1;
        instance.status.uuid = "u".to_owned();
        instance.status.state = InstanceState::Running;
        assert!(is_certain(&instance));
        instance.status.state = InstanceState::Stopped;
        assert!(!is_certain(&instance));
        instance.status.state = InstanceState::Running;
        instance.spec.data_engine = DataEngine::V2;
        assert!(!is_certain(&instance));
    }
}
