//! How a replica's instance is created, deleted and looked at.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use longhorn_api::kinds::backing_image::{BackingImageDiskFileSpec, BackingImageState};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::instance::{InstanceState, InstanceType};
use longhorn_api::kinds::replica::{
    CONDITION_WAIT_FOR_BACKING_IMAGE, REASON_WAIT_FOR_BACKING_IMAGE_FAILED, REASON_WAIT_FOR_BACKING_IMAGE_WAITING,
};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Replica, settings};

use crate::controllers::engine::{forgive, manager_of, manager_to_delete_in, may_be_reached, note_manager};
use crate::controllers::instance::{Driver, notes_starts};
use crate::engine::arguments::backing_file;
use crate::engine::instance_manager::{InstanceManagerClient, ReplicaSettings};
use crate::engine::proxy::cli_api_version;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result, clock};

/// Reaches the instances of replicas.
pub(super) struct ReplicaDriver<'a> {
    pub manager: &'a Manager,
    /// Replicas that are being rebuilt on this node.
    pub rebuilding: &'a Mutex<BTreeSet<String>>,
}

/// Whether a replica is to be rebuilt and is not healthy or failed yet.
pub(super) fn is_rebuilding(replica: &Replica) -> bool {
    let spec = &replica.spec;
    spec.rebuild_retry_count != 0 && spec.healthy_at.is_empty() && spec.failed_at.is_empty()
}

impl Driver<Replica> for ReplicaDriver<'_> {
    async fn create(&self, replica: &mut Replica) -> Result<()> {
        let datastore = &self.manager.datastore;
        let (replica_name, spec) = (name(&replica.metadata).to_owned(), replica.spec.clone());
        if spec.node_id.is_empty() || spec.disk_id.is_empty() || spec.disk_path.is_empty() || spec.volume_size.0 == 0 {
            return Err(Error::message(format!("missing parameters for replica instance creation: {replica_name}")));
        }
        let Some(file) = self.backing_file(replica).await? else { return Ok(()) };
        if is_rebuilding(replica) && !self.may_be_rebuilt(replica)? {
            return Ok(());
        }
        let manager = datastore.instance_manager_for(&spec.node_id, &spec.data_engine)?;
        if notes_starts(datastore) {
            note_manager(&mut replica.status.instance_manager_name, name(&manager.metadata), "replica")?;
        }
        let mut client = InstanceManagerClient::connect(&manager, false).await?;
        let volume = datastore.volumes.get(&spec.volume_name)?;
        let settings = ReplicaSettings {
            cli_api_version: cli_api_version(datastore, &spec.image, &spec.data_engine)?,
            disk_name: self.disk_name(replica)?,
            backing_file: file,
            data_locality: volume.spec.data_locality.clone(),
        };
        if notes_starts(datastore) {
            replica.status.starting = true;
            // The object keeps its old version: what the reconcile writes next meets a conflict, as upstream's.
            let noted = datastore.replicas.update_status(replica).await;
            noted.context(|| {
                format!("failed to update replica {replica_name} status.starting to true before sending instance create request")
            })?;
        }
        client.create_replica(replica, &settings).await
    }

    async fn delete(&self, replica: &Replica) -> Result<()> {
        let (datastore, spec) = (&self.manager.datastore, &replica.spec);
        let found =
            manager_to_delete_in(datastore, &replica.status.instance_manager_name, &spec.node_id, &spec.data_engine);
        let Some(manager) = found else { return Ok(()) };
        if !may_be_reached(datastore, &manager) {
            return Ok(());
        }
        // A replica of v2 is a volume on a block device; it goes with the resource only.
        let cleanup = spec.data_engine != DataEngine::V2 || replica.metadata.deletion_timestamp.is_some();
        let replica_name = name(&replica.metadata);
        let deleted = async {
            let mut client = InstanceManagerClient::connect(&manager, true).await?;
            client.delete(&spec.data_engine, replica_name, "", InstanceType::Replica, &spec.disk_id, cleanup).await
        };
        forgive(deleted.await, &manager, replica_name)
    }

    async fn get(&self, replica: &Replica) -> Result<()> {
        let (datastore, spec) = (&self.manager.datastore, &replica.spec);
        let manager = manager_of(datastore, &replica.status.instance_manager_name, &spec.node_id, &spec.data_engine)?;
        let mut client = InstanceManagerClient::connect(&manager, false).await?;
        let replica_name = name(&replica.metadata);
        let found = client.get(&spec.data_engine, replica_name, InstanceType::Replica).await?;
        if found.spec.data_engine == DataEngine::V2 && found.status.state == InstanceState::Stopped {
            return Err(Error::message(format!("instance {replica_name} is stopped")));
        }
        Ok(())
    }

    async fn print_log(&self, replica: &Replica) -> Result<()> {
        let manager = self.manager.datastore.instance_managers.get(&replica.status.instance_manager_name)?;
        let mut client = InstanceManagerClient::connect(&manager, false).await?;
        client.print_log(&replica.spec.data_engine, name(&replica.metadata), InstanceType::Replica).await
    }
}

impl ReplicaDriver<'_> {
    /// The file below the replica's data, nothing if there is no backing image; none while the replica has to wait for it.
    async fn backing_file(&self, replica: &mut Replica) -> Result<Option<String>> {
        let found = if replica.spec.backing_image.is_empty() {
            Ok(Some(String::new()))
        } else {
            self.find_backing_file(replica).await
        };
        let (status, reason, message) = match &found {
            Ok(Some(_)) => (ConditionStatus::False, "", String::new()),
            Ok(None) => (ConditionStatus::True, REASON_WAIT_FOR_BACKING_IMAGE_WAITING, String::new()),
            Err(error) => (ConditionStatus::True, REASON_WAIT_FOR_BACKING_IMAGE_FAILED, error.to_string()),
        };
        let conditions = &mut replica.status.conditions;
        conditions.set_condition(CONDITION_WAIT_FOR_BACKING_IMAGE, status, reason, &message, &clock::now_text());
        found
    }

    /// The backing image's file on the replica's disk; a copy is asked for if there is none.
    async fn find_backing_file(&self, replica: &Replica) -> Result<Option<String>> {
        let datastore = &self.manager.datastore;
        let (spec, disk) = (&replica.spec, &replica.spec.disk_id);
        let image = datastore.backing_images.get(&spec.backing_image)?;
        if image.status.uuid.is_empty() || image.spec.disk_file_spec_map.is_nil() {
            return Ok(None);
        }
        if !image.spec.disk_file_spec_map.contains_key(disk) {
            let mut wanted = (*image).clone();
            let file = BackingImageDiskFileSpec {
                data_engine: spec.data_engine.clone(),
                ..BackingImageDiskFileSpec::default()
            };
            wanted.spec.disk_file_spec_map.insert(disk.clone(), file);
            tracing::info!("Asking backing image {} to download file to disk {disk}", spec.backing_image);
            datastore.backing_images.update(&wanted).await?;
            return Ok(None);
        }
        let state = image.status.disk_file_status_map.get(disk).map(|file| &file.state);
        if state != Some(&BackingImageState::Ready) {
            return Ok(None);
        }
        Ok(Some(backing_file(&spec.disk_path, &spec.backing_image, &image.status.uuid)))
    }

    /// Whether the replica may start to be rebuilt: so many at once on a node, as far as this manager remembers.
    fn may_be_rebuilt(&self, replica: &Replica) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let limit = datastore.setting_number(settings::CONCURRENT_REPLICA_REBUILD_PER_NODE_LIMIT)?;
        if limit < 1 {
            return Ok(true);
        }
        let mut rebuilding = self.rebuilding.lock().unwrap_or_else(PoisonError::into_inner);
        let on_node = datastore.replicas_on_node(&replica.spec.node_id);
        for other in &on_node {
            let state = &other.status.current_state;
            if is_rebuilding(other) && matches!(state, InstanceState::Starting | InstanceState::Running) {
                rebuilding.insert(name(&other.metadata).to_owned());
            }
        }
        let replica_name = name(&replica.metadata);
        if rebuilding.contains(replica_name) {
            return Ok(true);
        }
        rebuilding.retain(|known| on_node.iter().any(|other| name(&other.metadata) == known && is_rebuilding(other)));
        if rebuilding.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            tracing::warn!("Replica rebuildings for {rebuilding:?} are in progress on this node, the limit is {limit}");
            return Ok(false);
        }
        rebuilding.insert(replica_name.to_owned());
        Ok(true)
    }

    /// The name of the replica's disk in this node's status.
    fn disk_name(&self, replica: &Replica) -> Result<String> {
        let node = self.manager.datastore.nodes.get(self.manager.node())?;
        let disk = node.status.disk_status.values().find(|status| status.disk_uuid == replica.spec.disk_id);
        let disk = disk.map(|status| status.disk_name.clone());
        disk.ok_or_else(|| Error::message(format!("cannot find disk name for replica {}", name(&replica.metadata))))
    }
}
