//! A backup target as the manager sees it: one execution of the engine binary for each question
//! (`engineapi/backups.go`, `backup_backing_image.go`, `system_backup.go`).
//!
//! An answer is a snapshot of the store at the time of its execution; a sync is made of several, one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use longhorn_api::{Build, Release};
use serde::de::DeserializeOwned;

use super::answers::{BackupBackingImageInfo, BackupInfo, BackupVolumeInfo, ConfigMetadata, SystemBackupConfig};
use super::{credentials, execute};
use crate::runtime::error::{Context, Error, Result};
use longhorn_backupstore::url;

/// How long the download of a system backup may take (`SystemRestoreTimeout`).
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Access to one store with one engine image.
#[derive(Debug, Clone)]
pub struct BackupTargetClient {
    /// The engine image whose binary is used.
    pub image: String,
    /// The store.
    pub url: String,
    /// What the store's Secret holds, if it has one.
    pub credential: Option<BTreeMap<String, String>>,
    /// How long a question may take.
    pub timeout: Duration,
    /// The release of this manager.
    pub build: Build,
}

impl BackupTargetClient {
    /// Names of the volumes in the store, those that a Kubernetes object could not have left out; sorted.
    pub async fn backup_volume_names(&self) -> Result<Vec<String>> {
        let output = self.ask(&["backup", "ls", "--volume-only", &self.url]).await;
        let Some(output) = absent_is_none(output, || "error listing backup volume names")? else {
            return Ok(Vec::new());
        };
        let volumes: BTreeMap<String, serde::de::IgnoredAny> = parse(&output, "backup volume names")?;
        Ok(volumes.into_keys().filter(|name| is_valid_name(name)).collect())
    }

    /// Names of the backups of one volume, sorted; none if the volume is not in the store.
    pub async fn backup_names(&self, volume: &str) -> Result<Vec<String>> {
        if volume.is_empty() {
            return Ok(Vec::new());
        }
        let output = self.ask(&["backup", "ls", "--volume", volume, &self.url]).await;
        let Some(output) = absent_is_none(output, || format!("error listing volume {volume} backup"))? else {
            return Ok(Vec::new());
        };
        let volumes: BTreeMap<String, BackupVolumeInfo> = parse(&output, "backup names")?;
        let found = volumes
            .get(volume)
            .ok_or_else(|| Error::message(format!("cannot find the volume name {volume} in the data")))?;
        if let Some(error) =
            found.messages.as_ref().and_then(|messages| messages.get("error")).filter(|e| !e.is_empty())
        {
            return Err(Error::message(error.clone()));
        }
        Ok(found.backups.iter().flat_map(|backups| backups.keys().cloned()).collect())
    }

    /// One backup's configuration. Until v1.7.2 an absent one was an empty answer; from v1.8.0 on it is an error.
    pub async fn backup(&self, url: &str) -> Result<Option<BackupInfo>> {
        let output = self.ask(&["backup", "inspect", url]).await;
        let context = || format!("error getting backup config {url}");
        let output = if self.build.release().before(Release::V1_8_0_RC1) {
            absent_is_none(output, context)?
        } else {
            Some(output.context(context)?)
        };
        output.map(|output| parse(&output, "one backup config")).transpose()
    }

    /// One backup volume's configuration.
    pub async fn backup_volume(&self, url: &str) -> Result<Option<BackupVolumeInfo>> {
        let output = self.ask(&["backup", "inspect-volume", url]).await;
        let output = absent_is_none(output, || format!("error getting backup volume config {url}"))?;
        output.map(|output| parse(&output, "one backup volume config")).transpose()
    }

    /// When a configuration was last written.
    pub async fn config_metadata(&self, url: &str) -> Result<Option<ConfigMetadata>> {
        let output = self.ask(&["backup", "head", url]).await;
        let output = absent_is_none(output, || format!("error getting config metadata {url}"))?;
        output.map(|output| parse(&output, "config metadata")).transpose()
    }

    /// Deletes a volume and all its backups; an absent volume is deleted.
    pub async fn delete_backup_volume(&self, volume: &str) -> Result<()> {
        let output = self.execute(&["backup", "rm", "--volume", volume, &self.url], None).await;
        absent_is_none(output, || "error deleting backup volume")?;
        tracing::info!(volume, "Complete deleting backup volume");
        Ok(())
    }

    /// Deletes one backup; an absent one is deleted.
    pub async fn delete_backup(&self, url: &str) -> Result<()> {
        tracing::info!(url, "Start deleting backup");
        let output = self.execute(&["backup", "rm", url], None).await;
        absent_is_none(output, || format!("error deleting backup {url}"))?;
        tracing::info!(url, "Complete deleting backup");
        Ok(())
    }

    /// Unmounts every store of this node.
    pub async fn clean_up_all_mounts(&self) -> Result<()> {
        self.ask(&["backup", "cleanup-all-mounts"]).await.context(|| "error clean up all mount points").map(drop)
    }

    /// Names of the backing images in the store, unfinished uploads included; sorted.
    pub async fn backing_image_names(&self) -> Result<Vec<String>> {
        let output = self.ask(&["backup", "ls-backing-image", &self.url]).await;
        let Some(output) = absent_is_none(output, || "failed to list backup backing image names")? else {
            return Ok(Vec::new());
        };
        let mut names: Vec<String> =
            parse::<Option<Vec<String>>>(&output, "backup backing image names")?.unwrap_or_default();
        names.sort();
        Ok(names)
    }

    /// The configuration of a backing image's backup.
    pub async fn backing_image(&self, url: &str) -> Result<Option<BackupBackingImageInfo>> {
        let output = self.ask(&["backup", "inspect-backing-image", url]).await;
        let output = absent_is_none(output, || format!("failed to get backup backing image config {url}"))?;
        output.map(|output| parse(&output, "config of backup backing image")).transpose()
    }

    /// Deletes the backup of a backing image; an absent one is deleted.
    pub async fn delete_backing_image(&self, url: &str) -> Result<()> {
        let output = self.execute(&["backup", "rm-backing-image", url], None).await;
        absent_is_none(output, || "failed to delete backup backing image").map(drop)
    }

    /// The system backups in the store: name to path, the path's last but one part being the release that made it.
    pub async fn system_backups(&self) -> Result<BTreeMap<String, String>> {
        let output = self.ask(&["system-backup", "list", &self.url]).await;
        let Some(output) = absent_is_none(output, || format!("error listing system backup in {}", self.url))? else {
            return Ok(BTreeMap::new());
        };
        Ok(parse::<Option<BTreeMap<String, String>>>(&output, "system backup")?.unwrap_or_default())
    }

    /// The configuration of one system backup.
    pub async fn system_backup_config(&self, name: &str, version: &str) -> Result<SystemBackupConfig> {
        let url = self.system_backup_url(name, version)?;
        let output = self.ask(&["system-backup", "get-config", &url]).await;
        let output = output.context(|| format!("error getting config for system backup {url}"))?;
        parse(&output, "config for system backup")
    }

    /// Uploads the archive of a system backup; `made_by` are the commit and the image of the manager, and the engine's image.
    pub async fn upload_system_backup(
        &self,
        name: &str,
        version: &str,
        file: &str,
        made_by: [&str; 3],
        limit: Duration,
    ) -> Result<()> {
        let url = self.system_backup_url(name, version)?;
        let [commit, manager_image, engine_image] = made_by;
        let flags = ["--git-commit", commit, "--manager-image", manager_image, "--engine-image", engine_image];
        let arguments = [&["system-backup", "upload", file, &url][..], &flags].concat();
        let uploaded = self.execute(&arguments, Some(limit)).await;
        uploaded.context(|| format!("error uploading system backup from {file} to {url}")).map(drop)
    }

    /// Downloads the archive of a system backup to a file.
    pub async fn download_system_backup(&self, name: &str, version: &str, file: &str) -> Result<()> {
        let url = self.system_backup_url(name, version)?;
        let downloaded = self.execute(&["system-backup", "download", &url, file], Some(DOWNLOAD_TIMEOUT)).await;
        downloaded.context(|| format!("error downloading system backup {name}")).map(drop)
    }

    /// Deletes one system backup.
    pub async fn delete_system_backup(&self, name: &str, version: &str) -> Result<()> {
        let url = self.system_backup_url(name, version)?;
        self.ask(&["system-backup", "delete", &url])
            .await
            .context(|| format!("error deleting system backup {url}"))
            .map(drop)
    }

    /// The address of a backup of `volume` in this store.
    pub fn backup_url(&self, backup: &str, volume: &str) -> String {
        url::encode_backup(Some(backup), volume, &self.url)
    }

    /// The address of `volume` in this store.
    pub fn volume_url(&self, volume: &str) -> String {
        url::encode_backup(None, volume, &self.url)
    }

    /// The address of a backing image's backup in this store.
    pub fn backing_image_url(&self, backing_image: &str) -> String {
        url::encode_backing_image(backing_image, &self.url)
    }

    /// The address of a system backup in this store.
    pub fn system_backup_url(&self, name: &str, version: &str) -> Result<String> {
        url::encode_system_backup(name, version, &self.url).map_err(|error| Error::message(error.to_string()))
    }

    async fn ask(&self, arguments: &[&str]) -> Result<String> {
        self.execute(arguments, Some(self.timeout)).await
    }

    /// The variables that hand the store's credential to whoever works on it.
    pub fn environment(&self) -> Result<Vec<(String, String)>> {
        credentials::environment(&self.url, self.credential.as_ref())
    }

    async fn execute(&self, arguments: &[&str], limit: Option<Duration>) -> Result<String> {
        let environment = self.environment()?;
        execute::execute(&self.image, arguments, environment, limit).await
    }
}

/// Takes "cannot find" for the answer that there is nothing, as most questions do.
fn absent_is_none<C: std::fmt::Display>(output: Result<String>, context: impl FnOnce() -> C) -> Result<Option<String>> {
    match output {
        Err(error) if error.says_cannot_find() => Ok(None),
        other => other.context(context).map(Some),
    }
}

fn parse<T: DeserializeOwned>(output: &str, what: &str) -> Result<T> {
    serde_json::from_str(output).map_err(|error| Error::message(format!("error parsing {what}: \n{output}: {error}")))
}

/// Whether a volume of this name could be an object of the API (`util.ValidateName`): lower case, two characters or more.
pub fn is_valid_name(name: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() >= 2 && name.starts_with(lower) && name.chars().all(|c| lower(c) || matches!(c, '_' | '.' | '-'))
}
