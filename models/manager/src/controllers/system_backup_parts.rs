//! What a system backup waits for: the backups of its volumes, then those of its backing images
//! (`BackupVolumes`, `WaitForVolumeBackupToComplete`, `BackupBackingImage` in `controller/system_backup_controller.go`).
//!
//! Fault model: both waits look every 5 s at this manager's cache and know what they wait for by name only. A Backup counts as done when
//! it is Completed; from v1.8.0-rc2 on also its volume must know it as its last backup, for the volume's status is what is saved next
//! (defect 10057/wait). A name that is not found is waited for until the time is over, even if another object took its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::reads;
use host::time::Instant;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::kinds::system_backup::{SystemBackupState, VolumeBackupPolicy};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{Backup, BackupBackingImage, Defect, Release, Snapshot, SystemBackup, Volume, labels, names};

use super::system_backup::{STARTED, Step, SystemBackupController};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result, Ticker};

/// Between two looks at what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long the backups of volumes, or of backing images, may take (`datastore/datastore.go`).
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Between two looks at a new snapshot, and how long it may take to be ready.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(3600);

impl SystemBackupController {
    /// Begins the backups of volumes and waits for them beside the reconciles.
    pub(super) async fn begin_volumes(&self, backup: &SystemBackup) -> Option<Step> {
        let begun = match self.back_up_volumes(&backup.spec.volume_backup_policy).await {
            Ok(begun) => begun,
            Err(error) => return Some(Step::Failed { reason: STARTED.0, message: error.to_string() }),
        };
        self.beside(backup, "volumes", move |this| async move {
            match this.wait_for_volumes(begun).await {
                Ok(()) => Step::next(SystemBackupState::CreatingBackingImageBackups, STARTED.0, STARTED.1),
                Err(error) => Step::Failed { reason: STARTED.0, message: error.to_string() },
            }
        });
        None
    }

    /// Begins the backups of backing images and waits for them beside the reconciles. One that fails, or never ends, holds nothing up.
    pub(super) async fn begin_backing_images(&self, backup: &SystemBackup) -> Option<Step> {
        let begun = match self.back_up_backing_images().await {
            Ok(begun) => begun,
            Err(error) => return Some(Step::Failed { reason: STARTED.0, message: error.to_string() }),
        };
        self.beside(backup, "backing images", move |this| async move {
            match this.wait_for_backing_images(begun).await {
                Ok(()) => Step::next(SystemBackupState::Generating, STARTED.0, STARTED.1),
                Err(error) => Step::Failed { reason: STARTED.0, message: error.to_string() },
            }
        });
        None
    }

    /// Does a step beside the reconciles, and writes where it led with the object as it is now.
    pub(super) fn beside<W, F>(&self, backup: &SystemBackup, what: &str, work: W)
    where
        W: FnOnce(Self) -> F + Send + 'static,
        F: Future<Output = Step> + Send,
    {
        let (this, backup) = (self.clone(), backup.clone());
        let scope = format!("longhorn-system-backup {} {what}", name(&backup.metadata));
        host::spawn(reads::scope(scope, async move {
            let before = backup.status.clone();
            let step = work(this.clone()).await;
            this.record(step, backup, &before).await;
        }));
    }

    /// Names of the Backups that were made.
    async fn back_up_volumes(&self, policy: &VolumeBackupPolicy) -> Result<BTreeSet<String>> {
        let only_missing = match policy {
            VolumeBackupPolicy::Always => false,
            VolumeBackupPolicy::IfNotPresent => true,
            _ => return Ok(BTreeSet::new()),
        };
        let datastore = &self.manager.datastore;
        let release = datastore.release();
        let mut begun = BTreeSet::new();
        for volume in datastore.in_map_order(datastore.volumes.list()) {
            if release.at_least(Release::V1_8_0) && volume.status.is_standby {
                tracing::info!("Skip backup for standby volume {}", name(&volume.metadata));
                continue;
            }
            let has_one = !volume.status.last_backup.is_empty();
            if only_missing && release.before(Release::V1_8_0_RC1) && has_one {
                continue;
            }
            let snapshot = self.take_snapshot(&volume).await?;
            if only_missing && release.at_least(Release::V1_8_0_RC1) && self.is_up_to_date(&volume)? {
                continue;
            }
            begun.insert(self.back_up_snapshot(&volume, &snapshot).await?);
        }
        Ok(begun)
    }

    /// Makes a snapshot; from v1.8.0-rc1 on it also waits until the snapshot is there.
    async fn take_snapshot(&self, volume: &Volume) -> Result<String> {
        let datastore = &self.manager.datastore;
        let volume_name = name(&volume.metadata);
        let snapshot_name = names::system_backup_volume_backup(&datastore.random_digits(names::LONG_RANDOM_CHARACTERS));
        let mut snapshot = Snapshot::default();
        snapshot.metadata.name = Some(snapshot_name.clone());
        snapshot.spec.volume = volume_name.to_owned();
        snapshot.spec.create_snapshot = true;
        let created = datastore.snapshots.create(&snapshot).await;
        created.context(|| format!("failed to create Volume {volume_name} snapshot {snapshot_name}"))?;
        if datastore.release().before(Release::V1_8_0_RC1) {
            return Ok(snapshot_name);
        }
        let (began, mut looks) = (Instant::now(), Ticker::new(SNAPSHOT_INTERVAL));
        loop {
            looks.tick().await;
            if datastore.snapshots.get(&snapshot_name)?.status.ready_to_use {
                return Ok(snapshot_name);
            }
            if began.elapsed() > SNAPSHOT_PATIENCE {
                return Err(Error::message("timeout taking volume snapshot for system backup"));
            }
        }
    }

    async fn back_up_snapshot(&self, volume: &Volume, snapshot: &str) -> Result<String> {
        let datastore = &self.manager.datastore;
        let volume_name = name(&volume.metadata);
        let mut backup = Backup::default();
        backup.metadata.name = Some(snapshot.to_owned());
        if datastore.has_many_backup_targets() {
            labels::set(&mut backup.metadata, labels::BACKUP_TARGET, volume.spec.backup_target_name.as_str());
        }
        labels::set(&mut backup.metadata, labels::BACKUP_VOLUME, volume_name);
        backup.spec.snapshot_name = snapshot.to_owned();
        let created = datastore.backups.create(&backup).await;
        created.context(|| format!("failed to create Volume {volume_name} backup {snapshot}"))?;
        Ok(snapshot.to_owned())
    }

    /// Whether no snapshot with data is younger than the one that was last backed up.
    fn is_up_to_date(&self, volume: &Volume) -> Result<bool> {
        let datastore = &self.manager.datastore;
        let release = datastore.release();
        if volume.status.last_backup.is_empty() {
            return Ok(false);
        }
        // What is gone counts as never made; before v1.8.0 it failed the system backup.
        let last = match datastore.backups.get(&volume.status.last_backup) {
            Err(error) if error.is_not_found() && release.at_least(Release::V1_8_0) => return Ok(false),
            found => found?,
        };
        let last = match datastore.snapshots.get(&last.status.snapshot_name) {
            Err(error) if error.is_not_found() && release.at_least(Release::V1_8_0) => return Ok(false),
            found => found?,
        };
        let backed_up = match time(&last) {
            Err(_) if release.at_least(Release::V1_9_2) => return Ok(false),
            time => time?,
        };
        let snapshots = datastore.snapshots.list_labelled(&[(labels::VOLUME, name(&volume.metadata))]);
        for snapshot in snapshots.iter().filter(|snapshot| snapshot.status.size != 0) {
            if time(snapshot)? > backed_up {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn wait_for_volumes(&self, mut waiting: BTreeSet<String>) -> Result<()> {
        let datastore = &self.manager.datastore;
        let began = Instant::now();
        let mut looks = Ticker::new(LOOK_INTERVAL);
        loop {
            looks.tick().await;
            for backup_name in datastore.in_map_order(waiting.clone()) {
                let Some(backup) = datastore.backups.find(&backup_name) else {
                    tracing::warn!(
                        "Backup {backup_name} not found when checking the volume backup status in system backup"
                    );
                    continue;
                };
                match backup.status.state {
                    BackupState::Completed if self.counts_as_done(&backup) => drop(waiting.remove(&backup_name)),
                    BackupState::Error => {
                        let why = &backup.status.error;
                        return Err(Error::message(format!("failed creating Volume backup {backup_name}: {why}")));
                    }
                    _ => {}
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::message("timed out waiting for Volume backups to complete"));
            }
        }
    }

    /// Whether the volume of a completed Backup shows it as its last one. With defect 10057/wait nobody asks.
    fn counts_as_done(&self, backup: &Backup) -> bool {
        let datastore = &self.manager.datastore;
        if datastore.build.has(Defect::Issue10057Wait) {
            return true;
        }
        let Some(snapshot) = datastore.snapshots.find(&backup.status.snapshot_name) else { return false };
        let Some(volume) = datastore.volumes.find(&snapshot.spec.volume) else { return false };
        volume.status.last_backup == name(&backup.metadata)
    }

    /// Names of the backups of backing images that were there or were made, and of their images.
    async fn back_up_backing_images(&self) -> Result<BTreeMap<String, String>> {
        let datastore = &self.manager.datastore;
        let skips_v2 = datastore.release().at_least(Release::V1_8_0_RC2);
        let mut begun = BTreeMap::new();
        for image in datastore.in_map_order(datastore.backing_images.list()) {
            if skips_v2 && image.spec.data_engine == DataEngine::V2 {
                continue;
            }
            let image = name(&image.metadata);
            begun.insert(datastore.back_up_backing_image(image, names::DEFAULT_BACKUP_TARGET).await?, image.to_owned());
        }
        Ok(begun)
    }

    async fn wait_for_backing_images(&self, mut waiting: BTreeMap<String, String>) -> Result<()> {
        let datastore = &self.manager.datastore;
        let began = Instant::now();
        let mut looks = Ticker::new(LOOK_INTERVAL);
        loop {
            looks.tick().await;
            let mut missing = None;
            for (backup_name, image) in datastore.in_map_order(waiting.clone()) {
                let found = match datastore.backup_backing_images.get(&backup_name) {
                    Err(error) if error.is_not_found() && !datastore.build.has(Defect::FoundNameThatIsGone) => {
                        let other = datastore.backup_of_backing_image(&image, names::DEFAULT_BACKUP_TARGET)?;
                        other.ok_or(error)
                    }
                    found => found,
                };
                let backup = match found {
                    Ok(backup) => backup,
                    Err(error) => {
                        missing = Some(error);
                        continue;
                    }
                };
                // The last look decides how the wait ends when its time is over.
                missing = None;
                match backup.status.state {
                    BackupState::Completed => drop(waiting.remove(&backup_name)),
                    BackupState::Error => {
                        tracing::warn!("Failed to create BackingImage backup {backup_name}: {}", backup.status.error);
                        return Ok(());
                    }
                    _ => {}
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                tracing::warn!("Timed out waiting for BackingImage backups to complete");
                return missing.map_or(Ok(()), Err);
            }
        }
    }
}

impl crate::runtime::Datastore {
    /// The backup of a backing image in a target: the one that this cache has, or a new one that is to be uploaded. Gives its name.
    pub(super) async fn back_up_backing_image(&self, image: &str, target: &str) -> Result<String> {
        if let Some(present) = self.backup_of_backing_image(image, target)? {
            return Ok(name(&present.metadata).to_owned());
        }
        let random = self.random_digits(names::SHORT_RANDOM_CHARACTERS);
        let mut backup = BackupBackingImage::default();
        let backup_name = names::backup_backing_image(self.release(), image, &random);
        backup.metadata.name = Some(backup_name.clone());
        backup.spec.user_created = true;
        if self.has_many_backup_targets() {
            labels::set(&mut backup.metadata, labels::BACKUP_TARGET, target);
            labels::set(&mut backup.metadata, labels::BACKING_IMAGE, image);
            backup.spec.backing_image = image.to_owned();
            backup.spec.backup_target_name = target.to_owned();
        }
        match self.backup_backing_images.create(&backup).await {
            Err(error) if !error.is_already_exists() => Err(error).context(|| {
                format!("failed to create backup backing image {backup_name} for backing image {image} of backup target {target}")
            }),
            _ => Ok(backup_name),
        }
    }

    /// The backup of a backing image in a target as this cache has it; an error if there are several (c17).
    fn backup_of_backing_image(&self, image: &str, target: &str) -> Result<Option<Arc<BackupBackingImage>>> {
        if !self.has_many_backup_targets() {
            return Ok(self.backup_backing_images.find(image));
        }
        let labels = [(labels::BACKUP_TARGET, target), (labels::BACKING_IMAGE, image)];
        let found = self.backup_backing_images.list_labelled(&labels);
        if found.len() > 1 && self.build.has(Defect::FoundTwoImageBackups) {
            return Err(Error::message(format!(
                "datastore: found more than one backup backing image with backup target {target} and backing image {image}"
            )));
        }
        Ok(found.into_iter().min_by_key(|backup| precedence(backup)))
    }
}

/// Which of several backups of an image counts: one that was asked for rather than pulled, then the oldest, then the first by name.
pub(super) fn precedence(backup: &BackupBackingImage) -> impl Ord + use<> {
    let created = backup.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (!backup.spec.user_created, created, name(&backup.metadata).to_owned())
}

fn time(snapshot: &Snapshot) -> Result<jiff::Timestamp> {
    let text = &snapshot.status.creation_time;
    text.parse().map_err(|error| Error::message(format!("parsing time {text:?}: {error}")))
}
