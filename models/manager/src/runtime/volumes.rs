//! The objects of one volume as its controllers read and write them: engines, replicas, snapshots, the attachment
//! (`datastore/longhorn.go`).
//!
//! Engines and replicas carry their node, disk and backing image as labels too; every write of a spec sets them anew. A Volume that takes
//! part in no recurring job gets the default group at every write.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Engine, Replica, Snapshot, Volume, VolumeAttachment, labels};

use super::backups::name;
use super::datastore::Datastore;
use super::error::{Error, Result};

/// The one disk that every engine reports beside its snapshots: the live one (`etypes.VolumeHeadName`).
pub const VOLUME_HEAD: &str = "volume-head";

impl Datastore {
    /// Engines of a volume, by name.
    pub fn engines_of_volume(&self, volume: &str) -> BTreeMap<String, Arc<Engine>> {
        by_name(self.engines.list_labelled(&[(labels::VOLUME, volume)]), |engine| &engine.metadata)
    }

    /// Replicas of a volume, by name.
    pub fn replicas_of_volume(&self, volume: &str) -> BTreeMap<String, Arc<Replica>> {
        by_name(self.replicas.list_labelled(&[(labels::VOLUME, volume)]), |replica| &replica.metadata)
    }

    /// Snapshots of a volume, by name.
    pub fn snapshots_of_volume(&self, volume: &str) -> BTreeMap<String, Arc<Snapshot>> {
        by_name(self.snapshots.list_labelled(&[(labels::VOLUME, volume)]), |snapshot| &snapshot.metadata)
    }

    /// Replicas on a node, in an order that means nothing.
    pub fn replicas_on_node(&self, node: &str) -> Vec<Arc<Replica>> {
        self.replicas.list_labelled(&[(labels::NODE, node)])
    }

    /// The attachment of a volume; its name is the volume's.
    pub fn attachment_of_volume(&self, volume: &str) -> Result<VolumeAttachment> {
        Ok((*self.volume_attachments.get(volume)?).clone())
    }

    /// Stores a new engine.
    pub async fn create_engine(&self, mut engine: Engine) -> Result<Engine> {
        label_engine(&mut engine);
        Ok((*self.engines.create(&engine).await?).clone())
    }

    /// Replaces an engine, all but its status.
    pub async fn update_engine(&self, engine: &Engine) -> Result<Engine> {
        let mut engine = engine.clone();
        label_engine(&mut engine);
        self.engines.update(&engine).await
    }

    /// Stores a new replica.
    pub async fn create_replica(&self, mut replica: Replica) -> Result<Replica> {
        check_replica(&replica)?;
        label_replica(&mut replica);
        Ok((*self.replicas.create(&replica).await?).clone())
    }

    /// Replaces a replica, all but its status.
    pub async fn update_replica(&self, replica: &Replica) -> Result<Replica> {
        check_replica(replica)?;
        let mut replica = replica.clone();
        label_replica(&mut replica);
        self.replicas.update(&replica).await
    }

    /// Stores a new volume.
    pub async fn create_volume(&self, mut volume: Volume) -> Result<Volume> {
        label_default_jobs(&mut volume.metadata);
        Ok((*self.volumes.create(&volume).await?).clone())
    }

    /// Replaces a volume, all but its status.
    pub async fn update_volume(&self, volume: &Volume) -> Result<Volume> {
        let mut volume = volume.clone();
        label_default_jobs(&mut volume.metadata);
        self.volumes.update(&volume).await
    }

    /// Whether a data engine is switched on.
    pub fn is_data_engine_enabled(&self, engine: &DataEngine) -> Result<bool> {
        let v2 = *engine == DataEngine::V2;
        let setting = if v2 { longhorn_api::settings::V2_DATA_ENGINE } else { longhorn_api::settings::V1_DATA_ENGINE };
        self.setting_flag(setting)
    }

    /// Whether what an instance of this image needs is on the node: for v1 the engine's binary; v2 lives in the instance manager
    /// (`CheckDataEngineImageReadiness`).
    pub fn is_data_engine_image_ready(&self, image: &str, engine: &DataEngine, node: &str) -> Result<bool> {
        if *engine == DataEngine::V2 { Ok(!node.is_empty()) } else { self.is_engine_image_ready(image, node) }
    }
}

fn by_name<K>(objects: Vec<Arc<K>>, metadata: impl Fn(&K) -> &ObjectMeta) -> BTreeMap<String, Arc<K>> {
    objects.into_iter().map(|object| (name(metadata(&object)).to_owned(), object)).collect()
}

fn label_engine(engine: &mut Engine) {
    labels::set(&mut engine.metadata, labels::NODE, engine.spec.node_id.clone());
}

fn label_replica(replica: &mut Replica) {
    let Replica { metadata, spec, .. } = replica;
    labels::set(metadata, labels::NODE, spec.node_id.clone());
    labels::set(metadata, labels::DISK_UUID, spec.disk_id.clone());
    labels::set(metadata, labels::BACKING_IMAGE_OF_REPLICA, spec.backing_image.clone());
}

/// A running replica has addresses and no other has: a write is refused while the cache shows half of a change.
fn check_replica(replica: &Replica) -> Result<()> {
    let runs = replica.status.current_state == InstanceState::Running;
    for (what, address) in [("IP", &replica.status.ip), ("storage IP", &replica.status.storage_ip)] {
        if runs == address.is_empty() {
            let replica = name(&replica.metadata);
            return Err(Error::message(format!("BUG: instance state and {what} wasn't in sync {replica}")));
        }
    }
    Ok(())
}

fn label_default_jobs(metadata: &mut ObjectMeta) {
    let (job, group) = (labels::recurring_job(""), labels::recurring_job_group(""));
    let mut own = metadata.labels.iter().flatten();
    if !own.any(|(key, _)| key.starts_with(&job) || key.starts_with(&group)) {
        labels::set(metadata, &labels::recurring_job_group(labels::DEFAULT_RECURRING_JOB_GROUP), labels::ENABLED);
    }
}
