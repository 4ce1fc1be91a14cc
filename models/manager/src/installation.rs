//! What an installation of Longhorn is given in ConfigMaps, and what a starting manager makes of it: the settings, and since there are
//! several the default backup target (`datastore/longhorn.go`).
//!
//! Every manager does this at every start. Two that do it at once may get in each other's way: what exists is left alone, but a conflict
//! ends the process, and its container is started again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use longhorn_api::settings::{self, Value};
use longhorn_api::{BackupTarget, go, names};

use crate::manager::Manager;
use crate::runtime::settings::{annotate, names_in_use, setting_object};
use crate::runtime::{Context, Datastore, Error, Result, clock, validation};

/// The ConfigMap of customised settings, and its one key.
const SETTINGS_CONFIG_MAP: (&str, &str) = ("longhorn-default-setting", "default-setting.yaml");
/// The ConfigMap of the default backup target, and its one key.
const RESOURCES_CONFIG_MAP: (&str, &str) = ("longhorn-default-resource", "default-resource.yaml");

/// Creates the settings that are not there and applies the customised ones.
pub async fn apply_settings(manager: &Manager) -> Result<()> {
    let datastore = &manager.datastore;
    let config_map = datastore.config_maps.get(SETTINGS_CONFIG_MAP.0)?;
    let version = config_map.metadata.resource_version.clone().unwrap_or_default();
    let given = customised(datastore, data(&config_map, SETTINGS_CONFIG_MAP.1)?);
    let mut customised = BTreeMap::new();
    for (name, value) in given {
        if !should_apply(datastore, &name, &value, &version) {
            continue;
        }
        match datastore.validate_setting(&name, &value).await {
            Ok(()) => {
                customised.insert(name, value);
            }
            Err(error) => {
                tracing::warn!(%error, "Invalid customized default setting {name}, will continue with others")
            }
        }
    }
    for (name, value) in &customised {
        if settings::definition(name).is_some_and(|definition| !definition.is_read_only) {
            datastore.set_default(name, value);
        }
    }
    for (name, value) in images(manager) {
        datastore.create_or_update_setting(name, value, "").await?;
    }
    for name in names_in_use(datastore.release()).filter(|name| datastore.settings.find(name).is_none()) {
        let mut setting = setting_object(name, &datastore.default_value(name)?);
        annotate(&mut setting, &version);
        match datastore.settings.api().create(&setting).await {
            Err(error) if !error.is_already_exists() => return Err(error.into()),
            _ => {}
        }
    }
    for (name, value) in customised.iter().filter(|(name, value)| !(validation::is_required(name) && value.is_empty()))
    {
        datastore.create_or_update_setting(name, value, &version).await?;
    }
    Ok(())
}

/// The settings that say which images this release works with. Upstream walks a map; the order means nothing.
fn images(manager: &Manager) -> [(&'static str, &str); 4] {
    let arguments = &manager.arguments;
    [
        (settings::DEFAULT_ENGINE_IMAGE, &arguments.engine_image),
        (settings::DEFAULT_INSTANCE_MANAGER_IMAGE, &arguments.instance_manager_image),
        (settings::DEFAULT_BACKING_IMAGE_MANAGER_IMAGE, &arguments.backing_image_manager_image),
        (settings::SUPPORT_BUNDLE_MANAGER_IMAGE, &arguments.support_bundle_manager_image),
    ]
}

/// The customised settings; none if one of them is not valid, for a part of them may be worse than none.
fn customised(datastore: &Datastore, given: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut customised = BTreeMap::new();
    for (name, value) in given {
        let mut value = value.trim_matches(' ').to_owned();
        let definition = settings::definition(&name).filter(|definition| definition.is_in(datastore.release()));
        let Some(definition) = definition else {
            tracing::error!("Customized settings are invalid, will give up using them: undefined setting {name}");
            return BTreeMap::new();
        };
        if definition.value == Value::Boolean && !value.is_empty() {
            let Some(flag) = parse_bool(&value) else {
                tracing::error!("Invalid value {value} for the boolean setting {name}");
                return BTreeMap::new();
            };
            value = flag.to_string();
        }
        if !value.is_empty() && !definition.takes(&value) {
            tracing::error!("Customized settings are invalid, will give up using them: the value of {name} is invalid");
            return BTreeMap::new();
        }
        customised.insert(name, value);
    }
    customised
}

/// Whether a customised value is news: to the setting, to the version it was taken from, or to this process's default.
fn should_apply(datastore: &Datastore, name: &str, value: &str, version: &str) -> bool {
    let Some(setting) = datastore.settings.find(name) else { return true };
    let annotations = setting.metadata.annotations.as_ref();
    let noted = annotations.and_then(|all| all.get(longhorn_api::labels::CONFIG_MAP_RESOURCE_VERSION));
    let is_default = datastore.default_value(name).is_ok_and(|default| default == value);
    setting.value != value || noted.map_or("", String::as_str) != version || !is_default
}

/// Setting `registry-secret` follows the manager's own DaemonSet.
pub async fn apply_registry_secret(manager: &Manager) -> Result<()> {
    let datastore = &manager.datastore;
    let daemon_set = datastore.daemon_sets.get(names::MANAGER_DAEMON_SET)?;
    let pod = daemon_set.spec.template.spec.as_ref();
    let secret = pod.and_then(|pod| pod.image_pull_secrets.iter().flatten().next());
    let wanted = secret.map_or("", |secret| secret.name.as_str());
    let setting = datastore.setting(settings::REGISTRY_SECRET)?;
    if setting.value == wanted {
        return Ok(());
    }
    let mut setting = (*setting).clone();
    setting.value = wanted.to_owned();
    datastore.update_setting(setting).await.map(drop)
}

/// Creates the default backup target, or changes it where the installation says so; what that does not name stays.
pub async fn apply_default_backup_target(manager: &Manager) -> Result<()> {
    let datastore = &manager.datastore;
    let config_map = datastore.config_maps.get(RESOURCES_CONFIG_MAP.0)?;
    let given = data(&config_map, RESOURCES_CONFIG_MAP.1)?;
    let existing = datastore.backup_targets.find(names::DEFAULT_BACKUP_TARGET);
    let mut target = existing.as_deref().cloned().unwrap_or_else(new_default_target);
    let before = target.spec.clone();
    describe(&mut target, &given)?;
    if existing.is_none() {
        return match datastore.backup_targets.create(&target).await {
            Err(error) if error.is_already_exists() => Ok(()),
            other => other.map(drop),
        };
    }
    if target.spec == before {
        return Ok(());
    }
    target.spec.sync_requested_at = Some(clock::now());
    datastore.backup_targets.update(&target).await.map(drop)
}

fn new_default_target() -> BackupTarget {
    let mut target = BackupTarget::default();
    target.metadata.name = Some(names::DEFAULT_BACKUP_TARGET.to_owned());
    target.spec.poll_interval = longhorn_api::kinds::backup_target::DEFAULT_POLL_INTERVAL;
    target
}

/// The three keys are named like the settings that they were until v1.7.2.
fn describe(target: &mut BackupTarget, given: &BTreeMap<String, String>) -> Result<()> {
    if let Some(url) = given.get(settings::BACKUP_TARGET) {
        target.spec.backup_target_url.clone_from(url);
    }
    if let Some(secret) = given.get(settings::BACKUP_TARGET_CREDENTIAL_SECRET) {
        target.spec.credential_secret.clone_from(secret);
    }
    if let Some(seconds) = given.get(settings::BACKUPSTORE_POLL_INTERVAL) {
        target.spec.poll_interval = match seconds.as_str() {
            "" => longhorn_api::kinds::backup_target::DEFAULT_POLL_INTERVAL,
            seconds => go::Duration::from_seconds(
                seconds
                    .parse()
                    .map_err(|_| Error::message(format!("strconv.ParseInt: parsing {seconds:?}: invalid syntax")))?,
            ),
        };
    }
    Ok(())
}

fn data(config_map: &ConfigMap, key: &str) -> Result<BTreeMap<String, String>> {
    let text = config_map.data.as_ref().and_then(|data| data.get(key)).map_or("", String::as_str);
    pairs(text).context(|| format!("failed to unmarshal customized data content from yaml data {text}"))
}

/// `key: value` lines, as these ConfigMaps have them; comments, blank lines and quotes as in YAML. Nested values are not read.
fn pairs(text: &str) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim_end();
        if line.is_empty() || line.trim_start().starts_with('#') || line == "---" {
            continue;
        }
        let pair = line
            .split_once(':')
            .filter(|(key, rest)| !key.starts_with(' ') && (rest.is_empty() || rest.starts_with(' ')));
        let Some((key, value)) = pair else { return Err(Error::message(format!("yaml: cannot read line {line:?}"))) };
        pairs.insert(unquoted(key), unquoted(value));
    }
    Ok(pairs)
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    if let Some(inner) = quoted('"').or_else(|| quoted('\'')) {
        return inner.to_owned();
    }
    let text = text.split_once(" #").map_or(text, |(value, _comment)| value.trim_end());
    if matches!(text, "~" | "null") { String::new() } else { text.to_owned() }
}

/// What Go's `strconv.ParseBool` takes.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;

    use super::*;
    use crate::runtime::Readers;

    fn datastore(tag: &str) -> Datastore {
        Datastore::new("127.0.0.1:1", "longhorn-system", Build::parse_tag(tag).unwrap(), Readers::Controllers).unwrap()
    }

    #[test]
    fn flat_yaml_is_read() {
        let text = "# comment\npriority-class: longhorn-critical\n\"v1-data-engine\": 'true'\nbackup-target:\nx: 5 # five\ny: ~\n";
        let read = pairs(text).unwrap();
        let get = |key: &str| read.get(key).map(String::as_str);
        assert_eq!((get("priority-class"), get("v1-data-engine")), (Some("longhorn-critical"), Some("true")));
        assert_eq!((get("backup-target"), get("x"), get("y"), get("z")), (Some(""), Some("5"), Some(""), None));
        assert!(pairs("a: 1\n  b: 2").is_err() && pairs("nonsense").is_err());
    }

    #[test]
    fn one_invalid_customised_setting_spoils_them_all() {
        let given = |text: &str| customised(&datastore("v1.8.0"), pairs(text).unwrap());
        assert_eq!(
            given("v2-data-engine: 1\nfailed-backup-ttl: 7"),
            pairs("v2-data-engine: true\nfailed-backup-ttl: 7").unwrap()
        );
        assert!(given("v2-data-engine: maybe\nfailed-backup-ttl: 7").is_empty());
        assert!(given("backup-target: s3://b@r/").is_empty(), "no setting of this release");
    }

    #[test]
    fn the_default_target_takes_what_it_is_told() {
        let mut target = new_default_target();
        describe(&mut target, &pairs("backup-target: s3://b@r/\nbackupstore-poll-interval: 60").unwrap()).unwrap();
        assert_eq!(target.spec.backup_target_url, "s3://b@r/");
        assert_eq!(target.spec.poll_interval, go::Duration::from_seconds(60));
        describe(&mut target, &pairs("backup-target-credential-secret: s").unwrap()).unwrap();
        assert_eq!(
            (target.spec.backup_target_url.as_str(), target.spec.credential_secret.as_str()),
            ("s3://b@r/", "s")
        );
        assert!(describe(&mut target, &pairs("backupstore-poll-interval: soon").unwrap()).is_err());
    }
}
