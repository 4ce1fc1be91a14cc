//! A volume out of a backup: what is restored into it, when that is finished, and what its last backup is (the fields that a system backup
//! saves and a system restore starts from).

use longhorn_api::kinds::engine::ReplicaMode;
use longhorn_api::kinds::volume::{KubernetesStatus, VolumeRobustness};
use longhorn_api::{Engine, Volume, labels, settings};
use longhorn_backupstore::url;

use super::VolumeController;
use super::picture::Picture;
use super::replenish::wanted_count;
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result};

impl VolumeController {
    /// Marks a volume out of a backup as one that is to be restored, once (`checkAndInitVolumeRestore`).
    pub(super) fn begin_restore(&self, volume: &mut Volume) -> Result<()> {
        let from = &volume.spec.from_backup;
        if from.is_empty() || volume.status.restore_initiated {
            return Ok(());
        }
        let address = url::decode_backup(from)
            .map_err(|error| Error::message(format!("failed to get backup name from backup URL {from}: {error}")))?;
        let backup = self.manager.datastore.backups.get(&address.backup.unwrap_or_default());
        let backup =
            backup.map_err(|error| Error::message(format!("failed to inspect the backup config {from}: {error}")))?;
        let size = &backup.status.size;
        let size: i64 = if size.is_empty() { Ok(0) } else { size.parse() }
            .map_err(|error| Error::message(format!("failed to get the size of backup {from}: {error}")))?;
        volume.status.actual_size = size;
        let workloads = backup.status.labels.get(labels::KUBERNETES_STATUS);
        volume.status.kubernetes_status =
            workloads.map(|json| former_workloads(json, &backup.status.snapshot_created_at)).unwrap_or_default();
        volume.status.is_standby |= volume.spec.standby;
        volume.status.restore_required = true;
        volume.status.restore_initiated = true;
        Ok(())
    }

    /// Tells the engine which backup it should have: the given one, or for a standby volume always the last one.
    pub(super) fn request_restore(&self, picture: &mut Picture, engine: &str) {
        let volume = &picture.volume;
        if volume.spec.from_backup.is_empty() || !volume.status.restore_required {
            return;
        }
        let wanted = if volume.status.is_standby {
            volume.status.last_backup.clone()
        } else {
            let address = url::decode_backup(&volume.spec.from_backup).ok();
            address.and_then(|address| address.backup).unwrap_or_default()
        };
        if !wanted.is_empty() {
            picture.engines.get_mut(engine).expect("the current engine").spec.requested_backup_restore = wanted;
        }
    }

    /// The BackupVolume and the Backup that a volume is restored from.
    pub(super) fn restore_source(&self, volume: &Volume) -> Result<(String, String)> {
        let datastore = &self.manager.datastore;
        let from = &volume.spec.from_backup;
        let address = url::decode_backup(from)
            .map_err(|error| Error::message(format!("failed to parse backup URL {from}: {error}")))?;
        if !datastore.has_many_backup_targets() {
            return Ok((address.volume, address.backup.unwrap_or_default()));
        }
        let backup_name = address.backup.unwrap_or_default();
        let backup = datastore.backups.get(&backup_name).context(|| format!("failed to get backup {backup_name}"))?;
        let found = datastore.backup_volume_of(&backup.status.backup_target_name, &address.volume);
        let found = found.context(|| format!("failed to get backup volume {}", address.volume))?;
        Ok((name(&found.metadata).to_owned(), backup_name))
    }

    /// Copies what the BackupVolume knows of the last backup (`ReconcileBackupVolumeState`).
    pub(super) fn note_last_backup(&self, volume: &mut Volume) -> Result<()> {
        let datastore = &self.manager.datastore;
        let mut of = name(&volume.metadata).to_owned();
        if volume.status.restore_required {
            match labels::get(&volume.metadata, labels::BACKUP_VOLUME) {
                Some(restored_from) => of = restored_from.to_owned(),
                None => {
                    tracing::warn!("Failed to find the backup volume label");
                    return Ok(());
                }
            }
        }
        let found = match datastore.backup_volume_of(&volume.spec.backup_target_name, &of) {
            Ok(found) => Some(found).filter(|found| found.metadata.deletion_timestamp.is_none()),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error).context(|| format!("failed to get backup volume {of}")),
        };
        let (last, at) = found
            .map(|found| (found.status.last_backup_name.clone(), found.status.last_backup_at.clone()))
            .unwrap_or_default();
        volume.status.last_backup = last;
        volume.status.last_backup_at = at;
        Ok(())
    }

    /// Ends the restore when the engine has what was asked for and enough replicas have it too (`checkAndFinishVolumeRestore`).
    pub(super) fn finish_restore(&self, picture: &mut Picture, engine: &str) -> Result<()> {
        let (volume, current) = (&picture.volume, &picture.engines[engine]);
        let (requested, restored) = (&current.spec.requested_backup_restore, &current.status.last_restored_backup);
        if volume.spec.from_backup.is_empty() || requested.is_empty() || requested != restored || volume.spec.standby {
            return Ok(());
        }
        if volume.status.is_standby && !self.has_newest_backup(volume, restored)? {
            return Ok(());
        }
        let complete = self.has_all_placed_replicas(picture, current)?;
        let setting = settings::ALLOW_VOLUME_CREATION_WITH_DEGRADED_AVAILABILITY;
        let degraded_will_do = self.manager.datastore.setting_flag(setting)?;
        let purging = current.status.purge_status.values().any(|status| status.is_purging);
        let enough = match volume.status.robustness {
            VolumeRobustness::Healthy => complete,
            VolumeRobustness::Degraded => degraded_will_do,
            _ => false,
        };
        if enough && !purging {
            tracing::info!("Restore/DR volume finished with the last restored backup {restored}");
            picture.volume.status.is_standby = false;
            picture.volume.status.restore_required = false;
        }
        Ok(())
    }

    /// Whether a standby volume that is to be used has what its BackupVolume, read after the request, calls the last backup.
    fn has_newest_backup(&self, volume: &Volume, restored: &str) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let address =
            url::decode_backup(&volume.spec.from_backup).map_err(|error| Error::message(error.to_string()))?;
        let found = match datastore.backup_volume_of(&volume.spec.backup_target_name, &address.volume) {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) => return Err(error),
        };
        if found.status.last_synced_at.is_some() && found.spec.sync_requested_at > found.status.last_synced_at {
            return Ok(false);
        }
        if found.status.last_backup_name.is_empty() {
            return Ok(true);
        }
        let last = datastore.backups.get(&found.status.last_backup_name)?;
        if name(&last.metadata) != restored {
            self.queue.add(name(&volume.metadata));
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether all replicas on living nodes can be read from, or as many as the volume asks for.
    fn has_all_placed_replicas(&self, picture: &Picture, engine: &Engine) -> Result<bool> {
        let (mut readable, mut missing) = (0, false);
        for (replica_name, replica) in &picture.replicas {
            let node = &replica.spec.node_id;
            if node.is_empty() || self.manager.datastore.is_node_down_or_deleted(node)? {
                continue;
            }
            if engine.status.replica_mode_map.get(replica_name) == Some(&ReplicaMode::ReadWrite) {
                readable += 1;
            } else {
                missing = true;
            }
        }
        Ok(readable > 0 && (readable >= wanted_count(&picture.volume) || !missing))
    }
}

/// The claims and pods that a backup says used the volume, as something of the past; unreadable ones are none.
fn former_workloads(json: &str, at: &str) -> KubernetesStatus {
    let mut status: KubernetesStatus = match serde_json::from_str(json) {
        Ok(status) => status,
        Err(error) => {
            tracing::warn!(%error, "Ignore KubernetesStatus JSON of a backup");
            return KubernetesStatus::default();
        }
    };
    if !status.pvc_name.is_empty() && status.last_pvc_ref_at.is_empty() {
        status.last_pvc_ref_at = at.to_owned();
    }
    if !status.workloads_status.is_empty() && status.last_pod_ref_at.is_empty() {
        status.last_pod_ref_at = at.to_owned();
    }
    status.pv_name.clear();
    status.pv_status.clear();
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_out_of_a_backup_are_of_the_past() {
        let status =
            former_workloads(r#"{"pvName":"pv","pvcName":"pvc","namespace":"default"}"#, "2026-11-20T10:00:00Z");
        assert_eq!((status.pv_name.as_str(), status.pvc_name.as_str()), ("", "pvc"));
        assert_eq!(status.last_pvc_ref_at, "2026-11-20T10:00:00Z");
        assert!(status.last_pod_ref_at.is_empty(), "no pods");
        assert_eq!(former_workloads("nonsense", ""), KubernetesStatus::default());
    }
}
