//! Backups of backing images, and system backups: listed, looked at and deleted.

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::system_backup::{CONDITION_ERROR, SystemBackupState};
use longhorn_api::{BackupBackingImage, SystemBackup};
use serde_json::{Value, json};

use super::Rest;
use super::resource::{Call, Reply};
use crate::runtime::backups::name;
use crate::runtime::{Context, Result};

impl Rest {
    /// `/v1/backupbackingimages` and below.
    pub(super) async fn backup_backing_images(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let store = &self.manager.datastore.backup_backing_images;
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let mut backups = store.list();
                backups.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
                let data = backups.iter().map(|backup| self.show_backing_image(call, backup)).collect();
                Ok(call.collection("backupBackingImage", data))
            }
            (&Method::GET, [image]) => {
                let backup = store.get(image).context(|| format!("failed to get backup backing image '{image}'"))?;
                Ok(Reply::Json(self.show_backing_image(call, &backup)))
            }
            (&Method::DELETE, [image]) => {
                store.delete(image).await.context(|| format!("failed to delete backup backing image '{image}'"))?;
                Ok(Reply::Nothing)
            }
            (_, [] | [_]) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }

    fn show_backing_image(&self, call: &Call, backup: &BackupBackingImage) -> Value {
        let status = &backup.status;
        let mut fields = json!({
            "name": name(&backup.metadata),
            "state": status.state,
            "progress": status.progress,
            "error": status.error,
            "url": status.url,
            "created": status.backup_created_at,
            "size": status.size,
            "labels": status.labels,
            "messages": status.messages,
            "compressionMethod": status.compression_method,
        });
        if self.manager.datastore.has_many_backup_targets() {
            fields["secret"] = status.secret.as_str().into();
            fields["secretNamespace"] = status.secret_namespace.as_str().into();
            fields["backingImageName"] = backup.spec.backing_image.as_str().into();
            fields["backupTargetName"] = backup.spec.backup_target_name.as_str().into();
        }
        call.resource("backupBackingImage", name(&backup.metadata), &["backupBackingImageRestore"], fields)
    }

    /// `/v1/systembackups` and below.
    pub(super) async fn system_backups(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let store = &self.manager.datastore.system_backups;
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let mut backups = store.list();
                backups.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
                Ok(call.collection(
                    "systemBackup",
                    backups.iter().map(|backup| show_system_backup(call, backup)).collect(),
                ))
            }
            (&Method::GET, [backup]) => {
                let found = store.get(backup).context(|| format!("failed to get SystemBackup '{backup}'"))?;
                Ok(Reply::Json(show_system_backup(call, &found)))
            }
            (&Method::DELETE, [backup]) => match store.delete(backup).await {
                Err(error) if !error.is_not_found() => Err(error).context(|| "failed to delete SystemBackup"),
                _ => Ok(Reply::Nothing),
            },
            (_, [] | [_]) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }
}

fn show_system_backup(call: &Call, backup: &SystemBackup) -> Value {
    let (spec, status) = (&backup.spec, &backup.status);
    let mut fields = json!({
        "name": name(&backup.metadata),
        "volumeBackupPolicy": spec.volume_backup_policy,
        "createdAt": go_time(status.created_at.as_ref()),
    });
    let condition = status.conditions.condition(CONDITION_ERROR);
    let failed = status.state == SystemBackupState::Error && condition.status == ConditionStatus::True;
    let error = if failed { format!("{}: {}", condition.reason, condition.message) } else { String::new() };
    let optional = [
        ("version", status.version.as_str()),
        ("managerImage", &status.manager_image),
        ("state", status.state.as_str()),
        ("error", &error),
    ];
    for (field, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
        fields[field] = value.into();
    }
    call.resource("systemBackup", name(&backup.metadata), &[], fields)
}

/// A time as Go prints one, the first year if there is none.
fn go_time(time: Option<&Time>) -> String {
    time.map_or_else(
        || "0001-01-01 00:00:00 +0000 UTC".to_owned(),
        |time| time.0.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::resource::tests::call;
    use super::*;

    #[test]
    fn a_failed_system_backup_says_why() {
        let mut backup = SystemBackup::default();
        backup.metadata.name = Some("s".to_owned());
        backup.status.state = SystemBackupState::Error;
        backup.status.conditions.set_condition(CONDITION_ERROR, ConditionStatus::True, "Sync", "no store", "now");
        let shown = show_system_backup(&call(Method::GET, "/v1/systembackups"), &backup);
        assert_eq!((&shown["error"], &shown["state"]), (&json!("Sync: no store"), &json!("Error")));
        assert_eq!(shown["createdAt"], "0001-01-01 00:00:00 +0000 UTC");
        assert!(shown.get("version").is_none());
    }
}
