//! **Damage**: a Backup that a user sees as completed and cannot restore, because nothing of it is left anywhere else; it is never cleaned up.
//! **Promise**: a Backup resource mirrors a configuration in the backup store and belongs to a BackupVolume (longhorn-manager,
//! backup_volume_controller); longhorn-tests afe9169aa asserts that none outlives its volume by 30 s.
//! **Bound**: the settle phase: longer than two resyncs after the last write.

use std::collections::BTreeSet;

use corral_world::{Oracle, Stage};

/// No Backup remains whose backup volume and remote configuration are both gone.
pub struct NoBackupOutlivesItsVolumeAndRemote;

impl Oracle for NoBackupOutlivesItsVolumeAndRemote {
    fn name(&self) -> &'static str {
        "no-backup-outlives-its-volume-and-remote"
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
                let file = object.key.rsplit('/').next().unwrap_or_default();
                if let Some(name) = file.strip_prefix("backup_").and_then(|file| file.strip_suffix(".cfg")) {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    names
}
