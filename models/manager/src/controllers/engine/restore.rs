//! Restoring a backup through the engine: what is restored so far, whether another one is due, and the limit of restores per node.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use host::time::Instant;
use longhorn_api::go::Map;
use longhorn_api::kinds::engine::{ReplicaMode, RestoreStatus};
use longhorn_api::{Defect, Engine, names, settings};
use longhorn_backupstore::url::encode_backup;

use super::monitor::Monitor;
use crate::engine::proxy::{EngineProxy, RestoreFailure};
use crate::runtime::backups::name;
use crate::runtime::{Context, Error, Result};

/// So often the size of a volume is tried to be written (`ConflictRetryCount`).
const CONFLICT_RETRIES: usize = 5;

impl Monitor {
    /// Starts a restore if one is due. Says whether the look goes on: not while a restore has to wait.
    pub(super) async fn restore(
        &mut self,
        engine: &mut Engine,
        status: &mut Map<RestoreStatus>,
        replicas: &BTreeMap<String, String>,
        proxy: &mut EngineProxy,
        cli_version: i64,
    ) -> Result<bool> {
        let due = self.is_restore_due(engine, status, replicas, proxy, cli_version).await;
        let due = due.context(|| format!("failed pre-restore check for engine {}", name(&engine.metadata)))?;
        if !due {
            return Ok(true);
        }
        let engine_name = name(&engine.metadata).to_owned();
        if self.restore_backoff.is_waiting(&engine_name, Instant::now()) {
            return Ok(false);
        }
        let volume_name = &engine.spec.volume_name;
        let volume = self.shared.manager.datastore.volumes.get(volume_name);
        let volume = volume.context(|| format!("failed to get volume {volume_name} for restoring counter"))?;
        if !volume.status.is_standby && !self.may_restore()? {
            tracing::warn!("Failed to acquire restore counter, retry later");
            self.restore_backoff.next(&engine_name, Instant::now());
            return Ok(false);
        }
        if let Err(error) = self.begin_restore(engine, status, proxy).await {
            self.restore_backoff.forget(&engine_name);
            self.count_restore(false);
            return Err(error);
        }
        Ok(true)
    }

    /// Follows what the replicas have restored, and says whether they should restore something else.
    async fn is_restore_due(
        &self,
        engine: &mut Engine,
        status: &mut Map<RestoreStatus>,
        replicas: &BTreeMap<String, String>,
        proxy: &mut EngineProxy,
        cli_version: i64,
    ) -> Result<bool> {
        let due = if cli_version < 4 {
            note_restored_together(engine, status)
        } else {
            self.note_restored(engine, status, replicas, proxy).await
        };
        if !due {
            return Ok(false);
        }
        if engine.spec.backup_volume.is_empty() {
            let engine = name(&engine.metadata);
            return Err(Error::message(format!("backup volume is empty for backup restoration of engine {engine}")));
        }
        if cli_version < 3 { Ok(true) } else { self.has_size_of_backup(engine).await }
    }

    /// As the binaries of these releases do it: a replica that was being rebuilt is good when its restore is done.
    async fn note_restored(
        &self,
        engine: &mut Engine,
        status: &Map<RestoreStatus>,
        replicas: &BTreeMap<String, String>,
        proxy: &mut EngineProxy,
    ) -> bool {
        let purging = engine.status.purge_status.values().any(|status| status.is_purging);
        if purging || status.values().any(|status| !status.error.is_empty()) {
            return false;
        }
        for (url, restored) in status {
            if restored.is_restoring || restored.last_restored.is_empty() {
                continue;
            }
            let replica = replicas.get(url.strip_prefix("tcp://").unwrap_or(url)).cloned().unwrap_or_default();
            if engine.status.replica_mode_map.get(&replica) != Some(&ReplicaMode::WriteOnly) {
                continue;
            }
            tracing::info!("Verifying the rebuild of replica {url} after restore completion");
            if let Err(error) = proxy.verify_rebuilt_replica(url, &replica).await {
                tracing::error!(%error, "Failed to verify the rebuild of replica {url} after restore completion");
                engine.status.replica_mode_map.insert(url.clone(), ReplicaMode::Error);
                return false;
            }
        }
        let mut last = status.values().map(|status| &status.last_restored);
        let first = last.next().cloned().unwrap_or_default();
        let agree = last.all(|other| *other == first);
        engine.status.last_restored_backup = if agree { first } else { String::new() };
        let requested = &engine.spec.requested_backup_restore;
        !requested.is_empty()
            && *requested != engine.status.last_restored_backup
            && !status.values().all(|status| status.is_restoring)
    }

    /// Makes the volume as large as what the backups are of, and says whether it is.
    async fn has_size_of_backup(&self, engine: &Engine) -> Result<bool> {
        let datastore = &self.shared.manager.datastore;
        let backup_volume = datastore.backup_volumes.get(&engine.spec.backup_volume)?;
        if backup_volume.status.size.is_empty() {
            return Ok(false);
        }
        let size: i64 = backup_volume.status.size.parse().map_err(|_| {
            Error::message(format!(
                "backup volume {} has size {}",
                engine.spec.backup_volume, backup_volume.status.size
            ))
        })?;
        for _try in 0..CONFLICT_RETRIES {
            let volume = datastore.volumes.get(&engine.spec.volume_name)?;
            let own_size = volume.spec.size.0;
            if size == own_size {
                return Ok(true);
            }
            if size < own_size {
                return Err(Error::message(format!(
                    "engine monitor: the backup volume size {size} is smaller than the size {} of the DR volume {}",
                    engine.spec.volume_size, engine.spec.volume_name
                )));
            }
            let mut volume = (*volume).clone();
            volume.spec.size = size.into();
            match datastore.update_volume(&volume).await {
                Ok(_) => return Ok(false),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn begin_restore(
        &mut self,
        engine: &Engine,
        status: &mut Map<RestoreStatus>,
        proxy: &mut EngineProxy,
    ) -> Result<()> {
        let shared = self.shared.clone();
        let datastore = &shared.manager.datastore;
        let (from, backup) = (&engine.spec.backup_volume, &engine.spec.requested_backup_restore);
        let (target, of) = if datastore.has_many_backup_targets() {
            let found = datastore.backup_volumes.get(from);
            let found = found.context(|| format!("failed to get backup volume {from} for backup restoration"))?;
            (found.spec.backup_target_name.clone(), found.spec.volume_name.clone())
        } else {
            (names::DEFAULT_BACKUP_TARGET.to_owned(), from.clone())
        };
        let target =
            datastore.backup_targets.get(&target).context(|| format!("failed to get backup target {target}"))?;
        let client = datastore.backup_target_client(&target);
        let client = client.context(|| "cannot get backup target config for backup restoration")?;
        let limit = datastore.setting_number(settings::RESTORE_CONCURRENT_LIMIT)?;
        let url = encode_backup(Some(backup), &of, &client.url);
        let credential = client.credential.clone().unwrap_or_default();
        tracing::info!("Restoring backup {backup} of {of}");
        let begun = proxy.restore(&url, &client.url, &of, &credential, limit).await;
        let begun = begun
            .context(|| format!("failed to restore backup {backup} in engine monitor, will retry the restore later"))?;
        match begun {
            None => self.restore_backoff.forget(name(&engine.metadata)),
            Some(failure) => self.note_failure(name(&engine.metadata), failure, status),
        }
        Ok(())
    }

    /// Notes what single replicas met: a lock of somebody else's makes it wait, a restore that runs or is done is none, anything else
    /// is the replica's failure.
    fn note_failure(&mut self, engine: &str, failure: RestoreFailure, status: &mut Map<RestoreStatus>) {
        for error in failure.replica_errors {
            let text = format!("{}: {}", error.address, error.message);
            let Some(status) = status.get_mut(&error.address) else { continue };
            if is_locked(&text, self.shared.manager.datastore.build.has(Defect::Issue13685)) {
                tracing::warn!("Ignored failed locked restore error {text}");
                self.restore_backoff.next(engine, Instant::now());
                continue;
            }
            self.restore_backoff.forget(engine);
            if text.contains("already in progress") || text.contains("already restored backup") {
                tracing::warn!("Ignored restore error {text}");
                continue;
            }
            status.error = text;
        }
    }

    /// Counts a restore of this monitor if there may be one more on the node.
    fn may_restore(&mut self) -> Result<bool> {
        let limit =
            self.shared.manager.datastore.setting_number(settings::CONCURRENT_VOLUME_BACKUP_RESTORE_PER_NODE_LIMIT)?;
        if *self.shared.restores.lock().unwrap_or_else(PoisonError::into_inner) >= limit {
            return Ok(false);
        }
        self.count_restore(true);
        Ok(true)
    }

    /// Counts the restore of this monitor, or no longer.
    pub(super) fn count_restore(&mut self, counts: bool) {
        if self.counts_restore != counts {
            let mut restores = self.shared.restores.lock().unwrap_or_else(PoisonError::into_inner);
            *restores += if counts { 1 } else { -1 };
            self.counts_restore = counts;
        }
    }
}

/// As engines do it that restore all replicas as one: those of v2.
fn note_restored_together(engine: &mut Engine, status: &Map<RestoreStatus>) -> bool {
    if status.values().any(|status| status.is_restoring) {
        return false;
    }
    let mut agree = status.values().all(|status| status.error.is_empty());
    let mut last = String::new();
    for restored in status.values() {
        agree &= last.is_empty() || restored.last_restored == last;
        last.clone_from(&restored.last_restored);
    }
    if agree {
        engine.status.last_restored_backup = last;
    }
    let requested = &engine.spec.requested_backup_restore;
    agree && !requested.is_empty() && *requested != engine.status.last_restored_backup
}

/// Whether a restore met somebody else's lock on its backup volume (`restoreGetLockFailedPatternMsg`). Engines have other words for it than that
/// pattern, since backupstore 326b984 (longhorn#13685).
fn is_locked(text: &str, old_words_only: bool) -> bool {
    let words: &[&str] = if old_words_only { &["failed lock"] } else { &["failed lock", "failed to acquire lock"] };
    let says = |kind: &str, words: &str| text.contains(&format!("error initiating {kind} backup restore: {words}"));
    words.iter().any(|words| says("full", words) || says("incremental", words))
}
