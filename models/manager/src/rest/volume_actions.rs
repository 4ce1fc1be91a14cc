//! What clients ask of one volume (`api/volume.go`, `manager/volume.go`). A change that another writer was faster than is tried again.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use longhorn_api::kinds::volume::{DataEngine, DataLocality, VolumeFrontend, VolumeRobustness, VolumeState};
use longhorn_api::kinds::volume_attachment::{AttacherType, AttachmentTicket, DISABLE_FRONTEND, LAST_ATTACHED_BY};
use longhorn_api::{Node, Replica, Volume};
use serde::Deserialize;

use super::Rest;
use super::quantity::bytes;
use super::resource::{Call, Reply};
use super::volume_parts::Parts;
use super::volumes::show;
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Error, Result, clock};
use crate::scheduler::{ReplicaScheduler, disk_of};

/// How often a change is tried (`util.APIRetryCounts`).
const TRIES: u32 = 10;
/// Least time between two tries, and what one of five steps adds (`APIRetryInterval`, `APIRetryJitterInterval`).
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_STEP: Duration = Duration::from_millis(50);
const RETRY_STEPS: u64 = 5;
/// Sizes are multiples of this.
const SIZE_ALIGNMENT: i64 = 2 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AttachInput {
    #[serde(rename = "hostId")]
    host: String,
    #[serde(rename = "disableFrontend")]
    disable_frontend: bool,
    #[serde(rename = "attachedBy")]
    attached_by: String,
    #[serde(rename = "attacherType")]
    attacher_type: String,
    #[serde(rename = "attachmentID")]
    attachment: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DetachInput {
    #[serde(rename = "attachmentID")]
    attachment: String,
    #[serde(rename = "forceDetach")]
    force: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SalvageInput {
    names: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OneInput {
    name: String,
    size: String,
    frontend: VolumeFrontend,
    replica_count: i64,
}

impl Rest {
    /// `POST /v1/volumes/<volume>?action=...`
    pub(super) async fn act_on_volume(&self, call: &Call, volume: &str) -> Result<Reply> {
        let datastore = &self.manager.datastore;
        let changed = match call.action() {
            "attach" => {
                let input: AttachInput = call.input()?;
                self.retry(|| attach(datastore, volume, &input)).await?
            }
            "detach" => {
                // The user interface sends no body.
                let input: DetachInput = call.input().unwrap_or_default();
                self.retry(|| detach(datastore, volume, &input)).await?
            }
            "salvage" => {
                let input: SalvageInput = call.input().context(|| "failed to read salvageInput")?;
                self.retry(|| salvage(datastore, volume, &input.names)).await?
            }
            "activate" => {
                let input: OneInput = call.input()?;
                self.retry(|| activate(datastore, volume, &input.frontend)).await?
            }
            "expand" => {
                let input: OneInput = call.input()?;
                let size = bytes(&input.size);
                let size = size.map_err(|problem| Error::message(format!("failed to parse size {problem}")))?;
                self.retry(|| expand(datastore, volume, size)).await?
            }
            "cancelExpansion" => self.retry(|| cancel_expansion(datastore, volume)).await?,
            "updateReplicaCount" => {
                let input: OneInput = call.input().context(|| "failed to read replicaCount")?;
                self.retry(|| update_replica_count(datastore, volume, input.replica_count)).await?
            }
            "replicaRemove" => {
                let input: OneInput = call.input().context(|| "failed to read replicaRemoveInput")?;
                let removed = remove_replica(datastore, volume, &input.name).await;
                removed.context(|| "failed to remove replica")?;
                return Ok(self.answer_with_volume(call, volume));
            }
            action if action.starts_with("snapshot") => return self.act_on_snapshots(call, volume).await,
            _ => return Ok(Reply::Absent),
        };
        Ok(Reply::Json(show(call, &changed, &Parts::default())))
    }

    /// Tries a change again as long as it meets conflicts.
    async fn retry<F: Future<Output = Result<Volume>>>(&self, change: impl Fn() -> F) -> Result<Volume> {
        for _ in 0..TRIES {
            match change().await {
                Err(error) if error.cause().is_conflict() => {
                    let steps = self.manager.datastore.random_below(RETRY_STEPS);
                    host::time::sleep(RETRY_INTERVAL + RETRY_STEP * u32::try_from(steps).unwrap_or_default()).await;
                }
                done => return done,
            }
        }
        Err(Error::message("cannot finish API request due to too many error retries"))
    }
}

fn volume_now(datastore: &Datastore, volume: &str) -> Result<Volume> {
    Ok((*datastore.volumes.get(volume)?).clone())
}

/// Files a ticket; the attachment's controller does the rest.
async fn attach(datastore: &Datastore, volume_name: &str, input: &AttachInput) -> Result<Volume> {
    let attached = file_ticket(datastore, volume_name, input).await;
    attached.context(|| format!("unable to attach volume {volume_name} to {}", input.host))
}

async fn file_ticket(datastore: &Datastore, volume_name: &str, input: &AttachInput) -> Result<Volume> {
    let node = datastore.nodes.get(&input.host)?;
    if node.status.conditions.condition("Ready").status.as_str() != "True" {
        return Err(Error::message(format!(
            "node {} is not ready, couldn't attach volume {volume_name} to it",
            input.host
        )));
    }
    let volume = volume_now(datastore, volume_name)?;
    require_image(datastore, &volume, &input.host)?;
    if volume.status.conditions.condition("Restore").status.as_str() == "True" {
        return Err(Error::message(format!("volume {volume_name} is restoring data")));
    }
    if volume.status.restore_required {
        return Err(Error::message(format!("volume {volume_name} is pending restoring")));
    }
    if volume.spec.migration_node_id == input.host {
        return Ok(volume);
    }
    let attacher =
        if input.attacher_type.is_empty() { AttacherType::LonghornApi } else { input.attacher_type.as_str().into() };
    let mut attachment = datastore.attachment_of_volume(volume_name)?;
    let ticket = AttachmentTicket {
        id: input.attachment.clone(),
        attacher_type: attacher,
        node_id: input.host.clone(),
        parameters: [
            (DISABLE_FRONTEND, input.disable_frontend.to_string()),
            (LAST_ATTACHED_BY, input.attached_by.clone()),
        ]
        .into(),
        ..AttachmentTicket::default()
    };
    attachment.spec.attachment_tickets.insert(input.attachment.clone(), ticket);
    datastore.volume_attachments.update(&attachment).await?;
    Ok(volume)
}

/// An error unless the node and, except for strictly local data, one replica's node have what an instance of the volume needs
/// (`CheckDataEngineImageReadyOnAtLeastOneVolumeReplica`).
fn require_image(datastore: &Datastore, volume: &Volume, node: &str) -> Result<()> {
    let (spec, volume_name) = (&volume.spec, name(&volume.metadata));
    let image = &spec.image;
    let lacking = || {
        Error::message(format!(
            "cannot attach volume {volume_name} because the data engine image {image} is not deployed on at least one of the the replicas' nodes or the node that the volume is going to attach to"
        ))
    };
    let cannot = || format!("cannot attach volume {volume_name} with image {image}");
    let is_ready = |engine: &DataEngine, node: &str| datastore.is_data_engine_image_ready(image, engine, node);
    if !is_ready(&spec.data_engine, node).context(cannot)? {
        return Err(lacking());
    }
    if spec.data_locality == DataLocality::StrictLocal {
        return Ok(());
    }
    let replicas = datastore.replicas_of_volume(volume_name);
    for replica in replicas.values() {
        if is_ready(&replica.spec.data_engine, &replica.spec.node_id).context(cannot)? {
            return Ok(());
        }
    }
    if replicas.values().all(|replica| replica.spec.node_id.is_empty()) {
        let none = Error::message(format!("volume {volume_name} has no scheduled replicas"));
        return Err(none).context(cannot);
    }
    Err(lacking())
}

/// Takes back one ticket, or all of them.
async fn detach(datastore: &Datastore, volume_name: &str, input: &DetachInput) -> Result<Volume> {
    let detached = async {
        let volume = volume_now(datastore, volume_name)?;
        if volume.status.is_standby {
            return Err(Error::message(format!("cannot detach standby volume {volume_name}")));
        }
        let mut attachment = datastore.attachment_of_volume(volume_name)?;
        if input.force {
            attachment.spec.attachment_tickets = BTreeMap::new().into();
        } else {
            attachment.spec.attachment_tickets.remove(&input.attachment);
        }
        datastore.volume_attachments.update(&attachment).await?;
        Ok(volume)
    };
    detached.await.context(|| format!("unable to detach volume {volume_name}"))
}

/// Declares failed replicas good, so that a faulted volume can start from them.
async fn salvage(datastore: &Datastore, volume_name: &str, replicas: &[String]) -> Result<Volume> {
    let salvaged = async {
        let mut volume = volume_now(datastore, volume_name)?;
        if volume.status.state != VolumeState::Detached {
            return Err(Error::message(format!("invalid volume state to salvage: {}", volume.status.state)));
        }
        if volume.status.robustness != VolumeRobustness::Faulted {
            return Err(Error::message(format!("invalid robustness state to salvage: {}", volume.status.robustness)));
        }
        volume.spec.node_id.clear();
        let volume = datastore.update_volume(&volume).await?;
        for replica_name in replicas {
            let mut replica = (*datastore.replicas.get(replica_name)?).clone();
            check_salvageable(datastore, &replica, volume_name)?;
            if !replica.spec.failed_at.is_empty() {
                replica.spec.failed_at.clear();
                datastore.update_replica(&replica).await?;
            }
        }
        tracing::info!("Salvaged replica {replicas:?} for volume {volume_name}");
        Ok(volume)
    };
    salvaged.await.context(|| format!("unable to salvage volume {volume_name}"))
}

fn check_salvageable(datastore: &Datastore, replica: &Replica, volume_name: &str) -> Result<()> {
    let (spec, replica_name) = (&replica.spec, name(&replica.metadata));
    let node_name = &spec.node_id;
    if spec.volume_name != volume_name {
        return Err(Error::message(format!("replica {replica_name} doesn't belong to volume {volume_name}")));
    }
    let down = datastore.is_node_down_or_deleted(node_name).map_err(|_| {
        Error::message(format!(
            "failed to check if the related node {node_name} is still running for replica {replica_name}"
        ))
    })?;
    if down {
        return Err(Error::message(format!(
            "unable to check if the related node {node_name} is down or deleted for replica {replica_name}"
        )));
    }
    let node = datastore.nodes.get(node_name).map_err(|_| {
        Error::message(format!("failed to get the related node {node_name} for replica {replica_name}"))
    })?;
    if !takes_replicas(&node, &spec.disk_id) {
        return Err(Error::message(format!(
            "disk with UUID {} on node {node_name} is unschedulable for replica {replica_name}",
            spec.disk_id
        )));
    }
    Ok(())
}

fn takes_replicas(node: &Node, disk: &str) -> bool {
    disk_of(node, disk).is_some_and(|(_, status)| status.conditions.condition("Schedulable").status.as_str() == "True")
}

/// Makes a standby volume one that is used. Its backup volume is looked up once more first, so that the last backup is restored.
async fn activate(datastore: &Datastore, volume_name: &str, frontend: &VolumeFrontend) -> Result<Volume> {
    let activated = async {
        let mut volume = volume_now(datastore, volume_name)?;
        if !volume.status.is_standby {
            return Err(Error::message(format!("volume {volume_name} is already in active mode")));
        }
        if !volume.spec.standby {
            return Err(Error::message(format!("volume {volume_name} is being activated")));
        }
        if ![VolumeFrontend::BlockDevice, VolumeFrontend::Iscsi].contains(frontend) {
            return Err(Error::message(format!("invalid frontend {frontend}")));
        }
        let of = volume.metadata.labels.as_ref().and_then(|labels| labels.get(longhorn_api::labels::BACKUP_VOLUME));
        if let Some(backed_up) = of {
            let found = datastore.backup_volume_of(&volume.spec.backup_target_name, backed_up)?;
            let mut backup_volume = (*found).clone();
            backup_volume.spec.sync_requested_at = Some(clock::now());
            datastore.backup_volumes.update(&backup_volume).await?;
        }
        volume.spec.frontend = frontend.clone();
        volume.spec.standby = false;
        datastore.update_volume(&volume).await
    };
    activated.await.context(|| format!("unable to activate volume {volume_name}"))
}

async fn expand(datastore: &Datastore, volume_name: &str, size: i64) -> Result<Volume> {
    if volume_now(datastore, volume_name).context(|| "failed to get volume")?.status.is_standby {
        return Err(Error::message(format!("failed to manually expand standby volume {volume_name}")));
    }
    let expanded = async {
        let mut volume = volume_now(datastore, volume_name)?;
        if ![VolumeState::Detached, VolumeState::Attached].contains(&volume.status.state) {
            return Err(Error::message(format!("invalid volume state to expand: {}", volume.status.state)));
        }
        if volume.status.conditions.condition("Scheduled").status.as_str() != "True" {
            return Err(Error::message("cannot expand volume before replica scheduling success"));
        }
        let (old, new) = (volume.spec.size.0, (size + SIZE_ALIGNMENT - 1) / SIZE_ALIGNMENT * SIZE_ALIGNMENT);
        if old >= new {
            tracing::info!("Volume {volume_name} expansion is not allowable since current size {old} >= {new}");
            return Ok(volume);
        }
        ReplicaScheduler::new(datastore).check_expansion(&volume, old, new)?.map_err(Error::message)?;
        volume.spec.size = new.into();
        datastore.update_volume(&volume).await
    };
    expanded.await.context(|| format!("unable to expand volume {volume_name}"))
}

async fn cancel_expansion(datastore: &Datastore, volume_name: &str) -> Result<Volume> {
    let cancelled = async {
        let mut volume = volume_now(datastore, volume_name)?;
        if !volume.status.expansion_required {
            return Err(Error::message("volume expansion is not started"));
        }
        if volume.status.is_standby {
            return Err(Error::message("canceling expansion for standby volume is not supported"));
        }
        let engines = datastore.engines_of_volume(volume_name);
        let Some(engine) = engines.values().next().filter(|_| engines.len() == 1) else {
            return Err(Error::message(format!("found more than 1 engines for volume {volume_name}")));
        };
        if engine.status.is_expanding {
            return Err(Error::message("the engine expansion is in progress"));
        }
        if engine.status.current_size == volume.spec.size {
            return Err(Error::message("the engine expansion is already complete"));
        }
        volume.spec.size = engine.status.current_size;
        datastore.update_volume(&volume).await
    };
    cancelled.await.context(|| format!("unable to cancel expansion for volume {volume_name}"))
}

async fn update_replica_count(datastore: &Datastore, volume_name: &str, count: i64) -> Result<Volume> {
    let updated = async {
        let mut volume = volume_now(datastore, volume_name)?;
        if volume.spec.node_id.is_empty() || volume.status.state != VolumeState::Attached {
            let text = format!("invalid volume state to update replica count{}", volume.status.state);
            return Err(Error::message(text));
        }
        if volume.spec.image != volume.status.current_image {
            return Err(Error::message("upgrading in process, cannot update replica count"));
        }
        if !volume.spec.migration_node_id.is_empty() {
            return Err(Error::message("migration in process, cannot update replica count"));
        }
        volume.spec.number_of_replicas = count;
        datastore.update_volume(&volume).await
    };
    updated.await.context(|| format!("unable to update replica count for volume {volume_name}"))
}

/// Deletes a replica if another one has the data.
async fn remove_replica(datastore: &Datastore, volume_name: &str, replica_name: &str) -> Result<()> {
    let replicas = datastore.replicas_of_volume(volume_name);
    if !replicas.contains_key(replica_name) {
        return Err(Error::message(format!("cannot find replica {replica_name} of volume {volume_name}")));
    }
    let has_data = |replica: &Replica| {
        replica.metadata.deletion_timestamp.is_none()
            && replica.spec.failed_at.is_empty()
            && !replica.spec.healthy_at.is_empty()
            && !replica.spec.eviction_requested
    };
    if !replicas.iter().any(|(other, replica)| other != replica_name && has_data(replica)) {
        return Err(Error::message(format!(
            "no other healthy replica available, cannot delete replica {replica_name} since it may still contain data for recovery"
        )));
    }
    datastore.replicas.delete(replica_name).await?;
    tracing::info!("Deleted replica {replica_name} of volume {volume_name}");
    Ok(())
}
