//! Snapshots: as objects, which every manager answers for, and in the engine, which the volume's own manager asks
//! (`api/snapshot.go`, `manager/engine.go`, `manager/snapshot.go`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use longhorn_api::kinds::backup::{BackupMode, BackupSpec};
use longhorn_api::kinds::engine::SnapshotInfo;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::snapshot::SnapshotSpec;
use longhorn_api::kinds::volume::KubernetesStatus;
use longhorn_api::{Backup, Engine, Snapshot, Volume, labels, names, settings};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Rest;
use super::resource::{Call, Reply};
use crate::controllers;
use crate::engine::proxy::EngineProxy;
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result, clock};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SnapshotInput {
    name: String,
    labels: Option<BTreeMap<String, String>>,
    backup_mode: BackupMode,
}

impl Rest {
    /// The actions of a volume that are about its snapshots.
    pub(super) async fn act_on_snapshots(&self, call: &Call, volume: &str) -> Result<Reply> {
        match call.action() {
            "snapshotCRCreate" => {
                self.create_snapshot_object(call, volume).await.context(|| "failed to create snapshot CR")
            }
            "snapshotCRList" => {
                let snapshots = self.manager.datastore.snapshots_of_volume(volume);
                let shown = snapshots.values().map(|snapshot| show_object(call, snapshot)).collect();
                Ok(call.collection("snapshotCR", shown))
            }
            "snapshotCRGet" => {
                let input: SnapshotInput = call.input().context(|| "failed to get snapshot CR")?;
                let found = self.manager.datastore.snapshots.get(&input.name);
                Ok(Reply::Json(show_object(call, &*found.context(|| "failed to get snapshot CR")?)))
            }
            "snapshotCRDelete" => {
                self.delete_snapshot_object(call, volume).await.context(|| "failed to delete snapshot CR")
            }
            "snapshotCreate" => self.create_snapshot(call, volume).await.context(|| "failed to create snapshot"),
            "snapshotList" => self.list_snapshots(call, volume).await.context(|| "failed to list snapshot"),
            "snapshotGet" => self.get_snapshot(call, volume).await.context(|| "failed to get snapshot"),
            "snapshotDelete" => self.delete_snapshot(call, volume).await.context(|| "failed to delete snapshot"),
            "snapshotRevert" => self.revert_snapshot(call, volume).await.context(|| "failed to revert snapshot"),
            "snapshotPurge" => self.purge_snapshots(call, volume).await.context(|| "failed to purge snapshot"),
            "snapshotBackup" => self.back_up_snapshot(call, volume).await.context(|| "failed to backup snapshot"),
            _ => Ok(Reply::Absent),
        }
    }

    /// The volume, unless it stands by or moves.
    fn volume_to(&self, operation: &str, volume: &str) -> Result<Volume> {
        let found = self.manager.datastore.volumes.get(volume).context(|| "failed to get volume")?;
        if found.status.is_standby {
            return Err(Error::message(format!("failed to {operation} for standby volume {volume}")));
        }
        if !found.spec.migration_node_id.is_empty() {
            return Err(Error::message("cannot operate during migration"));
        }
        Ok((*found).clone())
    }

    async fn create_snapshot_object(&self, call: &Call, volume: &str) -> Result<Reply> {
        let input: SnapshotInput = call.input()?;
        self.volume_to("create snapshot", volume)?;
        let datastore = &self.manager.datastore;
        let unnamed = input.name.is_empty();
        let snapshot_name =
            if unnamed { names::snapshot(&datastore.random_digits(names::LONG_RANDOM_CHARACTERS)) } else { input.name };
        let snapshot = Snapshot {
            metadata: ObjectMeta { name: Some(snapshot_name), ..ObjectMeta::default() },
            spec: SnapshotSpec {
                volume: volume.to_owned(),
                create_snapshot: true,
                labels: input.labels.map(Into::into).unwrap_or_default(),
            },
            ..Snapshot::default()
        };
        let created = datastore.snapshots.create(&snapshot).await?;
        Ok(Reply::Json(show_object(call, &created)))
    }

    async fn delete_snapshot_object(&self, call: &Call, volume: &str) -> Result<Reply> {
        let input: SnapshotInput = call.input()?;
        self.volume_to("delete snapshot", volume)?;
        match self.manager.datastore.snapshots.delete(&input.name).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Reply::Json(call.resource("", "", &[], json!({})))),
        }
    }

    /// The volume's one engine, asked through its instance manager.
    async fn engine_of(&self, volume: &str) -> Result<EngineProxy> {
        let engine = self.running_engine(volume).context(|| format!("cannot get {volume} volume engine"))?;
        controllers::connect_engine(&self.manager, &engine).await
    }

    fn running_engine(&self, volume: &str) -> Result<Engine> {
        let datastore = &self.manager.datastore;
        let mut engines = datastore.engines_of_volume(volume).into_values();
        let engine = engines.next().ok_or_else(|| Error::message("cannot find engine"))?;
        if engines.next().is_some() {
            return Err(Error::message("more than one engine exists"));
        }
        if engine.status.current_state != InstanceState::Running {
            return Err(Error::message("engine is not running"));
        }
        let image = &engine.status.current_image;
        match datastore.is_data_engine_image_ready(image, &engine.spec.data_engine, self.manager.node()) {
            Ok(true) => Ok((*engine).clone()),
            Ok(false) => Err(Error::message(format!(
                "cannot get engine with image {image} because it isn't deployed on this node"
            ))),
            Err(error) => Err(Error::message(format!("cannot get engine with image {image}: {error}"))),
        }
    }

    async fn create_snapshot(&self, call: &Call, volume: &str) -> Result<Reply> {
        let input: SnapshotInput = call.input()?;
        let labels = input.labels.unwrap_or_default();
        self.volume_to("create snapshot", volume)?;
        let mut engine = self.engine_of(volume).await?;
        let freezes = controllers::freezes(&self.manager.datastore, volume)?;
        let taken = engine.create_snapshot(&input.name, &labels, freezes).await?;
        let Some(snapshot) = engine.snapshot(&taken).await? else {
            return Err(Error::message(format!("cannot found just created snapshot '{taken}', for volume '{volume}'")));
        };
        tracing::info!("Created snapshot {taken} with labels {labels:?} for volume {volume}");
        Ok(Reply::Json(show_snapshot(call, &snapshot, "")))
    }

    async fn list_snapshots(&self, call: &Call, volume: &str) -> Result<Reply> {
        let snapshots = self.engine_of(volume).await?.snapshots().await?;
        let objects = self.manager.datastore.snapshots_of_volume(volume);
        let shown = snapshots.iter().map(|(snapshot_name, snapshot)| {
            let checksum = objects.get(snapshot_name).map_or("", |object| object.status.checksum.as_str());
            show_snapshot(call, snapshot, checksum)
        });
        Ok(call.collection("snapshot", shown.collect()))
    }

    async fn get_snapshot(&self, call: &Call, volume: &str) -> Result<Reply> {
        let input: SnapshotInput = call.input()?;
        require_names(volume, &input.name)?;
        let Some(snapshot) = self.engine_of(volume).await?.snapshot(&input.name).await? else {
            return Err(Error::message(format!("cannot find snapshot '{}' for volume '{volume}'", input.name)));
        };
        let object = self.manager.datastore.snapshots.find(&input.name);
        let checksum = object.map(|object| object.status.checksum.clone()).unwrap_or_default();
        Ok(Reply::Json(show_snapshot(call, &snapshot, &checksum)))
    }

    async fn delete_snapshot(&self, call: &Call, volume: &str) -> Result<Reply> {
        let input: SnapshotInput = call.input()?;
        self.volume_to("delete snapshot", volume)?;
        require_names(volume, &input.name)?;
        self.engine_of(volume).await?.delete_snapshot(&input.name).await?;
        tracing::info!("Deleted snapshot {} for volume {volume}", input.name);
        Ok(self.answer_with_volume(call, volume))
    }

    async fn revert_snapshot(&self, call: &Call, volume: &str) -> Result<Reply> {
        let input: SnapshotInput = call.input()?;
        let spec = self.volume_to("revert snapshot", volume)?.spec;
        if !spec.frontend.as_str().is_empty() && !spec.disable_frontend {
            return Err(Error::message(format!("failed to revert snapshot for volume {volume} with frontend enabled")));
        }
        require_names(volume, &input.name)?;
        let mut engine = self.engine_of(volume).await?;
        let Some(snapshot) = engine.snapshot(&input.name).await? else {
            return Err(Error::message(format!("not found snapshot '{}', for volume '{volume}'", input.name)));
        };
        if snapshot.removed {
            return Err(Error::message(format!(
                "not revert to snapshot '{}' for volume '{volume}' since it's marked as Removed",
                input.name
            )));
        }
        engine.revert(&input.name).await?;
        tracing::info!("Reverted to snapshot {} for volume {volume}", input.name);
        Ok(Reply::Nothing)
    }

    async fn purge_snapshots(&self, call: &Call, volume: &str) -> Result<Reply> {
        if self.manager.datastore.setting_flag(settings::DISABLE_SNAPSHOT_PURGE)? {
            return Err(Error::message(format!(
                "cannot purge snapshots while {} setting is true",
                settings::DISABLE_SNAPSHOT_PURGE
            )));
        }
        self.engine_of(volume).await?.purge().await?;
        tracing::info!("Started snapshot purge for volume {volume}");
        Ok(self.answer_with_volume(call, volume))
    }

    /// A Backup is created; its controller makes it.
    async fn back_up_snapshot(&self, call: &Call, volume: &str) -> Result<Reply> {
        let input: SnapshotInput = call.input()?;
        let found = self.volume_to("create backup", volume)?;
        require_names(volume, &input.name)?;
        let datastore = &self.manager.datastore;
        let mut with = input.labels.unwrap_or_default();
        if found.status.kubernetes_status != KubernetesStatus::default() {
            with.insert(labels::KUBERNETES_STATUS.to_owned(), json!(found.status.kubernetes_status).to_string());
        }
        let backup_name = names::backup(&datastore.random_digits(names::LONG_RANDOM_CHARACTERS));
        let mut metadata = ObjectMeta { name: Some(backup_name), ..ObjectMeta::default() };
        if datastore.has_many_backup_targets() {
            labels::set(&mut metadata, labels::BACKUP_TARGET, found.spec.backup_target_name.clone());
        }
        labels::set(&mut metadata, labels::BACKUP_VOLUME, volume);
        let spec = BackupSpec {
            snapshot_name: input.name,
            labels: with.into(),
            backup_mode: input.backup_mode,
            ..BackupSpec::default()
        };
        datastore.backups.create(&Backup { metadata, spec, ..Backup::default() }).await?;
        Ok(self.answer_with_volume(call, volume))
    }
}

fn require_names(volume: &str, snapshot: &str) -> Result<()> {
    if volume.is_empty() || snapshot.is_empty() {
        return Err(Error::message("volume and snapshot name required"));
    }
    Ok(())
}

fn show_snapshot(call: &Call, snapshot: &SnapshotInfo, checksum: &str) -> Value {
    let mut fields = json!(snapshot);
    fields["checksum"] = checksum.into();
    call.resource("snapshot", &snapshot.name, &[], fields)
}

fn show_object(call: &Call, snapshot: &Snapshot) -> Value {
    let (spec, status) = (&snapshot.spec, &snapshot.status);
    let labels = if spec.labels.is_empty() { &status.labels } else { &spec.labels };
    let mut fields = json!({
        "name": name(&snapshot.metadata),
        "crCreationTime": snapshot.metadata.creation_timestamp.as_ref().map(clock::text).unwrap_or_default(),
        "volume": spec.volume,
        "createSnapshot": spec.create_snapshot,
        "parent": status.parent,
        "children": status.children,
        "markRemoved": status.mark_removed,
        "userCreated": status.user_created,
        "creationTime": status.creation_time,
        "size": status.size,
        "labels": labels,
        "ownerID": status.owner_id,
        "restoreSize": status.restore_size,
        "readyToUse": status.ready_to_use,
        "checksum": status.checksum,
    });
    if !status.error.is_empty() {
        fields["error"] = status.error.as_str().into();
    }
    call.resource("snapshotCR", name(&snapshot.metadata), &[], fields)
}
