//! Backup targets. Until v1.7.2 there is one, which settings describe: it can be looked at and synchronised.

use corral_kube_client::DeleteParams;
use host::time::sleep;
use http::Method;
use longhorn_api::kinds::backup_target::{BackupTargetSpec, UNAVAILABLE};
use longhorn_api::{BackupTarget, go};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

use super::Rest;
use super::backup_volumes::check_sync_interval;
use super::resource::{Call, Reply};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result, clock};

/// Tries of an update that meets conflicts, and the pause between them, which has a random part (`util.APIRetry…`).
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_STEP: Duration = Duration::from_millis(50);
const PAUSE_STEPS: u64 = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SyncInput {
    sync_all_backup_targets: bool,
    sync_backup_target: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TargetInput {
    name: String,
    #[serde(rename = "backupTargetURL")]
    backup_target_url: String,
    credential_secret: String,
    /// Seconds.
    poll_interval: String,
}

impl TargetInput {
    fn spec(&self) -> Result<BackupTargetSpec> {
        let seconds: Result<i64, _> = self.poll_interval.parse();
        let seconds = seconds.map_err(|error| {
            Error::message(format!("invalid backup target polling interval '{}': {error}", self.poll_interval))
        })?;
        Ok(BackupTargetSpec {
            backup_target_url: self.backup_target_url.clone(),
            credential_secret: self.credential_secret.clone(),
            poll_interval: go::Duration::from_seconds(seconds),
            ..BackupTargetSpec::default()
        })
    }
}

impl Rest {
    /// `/v1/backuptargets` and below.
    pub(super) async fn backup_targets(&self, call: &Call, rest: &[&str]) -> Result<Reply> {
        let datastore = &self.manager.datastore;
        let many = datastore.has_many_backup_targets();
        match (&call.method, rest, call.action()) {
            (&Method::GET, [], _) => Ok(self.list_targets(call)),
            (&Method::PUT, [], _) => {
                let input: SyncInput = call.input()?;
                if input.sync_all_backup_targets {
                    for target in datastore.backup_targets.list() {
                        if let Err(error) = self.sync_target((*target).clone()).await {
                            tracing::warn!(%error, "Failed to synchronize backup target {}", name(&target.metadata));
                        }
                    }
                }
                Ok(self.list_targets(call))
            }
            (&Method::POST, [], _) if many => self.create_target(call).await,
            (&Method::GET, [target], _) if many => {
                let found = datastore.backup_targets.get(target);
                let found = found.context(|| format!("failed to get backup target {target}"))?;
                Ok(Reply::Json(self.show_target(call, &found)))
            }
            (&Method::DELETE, [target], _) if many => {
                let deleted = datastore.backup_targets.api().delete(target, &DeleteParams::default()).await;
                deleted.context(|| format!("failed to delete backup target {target}"))?;
                Ok(Reply::Nothing)
            }
            (&Method::POST, [target], "backupTargetSync") => {
                let input: SyncInput = call.input()?;
                let found = datastore.backup_targets.get(target);
                let mut found = (*found.context(|| format!("failed to get backup target {target}"))?).clone();
                if input.sync_backup_target {
                    let synced = self.sync_target(found).await;
                    found = synced.context(|| format!("failed to synchronize backup target {target}"))?;
                }
                Ok(Reply::Json(self.show_target(call, &found)))
            }
            (&Method::POST, [_target], "backupTargetUpdate") if many => {
                let input: TargetInput = call.input()?;
                let updated = self.update_target(&input.name, &input.spec()?).await;
                let updated = updated.context(|| format!("failed to update backup target {}", input.name))?;
                Ok(Reply::Json(self.show_target(call, &updated)))
            }
            (_, [] | [_], _) => Ok(Reply::MethodNotAllowed),
            _ => Ok(Reply::Absent),
        }
    }

    fn list_targets(&self, call: &Call) -> Reply {
        let mut targets = self.manager.datastore.backup_targets.list();
        targets.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        call.collection("backupTarget", targets.iter().map(|target| self.show_target(call, target)).collect())
    }

    async fn sync_target(&self, mut target: BackupTarget) -> Result<BackupTarget> {
        let what = format!("cannot synchronize backup target '{}'", name(&target.metadata));
        check_sync_interval(target.spec.sync_requested_at.as_ref(), &what)?;
        target.spec.sync_requested_at = Some(clock::now());
        self.manager.datastore.backup_targets.update(&target).await
    }

    /// One that is there already is answered as it is.
    async fn create_target(&self, call: &Call) -> Result<Reply> {
        let input: TargetInput = call.input()?;
        let spec = input.spec()?;
        let store = &self.manager.datastore.backup_targets;
        let target = match store.find(&input.name) {
            Some(target) => target,
            None => {
                let mut target = BackupTarget { spec, ..BackupTarget::default() };
                target.metadata.name = Some(input.name.clone());
                store.create(&target).await.context(|| format!("failed to create backup target {}", input.name))?
            }
        };
        Ok(Reply::Json(self.show_target(call, &target)))
    }

    /// A changed target is listed at once.
    async fn update_target(&self, target_name: &str, spec: &BackupTargetSpec) -> Result<BackupTarget> {
        let store = &self.manager.datastore.backup_targets;
        for _try in 0..TRIES {
            let mut target = (*store.get(target_name)?).clone();
            let described = |spec: &BackupTargetSpec| {
                (spec.backup_target_url.clone(), spec.credential_secret.clone(), spec.poll_interval)
            };
            if described(&target.spec) == described(spec) {
                return Ok(target);
            }
            target.spec = spec.clone();
            target.spec.sync_requested_at = Some(clock::now());
            match store.update(&target).await {
                Err(error) if error.is_conflict() => {
                    let steps =
                        u32::try_from(self.manager.datastore.random_below(PAUSE_STEPS)).expect("fewer than five");
                    sleep(PAUSE + PAUSE_STEP * steps).await;
                }
                other => return other.context(|| "failed to update backup target spec"),
            }
        }
        Err(Error::message("cannot finish API request due to too many error retries"))
    }

    fn show_target(&self, call: &Call, target: &BackupTarget) -> Value {
        let fields = json!({
            "name": name(&target.metadata),
            "backupTargetURL": target.spec.backup_target_url,
            "credentialSecret": target.spec.credential_secret,
            "pollInterval": target.spec.poll_interval.to_string(),
            "available": target.status.available,
            "message": target.status.conditions.condition(UNAVAILABLE).message,
        });
        let many = self.manager.datastore.has_many_backup_targets();
        let actions: &[&str] = if many { &["backupTargetSync", "backupTargetUpdate"] } else { &["backupTargetSync"] };
        call.resource("backupTarget", name(&target.metadata), actions, fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_poll_interval_is_given_in_seconds() {
        let input: TargetInput = serde_json::from_value(json!({
            "name": "default", "backupTargetURL": "s3://b@r/", "credentialSecret": "s", "pollInterval": "300",
        }))
        .unwrap();
        assert_eq!(input.spec().unwrap().poll_interval.to_string(), "5m0s");
        let input = TargetInput { poll_interval: "5m".to_owned(), ..input };
        assert!(input.spec().is_err());
    }
}
