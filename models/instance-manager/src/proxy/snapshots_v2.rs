//! Snapshots of engines of the v2 data engine.

use std::collections::BTreeMap;

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::ProxyEngineRequest as Engine;
use longhorn_rpc::{ptypes, spdkrpc};
use tonic::Status;

use super::v2::{client, failed};
use crate::status::wrapped;
use crate::uuid::random_uuid;

fn request(engine: &Engine, snapshot: &str) -> spdkrpc::SnapshotRequest {
    spdkrpc::SnapshotRequest {
        name: engine.engine_name.clone(),
        snapshot_name: snapshot.to_owned(),
        ..spdkrpc::SnapshotRequest::default()
    }
}

pub(super) async fn snapshot(
    engine: &Engine,
    asked: ptypes::VolumeSnapshotRequest,
) -> Result<wire::EngineVolumeSnapshotProxyResponse, Status> {
    let name = match asked.name.as_str() {
        "" => random_uuid(&mut host::random::stream(&format!("snapshot/{}", host::wall_clock::now()))),
        name => name.to_owned(),
    };
    let created = client(engine)?.engine_snapshot_create(request(engine, &name)).await;
    created.map_err(|status| failed(format!("failed to create snapshot {name}"), &status))?;
    Ok(wire::EngineVolumeSnapshotProxyResponse { snapshot: Some(ptypes::VolumeSnapshotReply { name }) })
}

/// The error of a failed revert speaks of a snapshot's creation, as upstream's does.
pub(super) async fn revert(engine: &Engine, name: &str) -> Result<(), Status> {
    let reverted = client(engine)?.engine_snapshot_revert(request(engine, name)).await;
    reverted.map(drop).map_err(|status| failed(format!("failed to create snapshot {name}"), &status))
}

/// The snapshots, and the newest data as one of them.
pub(super) async fn list_snapshots(engine: &Engine) -> Result<wire::EngineSnapshotListProxyResponse, Status> {
    let name = &engine.engine_name;
    let found = client(engine)?.engine_get(spdkrpc::EngineGetRequest { name: name.clone() }).await;
    let found = found.map_err(|status| wrapped(&status, format!("failed to get SPDK engine {name}")));
    let found = found
        .map_err(|status| Status::new(status.code(), format!("failed to get engine {name}: {}", status.message())))?;
    let found = found.into_inner();
    let disks = found.snapshots.into_values().chain(found.head).map(|lvol| (lvol.name.clone(), disk(lvol)));
    Ok(wire::EngineSnapshotListProxyResponse { disks: disks.collect() })
}

fn disk(lvol: spdkrpc::Lvol) -> wire::EngineSnapshotDiskInfo {
    let created = match lvol.snapshot_timestamp.as_str() {
        "" => lvol.creation_time,
        timestamp => timestamp.to_owned(),
    };
    wire::EngineSnapshotDiskInfo {
        name: lvol.name,
        parent: lvol.parent,
        children: lvol.children,
        removed: false,
        user_created: lvol.user_created,
        created,
        size: lvol.actual_size.to_string(),
        labels: BTreeMap::new(),
    }
}

/// Deletes all of them, as far as that goes; the last error is the answer.
pub(super) async fn remove_snapshots(engine: &Engine, names: &[String]) -> Result<(), Status> {
    let mut result = Ok(());
    for name in names {
        if let Err(status) = client(engine)?.engine_snapshot_delete(request(engine, name)).await {
            let engine = &engine.engine_name;
            result = Err(wrapped(&status, format!("failed to delete SPDK engine {engine} snapshot {name}")));
        }
    }
    result
}

/// Upstream drops the error.
pub(super) async fn purge_snapshots(engine: &Engine, _skip_if_in_progress: bool) -> Result<(), Status> {
    let _ = client(engine)?.engine_snapshot_purge(request(engine, "")).await;
    Ok(())
}

/// Purging is done when its answer comes; nothing is told of it.
pub(super) async fn purge_status(_: &Engine) -> Result<wire::EngineSnapshotPurgeStatusProxyResponse, Status> {
    Ok(wire::EngineSnapshotPurgeStatusProxyResponse::default())
}

pub(super) async fn hash_snapshot(engine: &Engine, name: &str, again: bool) -> Result<(), Status> {
    let engine_name = &engine.engine_name;
    let request =
        spdkrpc::SnapshotHashRequest { name: engine_name.clone(), snapshot_name: name.to_owned(), rehash: again };
    let begun = client(engine)?.engine_snapshot_hash(request).await;
    let failed = |status| wrapped(&status, format!("failed to hash SPDK engine {engine_name} snapshot {name}"));
    begun.map(drop).map_err(failed)
}

pub(super) async fn hash_status(
    engine: &Engine,
    name: &str,
) -> Result<wire::EngineSnapshotHashStatusProxyResponse, Status> {
    let request =
        spdkrpc::SnapshotHashStatusRequest { name: engine.engine_name.clone(), snapshot_name: name.to_owned() };
    let found = client(engine)?.engine_snapshot_hash_status(request).await?.into_inner().status.into_iter();
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

pub(super) async fn clone_from(_: &Engine, _: &wire::EngineSnapshotCloneRequest) -> Result<(), Status> {
    Err(Status::unimplemented("not implemented"))
}

/// Nothing is told of what cannot be begun.
pub(super) async fn clone_status(_: &Engine) -> Result<wire::EngineSnapshotCloneStatusProxyResponse, Status> {
    Ok(wire::EngineSnapshotCloneStatusProxyResponse::default())
}
