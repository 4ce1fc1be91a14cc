//! Looking into a store: lists, inspection, and the date of a configuration. None of it takes a lock, so all of it may
//! be old when it arrives.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::error::{Context as _, Error, Result};
use crate::info::{BackingImageInfo, BackupInfo, ConfigMetadata, VolumeInfo};
use crate::store::Backupstore;
use crate::url::{BackupAddress, decode_backing_image, decode_backup, is_valid_name};
use crate::{gopath, layout};

/// So many directories are listed at once: upstream takes 16 for each processor.
const LISTS_AT_ONCE: usize = 32;
/// The list of one directory may take so long (config.go, `taskTimeout`).
const LIST_TIMEOUT: Duration = Duration::from_secs(90);

impl Backupstore {
    /// The volumes in the store, or the one that is named, each with its backups unless only volumes are wanted. A
    /// volume whose configuration is absent is there with an error message: a lock alone makes a directory.
    pub async fn list(&self, volume: Option<&str>, volume_only: bool) -> Result<BTreeMap<String, VolumeInfo>> {
        let names = match volume {
            Some(name) => vec![name.to_owned()],
            None => self.volume_names().await?,
        };
        let (mut volumes, mut errors) = (BTreeMap::new(), Vec::new());
        for name in names {
            if !is_valid_name(&name) {
                errors.push(format!("invalid volume name {name}"));
                continue;
            }
            volumes.insert(name.clone(), self.list_volume(&name, volume_only).await);
        }
        if errors.is_empty() { Ok(volumes) } else { Err(Error::Invalid(errors.join("\n"))) }
    }

    async fn list_volume(&self, name: &str, volume_only: bool) -> VolumeInfo {
        let mut info = VolumeInfo::listed();
        if !self.volume_exists(name).await {
            return info.with_error(Error::Absent(layout::volume_config(name)).to_string());
        }
        if !volume_only {
            let names = match self.backup_names(name).await {
                Ok(names) => names,
                Err(error) => return info.with_error(error.to_string()),
            };
            info.backups = names.into_iter().map(|backup| (backup, BackupInfo::default())).collect();
        }
        info
    }

    /// The names of the directories three levels down. Here, unlike for backups, a list that fails is an error.
    pub(crate) async fn volume_names(&self) -> Result<Vec<String>> {
        let base = layout::volumes();
        let first_level = self.driver.list(&base).await?;
        let first_level = first_level.iter().map(|name| gopath::join(&[&base, name])).collect();
        let (second_level, mut errors) = self.list_each(first_level, true).await;
        let (names, more_errors) = self.list_each(second_level, false).await;
        errors.extend(more_errors);
        if errors.is_empty() { Ok(names) } else { Err(Error::Driver(errors.join("\n"))) }
    }

    /// Lists many directories at once: the entries, as paths or names, and what went wrong.
    async fn list_each(&self, directories: Vec<String>, as_paths: bool) -> (Vec<String>, Vec<String>) {
        let lists = directories.into_iter().map(|directory| async move {
            let listed = host::time::timeout(LIST_TIMEOUT, self.driver.list(&directory)).await;
            let listed = listed.unwrap_or_else(|_| Err(Error::Driver("timeout while executing".to_owned())));
            let listed = listed.context(|| format!("failed to list second level dirs for path {directory}"))?;
            let entry = |name: String| if as_paths { gopath::join(&[&directory, &name]) } else { name };
            Ok::<_, Error>(listed.into_iter().map(entry).collect::<Vec<_>>())
        });
        let mut lists = stream::iter(lists).buffer_unordered(LISTS_AT_ONCE);
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        while let Some(list) = lists.next().await {
            match list {
                Ok(list) => entries.extend(list),
                Err(error) => errors.push(error.to_string()),
            }
        }
        (entries, errors)
    }

    /// A volume's configuration, for readers.
    pub async fn inspect_volume(&self, address: &str) -> Result<VolumeInfo> {
        let BackupAddress { volume, .. } = decode_backup(address)?;
        Ok(VolumeInfo::of(self.load_volume(&volume).await?))
    }

    /// A backup's configuration, for readers. One in progress is an error.
    pub async fn inspect_backup(&self, address: &str) -> Result<BackupInfo> {
        let address = decode_backup(address)?;
        let volume = self.load_volume(&address.volume).await?;
        let backup = self.load_backup(address.backup.as_deref().unwrap_or_default(), &address.volume).await;
        let backup =
            backup.inspect_err(|_| self.context.log.info(|| "Failed to load backup in backupstore".to_owned()))?;
        if backup.is_in_progress() {
            return Err(Error::BackupInProgress(backup.name));
        }
        Ok(BackupInfo::of(backup, volume, self.url()))
    }

    /// The date of a backup's configuration, or of the volume's if the address names no backup.
    pub async fn config_metadata(&self, address: &str) -> Result<ConfigMetadata> {
        let address = decode_backup(address)?;
        let path = match &address.backup {
            Some(backup) => layout::backup_config(backup, &address.volume),
            None => layout::volume_config(&address.volume),
        };
        if !self.exists(&path).await {
            return Err(Error::Absent(path));
        }
        Ok(ConfigMetadata { modification_time: self.driver.file_time(&path).await })
    }

    /// The names of the backing images in the store, those whose upload has only begun included. As upstream has it, a
    /// list that fails counts as an empty one (c7); it is printed as one, too, while that of a store without backing images
    /// is absent (`null`).
    pub async fn list_backing_images(&self) -> Result<Option<Vec<String>>> {
        match self.driver.list(&layout::backing_images()).await {
            Ok(names) => Ok(Some(names).filter(|names| !names.is_empty())),
            Err(_) if self.context.behaviour.failed_list_is_empty => Ok(Some(Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// A backing image's configuration, for readers. One in progress is an error.
    pub async fn inspect_backing_image(&self, address: &str) -> Result<BackingImageInfo> {
        let (name, _) = decode_backing_image(address)?;
        let config = self.load_backing_image(&name).await?;
        if config.is_in_progress() {
            return Err(Error::BackingImageInProgress(config.name));
        }
        Ok(BackingImageInfo::of(config, self.url()))
    }
}
