//! Backups of volumes of the v2 data engine, and restores into them.

use std::collections::BTreeMap;

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::ProxyEngineRequest as Engine;
use longhorn_rpc::{rpc_text, spdkrpc};
use tonic::Status;

use super::v2::{client, failed};

pub(super) async fn back_up(
    engine: &Engine,
    request: wire::EngineSnapshotBackupRequest,
    credential: BTreeMap<String, String>,
) -> Result<wire::EngineSnapshotBackupProxyResponse, Status> {
    let request = spdkrpc::BackupCreateRequest {
        backup_name: request.backup_name,
        snapshot_name: request.snapshot_name,
        backup_target: request.backup_target,
        volume_name: engine.volume_name.clone(),
        engine_name: engine.engine_name.clone(),
        labels: request.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        credential,
        backing_image_name: request.backing_image_name,
        backing_image_checksum: request.backing_image_checksum,
        compression_method: request.compression_method,
        concurrent_limit: request.concurrent_limit,
        storage_class_name: request.storage_class_name,
        ..spdkrpc::BackupCreateRequest::default()
    };
    let begun = client(engine)?.engine_backup_create(request).await;
    let begun = begun.map_err(|status| failed("failed to create backup", &status))?.into_inner();
    Ok(wire::EngineSnapshotBackupProxyResponse {
        backup_id: begun.backup,
        replica: begun.replica_address,
        is_incremental: begun.is_incremental,
    })
}

pub(super) async fn backup_status(
    engine: &Engine,
    request: &wire::EngineSnapshotBackupStatusRequest,
) -> Result<wire::EngineSnapshotBackupStatusProxyResponse, Status> {
    let asked = spdkrpc::BackupStatusRequest {
        backup: request.backup_name.clone(),
        engine_name: engine.engine_name.clone(),
        replica_address: request.replica_address.clone(),
    };
    let status = client(engine)?.engine_backup_status(asked).await;
    let status = status.map_err(|status| failed("failed to get backup status", &status))?.into_inner();
    Ok(wire::EngineSnapshotBackupStatusProxyResponse {
        backup_url: status.backup_url,
        error: status.error,
        progress: status.progress,
        snapshot_name: status.snapshot_name,
        state: status.state,
        replica_address: status.replica_address,
    })
}

/// Starts a restore; gives what went wrong in words.
pub(super) async fn restore(
    engine: &Engine,
    url: &str,
    credential: BTreeMap<String, String>,
    concurrent_limit: i32,
) -> Vec<u8> {
    let request = spdkrpc::EngineBackupRestoreRequest {
        backup_url: url.to_owned(),
        engine_name: engine.engine_name.clone(),
        snapshot_name: String::new(),
        credential,
        concurrent_limit,
    };
    let begun = match client(engine) {
        Ok(mut client) => client.engine_backup_restore(request).await,
        Err(status) => Err(status),
    };
    match begun {
        Ok(begun) if begun.get_ref().errors.is_empty() => Vec::new(),
        Ok(begun) => {
            let errors = begun.get_ref().errors.iter().map(|(replica, error)| format!("{replica}: {error}"));
            errors.collect::<Vec<_>>().join("; ").into_bytes()
        }
        Err(status) => rpc_text(&status).into_bytes(),
    }
}

pub(super) async fn restore_status(engine: &Engine) -> Result<wire::EngineBackupRestoreStatusProxyResponse, Status> {
    let request = spdkrpc::RestoreStatusRequest { engine_name: engine.engine_name.clone() };
    let found = client(engine)?.engine_restore_status(request).await;
    let found = found.map_err(|status| failed("failed to get restore status", &status))?.into_inner();
    let status = found.status.into_iter().map(|(address, status)| {
        let status = wire::EngineBackupRestoreStatus {
            is_restoring: status.is_restoring,
            last_restored: status.last_restored,
            current_restoring_backup: status.current_restoring_backup,
            progress: status.progress,
            error: status.error,
            filename: status.dest_file_name,
            state: status.state,
            backup_url: status.backup_url,
        };
        (format!("tcp://{address}"), status)
    });
    Ok(wire::EngineBackupRestoreStatusProxyResponse { status: status.collect() })
}
