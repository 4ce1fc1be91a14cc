//! Backups of volumes of the v1 data engine, and restores into them (`pkg/proxy/backup.go`).

use std::collections::BTreeMap;

use longhorn_backupstore::Context;
use longhorn_engine::controller::Mode;
use longhorn_engine::task::{BackupCreateParameters, TaskError};
use longhorn_replica::ReplicaClient;
use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::ProxyEngineRequest as Engine;
use longhorn_rpc::{Identity, ptypes, rpc_text};
use serde::Serialize;
use tonic::Status;

use super::tasks_v1::task;
use crate::status::plain;

pub(super) async fn back_up(
    engine: &Engine,
    request: wire::EngineSnapshotBackupRequest,
    credential: BTreeMap<String, String>,
) -> Result<wire::EngineSnapshotBackupProxyResponse, Status> {
    let parameters = BackupCreateParameters {
        name: request.backup_name,
        snapshot: request.snapshot_name,
        target: request.backup_target,
        backing_image_name: request.backing_image_name,
        backing_image_checksum: request.backing_image_checksum,
        compression_method: request.compression_method,
        concurrent_limit: request.concurrent_limit,
        storage_class_name: request.storage_class_name,
        labels: request.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        credential,
        parameters: request.parameters,
    };
    let begun = task(engine).create_backup(parameters).await;
    let begun = begun.map_err(|error| Status::internal(format!("failed to create backup: {error}")))?;
    Ok(wire::EngineSnapshotBackupProxyResponse {
        backup_id: begun.backup_id,
        replica: begun.replica_address,
        is_incremental: begun.is_incremental,
    })
}

/// Asks the replica that makes the backup, or the first good one if that is not known. A replica that the engine lists is to be good; one that it does
/// not list is asked all the same. What it cannot tell stands in the answer's error.
pub(super) async fn backup_status(
    engine: &Engine,
    request: &wire::EngineSnapshotBackupStatusRequest,
) -> Result<wire::EngineSnapshotBackupStatusProxyResponse, Status> {
    let backup = &request.backup_name;
    let replicas = task(engine).replicas().await.map_err(plain)?;
    let address = match request.replica_address.as_str() {
        "" => {
            let good = replicas.iter().find(|replica| replica.mode == Mode::ReadWrite);
            good.map(|replica| replica.address.clone())
        }
        address => Some(address.to_owned()),
    };
    let address = address.ok_or_else(|| plain(format!("failed to find a replica with backup {backup}")))?;
    if replicas.iter().any(|replica| replica.address == address && replica.mode != Mode::ReadWrite) {
        return Err(plain(format!("failed to get backup {backup} status on unknown replica {address}")));
    }
    let identity = Identity::new(&engine.volume_name, &request.replica_name);
    let replica = ReplicaClient::new(&address, &identity)
        .map_err(|error| plain(format!("failed to create Replica client with {address}: {error}")))?;
    let asked = replica.sync().backup_status(ptypes::BackupStatusRequest { backup: backup.clone() }).await;
    Ok(match asked {
        Ok(status) => {
            let status = status.into_inner();
            wire::EngineSnapshotBackupStatusProxyResponse {
                backup_url: status.backup_url,
                error: status.error,
                progress: status.progress,
                snapshot_name: status.snapshot_name,
                state: status.state,
                replica_address: address,
            }
        }
        Err(status) => wire::EngineSnapshotBackupStatusProxyResponse {
            error: format!("Failed to get backup status on {address} for {backup}: {}", rpc_text(&status)),
            replica_address: address,
            ..wire::EngineSnapshotBackupStatusProxyResponse::default()
        },
    })
}

/// Replicas' failures, as the manager reads them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failures {
    replica_errors: Vec<longhorn_engine::task::ReplicaError>,
}

/// Starts a restore; gives what went wrong, if something did: replicas' failures as JSON, anything else in words.
pub(super) async fn restore(
    engine: &Engine,
    url: &str,
    credential: &BTreeMap<String, String>,
    concurrent_limit: i32,
    backups: &Context,
) -> Vec<u8> {
    match task(engine).restore_backup(url, credential, concurrent_limit, backups).await {
        Ok(()) => Vec::new(),
        Err(TaskError::Replicas(replica_errors)) => {
            serde_json::to_vec(&Failures { replica_errors }).expect("texts can be written as JSON")
        }
        Err(TaskError::Failed(error)) => error.into_bytes(),
    }
}

pub(super) async fn restore_status(engine: &Engine) -> Result<wire::EngineBackupRestoreStatusProxyResponse, Status> {
    let found = task(engine).restore_status().await.map_err(plain)?.into_iter();
    let status = found.map(|(replica, status)| {
        let status = wire::EngineBackupRestoreStatus {
            is_restoring: status.is_restoring,
            last_restored: status.last_restored,
            current_restoring_backup: status.current_restoring_backup,
            progress: status.progress,
            error: status.error,
            filename: status.filename,
            state: status.state,
            backup_url: status.backup_url,
        };
        (replica, status)
    });
    Ok(wire::EngineBackupRestoreStatusProxyResponse { status: status.collect() })
}
