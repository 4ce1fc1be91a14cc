//! The replica controller: a replica's instance, how many of them are rebuilt on a node at once, and its folder when it is deleted
//! (`controller/replica_controller.go`).
//!
//! The manager of the replica's node owns it. While that is down another one takes over, which can let the resource go but not its data:
//! what is left on the disk becomes an orphan.

mod instance;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder};
use longhorn_api::kinds::instance_manager::InstanceManagerType;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{BackingImage, InstanceManager, Node, Release, Replica, Setting, settings};

use super::instance::{Driver as _, InstanceHandler};
use crate::engine::arguments::replica_folder;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::ownership::{self, is_responsible};
use crate::runtime::{Context, Error, Result};
use instance::{ReplicaDriver, is_rebuilding};

/// The controller.
pub struct ReplicaController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
    /// Replicas that are being rebuilt on this node.
    rebuilding: Mutex<BTreeSet<String>>,
}

/// Starts it: Replicas with resync; InstanceManagers, Nodes, BackingImages and one Setting without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    let (of, to) = (manager.clone(), queue.clone());
    let on_replica = move |event: Event<Replica>| {
        to.add_object(&**event.object());
        if let Event::Updated { old, new } = &event
            && is_rebuilding(old)
            && !is_rebuilding(new)
        {
            queue_rebuilding(&of, &to);
        }
    };
    datastore.replicas.informer().add_handler(on_replica);
    let (of, to) = (manager.clone(), queue.clone());
    let on_manager = move |event: Event<InstanceManager>| {
        let kind = &event.object().spec.instance_manager_type;
        if matches!(kind, InstanceManagerType::Replica | InstanceManagerType::AllInOne) {
            for replica in of.datastore.replicas_on_node(&event.object().spec.node_id) {
                to.add(name(&replica.metadata));
            }
        }
    };
    datastore.instance_managers.informer().add_handler_with_resync(Duration::ZERO, on_manager);
    datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, on_node(manager, &queue));
    let (of, to) = (manager.clone(), queue.clone());
    let on_image = move |event: Event<BackingImage>| {
        let image = event.object();
        for replica in of.datastore.replicas_on_node(of.node()) {
            let has_file = image.status.disk_file_status_map.contains_key(&replica.spec.disk_id);
            if has_file && replica.spec.backing_image == name(&image.metadata) {
                to.add(name(&replica.metadata));
            }
        }
    };
    datastore.backing_images.informer().add_handler_with_resync(Duration::ZERO, on_image);
    let (of, to) = (manager.clone(), queue.clone());
    let on_setting = move |event: Event<Setting>| {
        let changed = matches!(event, Event::Updated { .. });
        if changed && name(&event.object().metadata) == settings::CONCURRENT_REPLICA_REBUILD_PER_NODE_LIMIT {
            queue_rebuilding(&of, &to);
        }
    };
    datastore.settings.informer().add_handler_with_resync(Duration::ZERO, on_setting);
    let controller = ReplicaController {
        manager: manager.clone(),
        queue: queue.clone(),
        events: manager.events(ReplicaController::NAME),
        rebuilding: Mutex::new(BTreeSet::new()),
    };
    Runner::new(queue, Arc::new(controller)).start();
}

/// Queues the replicas of a node that comes or goes, and those of a node or disk whose eviction is asked for or taken back.
fn on_node(manager: &Arc<Manager>, queue: &Queue) -> impl FnMut(Event<Node>) + Send + 'static + use<> {
    let (manager, queue) = (manager.clone(), queue.clone());
    move |event: Event<Node>| {
        let node = event.object();
        for (disk_name, disk) in &node.spec.disks {
            let concerned = match &event {
                Event::Updated { old, new } => {
                    let before = old.spec.disks.get(disk_name);
                    old.spec.eviction_requested != new.spec.eviction_requested
                        || before.is_none_or(|before| before.eviction_requested != disk.eviction_requested)
                }
                _ => true,
            };
            let scheduled = node.status.disk_status.get(disk_name).map(|status| &status.scheduled_replica);
            for replica in scheduled.filter(|_| concerned).into_iter().flat_map(|scheduled| scheduled.keys()) {
                if manager.datastore.replicas.find(replica).is_some() {
                    queue.add(replica);
                }
            }
        }
    }
}

/// Queues the replicas on this node that wait to be rebuilt.
fn queue_rebuilding(manager: &Manager, queue: &Queue) {
    for replica in manager.datastore.replicas_on_node(manager.node()) {
        if is_rebuilding(&replica) {
            queue.add(name(&replica.metadata));
        }
    }
}

impl Reconcile for ReplicaController {
    const NAME: &'static str = "longhorn-replica";

    async fn reconcile(&self, replica_name: &str) -> Result<()> {
        let result = self.reconcile_replica(replica_name).await;
        result.context(|| format!("failed to sync replica for {}/{replica_name}", self.manager.datastore.namespace))
    }
}

impl ReplicaController {
    async fn reconcile_replica(&self, replica_name: &str) -> Result<()> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let Some(replica) = datastore.replicas.find(replica_name) else { return Ok(()) };
        let unavailable = |node: &str| datastore.is_node_unavailable(node);
        if !is_responsible(me, &replica.spec.node_id, &replica.status.owner_id, unavailable) {
            return Ok(());
        }
        let taken = ownership::take(&datastore.replicas, (*replica).clone(), me).await?;
        let Some(mut replica) = taken else { return Ok(()) };
        if replica.metadata.deletion_timestamp.is_some() {
            return self.delete(replica).await;
        }
        let before = replica.status.clone();
        if datastore.release().before(Release::V1_9_0_DEV_00886872C) {
            // Out of use already.
            replica.status.eviction_requested = replica.spec.eviction_requested;
        }
        let driver = ReplicaDriver { manager: &self.manager, rebuilding: &self.rebuilding };
        let handler = InstanceHandler { datastore, events: &self.events, driver: &driver };
        let mut result = handler.reconcile(&mut replica).await;
        if result.is_ok() && replica.status != before {
            result = datastore.replicas.update_status(&replica).await.map(drop);
        }
        match result {
            Err(error) if error.is_conflict() => {
                self.queue.add(replica_name);
                Ok(())
            }
            other => other,
        }
    }

    async fn delete(&self, replica: Replica) -> Result<()> {
        let replica_name = name(&replica.metadata).to_owned();
        let driver = ReplicaDriver { manager: &self.manager, rebuilding: &self.rebuilding };
        let deleted = driver.delete(&replica).await;
        deleted.context(|| {
            format!("failed to cleanup the related replica instance before deleting replica {replica_name}")
        })?;
        let (spec, me) = (&replica.spec, self.manager.node());
        if !spec.node_id.is_empty() && spec.node_id != me {
            tracing::warn!("Failed to cleanup replica's data because the replica's data is not on this node");
        } else if !spec.node_id.is_empty() && spec.data_engine != DataEngine::V2 {
            self.delete_folder(&replica).await?;
        }
        self.manager.datastore.replicas.remove_finalizer(replica).await
    }

    /// Deletes the folder, unless it is a twin's who is in use.
    async fn delete_folder(&self, replica: &Replica) -> Result<()> {
        let (spec, replica_name) = (&replica.spec, name(&replica.metadata));
        let folder = replica_folder(&spec.disk_path, &spec.data_directory_name);
        let replicas = self.manager.datastore.replicas_of_volume(&spec.volume_name);
        let has_twin = replicas.iter().any(|(other_name, other)| {
            let other = &other.spec;
            other_name != replica_name
                && (&other.node_id, &other.disk_id, &other.disk_path) == (&spec.node_id, &spec.disk_id, &spec.disk_path)
                && other.data_directory_name == spec.data_directory_name
        });
        if !spec.active && has_twin {
            tracing::info!("Didn't cleanup replica since it's not the active one for the path or the path is empty");
            return Ok(());
        }
        if !spec.data_directory_name.contains('-') {
            return Err(Error::message(format!("{folder} doesn't look like a replica data path")));
        }
        tracing::info!("Cleaning up replica {replica_name}");
        match host::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::message(format!("cannot cleanup after replica {replica_name} at {folder}: {error}")))
            }
            _ => Ok(()),
        }
    }
}
