//! Backup volumes and their backups.

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use longhorn_api::{Backup, BackupVolume, labels};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Rest;
use super::resource::{Call, Reply};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result, clock};

/// Synchronisations of one object are at least so far apart (`minSyncBackupTargetIntervalSec`).
const SHORTEST_SYNC_INTERVAL_SECONDS: i64 = 10;

const ACTIONS: [&str; 4] = ["backupList", "backupGet", "backupDelete", "backupVolumeSync"];

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SyncInput {
    sync_all_backup_volumes: bool,
    sync_backup_volume: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BackupInput {
    name: String,
}

/// An error if a synchronisation was asked for a moment ago.
pub(super) fn check_sync_interval(requested: Option<&Time>, what: &str) -> Result<()> {
    let passed = requested.map(|requested| clock::now().0.duration_since(requested.0).as_secs());
    if passed.is_some_and(|seconds| seconds < SHORTEST_SYNC_INTERVAL_SECONDS) {
        return Err(Error::message(format!("{what} in {SHORTEST_SYNC_INTERVAL_SECONDS} seconds")));
    }
    Ok(())
}

impl Rest {
    /// `/v1/backupvolumes` and below.
    pub(super) async fn backup_volumes(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let store = &self.manager.datastore.backup_volumes;
        match (&call.method, rest, call.action()) {
            (&Method::GET, [], _) => Ok(self.list_backup_volumes(call)),
            (&Method::PUT, [], _) => {
                let input: SyncInput = call.input()?;
                if input.sync_all_backup_volumes {
                    for volume in store.list() {
                        if let Err(error) = self.sync_backup_volume((*volume).clone()).await {
                            tracing::warn!(%error, "Failed to synchronize backup volume {}", name(&volume.metadata));
                        }
                    }
                }
                Ok(self.list_backup_volumes(call))
            }
            (&Method::GET, [volume], _) => Ok(Reply::Json(self.show(call, &self.backup_volume_or_empty(volume)))),
            (&Method::DELETE, [volume], _) => {
                store.delete(volume).await.context(|| format!("failed to delete backup volume '{volume}'"))?;
                Ok(Reply::Nothing)
            }
            (&Method::POST, [volume], "backupList") => Ok(self.list_backups(call, volume)),
            (&Method::POST, [volume], "backupGet") => self.get_backup(call, volume),
            (&Method::POST, [volume], "backupDelete") => self.delete_backup(call, volume).await,
            (&Method::POST, [volume], "backupVolumeSync") => {
                let input: SyncInput = call.input()?;
                let mut backup_volume = self.backup_volume_or_empty(volume);
                if input.sync_backup_volume {
                    let synced = self.sync_backup_volume(backup_volume).await;
                    backup_volume = synced.context(|| format!("failed to synchronize backup volume {volume}"))?;
                }
                Ok(Reply::Json(self.show(call, &backup_volume)))
            }
            (_, [] | [_], _) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }

    fn list_backup_volumes(&self, call: &Call) -> Reply {
        let mut volumes = self.manager.datastore.backup_volumes.list();
        volumes.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        call.collection("backupVolume", volumes.iter().map(|volume| self.show(call, volume)).collect())
    }

    /// One that is not there is shown all the same, with nothing but its name: the CSI plugin relies on it.
    fn backup_volume_or_empty(&self, volume: &str) -> BackupVolume {
        let found = self.manager.datastore.backup_volumes.find(volume);
        found.map_or_else(
            || {
                let mut empty = BackupVolume::default();
                empty.metadata.name = Some(volume.to_owned());
                empty
            },
            |volume| (*volume).clone(),
        )
    }

    async fn sync_backup_volume(&self, mut volume: BackupVolume) -> Result<BackupVolume> {
        let what = format!("failed to synchronize backup volume '{}'", name(&volume.metadata));
        check_sync_interval(volume.spec.sync_requested_at.as_ref(), &what)?;
        volume.spec.sync_requested_at = Some(clock::now());
        self.manager.datastore.backup_volumes.update(&volume).await
    }

    fn list_backups(&self, call: &Call, backup_volume: &str) -> Reply {
        let datastore = &self.manager.datastore;
        // Until v1.7.2 the name is the volume's, and the resource need not be there.
        let found = if datastore.has_many_backup_targets() {
            let volume = datastore.backup_volumes.find(backup_volume);
            volume.map(|volume| datastore.backups_of_volume(&volume.spec.backup_target_name, &volume.spec.volume_name))
        } else {
            Some(datastore.backups_of_volume("", backup_volume))
        };
        let mut backups = found.unwrap_or_default();
        backups.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        call.collection("backup", backups.iter().map(|backup| self.show_backup(call, backup)).collect())
    }

    fn get_backup(&self, call: &Call, volume: &str) -> Result<Reply> {
        let backup_name = backup_name(call)?;
        let backup = self.manager.datastore.backups.get(&backup_name);
        let backup = backup.context(|| format!("failed to get backup '{backup_name}' of volume '{volume}'"))?;
        Ok(Reply::Json(self.show_backup(call, &backup)))
    }

    /// A backup that this manager does not see is deleted already.
    async fn delete_backup(&self, call: &Call, volume: &str) -> Result<Reply> {
        let backup_name = backup_name(call)?;
        let store = &self.manager.datastore.backups;
        match store.get(&backup_name) {
            Ok(_) => {
                let deleted = store.delete(&backup_name).await;
                deleted.context(|| format!("failed to delete backup '{backup_name}' of volume '{volume}'"))?;
            }
            Err(error) => tracing::warn!(%error, "failed to get backup '{backup_name}' of volume '{volume}'"),
        }
        Ok(Reply::Json(self.show(call, &self.backup_volume_or_empty(volume))))
    }

    fn show(&self, call: &Call, volume: &BackupVolume) -> Value {
        let status = &volume.status;
        let mut fields = json!({
            "name": name(&volume.metadata),
            "size": status.size,
            "labels": status.labels,
            "created": status.created_at,
            "lastBackupName": status.last_backup_name,
            "lastBackupAt": status.last_backup_at,
            "dataStored": status.data_stored,
            "messages": status.messages,
            "backingImageName": status.backing_image_name,
            "backingImageChecksum": status.backing_image_checksum,
            "storageClassName": status.storage_class_name,
        });
        if self.manager.datastore.has_many_backup_targets() {
            fields["backupTargetName"] = volume.spec.backup_target_name.as_str().into();
            fields["volumeName"] = volume.spec.volume_name.as_str().into();
        }
        call.resource("backupVolume", name(&volume.metadata), &ACTIONS, fields)
    }

    /// What is not known yet of target and volume is taken from the labels.
    fn show_backup(&self, call: &Call, backup: &Backup) -> Value {
        let (spec, status) = (&backup.spec, &backup.status);
        let or_label = |known: &str, label: &str| {
            let known = if known.is_empty() { labels::get(&backup.metadata, label).unwrap_or_default() } else { known };
            Value::from(known)
        };
        let snapshot = if spec.snapshot_name.is_empty() { &status.snapshot_name } else { &spec.snapshot_name };
        let mut fields = json!({
            "name": name(&backup.metadata),
            "state": status.state,
            "progress": status.progress,
            "error": status.error,
            "url": status.url,
            "snapshotName": snapshot,
            "snapshotCreated": status.snapshot_created_at,
            "created": status.backup_created_at,
            "size": status.size,
            "labels": status.labels,
            "backupMode": spec.backup_mode,
            "messages": status.messages,
            "volumeName": or_label(&status.volume_name, labels::BACKUP_VOLUME),
            "volumeSize": status.volume_size,
            "volumeCreated": status.volume_created,
            "volumeBackingImageName": status.volume_backing_image_name,
            "compressionMethod": status.compression_method,
            "newlyUploadDataSize": status.newly_uploaded_data_size,
            "reUploadedDataSize": status.re_uploaded_data_size,
        });
        if self.manager.datastore.has_many_backup_targets() {
            fields["backupTargetName"] = or_label(&status.backup_target_name, labels::BACKUP_TARGET);
        }
        call.resource("backup", name(&backup.metadata), &[], fields)
    }
}

fn backup_name(call: &Call) -> Result<String> {
    let input: BackupInput = call.input()?;
    if input.name.is_empty() { Err(Error::message("empty backup name is not allowed")) } else { Ok(input.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_synchronisations_are_ten_seconds_apart() {
        let ago = |seconds: i64| Some(Time(clock::now().0 - jiff::SignedDuration::from_secs(seconds)));
        let check = |requested: Option<Time>| check_sync_interval(requested.as_ref(), "cannot synchronize");
        assert_eq!(check(ago(5)).unwrap_err().to_string(), "cannot synchronize in 10 seconds");
        assert!(check(ago(11)).is_ok() && check(None).is_ok());
    }
}
