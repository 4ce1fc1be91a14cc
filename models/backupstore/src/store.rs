//! An opened backup store, and how configurations get in and out of it (config.go upstream).

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{BackingImageConfig, BackupConfig, VolumeConfig};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::driver::{self, Driver};
use crate::error::{Context as _, Error, Result};
use crate::url::is_valid_name;
use crate::{json, layout};

/// A backup target whose driver is open.
#[derive(Clone)]
pub struct Backupstore {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) context: Context,
}

impl Backupstore {
    /// Opens the target of this address; what the address names within the target is not looked at.
    pub async fn open(address: &str, credentials: &Credentials, context: &Context) -> Result<Self> {
        Ok(Self::over(driver::open(address, credentials, context).await?, context))
    }

    /// A store over a driver that is open already.
    pub fn over(driver: Arc<dyn Driver>, context: &Context) -> Self {
        Self { driver, context: context.clone() }
    }

    /// The target's address, without query.
    pub fn url(&self) -> &str {
        self.driver.url()
    }

    pub(crate) async fn exists(&self, path: &str) -> bool {
        self.driver.file_size(path).await.is_some()
    }

    /// Looks first and reads then, so that what vanishes in between is a driver's error and not an absent file.
    pub(crate) async fn load<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        if !self.exists(path).await {
            return Err(Error::Absent(path.to_owned()));
        }
        let text = self.driver.read(path).await?;
        json::from_bytes(&text).map_err(Error::Invalid)
    }

    pub(crate) async fn save(&self, path: &str, config: &impl Serialize) -> Result<()> {
        self.driver.write(path, json::to_bytes(config).into()).await
    }

    pub(crate) async fn volume_exists(&self, name: &str) -> bool {
        self.exists(&layout::volume_config(name)).await
    }

    pub(crate) async fn load_volume(&self, name: &str) -> Result<VolumeConfig> {
        let config: VolumeConfig = self.load(&layout::volume_config(name)).await?;
        Ok(config.with_defaults())
    }

    pub(crate) async fn save_volume(&self, config: &VolumeConfig) -> Result<()> {
        self.save(&layout::volume_config(&config.name), config).await
    }

    /// Writes a volume's configuration unless there is one.
    pub(crate) async fn add_volume(&self, config: &VolumeConfig) -> Result<()> {
        if self.volume_exists(&config.name).await {
            return Ok(());
        }
        if !is_valid_name(&config.name) {
            return Err(Error::Invalid(format!("invalid volume name {}", config.name)));
        }
        self.save_volume(config).await
    }

    pub(crate) async fn load_backup(&self, backup: &str, volume: &str) -> Result<BackupConfig> {
        let config: BackupConfig = self.load(&layout::backup_config(backup, volume)).await?;
        Ok(config.with_defaults())
    }

    pub(crate) async fn save_backup(&self, config: &BackupConfig) -> Result<()> {
        if config.volume_name.is_empty() {
            return Err(Error::Invalid(format!("missing volume specifier for backup: {}", config.name)));
        }
        self.save(&layout::backup_config(&config.name, &config.volume_name), config).await
    }

    /// The names of a volume's backups. A list that fails counts as an empty one, as upstream has it (c7): the caller cannot
    /// tell a store that is away from a volume without backups.
    pub(crate) async fn backup_names(&self, volume: &str) -> Result<Vec<String>> {
        let files = match self.driver.list(&layout::backups(volume)).await {
            Err(_) if self.context.behaviour.failed_list_is_empty => Vec::new(),
            files => files?,
        };
        Ok(layout::names_in(&files, layout::BACKUP_PREFIX, layout::CONFIG_SUFFIX))
    }

    pub(crate) async fn load_backing_image(&self, name: &str) -> Result<BackingImageConfig> {
        let config: BackingImageConfig = self.load(&layout::backing_image_config(name)).await?;
        Ok(config.with_defaults())
    }

    pub(crate) async fn save_backing_image(&self, config: &BackingImageConfig) -> Result<()> {
        self.save(&layout::backing_image_config(&config.name), config).await
    }

    /// The checksums of the blocks two levels below a directory. A first level that cannot be listed counts as absent;
    /// deeper failures do not.
    pub(crate) async fn block_sums(&self, directory: &str) -> Result<Vec<String>> {
        let Ok(first_level) = self.driver.list(directory).await else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for first in first_level {
            let first = crate::gopath::join(&[directory, &first]);
            for second in self.driver.list(&first).await? {
                files.extend(self.driver.list(&crate::gopath::join(&[&first, &second])).await?);
            }
        }
        Ok(layout::names_in(&files, "", layout::BLOCK_SUFFIX))
    }

    /// Removes each of these blocks, in an order that means nothing. All are tried; those that stay are named in the
    /// error.
    pub(crate) async fn remove_blocks(&self, mut blocks: Vec<(String, String)>, what: &str) -> Result<()> {
        self.context.shuffle(&mut blocks);
        let mut failed = Vec::new();
        for (sum, path) in blocks {
            if self.driver.remove(&path).await.is_err() {
                failed.push(sum);
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::Driver(format!("failed to delete {what}: [{}]", failed.join(" "))))
    }

    /// Removes all that a volume has in the store.
    pub(crate) async fn remove_volume(&self, name: &str) -> Result<()> {
        if !is_valid_name(name) {
            return Err(Error::Invalid(format!("invalid volume name {name}")));
        }
        let parts = [
            ("all the backups for volume", layout::backups(name), ""),
            ("all the blocks for volume", layout::blocks(name), ""),
            ("all the locks for volume", layout::locks(name), ""),
            ("backup volume", layout::volume(name), " directory in backupstore"),
        ];
        for (what, path, where_) in parts {
            let removed = self.driver.remove(&path).await;
            removed.context(|| format!("failed to remove {what} {name}{where_}"))?;
        }
        Ok(())
    }
}
