//! System backups: an archive made by the manager, and a configuration beside it (systembackup/system_backup.go
//! upstream). No locks.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config::SystemBackupConfig;
use crate::error::{Context as _, Error, Result};
use crate::store::Backupstore;
use crate::url::{SystemBackupAddress, decode_system_backup};
use crate::{gopath, layout};

/// What a system backup's configuration says beyond its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemBackupMaker {
    /// Commit of the Longhorn version.
    pub git_commit: String,
    /// The manager image that will restore it.
    pub manager_image: String,
    /// The engine image.
    pub engine_image: String,
}

impl Backupstore {
    /// Uploads an archive, and then its configuration, under this address. An archive that is there already is not
    /// replaced.
    pub async fn upload_system_backup(&self, local: &str, address: &str, maker: SystemBackupMaker) -> Result<()> {
        let SystemBackupAddress { target, version, name } = decode_system_backup(address)?;
        let config = SystemBackupConfig {
            checksum: file_checksum(local).await?,
            longhorn_git_commit: maker.git_commit,
            manager_image: maker.manager_image,
            engine_image: maker.engine_image,
            backup_target_url: target,
            created_at: host::wall_clock::now(),
            longhorn_version: version.clone(),
            name: name.clone(),
        };
        let archive = layout::system_backup_archive(&name, &version);
        if self.exists(&archive).await {
            return Err(Error::Invalid(format!("{archive} already exists")));
        }
        self.driver.upload(local, &archive).await?;
        self.save(&layout::system_backup_config(&name, &version), &config).await
    }

    /// Fetches the archive of this address to a local file, and removes that again if it is not what was uploaded.
    pub async fn download_system_backup(&self, address: &str, local: &str) -> Result<()> {
        let config = self.system_backup_config(address).await?;
        let archive = layout::system_backup_archive(&config.name, &config.longhorn_version);
        if !self.exists(&archive).await {
            return Err(Error::Invalid(format!("system backup {archive} doesn't exist")));
        }
        self.driver.download(&archive, local).await?;
        let sum = file_checksum(local).await?;
        if sum == config.checksum {
            return Ok(());
        }
        if let Err(error) = host::fs::remove_file(local).await {
            self.context.log.warn(&format!("Failed to clean up local file {local}"), &error);
        }
        let expected = config.checksum;
        Err(Error::Invalid(format!("downloaded {local} checksum mismatched: got {sum}: expect {expected}")))
    }

    /// The configuration of the system backup of this address.
    pub async fn system_backup_config(&self, address: &str) -> Result<SystemBackupConfig> {
        let SystemBackupAddress { version, name, .. } = decode_system_backup(address)?;
        self.load(&layout::system_backup_config(&name, &version)).await
    }

    /// All system backups: name to path. Of two versions that have one name, one is shown.
    pub async fn list_system_backups(&self) -> Result<BTreeMap<String, String>> {
        let base = layout::system_backups();
        let mut found = BTreeMap::new();
        for version in self.driver.list(&base).await? {
            let directory = gopath::join(&[&base, &version]);
            let names = self.driver.list(&directory).await?;
            found.extend(names.into_iter().map(|name| (name.clone(), gopath::join(&[&directory, &name]))));
        }
        Ok(found)
    }

    /// Removes the system backup of this address.
    pub async fn delete_system_backup(&self, address: &str) -> Result<()> {
        let SystemBackupAddress { version, name, .. } = decode_system_backup(address)?;
        self.driver.remove(&layout::system_backup(&name, &version)).await
    }
}

/// SHA-256 of a local file.
async fn file_checksum(local: &str) -> Result<String> {
    let content = host::fs::read(local).await.map_err(|error| Error::Driver(format!("open {local}: {error}")));
    Ok(hex::encode(Sha256::digest(content.context(|| format!("failed to get {local} checksum"))?)))
}
