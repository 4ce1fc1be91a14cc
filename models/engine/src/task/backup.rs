//! Backups of a volume's snapshots, and restores into its replicas (pkg/sync/backup.go upstream).

use std::collections::BTreeMap;

use longhorn_backupstore::{Backupstore, Context, Credentials};
use longhorn_replica::format::names::{HEAD, snapshot_disk};
use longhorn_rpc::{ptypes, rpc_text};
use serde::Serialize;

use super::{ReplicaError, ReplicaInfo, Result, Task, TaskError, check};
use crate::controller::Mode;

/// What is to be backed up, and how.
#[derive(Clone, Debug, Default)]
pub struct BackupCreateParameters {
    /// The backup's name; made up if empty.
    pub name: String,
    /// The snapshot.
    pub snapshot: String,
    /// The target's address.
    pub target: String,
    /// The volume's backing image.
    pub backing_image_name: String,
    /// That image's checksum.
    pub backing_image_checksum: String,
    /// How blocks are compressed.
    pub compression_method: String,
    /// How many blocks are uploaded at once.
    pub concurrent_limit: i32,
    /// The storage class of the volume's claim.
    pub storage_class_name: String,
    /// `key=value` labels.
    pub labels: Vec<String>,
    /// What is needed to reach the target.
    pub credential: BTreeMap<String, String>,
    /// Parameters for the backup.
    pub parameters: BTreeMap<String, String>,
}

/// A backup that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupCreateInfo {
    /// Its name.
    #[serde(rename = "backupID")]
    pub backup_id: String,
    /// Whether it builds on the one before it.
    pub is_incremental: bool,
    /// The replica that makes it.
    pub replica_address: String,
}

/// How a backup is going.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatusInfo {
    /// How far it is, in per cent.
    pub progress: i32,
    /// Its address, once it is complete.
    #[serde(rename = "backupURL", skip_serializing_if = "String::is_empty")]
    pub backup_url: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The snapshot.
    pub snapshot_name: String,
    /// `in_progress`, `complete` or `error`.
    pub state: String,
    /// The replica that makes it.
    pub replica_address: String,
}

/// How a restore is going on a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    /// Whether it goes on.
    pub is_restoring: bool,
    /// How far it is, in per cent.
    #[serde(skip_serializing_if = "is_zero")]
    pub progress: i32,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The disk that is restored into.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filename: String,
    /// `in_progress`, `complete`, `error`, or nothing.
    pub state: String,
    /// The backup's address.
    #[serde(rename = "backupURL")]
    pub backup_url: String,
    /// The backup that was restored last.
    pub last_restored: String,
    /// The backup that is being restored.
    pub current_restoring_backup: String,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl Task {
    /// Begins a backup of a snapshot, on the first good replica.
    ///
    /// # Errors
    /// There is no good replica or no such snapshot, or the replica cannot begin.
    pub async fn create_backup(&self, parameters: BackupCreateParameters) -> Result<BackupCreateInfo> {
        if parameters.snapshot == HEAD {
            return Err("cannot backup the head disk in the chain".into());
        }
        let volume = self.volume().await?.name;
        let replicas = self.replicas().await;
        let replicas = replicas.map_err(|error| format!("failed to list replicas for backup: {error}"))?;
        let good = replicas.into_iter().find(|replica| replica.mode == Mode::ReadWrite);
        let address = good.ok_or("cannot find an available replica for backup")?.address;
        let disk = snapshot_disk(&parameters.snapshot);
        if !self.replica_state(&address, "").await?.disks.contains_key(&disk) {
            return Err(format!("snapshot disk {disk} not found on replica {address}").into());
        }
        let target = parameters.target.clone();
        let request = ptypes::BackupCreateRequest {
            snapshot_file_name: parameters.snapshot,
            backup_target: parameters.target,
            volume_name: volume.clone(),
            labels: parameters.labels,
            credential: parameters.credential,
            backing_image_name: parameters.backing_image_name,
            backing_image_checksum: parameters.backing_image_checksum,
            backup_name: parameters.name,
            compression_method: parameters.compression_method,
            concurrent_limit: parameters.concurrent_limit,
            storage_class_name: parameters.storage_class_name,
            parameters: parameters.parameters,
        };
        let created = self.replica(&address, "")?.sync().backup_create(request).await;
        let created = created.map_err(|status| {
            format!("failed to create backup to {target} for volume {volume}: {}", rpc_text(&status))
        })?;
        let ptypes::BackupCreateResponse { backup, is_incremental } = created.into_inner();
        Ok(BackupCreateInfo { backup_id: backup, is_incremental, replica_address: address })
    }

    /// How a backup is going, by the replica that makes it; the first good one if that is not known.
    ///
    /// # Errors
    /// There is no good replica, or the one named is not good. What a replica cannot tell stands in the status.
    pub async fn backup_status(&self, backup: &str, replica: &str, instance: &str) -> Result<BackupStatusInfo> {
        if backup.is_empty() {
            return Err("missing required parameter backupID".into());
        }
        let replicas = self.replicas().await.map_err(|error| format!("failed to get replica list: {error}"))?;
        let good = |info: &&ReplicaInfo| info.mode == Mode::ReadWrite;
        let (address, instance) = match replica {
            "" => (replicas.iter().find(good).map(|info| info.address.clone()).unwrap_or_default(), ""),
            replica => (replica.to_owned(), instance),
        };
        if address.is_empty() {
            return Err(format!("cannot find a replica which has the corresponding backup {backup}").into());
        }
        if !replicas.iter().filter(good).any(|info| info.address == address) {
            return Err(format!("failed to get backup status on {address} for {backup}: unknown replica").into());
        }
        let request = ptypes::BackupStatusRequest { backup: backup.to_owned() };
        Ok(match self.replica(&address, instance)?.sync().backup_status(request).await {
            Ok(status) => {
                let status = status.into_inner();
                BackupStatusInfo {
                    progress: status.progress,
                    backup_url: status.backup_url,
                    error: status.error,
                    snapshot_name: status.snapshot_name,
                    state: status.state,
                    replica_address: address,
                }
            }
            Err(status) => BackupStatusInfo {
                error: format!("Failed to get backup status on {address} for {backup}: {}", rpc_text(&status)),
                ..BackupStatusInfo::default()
            },
        })
    }

    /// Begins to restore a backup into all replicas: in full, or what it changes against the one restored before.
    ///
    /// # Errors
    /// The volume is in use, its replicas are busy, the sizes do not fit, or a replica cannot begin.
    pub async fn restore_backup(
        &self,
        backup: &str,
        credential: &BTreeMap<String, String>,
        concurrent_limit: i32,
        backups: &Context,
    ) -> Result<()> {
        let volume = self.volume().await.map_err(|error| format!("failed to get volume: {error}"))?;
        if volume.frontend_state == "up" {
            return Err("volume frontend enabled, cannot perform restore".into());
        }
        let replicas = self.replicas().await;
        let replicas = replicas.map_err(|error| format!("failed to list replicas before the restore: {error}"))?;
        let rebuilding = self.on_each(&replicas, |replica| async move {
            match self.is_rebuilding(&replica.address).await? {
                true => Err("cannot do restore for normal rebuilding replica".into()),
                false => Ok(()),
            }
        });
        check(rebuilding.await)?;
        if self.purge_snapshots_status().await?.values().any(|status| status.is_purging) {
            return Err("cannot do restore now since replicas are purging snapshots".into());
        }
        let statuses = self.restore_status().await?;
        let is_incremental = statuses.values().any(|status| !status.last_restored.is_empty());
        let disk = self.restore_disk(&replicas, &statuses, is_incremental).await?;
        self.check_restored_size(backup, credential, backups, &replicas, &volume, is_incremental).await?;
        let disk = &disk;
        let errors = self.on_each(&replicas, |replica| async move {
            if replica.mode == Mode::Error {
                return Err("cannot restore backup from replica in mode ERR".into());
            }
            let request = ptypes::BackupRestoreRequest {
                backup: backup.to_owned(),
                snapshot_disk_name: disk.clone(),
                credential: credential.clone(),
                concurrent_limit,
            };
            let begun = self.replica(&replica.address, "")?.sync().backup_restore(request).await;
            Ok(begun.map(drop).map_err(|status| {
                let error = rpc_text(&status);
                format!("failed to restore backup data {backup} to snapshot file {disk}: {error}")
            })?)
        });
        check(errors.await)
    }

    /// The disk to restore into: the only snapshot there is, or a new one.
    async fn restore_disk(
        &self,
        replicas: &[ReplicaInfo],
        statuses: &BTreeMap<String, RestoreStatus>,
        is_incremental: bool,
    ) -> Result<String> {
        let snapshots = self
            .snapshots_of(replicas)
            .await
            .map_err(|error| format!("failed to get snapshot info before the incremental restore: {error}"))?;
        let listed = || replicas.iter().map(|replica| replica.address.as_str()).collect::<Vec<_>>().join(" ");
        match snapshots.len() {
            0 => Err(format!("BUG: replicas [{}] do not contain any snapshots and volume head", listed()).into()),
            1 if is_incremental => Err(format!("BUG: replicas [{}] of DR volume should contains at least 2 disk files: the volume head and a snapshot storing restore data", listed()).into()),
            1 => {
                let under_way = statuses.values().find(|status| status.is_restoring && !status.filename.is_empty());
                Ok(under_way.map_or_else(|| snapshot_disk(&crate::uuid()), |status| status.filename.clone()))
            }
            2 => Ok(snapshots.get(HEAD).map(|head| snapshot_disk(&head.parent)).unwrap_or_default()),
            _ => {
                self.purge_snapshots(true).await?;
                Err("found more than 1 snapshot in the replicas, hence started to purge snapshots before the restore".into())
            }
        }
    }

    async fn check_restored_size(
        &self,
        backup: &str,
        credential: &BTreeMap<String, String>,
        backups: &Context,
        replicas: &[ReplicaInfo],
        volume: &ptypes::Volume,
        is_incremental: bool,
    ) -> Result<()> {
        let credentials: Credentials = credential.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let inspected = async { Backupstore::open(backup, &credentials, backups).await?.inspect_backup(backup).await };
        let info = inspected.await.map_err(|error| {
            let message = format!("failed to get the current restoring backup info: {error}");
            let error =
                |replica: &ReplicaInfo| ReplicaError { address: replica.address.clone(), message: message.clone() };
            TaskError::Replicas(replicas.iter().map(error).collect())
        })?;
        let (size, name) = (volume.size, &volume.name);
        let (backup_size, backup_volume) = (info.volume_size, &info.volume_name);
        if backup_size < size {
            return Err(format!("BUG: The backup volume {backup_volume} size {backup_size} cannot be smaller than the DR volume {name} size {size}").into());
        }
        if backup_size > size && !is_incremental {
            return Err(format!("BUG: The backup volume {backup_volume} size {backup_size} cannot be larger than normal restore volume {name} size {size}").into());
        }
        if backup_size > size {
            return Err(format!(
                "need to expand the DR volume {name} to size {backup_size} before incremental restoration"
            )
            .into());
        }
        Ok(())
    }

    /// How restoring goes on the replicas.
    ///
    /// # Errors
    /// The engine cannot be asked; what a replica cannot tell stands in its own status.
    pub async fn restore_status(&self) -> Result<BTreeMap<String, RestoreStatus>> {
        let mut statuses = BTreeMap::new();
        for ReplicaInfo { address, mode } in self.replicas().await? {
            if mode == Mode::Error {
                continue;
            }
            let status = match self.replica(&address, "")?.sync().restore_status(()).await {
                Ok(status) => {
                    let status = status.into_inner();
                    RestoreStatus {
                        is_restoring: status.is_restoring,
                        progress: status.progress,
                        error: status.error,
                        filename: status.dest_file_name,
                        state: status.state,
                        backup_url: status.backup_url,
                        last_restored: status.last_restored,
                        current_restoring_backup: status.current_restoring_backup,
                    }
                }
                Err(status) => RestoreStatus {
                    error: format!("Failed to get restoring status on {address}: {}", rpc_text(&status)),
                    ..RestoreStatus::default()
                },
            };
            statuses.insert(address, status);
        }
        Ok(statuses)
    }

    /// Lets all replicas forget what they restored, backed up, purged and hashed.
    ///
    /// # Errors
    /// A replica is being rebuilt or restored, or cannot be reached.
    pub async fn reset(&self) -> Result<()> {
        let replicas = self.replicas().await?;
        for ReplicaInfo { address, .. } in &replicas {
            if self.is_rebuilding(address).await? {
                return Err(format!("cannot reset Restore info as replica({address}) is rebuilding").into());
            }
        }
        for ReplicaInfo { address, .. } in &replicas {
            let reset = self.replica(address, "")?.sync().reset(()).await;
            reset.map_err(|status| rpc_text(&status))?;
        }
        Ok(())
    }
}
