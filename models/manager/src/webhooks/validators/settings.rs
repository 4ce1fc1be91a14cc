//! The validator of settings.

use longhorn_api::settings::definition;
use longhorn_api::{Release, Setting, labels};

use super::Denial;
use crate::runtime::Datastore;
use crate::runtime::backups::name;

/// A setting takes the value.
pub async fn new(datastore: &Datastore, setting: &Setting) -> Result<(), Denial> {
    let valid = datastore.validate_setting(name(&setting.metadata), &setting.value).await;
    valid.map_err(|error| Denial::invalid_field("value", error.to_string()))
}

/// Some settings are the manager's own: it marks its writes with an annotation, and takes that off with a second write.
pub async fn changed(datastore: &Datastore, old: &Setting, new: &Setting) -> Result<(), Denial> {
    may_change(datastore.release(), old, new)?;
    self::new(datastore, new).await
}

fn may_change(release: Release, old: &Setting, new: &Setting) -> Result<(), Denial> {
    let setting_name = name(&new.metadata);
    let Some(definition) = definition(setting_name).filter(|definition| definition.is_in(release)) else {
        return Err(Denial::invalid_field("metadata.name", format!("setting {setting_name} does not exist")));
    };
    let by_longhorn = |setting: &Setting| {
        let annotations = setting.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.contains_key(labels::UPDATE_SETTING_FROM_LONGHORN))
    };
    if definition.is_read_only && !by_longhorn(old) && !by_longhorn(new) {
        return Err(Denial::invalid_field("metadata.name", format!("setting {setting_name} is read-only")));
    }
    Ok(())
}

/// Only what is no setting of this release can be deleted.
pub fn deleted(release: Release, setting: &Setting) -> Result<(), Denial> {
    let setting_name = name(&setting.metadata);
    if definition(setting_name).is_some_and(|definition| definition.is_in(release)) {
        let message = format!("setting {setting_name} can be modified but not deleted");
        return Err(Denial::invalid_field("metadata.name", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longhorn_api::settings;

    use super::*;
    use crate::runtime::settings::setting_object;

    #[test]
    fn only_the_manager_changes_a_read_only_setting() {
        let release = Release::V1_8_0;
        let old = setting_object(settings::DEFAULT_ENGINE_IMAGE, "a");
        let mut new = setting_object(settings::DEFAULT_ENGINE_IMAGE, "b");
        assert!(may_change(release, &old, &new).is_err());
        let annotations = new.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::UPDATE_SETTING_FROM_LONGHORN.to_owned(), String::new());
        assert_eq!(may_change(release, &old, &new), Ok(()));
        assert_eq!(may_change(release, &new, &old), Ok(()), "the write that takes the mark off");
    }

    #[test]
    fn settings_of_other_releases_can_go() {
        let target = setting_object(settings::BACKUP_TARGET, "");
        assert!(deleted(Release::V1_7_2, &target).is_err());
        assert_eq!(deleted(Release::V1_8_0, &target), Ok(()));
        assert!(may_change(Release::V1_8_0, &target, &target).is_err());
    }
}
