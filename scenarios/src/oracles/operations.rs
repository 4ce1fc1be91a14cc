//! **Damage**: an operation that a user asked for never ends: a system backup that is never ready, a backup of a backing image that is "in
//! progress" for ever though the store has it; or it is said to have ended well and the store holds a part of it.
//! **Promise**: Longhorn's states of SystemBackup and BackupBackingImage (liveness statement "every operation ends"; safety statement "a completed
//! backup is durable, and its remote configuration complete").
//! **Bound**: the settle phase, which ends only when nothing was written for 65 s (twice the informers' resync, thirteen looks of a waiting system
//! backup) or after 15 min; before it the client has waited for some minutes itself. Longhorn's own bound is 24 h, after which it goes on
//! without.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use corral_core::journal::{Event, Record};
use corral_world::{Oracle, Stage};
use serde_json::Value;

use super::ABSENCE_NOT_PROVED;

/// Every system backup becomes Ready.
pub struct SystemBackupsEnd;

impl Oracle for SystemBackupsEnd {
    fn name(&self) -> &'static str {
        "system-backups-end"
    }

    fn about(&self) -> &'static str {
        "a system backup becomes Ready"
    }

    fn judge(&self, stage: &Stage) {
        for backup in stage.cluster().store().objects("systembackups.longhorn.io") {
            let state = text(&backup.value["status"]["state"]);
            if state == "Ready" || backup.is_deleting() {
                continue;
            }
            let (signature, why) = match state {
                "Error" => ("SystemBackup ends in Error".to_owned(), text(condition(&backup.value))),
                state => (format!("SystemBackup stays {}", shown(state)), ""),
            };
            let detail = format!("SystemBackup {} is {} at the end: {why}", backup.name(), shown(state));
            stage.violation_as(self.name(), &signature, detail.trim_end_matches([':', ' ']));
        }
    }
}

fn condition(backup: &Value) -> &Value {
    let conditions = backup["status"]["conditions"].as_array();
    let error = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Error"));
    error.map_or(&Value::Null, |condition| &condition["message"])
}

/// Every BackupBackingImage becomes Completed or Error.
#[derive(Default)]
pub struct BackingImageBackupsEnd {
    /// Images whose backup was deleted before the store had anything of them, with the BackupBackingImage's name.
    deleted: Mutex<BTreeMap<String, String>>,
}

impl Oracle for BackingImageBackupsEnd {
    fn name(&self) -> &'static str {
        "backing-image-backups-end"
    }

    fn about(&self) -> &'static str {
        "a backup of a backing image becomes Completed or Error"
    }

    /// Notes deletions, and reports the hazard when the store gets what was deleted.
    fn observe(&self, stage: &Stage, record: &Record<'_>) {
        let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        match &record.event {
            Event::ApiWrite { kind, name, deleting: true, .. } if kind == "BackupBackingImage" => {
                deleted.insert(backed_up_image(name).to_owned(), name.to_string());
            }
            Event::StoreOperation { verb, key, code: 200, .. } if verb == "put" => {
                let Some(image) = image_in_store(key) else { return };
                let Some(name) = deleted.remove(image) else { return };
                drop(deleted);
                let detail = format!(
                    "BackupBackingImage {name} was deleted, and then backing image {image} came into the store"
                );
                stage.hazard(ABSENCE_NOT_PROVED, &name, &detail);
            }
            _ => {}
        }
    }

    fn judge(&self, stage: &Stage) {
        let complete = remote_images(stage);
        for backup in stage.cluster().store().objects("backupbackingimages.longhorn.io") {
            let state = text(&backup.value["status"]["state"]);
            let image = image_of(&backup.value);
            if matches!(state, "Error" | "Unknown") && complete.get(image) == Some(&true) && !backup.is_deleting() {
                let signature = format!("BackupBackingImage ends in {state}, the store has all of it");
                let why = text(&backup.value["status"]["error"]);
                let detail = format!("BackupBackingImage {} is {state}, the store has all of it: {why}", backup.name());
                stage.violation_as(self.name(), &signature, &detail);
            }
            if matches!(state, "Completed" | "Error" | "Unknown") || backup.is_deleting() {
                continue;
            }
            let remote = match complete.get(image) {
                Some(true) => "the store has all of it",
                Some(false) => "the store has a part of it",
                None => "the store has nothing of it",
            };
            let signature = format!("BackupBackingImage stays {}, {remote}", shown(state));
            let progress = &backup.value["status"]["progress"];
            let detail = format!("BackupBackingImage {} is {} at {progress} %; {remote}", backup.name(), shown(state));
            stage.violation_as(self.name(), &signature, &detail);
        }
    }
}

/// What is said to be backed up is in the store, whole.
pub struct CompletedBackupsAreComplete;

impl Oracle for CompletedBackupsAreComplete {
    fn name(&self) -> &'static str {
        "completed-backups-are-complete"
    }

    fn about(&self) -> &'static str {
        "the store has all of a backing image's backup that is Completed"
    }

    fn judge(&self, stage: &Stage) {
        let complete = remote_images(stage);
        for backup in stage.cluster().store().objects("backupbackingimages.longhorn.io") {
            let is_completed = text(&backup.value["status"]["state"]) == "Completed" && !backup.is_deleting();
            if !is_completed || complete.get(image_of(&backup.value)) == Some(&true) {
                continue;
            }
            let detail =
                format!("BackupBackingImage {} is Completed, its configuration in the store is not", backup.name());
            let signature = "BackupBackingImage Completed, its remote configuration absent or unfinished";
            stage.violation_as(self.name(), signature, &detail);
        }
    }
}

/// The backing images that any object store knows, and whether their upload has ended.
fn remote_images(stage: &Stage) -> BTreeMap<String, bool> {
    let mut images = BTreeMap::new();
    for store in stage.stores() {
        for bucket in store.buckets() {
            let objects = store.objects(&bucket, "");
            for object in &objects {
                let Some(image) = image_in_store(&object.key) else { continue };
                let configuration: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
                images.insert(image.to_owned(), !text(&configuration["CompleteTime"]).is_empty());
            }
        }
    }
    images
}

/// The backing image whose configuration has this key in a store.
pub(crate) fn image_in_store(key: &str) -> Option<&str> {
    key.strip_suffix("/backing-image.cfg")?.rsplit('/').next()
}

/// The backing image that a BackupBackingImage of this name is of: from v1.8.0-rc1 on eight random digits follow it.
pub(crate) fn backed_up_image(name: &str) -> &str {
    let is_random = |suffix: &str| suffix.len() == 8 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.rsplit_once('-').filter(|(_, suffix)| is_random(suffix)).map_or(name, |(image, _)| image)
}

/// The backing image of a BackupBackingImage: up to v1.7.2 it has its name.
fn image_of(backup: &Value) -> &str {
    match text(&backup["spec"]["backingImage"]) {
        "" => text(&backup["metadata"]["name"]),
        image => image,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn shown(state: &str) -> &str {
    if state.is_empty() { "in no state" } else { state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_in_names_of_their_backups() {
        assert_eq!(backed_up_image("bi-1-0123abcd"), "bi-1");
        assert_eq!(backed_up_image("bi-1"), "bi-1", "v1.7.2");
        assert_eq!(
            image_in_store("bucket/backupstore/backing-images/backing-images/bi-1/backing-image.cfg"),
            Some("bi-1")
        );
        assert_eq!(image_in_store("bucket/backupstore/backing-images/blocks/ab/cd/abcd.blk"), None);
    }
}
