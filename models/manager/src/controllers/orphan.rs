//! The orphan controller: whether an orphan can be cleaned up, and the clean-up (`controller/orphan_controller.go`).
//!
//! The manager of the orphan's node owns it; one that took over while that is away only lets the resource go. The clean-up of an orphaned
//! instance asks the running instance manager of the node, which is one whose status says "running": at v1.9.0-dev.00886872c the finalizer
//! stays until that has answered, deleted the instance and no longer knows it (10791/dadf403da), and an instance that is still known is not
//! asked for again before the next event or resync. A stopped replica of the second data engine is known for as long as its data is there.

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::instance::{InstanceState, InstanceType};
use longhorn_api::kinds::node::DiskType;
use longhorn_api::kinds::orphan::{self, OrphanType};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Defect, InstanceManager, Node, Orphan, Release, labels};

use super::instance_manager::{has_instance_orphans, parameter};
use crate::engine::disk_service::{DiskOf, DiskServiceClient};
use crate::engine::instance_manager::InstanceManagerClient;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Error, Result, clock, ownership};

/// The controller.
pub struct OrphanController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
}

/// Starts it: Orphans with resync; Nodes and, where there are orphans of instances, InstanceManagers without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.orphans.informer().add_handler(queue.handler::<Orphan>());
    let (of, to) = (manager.clone(), queue.clone());
    let on_node = move |event: Event<Node>| {
        queue_labelled(&of, &to, labels::NODE, name(&event.object().metadata));
    };
    datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, on_node);
    if has_instance_orphans(datastore) {
        let (of, to) = (manager.clone(), queue.clone());
        let on_manager = move |event: Event<InstanceManager>| {
            let manager = event.object();
            if of.datastore.release().before(Release::V1_9_2) {
                queue_labelled(&of, &to, labels::NODE, &manager.spec.node_id);
            } else {
                queue_labelled(&of, &to, labels::INSTANCE_MANAGER, name(&manager.metadata));
            }
        };
        datastore.instance_managers.informer().add_handler_with_resync(Duration::ZERO, on_manager);
    }
    let events = manager.events(OrphanController::NAME);
    let controller = OrphanController { manager: manager.clone(), queue: queue.clone(), events };
    Runner::new(queue, Arc::new(controller)).start();
}

fn queue_labelled(manager: &Manager, queue: &Queue, label: &str, value: &str) {
    for orphan in manager.datastore.orphans.list_labelled(&[(label, value)]) {
        queue.add(name(&orphan.metadata));
    }
}

impl Reconcile for OrphanController {
    const NAME: &'static str = "longhorn-orphan";

    async fn reconcile(&self, orphan_name: &str) -> Result<()> {
        let namespace = &self.manager.datastore.namespace;
        self.sync(orphan_name).await.context(|| format!("failed to sync orphan {namespace}/{orphan_name}"))
    }
}

impl OrphanController {
    async fn sync(&self, orphan_name: &str) -> Result<()> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let Some(found) = datastore.orphans.find(orphan_name) else { return Ok(()) };
        if !datastore.is_responsible_on(me, &found.spec.node_id, &found.status.owner_id) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.orphans, (*found).clone(), me).await?;
        let Some(mut orphan) = taken else { return Ok(()) };
        if orphan.metadata.deletion_timestamp.is_some() {
            return self.clean_up(orphan).await;
        }
        let before = orphan.status.clone();
        let updated = self.update_conditions(&mut orphan).await;
        updated.context(|| format!("failed to update conditions for orphan {orphan_name}"))?;
        if orphan.status != before {
            match datastore.orphans.update_status(&orphan).await {
                Err(error) if error.is_conflict() => self.queue.add(orphan_name),
                Err(error) => tracing::warn!(%error, "Failed to update the status of orphan {orphan_name}"),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Cleans up, and lets the resource go if that is done. Since v1.9.2 a failure is noted in the status.
    async fn clean_up(&self, mut orphan: Orphan) -> Result<()> {
        let store = &self.manager.datastore.orphans;
        let result = self.clean_up_resource(&orphan).await;
        let kind = &orphan.spec.orphan_type;
        let result = result.context(|| format!("failed to delete {kind} orphan {}", name(&orphan.metadata)));
        let notes = self.manager.datastore.release().at_least(Release::V1_9_2);
        match result {
            Ok(true) => {
                if notes {
                    let message = format!("Orphan {} cleanup completed", name(&orphan.metadata));
                    self.events.event(&orphan, EventType::Normal, "OrphanCleanupCompleted", message);
                }
                store.remove_finalizer(orphan).await
            }
            Ok(false) => Ok(()),
            Err(error) if notes => {
                let before = orphan.status.clone();
                let message = error.to_string();
                let conditions = &mut orphan.status.conditions;
                if conditions.condition(orphan::CONDITION_ERROR).status != ConditionStatus::True {
                    self.events.event(&orphan, EventType::Warning, orphan::CONDITION_ERROR, message.clone());
                }
                let (condition, now) = (orphan::CONDITION_ERROR, clock::now_text());
                orphan.status.conditions.set_condition(condition, ConditionStatus::True, "", &message, &now);
                if orphan.status != before {
                    let _ = store.update_status(&orphan).await;
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the clean-up is done.
    async fn clean_up_resource(&self, orphan: &Orphan) -> Result<bool> {
        if orphan.spec.node_id != self.manager.node() {
            tracing::info!("Orphan does not belong to this controller. Skipping resource cleanup");
            return Ok(true);
        }
        match orphan.spec.orphan_type {
            OrphanType::EngineInstance => self.clean_up_instance(orphan, InstanceType::Engine).await,
            OrphanType::ReplicaInstance => self.clean_up_instance(orphan, InstanceType::Replica).await,
            OrphanType::ReplicaData => {
                let cleanable = orphan.status.conditions.condition(orphan::CONDITION_DATA_CLEANABLE);
                if cleanable.status != ConditionStatus::True {
                    return Ok(true);
                }
                match self.delete_data(orphan).await {
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(true),
                }
            }
            _ => {
                let (kind, orphan_name) = (&orphan.spec.orphan_type, name(&orphan.metadata));
                Err(Error::message(format!(
                    "unknown orphan type {kind} to clean up orphaned resource for {orphan_name}"
                )))
            }
        }
    }

    async fn clean_up_instance(&self, orphan: &Orphan, kind: InstanceType) -> Result<bool> {
        let waits = self.manager.datastore.build.has(Defect::Issue10791Finalizer);
        if waits {
            return self.delete_and_confirm(orphan, &kind).await;
        }
        // Whatever comes of it: an instance that is still there is found again.
        if let Err(error) = self.delete_instance(orphan, &kind).await {
            tracing::warn!(%error, "Failed to delete orphan instance. Continue to finalize orphan {}", name(&orphan.metadata));
        }
        Ok(true)
    }

    /// 10791/dadf403da.
    async fn delete_and_confirm(&self, orphan: &Orphan, kind: &InstanceType) -> Result<bool> {
        let Some(mut client) = self.delete_instance(orphan, kind).await? else { return Ok(true) };
        let instance = parameter(orphan, orphan::PARAMETER_INSTANCE_NAME);
        match client.get(&orphan.spec.data_engine, instance, kind.clone()).await {
            Ok(_) => {
                tracing::info!("Orphan instance {instance} cleanup in progress");
                Ok(false)
            }
            Err(error) if error.says_cannot_find() => Ok(true),
            Err(error) => Err(error).context(|| format!("failed to confirm cleanup result of instance {instance}")),
        }
    }

    /// Has the instance deleted where it runs. None if there is nothing to ask: its resource is back, or no such instance manager runs.
    async fn delete_instance(&self, orphan: &Orphan, kind: &InstanceType) -> Result<Option<InstanceManagerClient>> {
        let datastore = &self.manager.datastore;
        let instance = parameter(orphan, orphan::PARAMETER_INSTANCE_NAME);
        if self.is_scheduled_back(orphan, kind, instance) {
            return Ok(None);
        }
        let manager_name = parameter(orphan, orphan::PARAMETER_INSTANCE_MANAGER);
        let running = datastore.running_instance_manager(&orphan.spec.node_id, &orphan.spec.data_engine);
        let Some(manager) = running.filter(|manager| name(&manager.metadata) == manager_name) else {
            return Ok(None);
        };
        let orphan_name = name(&orphan.metadata);
        let client = InstanceManagerClient::connect(&manager, false).await;
        let mut client =
            client.context(|| format!("failed to get running instance manager client for orphan {orphan_name}"))?;
        let uuid = parameter(orphan, orphan::PARAMETER_INSTANCE_UUID);
        match client.delete(&orphan.spec.data_engine, instance, uuid, kind.clone(), "", false).await {
            Err(error) if !error.says_cannot_find() => Err(error),
            _ => Ok(Some(client)),
        }
    }

    fn is_scheduled_back(&self, orphan: &Orphan, kind: &InstanceType, instance: &str) -> bool {
        let datastore = &self.manager.datastore;
        let places = match kind {
            InstanceType::Engine => datastore
                .engines
                .find(instance)
                .map(|engine| (engine.spec.node_id.clone(), engine.status.instance_manager_name.clone())),
            _ => datastore
                .replicas
                .find(instance)
                .map(|replica| (replica.spec.node_id.clone(), replica.status.instance_manager_name.clone())),
        };
        places.is_some_and(|(node, manager)| {
            if datastore.release().before(Release::V1_9_2) {
                node == orphan.spec.node_id
            } else {
                manager == parameter(orphan, orphan::PARAMETER_INSTANCE_MANAGER)
            }
        })
    }

    async fn delete_data(&self, orphan: &Orphan) -> Result<()> {
        let data = parameter(orphan, orphan::PARAMETER_DATA_NAME);
        let path = parameter(orphan, orphan::PARAMETER_DISK_PATH);
        match DiskType::from(parameter(orphan, orphan::PARAMETER_DISK_TYPE)) {
            DiskType::Filesystem => {
                let folder = format!("{}/replicas/{data}", path.trim_end_matches('/'));
                let deleted = host::fs::remove_dir_all(&folder).await;
                match deleted {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::message(format!(
                        "failed to delete orphan replica directory {data} in disk {path}: {error}"
                    ))),
                    _ => Ok(()),
                }
            }
            DiskType::Block => self.delete_logical_volume(orphan, data).await,
            other => Err(Error::message(format!("unknown disk type {other} for orphan {}", name(&orphan.metadata)))),
        }
    }

    async fn delete_logical_volume(&self, orphan: &Orphan, replica: &str) -> Result<()> {
        let me = self.manager.node();
        let manager = self.manager.datastore.running_instance_manager(me, &DataEngine::V2).ok_or_else(|| {
            Error::message(format!(
                "failed to get running instance manager for node {me} for deleting v2 replica instance {replica}"
            ))
        })?;
        let disk = DiskOf {
            disk_type: &DiskType::Block,
            name: parameter(orphan, orphan::PARAMETER_DISK_NAME),
            uuid: parameter(orphan, orphan::PARAMETER_DISK_UUID),
            path: "",
            driver: "",
        };
        match DiskServiceClient::connect(&manager).await?.delete_replica(&disk, replica).await {
            Err(error) if !error.says_cannot_find() => {
                Err(error).context(|| format!("cannot delete v2 replica instance {replica}"))
            }
            _ => Ok(()),
        }
    }

    async fn update_conditions(&self, orphan: &mut Orphan) -> Result<()> {
        match orphan.spec.orphan_type {
            OrphanType::EngineInstance => self.update_existence(orphan, InstanceType::Engine).await?,
            OrphanType::ReplicaInstance => self.update_existence(orphan, InstanceType::Replica).await?,
            _ => self.update_cleanable(orphan),
        }
        let conditions = &mut orphan.status.conditions;
        if conditions.condition(orphan::CONDITION_ERROR).status != ConditionStatus::True {
            conditions.set_condition(orphan::CONDITION_ERROR, ConditionStatus::False, "", "", &clock::now_text());
        }
        Ok(())
    }

    async fn update_existence(&self, orphan: &mut Orphan, kind: InstanceType) -> Result<()> {
        let datastore = &self.manager.datastore;
        let manager = datastore.instance_managers.find(parameter(orphan, orphan::PARAMETER_INSTANCE_MANAGER));
        let state = match manager {
            None => InstanceState::Terminated,
            Some(manager) => {
                let mut client = InstanceManagerClient::connect(&manager, false).await?;
                let instance = parameter(orphan, orphan::PARAMETER_INSTANCE_NAME);
                let gone_is_terminated = datastore.release().at_least(Release::V1_9_2);
                match client.get(&orphan.spec.data_engine, instance, kind).await {
                    Ok(instance) => instance.status.state,
                    Err(error) if gone_is_terminated && error.says_cannot_find() => InstanceState::Terminated,
                    Err(error) => return Err(error),
                }
            }
        };
        let exists = if state == InstanceState::Terminated { ConditionStatus::False } else { ConditionStatus::True };
        let (condition, now) = (orphan::CONDITION_INSTANCE_EXIST, clock::now_text());
        orphan.status.conditions.set_condition(condition, exists, state.as_str(), "", &now);
        Ok(())
    }

    fn update_cleanable(&self, orphan: &mut Orphan) {
        let objection = self.objection_to_cleaning(orphan);
        let cleanable = if objection.is_empty() { ConditionStatus::True } else { ConditionStatus::False };
        let (condition, now) = (orphan::CONDITION_DATA_CLEANABLE, clock::now_text());
        orphan.status.conditions.set_condition(condition, cleanable, objection, "", &now);
    }

    /// Why an orphan's data must not be touched; empty if it may.
    fn objection_to_cleaning(&self, orphan: &Orphan) -> &'static str {
        let datastore = &self.manager.datastore;
        let node_name = &orphan.spec.node_id;
        let node = datastore.nodes.find(node_name).filter(|_| !datastore.is_node_unavailable(node_name));
        let Some(node) = node else { return orphan::REASON_NODE_UNAVAILABLE };
        if node.spec.eviction_requested {
            return orphan::REASON_NODE_EVICTED;
        }
        let uuid = parameter(orphan, orphan::PARAMETER_DISK_UUID);
        let ready = |status: &longhorn_api::kinds::node::DiskStatus| {
            status.disk_uuid == uuid && status.conditions.condition("Ready").status == ConditionStatus::True
        };
        let found = node.status.disk_status.iter().find(|(_, status)| ready(status)).map(|(disk_name, _)| disk_name);
        let Some((disk_name, disk)) = found.and_then(|disk| Some((disk, node.spec.disks.get(disk)?))) else {
            return orphan::REASON_DISK_INVALID;
        };
        let changed = disk_name != parameter(orphan, orphan::PARAMETER_DISK_NAME)
            || disk.path != parameter(orphan, orphan::PARAMETER_DISK_PATH);
        match (changed, disk.eviction_requested) {
            (true, _) => orphan::REASON_DISK_CHANGED,
            (false, true) => orphan::REASON_DISK_EVICTED,
            (false, false) => "",
        }
    }
}
