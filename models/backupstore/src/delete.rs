//! Removing backups, volumes and backing images, and the blocks that nothing refers to any more (deltablock.go and
//! backupbackingimage upstream).
//!
//! Blocks are shared by the backups of a volume, so they go last and only if it is certain that nobody needs them:
//! every other configuration could be read, none is in progress, and no backup came or went meanwhile. Fault model: as
//! upstream, a list of backups that fails counts as empty, and two such lists agree with each other. Then all blocks of
//! the volume go.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::config::{BackupConfig, BlockMapping, VolumeConfig};
use crate::error::{Context, Error, Result};
use crate::layout;
use crate::lock::{FileLock, LockKind};
use crate::store::Backupstore;
use crate::url::{decode_backing_image, decode_backup};

/// How many configurations refer to each block that is in the store, or should be.
#[derive(Default)]
struct References {
    counts: BTreeMap<String, u64>,
    stored: BTreeSet<String>,
}

impl References {
    fn to(stored: Vec<String>) -> Self {
        Self { counts: BTreeMap::new(), stored: stored.into_iter().collect() }
    }

    fn count(&mut self, blocks: &[BlockMapping]) {
        for block in blocks {
            *self.counts.entry(block.block_checksum.clone()).or_default() += 1;
        }
    }

    /// Blocks that are stored and that nothing refers to, with their paths.
    fn unused(&self, path: impl Fn(&str) -> String) -> Vec<(String, String)> {
        let unused = self.stored.iter().filter(|sum| !self.counts.contains_key(*sum));
        unused.map(|sum| (sum.clone(), path(sum))).collect()
    }

    fn used(&self) -> usize {
        self.stored.iter().filter(|sum| self.counts.contains_key(*sum)).count()
    }
}

/// What the other backups of a volume say about its blocks.
struct Survey {
    references: References,
    newest: Option<Newest>,
    /// Whether all could be read and none is in progress.
    is_complete: bool,
}

/// The backup that began last, of those seen so far.
struct Newest {
    name: String,
    began_at: String,
}

impl Newest {
    /// The later of this and another backup. Times that cannot be read are an error only once there are two to compare.
    fn or_later(newest: Option<Self>, backup: &BackupConfig) -> Result<Self> {
        let other = Self { name: backup.name.clone(), began_at: backup.snapshot_created_at.clone() };
        let Some(newest) = newest.filter(|newest| !newest.began_at.is_empty()) else { return Ok(other) };
        let parse = |what: &str, backup: &Self| {
            let text = &backup.began_at;
            text.parse::<Timestamp>()
                .map_err(|error| Error::Invalid(format!("cannot parse {what} {} time {text}: {error}", backup.name)))
        };
        let (its_time, newest_time) = (parse("backup", &other)?, parse("last backup", &newest)?);
        Ok(if its_time > newest_time { other } else { newest })
    }
}

impl Backupstore {
    /// Removes a backup, then the blocks that only it needed.
    pub async fn delete_backup(&self, address: &str) -> Result<()> {
        let address = decode_backup(address)?;
        let lock = FileLock::new(self, &address.volume, LockKind::Delete);
        lock.lock().await?;
        let deleted = self.delete_backup_locked(address.backup.as_deref().unwrap_or_default(), &address.volume).await;
        lock.unlock_or_warn().await;
        deleted
    }

    async fn delete_backup_locked(&self, name: &str, volume: &str) -> Result<()> {
        if let Err(error) = self.load_backup(name, volume).await {
            self.context.log.warn("Failed to load to be deleted backup", &error);
        }
        self.driver.remove(&layout::backup_config(name, volume)).await?;
        let mut config = self.load_volume(volume).await.context(|| "cannot find volume in backupstore".to_owned())?;
        let was_last = config.last_backup_name == name;
        let names = self.backup_names(volume).await?;
        let survey = self.survey(&names, volume, was_last).await?;
        if was_last {
            self.move_last_backup(&mut config, &survey).await?;
        }
        let names_again = self.backup_names(volume).await?;
        if !survey.is_complete || !same_names(&names, &names_again) {
            self.context.log.info(|| "Found new backups for volume, skip block deletion".to_owned());
            return Ok(());
        }
        self.remove_blocks(survey.references.unused(|sum| layout::block(volume, sum)), "backup blocks").await?;
        let mut config = self.load_volume(volume).await?;
        config.block_count = i64::try_from(survey.references.used()).expect("blocks fit in memory");
        self.save_volume(&config).await
    }

    /// Reads the configurations of all these backups, up to the first that cannot be read or is in progress.
    async fn survey(&self, names: &[String], volume: &str, want_newest: bool) -> Result<Survey> {
        let references = References::to(self.block_sums(&layout::blocks(volume)).await?);
        let mut survey = Survey { references, newest: None, is_complete: false };
        for name in names {
            let backup = match self.load_backup(name, volume).await {
                Ok(backup) => backup,
                Err(error) => {
                    self.context.log.warn("Failed to load backup, skip block deletion", &error);
                    return Ok(survey);
                }
            };
            if backup.is_in_progress() {
                self.context.log.info(|| "Found in progress backup, skip block deletion".to_owned());
                return Ok(survey);
            }
            survey.references.count(&backup.blocks);
            if want_newest {
                match Newest::or_later(survey.newest.take(), &backup) {
                    Ok(newest) => survey.newest = Some(newest),
                    Err(error) => {
                        self.context.log.warn("Failed to find last backup, skip block deletion", &error);
                        return Ok(survey);
                    }
                }
            }
        }
        survey.is_complete = true;
        Ok(survey)
    }

    /// Names another last backup, before any block goes. If not all backups are known there is none, and the next
    /// backup will be a full one.
    async fn move_last_backup(&self, config: &mut VolumeConfig, survey: &Survey) -> Result<()> {
        let newest = survey.newest.as_ref().filter(|_| survey.is_complete);
        config.last_backup_name = newest.map(|newest| newest.name.clone()).unwrap_or_default();
        config.last_backup_at = newest.map(|newest| newest.began_at.clone()).unwrap_or_default();
        self.save_volume(config).await
    }

    /// Removes a volume with all its backups, blocks and locks; one that is not in the store is removed already.
    pub async fn delete_volume(&self, name: &str) -> Result<()> {
        if !self.volume_names().await?.iter().any(|present| present == name) {
            return Ok(());
        }
        let lock = FileLock::new(self, name, LockKind::Delete);
        lock.lock().await?;
        let removed = self.remove_volume(name).await;
        lock.unlock_or_warn().await;
        removed
    }

    /// Removes a backing image's backup, then the blocks that only it needed.
    pub async fn delete_backing_image(&self, address: &str) -> Result<()> {
        let (name, _) = decode_backing_image(address)?;
        let lock = FileLock::new(self, layout::BACKING_IMAGE_LOCKS, LockKind::Delete);
        lock.lock().await?;
        let deleted = self.delete_backing_image_locked(&name).await;
        lock.unlock_or_warn().await;
        deleted
    }

    async fn delete_backing_image_locked(&self, name: &str) -> Result<()> {
        if let Err(error) = self.load_backing_image(name).await {
            self.context.log.warn("Failed to load the backup backing image config, will continue the deletion", &error);
        }
        self.driver.remove(&layout::backing_image_config(name)).await?;
        let mut references = References::to(self.block_sums(&layout::backing_image_blocks()).await?);
        let names = self.list_backing_images().await?.unwrap_or_default();
        for other in &names {
            match self.load_backing_image(other).await {
                Ok(config) if config.is_in_progress() => {
                    self.context.log.info(|| "Found in progress backup backing image, skip block deletion".to_owned());
                    return Ok(());
                }
                Ok(config) => references.count(&config.blocks),
                Err(error) => {
                    self.context.log.warn("Failed to load backup backing image, skip block deletion", &error);
                    return Ok(());
                }
            }
        }
        if !same_names(&names, &self.list_backing_images().await?.unwrap_or_default()) {
            self.context.log.info(|| "Found new backup backing image, skip block deletion".to_owned());
            return Ok(());
        }
        self.remove_blocks(references.unused(layout::backing_image_block), "blocks").await
    }
}

/// Whether two lists hold the same names. Upstream compares lengths and looks for each of the second in the first.
fn same_names(first: &[String], second: &[String]) -> bool {
    first.len() == second.len() && second.iter().all(|name| first.contains(name))
}
