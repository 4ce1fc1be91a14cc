//! Calls for engines of the v1 data engine that concern their replicas too: the engine's and the replicas' services are asked from here, as the
//! command line would do it ([`longhorn_engine::task`]).

use longhorn_engine::task::{AddReplica, Task, TaskError, clone_snapshot};
use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::ProxyEngineRequest as Engine;
use longhorn_rpc::ptypes;
use tonic::Status;

use crate::status::plain;

pub(super) fn task(engine: &Engine) -> Task {
    Task::new(&engine.address, &engine.volume_name, &engine.engine_name)
}

fn failed(error: TaskError) -> Status {
    plain(error)
}

pub(super) async fn list_snapshots(engine: &Engine) -> Result<wire::EngineSnapshotListProxyResponse, Status> {
    let snapshots = task(engine).snapshots().await.map_err(failed)?.into_iter();
    let disk = |snapshot: longhorn_engine::task::SnapshotInfo| wire::EngineSnapshotDiskInfo {
        name: snapshot.name,
        parent: snapshot.parent,
        children: snapshot.children,
        removed: snapshot.removed,
        user_created: snapshot.user_created,
        created: snapshot.created,
        size: snapshot.size,
        labels: snapshot.labels,
    };
    Ok(wire::EngineSnapshotListProxyResponse { disks: snapshots.map(|(name, found)| (name, disk(found))).collect() })
}

/// Marks all of them, as far as that goes; the last error is the answer.
pub(super) async fn remove_snapshots(engine: &Engine, names: &[String]) -> Result<(), Status> {
    let mut result = Ok(());
    for name in names {
        if let Err(error) = task(engine).delete_snapshot(name).await {
            result = Err(failed(error));
        }
    }
    result
}

pub(super) async fn purge_snapshots(engine: &Engine, skip_if_in_progress: bool) -> Result<(), Status> {
    task(engine).purge_snapshots(skip_if_in_progress).await.map_err(failed)
}

pub(super) async fn purge_status(engine: &Engine) -> Result<wire::EngineSnapshotPurgeStatusProxyResponse, Status> {
    let found = task(engine).purge_snapshots_status().await.map_err(failed)?.into_iter();
    let status = found.map(|(replica, status)| {
        let status = ptypes::SnapshotPurgeStatusResponse {
            is_purging: status.is_purging,
            error: status.error,
            progress: status.progress,
            state: status.state,
        };
        (replica, status)
    });
    Ok(wire::EngineSnapshotPurgeStatusProxyResponse { status: status.collect() })
}

pub(super) async fn hash_snapshot(engine: &Engine, name: &str, again: bool) -> Result<(), Status> {
    task(engine).hash_snapshot(name, again).await.map_err(failed)
}

pub(super) async fn hash_status(
    engine: &Engine,
    name: &str,
) -> Result<wire::EngineSnapshotHashStatusProxyResponse, Status> {
    let found = task(engine).hash_snapshot_status(name).await.map_err(failed)?.into_iter();
    let status = found.map(|(replica, status)| {
        let status = ptypes::SnapshotHashStatusResponse {
            state: status.state,
            checksum: status.checksum,
            error: status.error,
            silently_corrupted: status.silently_corrupted,
        };
        (replica, status)
    });
    Ok(wire::EngineSnapshotHashStatusProxyResponse { status: status.collect() })
}

pub(super) async fn clone_from(engine: &Engine, request: &wire::EngineSnapshotCloneRequest) -> Result<(), Status> {
    let source = Task::new(&request.from_engine_address, &request.from_volume_name, &request.from_engine_name);
    let (image, timeout) = (request.export_backing_image_if_exist, request.file_sync_http_client_timeout);
    clone_snapshot(&task(engine), &source, &request.snapshot_name, image, timeout).await.map_err(failed)
}

pub(super) async fn clone_status(engine: &Engine) -> Result<wire::EngineSnapshotCloneStatusProxyResponse, Status> {
    let found = task(engine).clone_status().await.map_err(failed)?.into_iter();
    let status = found.map(|(replica, status)| {
        let status = ptypes::SnapshotCloneStatusResponse {
            is_cloning: status.is_cloning,
            error: status.error,
            progress: status.progress,
            state: status.state,
            from_replica_address: status.from_replica_address,
            snapshot_name: status.snapshot_name,
        };
        (replica, status)
    });
    Ok(wire::EngineSnapshotCloneStatusProxyResponse { status: status.collect() })
}

/// Answers when the replica has been rebuilt, which may take long.
pub(super) async fn add_replica(engine: &Engine, request: wire::EngineReplicaAddRequest) -> Result<(), Status> {
    let order = AddReplica {
        address: request.replica_address,
        instance: request.replica_name,
        size: request.size,
        current_size: request.current_size,
        fast_sync: request.fast_sync,
        file_sync_timeout_seconds: request.file_sync_http_client_timeout,
        grpc_timeout_seconds: request.grpc_timeout_seconds,
        local_sync: request.local_sync.map(|sync| (sync.source_path, sync.target_path)),
    };
    let added = match request.restore {
        true => task(engine).add_restore_replica(&order).await,
        false => task(engine).add_replica(&order).await,
    };
    added.map_err(failed)
}

pub(super) async fn rebuild_status(engine: &Engine) -> Result<wire::EngineReplicaRebuildStatusProxyResponse, Status> {
    let found = task(engine).rebuild_status().await.map_err(failed)?.into_iter();
    let status = found.map(|(replica, status)| {
        let status = ptypes::ReplicaRebuildStatusResponse {
            error: status.error,
            is_rebuilding: status.is_rebuilding,
            progress: status.progress,
            state: status.state,
            from_replica_address: status.from_replica_address,
        };
        (replica, status)
    });
    Ok(wire::EngineReplicaRebuildStatusProxyResponse { status: status.collect() })
}

pub(super) async fn verify_rebuild(engine: &Engine, address: &str, name: &str) -> Result<(), Status> {
    task(engine).verify_rebuilt(address, name).await.map_err(failed)
}
