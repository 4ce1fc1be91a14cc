//! Calls for engines of the v1 data engine that their controllers answer themselves.

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::ProxyEngineRequest as Engine;
use longhorn_rpc::ptypes::controller_service_client::ControllerServiceClient;
use longhorn_rpc::{Channel, Identity, ptypes};
use tonic::Status;

use super::controller_replica;
pub(super) use super::tasks_v1::{
    add_replica, clone_from, clone_status, hash_snapshot, hash_status, list_snapshots, purge_snapshots, purge_status,
    rebuild_status, remove_snapshots, verify_rebuild,
};
use crate::clients;
use crate::status::wrapped;

fn client(engine: &Engine) -> ControllerServiceClient<Channel> {
    clients::controller(&engine.address, Identity::new(&engine.volume_name, &engine.engine_name))
}

/// Passes an engine's answer on; an error says what was tried, and where.
fn answered<T>(
    engine: &Engine,
    tried: impl std::fmt::Display,
    answer: Result<tonic::Response<T>, Status>,
) -> Result<T, Status> {
    let address = engine.address.strip_prefix("tcp://").unwrap_or(&engine.address);
    let failed = |status: Status| wrapped(&status, format!("failed to {tried} for volume {address}"));
    answer.map(tonic::Response::into_inner).map_err(failed)
}

pub(super) async fn version(engine: &Engine) -> Result<wire::EngineVersionProxyResponse, Status> {
    let answer = client(engine).version_detail_get(()).await;
    let answer = answer.map_err(|status| wrapped(&status, "failed to get version detail"))?;
    Ok(wire::EngineVersionProxyResponse { version: answer.into_inner().version })
}

pub(super) async fn volume(engine: &Engine) -> Result<wire::EngineVolumeGetProxyResponse, Status> {
    let address = engine.address.strip_prefix("tcp://").unwrap_or(&engine.address);
    let answer = client(engine).volume_get(()).await;
    let volume = answer.map_err(|status| wrapped(&status, format!("failed to get volume {address}")))?.into_inner();
    Ok(wire::EngineVolumeGetProxyResponse { volume: Some(volume) })
}

pub(super) async fn expand(engine: &Engine, request: ptypes::VolumeExpandRequest) -> Result<(), Status> {
    let tried = format!("expand to size {}", request.size);
    answered(engine, tried, client(engine).volume_expand(request).await).map(drop)
}

pub(super) async fn start_frontend(engine: &Engine, request: ptypes::VolumeFrontendStartRequest) -> Result<(), Status> {
    let tried = format!("start frontend {}", request.frontend);
    answered(engine, tried, client(engine).volume_frontend_start(request).await).map(drop)
}

pub(super) async fn shut_frontend_down(engine: &Engine) -> Result<(), Status> {
    answered(engine, "shutdown frontend", client(engine).volume_frontend_shutdown(()).await).map(drop)
}

pub(super) async fn set_unmap_mark(
    engine: &Engine,
    request: ptypes::VolumeUnmapMarkSnapChainRemovedSetRequest,
) -> Result<(), Status> {
    let tried = format!("set UnmapMarkSnapChainRemoved to {}", request.enabled);
    answered(engine, tried, client(engine).volume_unmap_mark_snap_chain_removed_set(request).await).map(drop)
}

pub(super) async fn set_max_count(
    engine: &Engine,
    request: ptypes::VolumeSnapshotMaxCountSetRequest,
) -> Result<(), Status> {
    let tried = format!("set SnapshotMaxCount to {}", request.count);
    answered(engine, tried, client(engine).volume_snapshot_max_count_set(request).await).map(drop)
}

pub(super) async fn set_max_size(
    engine: &Engine,
    request: ptypes::VolumeSnapshotMaxSizeSetRequest,
) -> Result<(), Status> {
    let tried = format!("set SnapshotMaxSize to {}", request.size);
    answered(engine, tried, client(engine).volume_snapshot_max_size_set(request).await).map(drop)
}

pub(super) async fn snapshot(
    engine: &Engine,
    request: ptypes::VolumeSnapshotRequest,
) -> Result<wire::EngineVolumeSnapshotProxyResponse, Status> {
    let tried = format!("create snapshot {}", request.name);
    let snapshot = answered(engine, tried, client(engine).volume_snapshot(request).await)?;
    Ok(wire::EngineVolumeSnapshotProxyResponse { snapshot: Some(snapshot) })
}

pub(super) async fn revert(engine: &Engine, name: &str) -> Result<(), Status> {
    let request = ptypes::VolumeRevertRequest { name: name.to_owned() };
    answered(engine, format!("revert to snapshot {name}"), client(engine).volume_revert(request).await).map(drop)
}

pub(super) async fn replicas(engine: &Engine) -> Result<wire::EngineReplicaListProxyResponse, Status> {
    let listed = answered(engine, "list replicas", client(engine).replica_list(()).await)?;
    // Address and mode, and nothing else that an engine may say.
    let passed_on = |replica: ptypes::ControllerReplica| {
        let mode = replica.mode();
        controller_replica(replica.address.unwrap_or_default().address, mode)
    };
    let replicas = listed.replicas.into_iter().map(passed_on).collect();
    Ok(wire::EngineReplicaListProxyResponse { replica_list: Some(ptypes::ReplicaListReply { replicas }) })
}

pub(super) async fn remove_replica(engine: &Engine, address: &str, _name: &str) -> Result<(), Status> {
    let request = ptypes::ReplicaAddress { address: address.to_owned(), ..ptypes::ReplicaAddress::default() };
    answered(engine, format!("delete replica {address}"), client(engine).replica_delete(request).await)
}

pub(super) async fn set_replica_mode(engine: &Engine, address: &str, mode: i32) -> Result<(), Status> {
    let mode = ptypes::ReplicaMode::try_from(mode).unwrap_or(ptypes::ReplicaMode::Err);
    let request = controller_replica(address.to_owned(), mode);
    answered(engine, format!("update replica {address}"), client(engine).replica_update(request).await).map(drop)
}

pub(super) async fn metrics(engine: &Engine) -> Result<wire::EngineMetricsGetProxyResponse, Status> {
    let reply = answered(engine, "get metrics", client(engine).metrics_get(()).await)?;
    Ok(wire::EngineMetricsGetProxyResponse { metrics: reply.metrics })
}
