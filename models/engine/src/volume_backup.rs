//! `longhorn backup create`, `status`, `restore` and `restore-status`: commands that an engine process carries out
//! (app/cmd/backup.go).

use std::collections::BTreeMap;

use longhorn_backupstore::url::unescape_ampersand;
use serde::Serialize;

use crate::Invocation;
use crate::flags::{Flag, Parsed};
use crate::outcome::{Failure, Outcome};
use crate::task::{BackupCreateParameters, Task, TaskError};

pub(crate) const CREATE_FLAGS: [Flag; 10] = [
    Flag::with_value("dest"),
    Flag::with_value("backing-image-name"),
    Flag::with_value("backing-image-checksum"),
    Flag::with_value("label"),
    Flag::with_value("backup-name"),
    Flag::with_value("compression-method"),
    Flag::with_value("concurrent-limit"),
    Flag::with_value("storage-class-name"),
    Flag::with_value("backup-block-size"),
    Flag::HELP,
];

const DEFAULT_BLOCK_MEBIBYTES: i64 = 2;

/// What the process's environment has for reaching a target of this kind (backupstore util/credential.go).
fn credential(target: &str) -> BTreeMap<String, String> {
    const NAMES: [&str; 8] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINTS",
        "AWS_CERT",
        "VIRTUAL_HOSTED_STYLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    ];
    if !target.starts_with("s3://") {
        return BTreeMap::new();
    }
    NAMES.iter().filter_map(|name| Some(((*name).to_owned(), host::process::env_var(name)?))).collect()
}

/// On one line, as these commands print.
fn compact(value: &impl Serialize) -> String {
    String::from_utf8_lossy(&longhorn_backupstore::json::to_bytes(value)).into_owned() + "\n"
}

/// How upstream's JSON of a task's error looks.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReplicaErrors<'a> {
    replica_errors: &'a [crate::task::ReplicaError],
}

impl Invocation {
    fn task(&self) -> Task {
        Task::new(&self.url, &self.volume, &self.instance)
    }

    pub(crate) async fn create_backup(&self, parsed: &Parsed) -> Outcome {
        let created = async {
            let target = parsed.value("dest");
            if target.is_empty() {
                return Err("missing required parameter --dest".to_owned());
            }
            let snapshot = parsed.arguments.first().filter(|snapshot| !snapshot.is_empty());
            let snapshot = snapshot.ok_or("missing required parameter snapshot")?;
            let mebibytes = parsed.number("backup-block-size", DEFAULT_BLOCK_MEBIBYTES)?;
            if mebibytes <= 0 {
                return Err(format!("invalid backup block size: {mebibytes}"));
            }
            let limit = parsed.number("concurrent-limit", 1)?;
            let parameters = BackupCreateParameters {
                name: parsed.value("backup-name").to_owned(),
                snapshot: snapshot.clone(),
                target: target.to_owned(),
                backing_image_name: parsed.value("backing-image-name").to_owned(),
                backing_image_checksum: parsed.value("backing-image-checksum").to_owned(),
                compression_method: parsed.value_or("compression-method", "lz4").to_owned(),
                concurrent_limit: i32::try_from(limit).map_err(|error| error.to_string())?,
                storage_class_name: parsed.value("storage-class-name").to_owned(),
                labels: parsed.values("label"),
                credential: credential(target),
                parameters: BTreeMap::from([("backup-block-size".to_owned(), (mebibytes << 20).to_string())]),
            };
            self.task().create_backup(parameters).await.map_err(|error| error.to_string())
        };
        let created = created.await;
        created
            .map(|info| compact(&info))
            .map_err(|error| Failure::panic(error).fatal("Error running create backup command"))
    }

    pub(crate) async fn backup_status(&self, parsed: &Parsed) -> Outcome {
        let backup = parsed.arguments.first().map(String::as_str).unwrap_or_default();
        let status =
            self.task().backup_status(backup, parsed.value("replica"), parsed.value("replica-instance-name")).await;
        status
            .map(|status| compact(&status))
            .map_err(|error| Failure::panic(error).fatal("Error querying backup status"))
    }

    pub(crate) async fn restore_backup(&self, parsed: &Parsed) -> Outcome {
        let restored = async {
            let backup = parsed.arguments.first().filter(|backup| !backup.is_empty());
            let backup = backup.ok_or_else(|| TaskError::from("missing required parameter backup"))?;
            let limit = parsed.number("concurrent-limit", 1).map_err(TaskError::from)?;
            let limit = i32::try_from(limit).map_err(|error| TaskError::from(error.to_string()))?;
            let address = unescape_ampersand(backup);
            self.task().restore_backup(&address, &credential(&address), limit, &self.context).await
        };
        restored.await.map(|()| String::new()).map_err(|error| {
            let printed = match &error {
                TaskError::Replicas(errors) => {
                    longhorn_backupstore::json::to_indented(&ReplicaErrors { replica_errors: errors }) + "\n"
                }
                TaskError::Failed(text) => format!("{text}\n"),
            };
            Failure::panic(error).fatal("Error running restore backup command").printing(printed)
        })
    }

    pub(crate) async fn restore_status(&self) -> Outcome {
        let statuses = self.task().restore_status().await;
        statuses
            .map(|statuses| compact(&statuses))
            .map_err(|error| Failure::panic(error).fatal("Error running restore backup command"))
    }
}
