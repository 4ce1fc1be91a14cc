//! What a setting's value, a backup target's address and its Secret must be like (`datastore/longhorn.go`, `types/setting.go`).
//!
//! The webhooks ask this, the REST API before it writes, and a starting manager of the installation's customised settings. Values that only
//! concern workloads of later storeys (data engines, CPU reservations, storage classes) are checked for their type alone.

use corral_kube_client::Api;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::labels;
use longhorn_api::settings::{self, Value};
use longhorn_backupstore::url::Url;

use super::backups::name;
use super::datastore::Datastore;
use super::error::{Context, Error, Result};
use crate::engine::credentials;

/// Settings in words that may be empty; the other ones may not.
const MAY_BE_EMPTY: [&str; 12] = [
    settings::BACKUP_TARGET,
    settings::BACKUP_TARGET_CREDENTIAL_SECRET,
    settings::CURRENT_LONGHORN_VERSION,
    settings::LATEST_LONGHORN_VERSION,
    settings::ORPHAN_RESOURCE_AUTO_DELETION,
    settings::PRIORITY_CLASS,
    settings::REGISTRY_SECRET,
    settings::STABLE_LONGHORN_VERSIONS,
    settings::STORAGE_NETWORK,
    settings::SYSTEM_MANAGED_COMPONENTS_NODE_SELECTOR,
    settings::TAINT_TOLERATION,
    settings::V2_DATA_ENGINE_LOG_FLAGS,
];

/// The values of settings that are one of a few words, as far as their objects are made here.
const CHOICES: [(&str, &[&str]); 2] = [
    (settings::SYSTEM_MANAGED_PODS_IMAGE_PULL_POLICY, &["if-not-present", "never", "always"]),
    (settings::BACKUP_COMPRESSION_METHOD, &["none", "lz4", "gzip"]),
];

/// Whether a setting may not be empty.
pub fn is_required(name: &str) -> bool {
    !MAY_BE_EMPTY.contains(&name)
}

impl Datastore {
    /// Whether a setting can take a value, for itself and beside what else there is.
    pub async fn validate_setting(&self, name: &str, value: &str) -> Result<()> {
        let result = match self.validate_type(name, value) {
            Ok(()) => self.validate_surroundings(name, value).await,
            Err(error) => Err(error).context(|| format!("value {value} of settings {name} is invalid")),
        };
        result.context(|| format!("failed to set the setting {name} with invalid value {value}"))
    }

    fn validate_type(&self, name: &str, value: &str) -> Result<()> {
        let definition = settings::definition(name).filter(|definition| definition.is_in(self.release()));
        let Some(definition) = definition else {
            return Err(Error::message(format!("setting {name} is not supported")));
        };
        if value.is_empty() && is_required(name) {
            return Err(Error::message(format!("required setting {name} shouldn't be empty")));
        }
        validate_words(name, value, definition.value).context(|| format!("failed to validate the setting {name}"))
    }

    async fn validate_surroundings(&self, name: &str, value: &str) -> Result<()> {
        match name {
            settings::BACKUP_TARGET => self.forbid_standby_volumes(),
            settings::V1_DATA_ENGINE if self.setting_value(name)? != value => {
                self.validate_data_engine(&DataEngine::V1, value == labels::TRUE).map(drop)
            }
            settings::V2_DATA_ENGINE if self.setting_value(name)? != value => {
                self.validate_data_engine(&DataEngine::V2, value == labels::TRUE).map(drop)
            }
            settings::BACKUP_TARGET_CREDENTIAL_SECRET => self.validate_credential(value),
            settings::PRIORITY_CLASS if !value.is_empty() => {
                let classes: Api<PriorityClass> = Api::all(self.kubernetes());
                let found = classes.get(value).await.map(drop);
                found
                    .context(|| format!("failed to get priority class {value} before modifying priority class setting"))
            }
            _ => Ok(()),
        }
    }

    /// The target may not change while volumes restore from it all the time.
    pub fn forbid_standby_volumes(&self) -> Result<()> {
        let volumes = self.volumes.list();
        let mut standby: Vec<&str> =
            volumes.iter().filter(|volume| volume.spec.standby).map(|volume| name(&volume.metadata)).collect();
        standby.sort_unstable();
        if standby.is_empty() {
            return Ok(());
        }
        let message = format!("cannot modify BackupTarget since there are existing standby volumes: {standby:?}");
        Err(Error::message(message))
    }

    /// A Secret that is there must have been written without stray white space; one that is not there may come later.
    pub fn validate_credential(&self, secret: &str) -> Result<()> {
        self.secrets.find(secret).map_or(Ok(()), |secret| validate_secret(&secret))
    }

    /// Whether a target can have this address: well formed, of a known kind of store, and no other target's.
    pub fn validate_backup_target_url(&self, target_name: &str, address: &str) -> Result<()> {
        if address.is_empty() {
            return Ok(());
        }
        let url = parse_target_url(address)?;
        let place = place_of(&url)?;
        for other in self.backup_targets.list() {
            let other_url = parse(&other.spec.backup_target_url)?;
            if other_url.scheme != url.scheme {
                continue;
            }
            if place_of(&other_url)? == place && name(&other.metadata) != target_name {
                let message = format!("url {url} is the same to backup target {}", name(&other.metadata));
                return Err(Error::message(message));
            }
        }
        Ok(())
    }
}

fn validate_words(name: &str, value: &str, kind: Value) -> Result<()> {
    let invalid = |why: String| Err(Error::message(why));
    match kind {
        Value::Boolean if !matches!(value, "true" | "false") => {
            invalid(format!("value {value} should be true or false"))
        }
        Value::Integer(least, most) => match value.parse::<i64>() {
            Err(_) => {
                invalid(format!("value {value} is not a number: strconv.Atoi: parsing {value:?}: invalid syntax"))
            }
            Ok(number) if number < least => invalid(format!("value {number} should be larger than {least}")),
            Ok(number) if number > most => invalid(format!("value {number} should be less than {most}")),
            Ok(_) => Ok(()),
        },
        Value::Boolean => Ok(()),
        Value::Text => {
            let choices = CHOICES.iter().find(|(choosable, _)| *choosable == name).map(|(_, choices)| choices);
            if let Some(choices) = choices.filter(|choices| !choices.contains(&value)) {
                let choices = choices.join(" ");
                return invalid(format!("value {value} is not a valid choice, available choices [{choices}]"));
            }
            if name == settings::BACKUP_TARGET { parse_target_url(value).map(drop) } else { Ok(()) }
        }
    }
}

fn parse(address: &str) -> Result<Url> {
    Url::parse(address).map_err(|error| Error::message(format!("failed to parse {address} as url: {error}")))
}

/// An address whose path has none of the characters that the engine's mount command would take for something else.
fn parse_target_url(address: &str) -> Result<Url> {
    let url = parse(address)?;
    // In SMB a `$` marks a hidden share.
    let forbidden: &[char] = if url.scheme == credentials::CIFS { &[','] } else { &['$', ','] };
    let found: Vec<String> = url.path.chars().filter(|c| forbidden.contains(c)).map(String::from).collect();
    if found.is_empty() {
        return Ok(url);
    }
    Err(Error::message(format!("url {url}, contains {}", found.join(" or "))))
}

/// By what two addresses of one kind of store are told apart.
fn place_of(url: &Url) -> Result<String> {
    match url.scheme.as_str() {
        credentials::S3 | credentials::AZURE_BLOB => Ok(url.to_string().to_lowercase()),
        credentials::CIFS | credentials::NFS => {
            Ok(format!("{}{}", url.host, url.path).trim_end_matches('/').to_lowercase())
        }
        other => Err(Error::message(format!("url {url} with the unsupported protocol {other}"))),
    }
}

fn validate_secret(secret: &Secret) -> Result<()> {
    for key in credentials::CHECKED_KEYS {
        let Some(value) = secret.data.as_ref().and_then(|data| data.get(key)) else { continue };
        let value = String::from_utf8_lossy(&value.0);
        if value.trim() == value {
            continue;
        }
        let what = if value.starts_with(' ') {
            "leading white space"
        } else if value.ends_with(' ') {
            "trailing white space"
        } else if value.starts_with('\n') {
            "leading new line"
        } else if value.ends_with('\n') {
            "trailing new line"
        } else {
            return Err(Error::message(format!("there is space or new line in {key}")));
        };
        return Err(Error::message(format!("invalid {what} in {key}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn values_are_of_their_settings_kind() {
        let valid =
            |name: &str, value: &str| validate_words(name, value, settings::definition(name).unwrap().value).is_ok();
        assert!(valid(settings::V1_DATA_ENGINE, "true") && !valid(settings::V1_DATA_ENGINE, "True"));
        assert!(valid(settings::FAILED_BACKUP_TTL, "0") && !valid(settings::FAILED_BACKUP_TTL, "-1"));
        assert!(!valid(settings::FAILED_BACKUP_TTL, "soon"));
        assert!(!valid(settings::BACKUP_COMPRESSION_METHOD, "zip"));
        assert!(valid(settings::BACKUP_TARGET, "s3://b@r/"));
        assert!(is_required(settings::DEFAULT_ENGINE_IMAGE) && !is_required(settings::BACKUP_TARGET));
    }

    #[test]
    fn an_address_must_not_confuse_the_mount_command() {
        let message = |address: &str| parse_target_url(address).map(drop).map_err(|error| error.to_string());
        assert_eq!(message("nfs://h:/a,b$c"), Err("url nfs://h:/a,b$c, contains , or $".to_owned()));
        assert_eq!(message("cifs://h/share$"), Ok(()));
    }

    #[test]
    fn two_exports_are_one_place_but_for_case_and_slash() {
        let place = |address: &str| place_of(&parse(address).unwrap()).map_err(|error| error.to_string());
        assert_eq!(place("nfs://Server:/export/"), place("nfs://server:/export"));
        assert_ne!(place("s3://b@r/"), place("s3://b@r/sub"));
        assert_eq!(place("vfs:///tmp"), Err("url vfs:///tmp with the unsupported protocol vfs".to_owned()));
    }

    #[test]
    fn stray_white_space_in_a_secret_is_named() {
        let message = |value: &str| {
            let data = [("AWS_SECRET_ACCESS_KEY".to_owned(), ByteString(value.as_bytes().to_vec()))];
            let secret = Secret { data: Some(data.into()), ..Secret::default() };
            validate_secret(&secret).map_err(|error| error.to_string())
        };
        assert_eq!(message("key"), Ok(()));
        assert_eq!(message(" key"), Err("invalid leading white space in AWS_SECRET_ACCESS_KEY".to_owned()));
        assert_eq!(message("key\n"), Err("invalid trailing new line in AWS_SECRET_ACCESS_KEY".to_owned()));
        assert_eq!(message("\tkey"), Err("there is space or new line in AWS_SECRET_ACCESS_KEY".to_owned()));
    }
}
