//! Settings as controllers read them: the object's value, or its default while there is no object (`datastore/longhorn.go`,
//! `types/setting.go`); and how a manager creates and changes them.
//!
//! Upstream creates an object for each of some ninety settings. This storey creates those that its own code reads
//! ([`names_in_use`]); the REST API shows the others with their defaults, as upstream does for absent ones. A setting joins the list
//! with the code that reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhorn_api::{Defect, Release, Setting, labels, settings};

use super::datastore::Datastore;
use super::error::{Error, Result};

/// Defaults that the installation's ConfigMap put in the place of the built-in ones.
#[derive(Debug, Default)]
pub struct Defaults(Mutex<BTreeMap<String, String>>);

impl Defaults {
    /// Puts `value` in the place of the built-in default.
    pub fn set(&self, name: &str, value: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value.to_owned());
    }

    /// The default of a setting; an error if there is no such setting.
    pub fn get(&self, name: &str) -> Result<String> {
        let custom = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let built_in = || settings::definition(name).map(|definition| definition.default.to_owned());
        custom.or_else(built_in).ok_or_else(|| Error::message(format!("setting {name} is not supported")))
    }
}

/// Between two tries to write a setting, where the cure of c5 is in force.
const AFTER_A_CONFLICT: Duration = Duration::from_millis(500);

/// The settings that this storey's code reads, as far as `release` has them, in the order in which they are created.
pub fn names_in_use(release: Release) -> impl Iterator<Item = &'static str> {
    const NAMES: [&str; 43] = [
        settings::BACKING_IMAGE_RECOVERY_WAIT_INTERVAL,
        settings::CONCURRENT_BACKING_IMAGE_REPLENISH_PER_NODE_LIMIT,
        settings::BACKUP_TARGET,
        settings::BACKUP_TARGET_CREDENTIAL_SECRET,
        settings::BACKUPSTORE_POLL_INTERVAL,
        settings::CREATE_DEFAULT_DISK_LABELED_NODES,
        settings::CURRENT_LONGHORN_VERSION,
        settings::DEFAULT_DATA_PATH,
        settings::DEFAULT_ENGINE_IMAGE,
        settings::DEFAULT_INSTANCE_MANAGER_IMAGE,
        settings::DEFAULT_BACKING_IMAGE_MANAGER_IMAGE,
        settings::SUPPORT_BUNDLE_MANAGER_IMAGE,
        settings::STORAGE_RESERVED_PERCENTAGE_FOR_DEFAULT_DISK,
        settings::TAINT_TOLERATION,
        settings::SYSTEM_MANAGED_COMPONENTS_NODE_SELECTOR,
        settings::REGISTRY_SECRET,
        settings::DISABLE_SCHEDULING_ON_CORDONED_NODE,
        settings::PRIORITY_CLASS,
        settings::SYSTEM_MANAGED_PODS_IMAGE_PULL_POLICY,
        settings::CONCURRENT_AUTOMATIC_ENGINE_UPGRADE_PER_NODE_LIMIT,
        settings::FAILED_BACKUP_TTL,
        settings::BACKUP_COMPRESSION_METHOD,
        settings::BACKUP_CONCURRENT_LIMIT,
        settings::V1_DATA_ENGINE,
        settings::V2_DATA_ENGINE,
        settings::AUTO_CLEANUP_SYSTEM_GENERATED_SNAPSHOT,
        settings::DISABLE_SNAPSHOT_PURGE,
        settings::AUTO_CLEANUP_WHEN_DELETE_BACKUP,
        settings::AUTO_CLEANUP_SNAPSHOT_AFTER_ON_DEMAND_BACKUP_COMPLETED,
        settings::BACKUP_EXECUTION_TIMEOUT,
        settings::V2_DATA_ENGINE_CPU_MASK,
        settings::V2_DATA_ENGINE_HUGEPAGE_LIMIT,
        settings::V2_DATA_ENGINE_GUARANTEED_INSTANCE_MANAGER_CPU,
        settings::GUARANTEED_INSTANCE_MANAGER_CPU,
        settings::LOG_LEVEL,
        settings::V2_DATA_ENGINE_LOG_LEVEL,
        settings::V2_DATA_ENGINE_LOG_FLAGS,
        settings::ORPHAN_AUTO_DELETION,
        settings::ORPHAN_RESOURCE_AUTO_DELETION,
        settings::ORPHAN_RESOURCE_AUTO_DELETION_GRACE_PERIOD,
        settings::STORAGE_MINIMAL_AVAILABLE_PERCENTAGE,
        settings::STORAGE_OVER_PROVISIONING_PERCENTAGE,
        settings::INSTANCE_MANAGER_POD_LIVENESS_PROBE_TIMEOUT,
    ];
    let is_known = move |name: &&str| settings::definition(name).is_some_and(|definition| definition.is_in(release));
    NAMES.into_iter().filter(is_known)
}

impl Datastore {
    /// The setting as the cache has it, or one with its default and no identity.
    pub fn setting(&self, name: &str) -> Result<Arc<Setting>> {
        if settings::definition(name).is_none() {
            return Err(Error::message(format!("setting {name} is not supported")));
        }
        match self.settings.find(name) {
            Some(setting) => Ok(setting),
            None => Ok(Arc::new(setting_object(name, &self.defaults.get(name)?))),
        }
    }

    /// The value of a setting, or its default.
    pub fn setting_value(&self, name: &str) -> Result<String> {
        Ok(self.setting(name)?.value.clone())
    }

    /// The default of a setting, as this installation has it.
    pub fn default_value(&self, name: &str) -> Result<String> {
        self.defaults.get(name)
    }

    /// Puts `value` in the place of a setting's built-in default.
    pub fn set_default(&self, name: &str, value: &str) {
        self.defaults.set(name, value);
    }

    /// The value of a setting that must not be empty (`GetSettingValueExisted`).
    pub fn existing_setting_value(&self, name: &str) -> Result<String> {
        let value = self.setting_value(name)?;
        if value.is_empty() { Err(Error::message(format!("setting {name} is empty"))) } else { Ok(value) }
    }

    /// The value of a setting that is a number.
    pub fn setting_number(&self, name: &str) -> Result<i64> {
        let value = self.setting_value(name)?;
        value.parse().map_err(|_| {
            Error::message(format!("the {name} setting value couldn't change to integer, value is {value}"))
        })
    }

    /// The value of a setting that says yes or no.
    pub fn setting_flag(&self, name: &str) -> Result<bool> {
        let value = self.setting_value(name)?;
        value.parse().map_err(|_| {
            Error::message(format!("the {name} setting value couldn't be converted to bool, value is {value}"))
        })
    }

    /// How long a question to a backup store may take: a constant minute until v1.7.2, then setting `backup-execution-timeout`.
    pub fn backup_execution_timeout(&self) -> Result<Duration> {
        if !self.has_many_backup_targets() {
            return Ok(Duration::from_secs(60));
        }
        let minutes = self.setting_number(settings::BACKUP_EXECUTION_TIMEOUT)?;
        Ok(Duration::from_secs(60 * minutes.unsigned_abs()))
    }

    /// All settings of this release: the objects that exist, and one with its default for each that does not.
    pub fn all_settings(&self) -> Result<BTreeMap<String, Arc<Setting>>> {
        settings::of(self.release())
            .map(|definition| Ok((definition.name.to_owned(), self.setting(definition.name)?)))
            .collect()
    }

    /// Changes a setting as the manager does: once with an annotation that lets it past the check for read-only settings, and
    /// once more without it.
    pub async fn update_setting(&self, mut setting: Setting) -> Result<Setting> {
        let annotations = setting.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::UPDATE_SETTING_FROM_LONGHORN.to_owned(), String::new());
        let mut updated = self.settings.api().update(&setting).await?;
        if let Some(annotations) = &mut updated.metadata.annotations {
            annotations.remove(labels::UPDATE_SETTING_FROM_LONGHORN);
        }
        self.settings.update(&updated).await
    }

    /// Gives a setting a value, noting the version of the ConfigMap it comes from; creates it if need be.
    /// Upstream does so in one try, and a manager that starts ends at a conflict (c5).
    pub async fn create_or_update_setting(&self, name: &str, value: &str, config_map_version: &str) -> Result<()> {
        loop {
            match self.try_to_create_or_update_setting(name, value, config_map_version).await {
                Err(error) if error.is_conflict() && !self.build.has(Defect::FoundStartConflict) => {
                    host::time::sleep(AFTER_A_CONFLICT).await;
                }
                done => return done,
            }
        }
    }

    async fn try_to_create_or_update_setting(&self, name: &str, value: &str, config_map_version: &str) -> Result<()> {
        let Some(setting) = self.settings.find(name) else {
            let mut setting = setting_object(name, value);
            annotate(&mut setting, config_map_version);
            return match self.settings.api().create(&setting).await {
                Err(error) if error.is_already_exists() => Ok(()),
                other => other.map(drop).map_err(Error::from),
            };
        };
        let noted = setting.metadata.annotations.as_ref().and_then(|all| all.get(labels::CONFIG_MAP_RESOURCE_VERSION));
        if noted.is_some_and(|noted| noted == config_map_version) && setting.value == value {
            return Ok(());
        }
        let mut setting = Setting::clone(&setting);
        annotate(&mut setting, config_map_version);
        setting.value = value.to_owned();
        self.update_setting(setting).await.map(drop)
    }
}

/// A setting that the API server has not seen.
pub fn setting_object(name: &str, value: &str) -> Setting {
    let mut setting = Setting { value: value.to_owned(), ..Setting::default() };
    setting.metadata.name = Some(name.to_owned());
    setting
}

/// Notes which version of the ConfigMap of default settings a value comes from.
pub fn annotate(setting: &mut Setting, config_map_version: &str) {
    let annotations = setting.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::CONFIG_MAP_RESOURCE_VERSION.to_owned(), config_map_version.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backup_target_was_three_settings_until_v1_7_2() {
        let has = |release, name| names_in_use(release).any(|known| known == name);
        assert!(has(Release::V1_7_2, settings::BACKUP_TARGET) && !has(Release::V1_8_0, settings::BACKUP_TARGET));
        assert!(!has(Release::V1_7_2, settings::BACKUP_EXECUTION_TIMEOUT));
        assert!(has(Release::V1_8_0, settings::BACKUP_EXECUTION_TIMEOUT));
    }

    #[test]
    fn every_setting_in_use_is_in_the_table() {
        let names: Vec<&str> = names_in_use(Release::V1_8_0).chain(names_in_use(Release::V1_7_2)).collect();
        assert!(names.iter().all(|name| settings::definition(name).is_some()));
    }
}
