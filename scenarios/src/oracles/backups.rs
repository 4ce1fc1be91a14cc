//! **Damage**: a Backup that a user sees as completed and cannot restore, because nothing of it is left anywhere else; it is never cleaned up.
//! **Promise**: a Backup resource mirrors a configuration in the backup store and belongs to a BackupVolume (longhorn-manager,
//! backup_volume_controller); longhorn-tests afe9169aa asserts that none outlives its volume by 30 s.
//! **Bound**: the settle phase: longer than two resyncs after the last write.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use corral_core::journal::{Event, Record};
use corral_world::{Oracle, Stage};

/// No Backup remains whose backup volume and remote configuration are both gone.
pub struct NoBackupOutlivesItsVolumeAndRemote;

impl Oracle for NoBackupOutlivesItsVolumeAndRemote {
    fn name(&self) -> &'static str {
        "no-backup-outlives-its-volume-and-remote"
    }

    fn about(&self) -> &'static str {
        "no Backup remains whose BackupVolume and remote configuration are gone"
    }

    fn judge(&self, stage: &Stage) {
        let store = stage.cluster().store();
        let volumes: BTreeSet<String> = store
            .objects("backupvolumes.longhorn.io")
            .map(|volume| match volume.value["spec"]["volumeName"].as_str() {
                // Up to v1.7.2 a BackupVolume is named after its volume and its spec does not say it.
                None | Some("") => volume.name().to_owned(),
                Some(name) => name.to_owned(),
            })
            .collect();
        let remote = remote_backups(stage);
        for backup in store.objects("backups.longhorn.io") {
            let volume = backup.value["metadata"]["labels"]["backup-volume"].as_str().unwrap_or_default();
            let state = backup.value["status"]["state"].as_str().unwrap_or_default();
            // One that is being made here of a snapshot, or could not be, has no remote configuration yet.
            let is_made_here = backup.value["spec"]["snapshotName"].as_str().is_some_and(|name| !name.is_empty());
            if (state == "Completed" || !is_made_here) && !volumes.contains(volume) && !remote.contains(backup.name()) {
                let shown = if state.is_empty() { "in no state" } else { state };
                let signature = format!("Backup {shown}, its BackupVolume and its remote configuration gone");
                let detail = format!(
                    "Backup {} of volume {volume} is {shown}; BackupVolume and remote configuration are gone",
                    backup.name()
                );
                stage.violation_as(self.name(), &signature, &detail);
            }
        }
    }
}

/// Names of all backups that have a configuration in any object store.
fn remote_backups(stage: &Stage) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for store in stage.stores() {
        for bucket in store.buckets() {
            for object in store.objects(&bucket, "") {
                names.extend(backup_in_store(&object.key).map(|(_, backup)| backup.to_owned()));
            }
        }
    }
    names
}

/// What is said to be backed up of a volume is in the store, all its blocks.
///
/// **Damage**: a backup that a user sees as completed and cannot restore. **Promise**: backupstore removes a block only if no backup needs it.
/// **Bound**: the settle phase.
pub struct CompletedBackupsHaveTheirBlocks;

impl Oracle for CompletedBackupsHaveTheirBlocks {
    fn name(&self) -> &'static str {
        "completed-backups-have-their-blocks"
    }

    fn about(&self) -> &'static str {
        "the store has the configuration and all blocks of a Backup that is Completed"
    }

    fn judge(&self, stage: &Stage) {
        let completed: BTreeSet<String> = stage
            .cluster()
            .store()
            .objects("backups.longhorn.io")
            .filter(|backup| backup.value["status"]["state"] == "Completed" && !backup.is_deleting())
            .map(|backup| backup.name().to_owned())
            .collect();
        for store in stage.stores() {
            for bucket in store.buckets() {
                let objects = store.objects(&bucket, "");
                let keys: BTreeSet<&str> = objects.iter().map(|object| object.key.as_str()).collect();
                for object in &objects {
                    let Some((volume, backup)) =
                        backup_in_store(&object.key).filter(|(_, name)| completed.contains(*name))
                    else {
                        continue;
                    };
                    let Ok(configuration) = serde_json::from_slice::<serde_json::Value>(&object.bytes) else {
                        let detail =
                            format!("Backup {backup} of volume {volume} is Completed; {} is no JSON", object.key);
                        stage.violation_as(self.name(), "Backup Completed, its configuration cannot be read", &detail);
                        continue;
                    };
                    let folder = object.key.rsplit_once("/backups/").map_or("", |(folder, _)| folder);
                    let blocks = configuration["Blocks"].as_array().into_iter().flatten();
                    let sums = blocks.filter_map(|block| block["BlockChecksum"].as_str()).filter(|sum| sum.len() > 4);
                    let path = |sum: &str| format!("{folder}/blocks/{}/{}/{sum}.blk", &sum[..2], &sum[2..4]);
                    let missing = sums.filter(|sum| !keys.contains(path(sum).as_str())).count();
                    if missing > 0 {
                        let detail = format!(
                            "Backup {backup} of volume {volume} is Completed; {missing} of its blocks are not in the store"
                        );
                        stage.violation_as(self.name(), "Backup Completed, blocks of it not in the store", &detail);
                    }
                }
            }
        }
        for backup in completed.difference(&remote_backups(stage)) {
            let detail = format!("Backup {backup} is Completed; no store has a configuration of it");
            stage.violation_as(self.name(), "Backup Completed, its configuration not in the store", &detail);
        }
    }
}

/// Clients that delete what follows from what others deleted: Longhorn itself, and the garbage collector for it.
const FOLLOWERS: [&str; 2] = ["longhorn-manager", "kube-controller-manager"];

/// No backup goes from the store that nobody outside Longhorn asked to delete: that a listing did not show something is no proof that it is gone.
///
/// **Damage**: every backup of an installation destroyed, where it is the last copy. **Promise**: longhorn-manager 8fadbfbeb (longhorn#9530): what a
/// synchronisation misses it forgets, and leaves the store alone. **Bound**: none, the first such deletion is one too many.
#[derive(Default)]
pub struct NoRemoteBackupIsDeletedOnAbsence {
    /// Names of Backups, and of volumes whose BackupVolumes, clients have deleted.
    asked: Mutex<BTreeSet<String>>,
}

impl Oracle for NoRemoteBackupIsDeletedOnAbsence {
    fn name(&self) -> &'static str {
        "no-remote-backup-is-deleted-on-absence"
    }

    fn about(&self) -> &'static str {
        "no backup goes from the store that nobody asked to delete"
    }

    fn observe(&self, stage: &Stage, record: &Record<'_>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match &record.event {
            Event::ApiWrite { kind, name, deleting: true, client, .. }
                if !FOLLOWERS.iter().any(|follower| client.starts_with(follower)) =>
            {
                if kind == "Backup" {
                    asked.insert(name.to_string());
                } else if kind == "BackupVolume" {
                    // Since v1.8.0 its name is the volume's and something random.
                    asked.extend([name.to_string(), name.rsplit_once('-').unwrap_or((name, "")).0.to_owned()]);
                }
            }
            Event::StoreOperation { verb, key, code: 200..300, .. } if verb == "delete" => {
                let Some((volume, backup)) = backup_in_store(key) else { return };
                if asked.contains(volume) || asked.contains(backup) {
                    return;
                }
                // What is reported is observed too.
                drop(asked);
                let detail =
                    format!("Backup {backup} of volume {volume} is deleted from the store; nobody asked for it");
                stage.violation_as(self.name(), "a backup that nobody deleted goes from the store", &detail);
            }
            _ => {}
        }
    }
}

/// Volume and name of the backup whose configuration this object is.
fn backup_in_store(key: &str) -> Option<(&str, &str)> {
    let (folder, file) = key.rsplit_once('/')?;
    let backup = file.strip_prefix("backup_")?.strip_suffix(".cfg")?;
    Some((folder.strip_suffix("/backups")?.rsplit('/').next()?, backup))
}
