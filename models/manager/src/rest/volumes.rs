//! Volumes: list, one, creation and deletion, and how a volume is shown with all its parts (`api/volume.go`, `api/model.go`).

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use longhorn_api::kinds::backup::BackupCompressionMethod;
use longhorn_api::kinds::volume::{
    AccessMode, Choice, DataEngine, DataLocality, ReplicaAutoBalance, SnapshotDataIntegrity, VolumeFrontend,
    VolumeRobustness, VolumeSpec, VolumeState,
};
use longhorn_api::{Node, Volume, labels, names};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Rest;
use super::quantity::bytes;
use super::resource::{Call, Reply};
use super::volume_parts::{self, Parts};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result, clock};

/// What can be done to a faulted volume and to every other one, whatever its state.
const ALWAYS: [&str; 2] = ["attach", "detach"];
const UNLESS_FAULTED: [&str; 5] =
    ["snapshotCRCreate", "snapshotCRGet", "snapshotCRList", "snapshotCRDelete", "snapshotBackup"];
const DETACHED: [&str; 4] = ["activate", "expand", "cancelExpansion", "replicaRemove"];
const ATTACHED: [&str; 11] = [
    "activate",
    "expand",
    "snapshotPurge",
    "snapshotCreate",
    "snapshotList",
    "snapshotGet",
    "snapshotDelete",
    "snapshotRevert",
    "replicaRemove",
    "updateReplicaCount",
    "cancelExpansion",
];

/// A volume as it is asked for; sizes are texts with or without a unit.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeInput {
    name: String,
    size: String,
    frontend: VolumeFrontend,
    from_backup: String,
    restore_volume_recurring_job: Choice,
    data_source: String,
    number_of_replicas: i64,
    replica_auto_balance: ReplicaAutoBalance,
    data_locality: DataLocality,
    stale_replica_timeout: i64,
    backing_image: String,
    standby: bool,
    disk_selector: Vec<String>,
    node_selector: Vec<String>,
    access_mode: AccessMode,
    migratable: bool,
    encrypted: bool,
    revision_counter_disabled: bool,
    snapshot_data_integrity: SnapshotDataIntegrity,
    snapshot_max_count: i64,
    snapshot_max_size: String,
    backup_compression_method: BackupCompressionMethod,
    unmap_mark_snap_chain_removed: Choice,
    replica_soft_anti_affinity: Choice,
    replica_zone_soft_anti_affinity: Choice,
    replica_disk_soft_anti_affinity: Choice,
    data_engine: DataEngine,
    freeze_filesystem_for_snapshot: Choice,
    backup_target_name: String,
    offline_rebuilding: Choice,
    recurring_job_selector: Option<Vec<JobInput>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JobInput {
    name: String,
    is_group: bool,
}

impl Rest {
    /// `/v1/volumes` and below.
    pub(super) async fn volumes(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let store = &self.manager.datastore.volumes;
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let mut volumes = store.list();
                volumes.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
                let shown = volumes.iter().map(|volume| self.show_volume(call, volume));
                Ok(call.collection("volume", shown.collect()))
            }
            (&Method::POST, []) => self.create_volume(call).await,
            (&Method::GET, [volume]) => Ok(self.answer_with_volume(call, volume)),
            (&Method::DELETE, [volume]) => {
                store.delete(volume).await.context(|| "failed to delete volume")?;
                tracing::info!("Deleted volume {volume}");
                Ok(Reply::Nothing)
            }
            (&Method::POST, [volume]) => self.act_on_volume(call, volume).await,
            (_, [] | [_]) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }

    /// The volume as this manager sees it now; one that it does not see is answered without words.
    pub(super) fn answer_with_volume(&self, call: &Call, volume: &str) -> Reply {
        let found = self.manager.datastore.volumes.find(volume);
        found.map_or(Reply::Absent, |volume| Reply::Json(self.show_volume(call, &volume)))
    }

    async fn create_volume(&self, call: &Call) -> Result<Reply> {
        let input: VolumeInput = call.input()?;
        let volume_name = input.name.clone();
        let wanted = self.wanted_volume(input)?;
        let created = self.manager.datastore.create_volume(wanted).await;
        let created = created.context(|| format!("unable to create volume {volume_name}"));
        let created = created.context(|| "failed to create volume")?;
        tracing::info!("Created volume {volume_name}: {:?}", created.spec);
        Ok(Reply::Json(show(call, &created, &Parts::default())))
    }

    /// The object of a volume that is asked for: a frontend unless it stands by, tags that some disk or node has.
    fn wanted_volume(&self, input: VolumeInput) -> Result<Volume> {
        let mut frontend = input.frontend.clone();
        if input.standby {
            if frontend != VolumeFrontend::None {
                return Err(Error::message(format!("failed to set frontend for standby volume: {}", input.name)));
            }
            if input.from_backup.is_empty() {
                let text = format!("failed to create standby volume {} without field FromBackup", input.name);
                return Err(Error::message(text));
            }
        } else if frontend == VolumeFrontend::None {
            frontend = VolumeFrontend::BlockDevice;
        }
        let size = bytes(&input.size).map_err(|problem| Error::message(format!("failed to parse size {problem}")))?;
        self.check_tags("disk", &input.disk_selector, |node| {
            node.spec.disks.values().flat_map(|disk| disk.tags.iter().cloned()).collect()
        })?;
        self.check_tags("node", &input.node_selector, |node| node.spec.tags.to_vec())?;
        let snapshot_max_size = bytes(&input.snapshot_max_size)
            .map_err(|problem| Error::message(format!("failed to parse snapshot max size: {problem}")))?;
        let mut spec = VolumeSpec {
            size: size.into(),
            frontend,
            from_backup: input.from_backup,
            restore_volume_recurring_job: input.restore_volume_recurring_job,
            data_source: input.data_source,
            number_of_replicas: input.number_of_replicas,
            replica_auto_balance: input.replica_auto_balance,
            data_locality: input.data_locality,
            stale_replica_timeout: input.stale_replica_timeout,
            backing_image: input.backing_image,
            standby: input.standby,
            disk_selector: input.disk_selector.into(),
            node_selector: input.node_selector.into(),
            access_mode: input.access_mode,
            migratable: input.migratable,
            encrypted: input.encrypted,
            revision_counter_disabled: input.revision_counter_disabled,
            snapshot_data_integrity: input.snapshot_data_integrity,
            snapshot_max_count: input.snapshot_max_count,
            snapshot_max_size: snapshot_max_size.into(),
            backup_compression_method: input.backup_compression_method,
            unmap_mark_snap_chain_removed: input.unmap_mark_snap_chain_removed,
            replica_soft_anti_affinity: input.replica_soft_anti_affinity,
            replica_zone_soft_anti_affinity: input.replica_zone_soft_anti_affinity,
            replica_disk_soft_anti_affinity: input.replica_disk_soft_anti_affinity,
            data_engine: input.data_engine,
            freeze_filesystem_for_snapshot: input.freeze_filesystem_for_snapshot,
            offline_rebuilding: input.offline_rebuilding,
            ..VolumeSpec::default()
        };
        if self.manager.datastore.has_many_backup_targets() {
            let named = !input.backup_target_name.is_empty();
            let target = if named { input.backup_target_name } else { names::DEFAULT_BACKUP_TARGET.to_owned() };
            spec.backup_target_name = target;
        }
        let mut metadata = ObjectMeta { name: Some(input.name), ..ObjectMeta::default() };
        for job in input.recurring_job_selector.unwrap_or_default() {
            let label =
                if job.is_group { labels::recurring_job_group(&job.name) } else { labels::recurring_job(&job.name) };
            labels::set(&mut metadata, &label, labels::ENABLED);
        }
        Ok(Volume { metadata, spec, ..Volume::default() })
    }

    fn check_tags(&self, what: &str, wanted: &[String], of: impl Fn(&Node) -> Vec<String>) -> Result<()> {
        let nodes = self.manager.datastore.nodes.list();
        let known: Vec<String> = nodes.iter().flat_map(|node| of(node)).collect();
        match wanted.iter().find(|tag| !known.contains(tag)) {
            Some(tag) => Err(Error::message(format!("specified {what} tag {tag} does not exist"))),
            None => Ok(()),
        }
    }

    /// A volume with all its parts.
    pub(super) fn show_volume(&self, call: &Call, volume: &Volume) -> Value {
        show(call, volume, &Parts::of(&self.manager.datastore, volume))
    }
}

/// What can be done to a volume now.
fn actions(volume: &Volume) -> Vec<&'static str> {
    let mut actions = ALWAYS.to_vec();
    if volume.status.robustness == VolumeRobustness::Faulted {
        actions.push("salvage");
        return actions;
    }
    actions.extend(UNLESS_FAULTED);
    match volume.status.state {
        VolumeState::Detached => actions.extend(DETACHED),
        VolumeState::Attaching => actions.push("cancelExpansion"),
        VolumeState::Attached => actions.extend(ATTACHED),
        _ => {}
    }
    actions
}

/// Whether a workload can have the volume (`types.IsVolumeReady`).
fn is_ready(volume: &Volume, parts: &Parts) -> bool {
    let (spec, status) = (&volume.spec, &volume.status);
    let detached = status.state == VolumeState::Detached;
    let placed = !parts.replicas.is_empty() && parts.replicas.values().all(|replica| !replica.spec.node_id.is_empty());
    let scheduled = status.conditions.condition("Scheduled").status.as_str() == "True";
    let cloning = spec.data_source.starts_with("vol://") || spec.data_source.starts_with("snap://");
    let detaching = spec.node_id.is_empty() && !detached;
    let lacks_room = detached && !scheduled && !placed;
    let waits = cloning && status.clone_status.state.as_str() != "completed";
    !detaching && !lacks_room && !waits && status.robustness != VolumeRobustness::Faulted && !status.restore_required
}

/// The volume with its parts, as clients see it. Answers to changes show the volume alone: its parts may have changed since.
pub(super) fn show(call: &Call, volume: &Volume, parts: &Parts) -> Value {
    let (spec, status) = (&volume.spec, &volume.status);
    let mut fields = json!(spec);
    for left_out in ["nodeID", "migrationNodeID", "Standby", "engineImage", "backendStoreDriver"] {
        fields.as_object_mut().map(|fields| fields.remove(left_out));
    }
    let conditions: Map<String, Value> =
        status.conditions.iter().map(|condition| (condition.condition_type.clone(), json!(condition))).collect();
    let created = volume.metadata.creation_timestamp.as_ref().map(go_text).unwrap_or_default();
    let more = json!({
        "name": name(&volume.metadata),
        "size": spec.size.0.to_string(),
        "snapshotMaxSize": spec.snapshot_max_size.0.to_string(),
        "standby": spec.standby,
        "created": created,
        "state": status.state,
        "robustness": status.robustness,
        "currentImage": status.current_image,
        "lastBackup": status.last_backup,
        "lastBackupAt": status.last_backup_at,
        "restoreRequired": status.restore_required,
        "restoreInitiated": status.restore_initiated,
        "shareEndpoint": status.share_endpoint,
        "shareState": status.share_state,
        "kubernetesStatus": status.kubernetes_status,
        "cloneStatus": status.clone_status,
        "conditions": conditions,
        "ready": is_ready(volume, parts),
        "recurringJobSelector": null,
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        fields[field] = value.clone();
    }
    volume_parts::show(&mut fields, volume, parts);
    call.resource("volume", name(&volume.metadata), &actions(volume), fields)
}

/// A time as Go prints it.
fn go_text(time: &Time) -> String {
    clock::text(time).replace('T', " ").replace('Z', " +0000 UTC")
}

#[cfg(test)]
mod tests {
    use super::super::resource::tests::call;
    use super::*;

    fn volume(state: VolumeState, robustness: VolumeRobustness) -> Volume {
        let mut volume = Volume::default();
        volume.metadata.name = Some("vol-1".to_owned());
        volume.spec.size = (2 << 30).into();
        volume.status.state = state;
        volume.status.robustness = robustness;
        volume
    }

    #[test]
    fn a_volume_shows_its_size_as_text_and_where_to_act_on_it() {
        let shown = show(
            &call(Method::GET, "/v1/volumes"),
            &volume(VolumeState::Attached, VolumeRobustness::Healthy),
            &Parts::default(),
        );
        assert_eq!((&shown["size"], &shown["robustness"]), (&json!("2147483648"), &json!("healthy")));
        assert!(shown["actions"]["snapshotCreate"].is_string() && shown["actions"].get("salvage").is_none());
        assert!(shown.get("nodeID").is_none(), "where a volume is is seen from its controllers");
    }

    #[test]
    fn a_faulted_volume_can_be_salvaged_and_nothing_else() {
        let faulted = volume(VolumeState::Detached, VolumeRobustness::Faulted);
        assert_eq!(actions(&faulted), ["attach", "detach", "salvage"]);
        assert!(!is_ready(&faulted, &Parts::default()));
    }
}
