//! Calls for engines of the v2 data engine.

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::ProxyEngineRequest as Engine;
use longhorn_rpc::spdkrpc::spdk_service_client::SpdkServiceClient;
use longhorn_rpc::{Channel, ptypes, rpc_text, spdkrpc};
use tonic::Status;

use super::controller_replica;
use crate::clients;
use crate::status::wrapped;

/// The SPDK service that has the engine.
pub(super) fn client(engine: &Engine) -> Result<SpdkServiceClient<Channel>, Status> {
    clients::spdk_beside(&engine.address).map_err(|status| {
        let address = &engine.address;
        Status::internal(format!("failed to get SPDK client from engine address {address}: {}", status.message()))
    })
}

/// An error of the service as the proxy passes it on.
pub(super) fn failed(why: impl std::fmt::Display, status: &Status) -> Status {
    Status::internal(format!("{why}: {}", rpc_text(status)))
}

pub(super) async fn get(engine: &Engine) -> Result<spdkrpc::Engine, Status> {
    let name = &engine.engine_name;
    let answer = client(engine)?.engine_get(spdkrpc::EngineGetRequest { name: name.clone() }).await;
    let answer = answer.map_err(|status| wrapped(&status, format!("failed to get SPDK engine {name}")));
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| Status::internal(format!("failed to get engine {name}: {}", status.message())))
}

pub(super) async fn volume(engine: &Engine) -> Result<wire::EngineVolumeGetProxyResponse, Status> {
    let found = get(engine).await?;
    let volume = ptypes::Volume {
        name: found.name,
        size: i64::try_from(found.spec_size).unwrap_or(i64::MAX),
        replica_count: i32::try_from(found.replica_address_map.len()).unwrap_or(i32::MAX),
        endpoint: found.endpoint,
        frontend: found.frontend,
        ..ptypes::Volume::default()
    };
    Ok(wire::EngineVolumeGetProxyResponse { volume: Some(volume) })
}

pub(super) async fn expand(_: &Engine, _: ptypes::VolumeExpandRequest) -> Result<(), Status> {
    Err(Status::unimplemented("not implemented"))
}

/// Nothing to do, says upstream; and so for the settings below.
pub(super) async fn start_frontend(_: &Engine, _: ptypes::VolumeFrontendStartRequest) -> Result<(), Status> {
    Ok(())
}

pub(super) async fn shut_frontend_down(_: &Engine) -> Result<(), Status> {
    Ok(())
}

pub(super) async fn set_unmap_mark(
    _: &Engine,
    _: ptypes::VolumeUnmapMarkSnapChainRemovedSetRequest,
) -> Result<(), Status> {
    Ok(())
}

pub(super) async fn set_max_count(_: &Engine, _: ptypes::VolumeSnapshotMaxCountSetRequest) -> Result<(), Status> {
    Ok(())
}

pub(super) async fn set_max_size(_: &Engine, _: ptypes::VolumeSnapshotMaxSizeSetRequest) -> Result<(), Status> {
    Ok(())
}

pub(super) use super::snapshots_v2::{
    clone_from, clone_status, hash_snapshot, hash_status, list_snapshots, purge_snapshots, purge_status,
    remove_snapshots, revert, snapshot,
};

pub(super) async fn replicas(engine: &Engine) -> Result<wire::EngineReplicaListProxyResponse, Status> {
    let found = get(engine).await?;
    let mut replicas = Vec::new();
    for (name, mode) in &found.replica_mode_map {
        let missing = || Status::internal(format!("failed to get replica address for {name}"));
        let address = found.replica_address_map.get(name).ok_or_else(missing)?;
        let mode = match spdkrpc::ReplicaMode::try_from(*mode) {
            Ok(spdkrpc::ReplicaMode::Wo) => ptypes::ReplicaMode::Wo,
            Ok(spdkrpc::ReplicaMode::Rw) => ptypes::ReplicaMode::Rw,
            Ok(spdkrpc::ReplicaMode::Err) | Err(_) => ptypes::ReplicaMode::Err,
        };
        replicas.push(controller_replica(with_scheme(address), mode));
    }
    Ok(wire::EngineReplicaListProxyResponse { replica_list: Some(ptypes::ReplicaListReply { replicas }) })
}

fn with_scheme(address: &str) -> String {
    if address.is_empty() { String::new() } else { format!("tcp://{address}") }
}

pub(super) async fn add_replica(engine: &Engine, request: wire::EngineReplicaAddRequest) -> Result<(), Status> {
    let address = request.replica_address.strip_prefix("tcp://").unwrap_or(&request.replica_address).to_owned();
    let (engine_name, replica_name) = (engine.engine_name.clone(), request.replica_name);
    let tried = format!(
        "failed to add replica {address}: failed to add replica {replica_name} with address {address} to engine {engine_name}"
    );
    let request = spdkrpc::EngineReplicaAddRequest { engine_name, replica_name, replica_address: address };
    let added = client(engine)?.engine_replica_add(request).await;
    added.map(drop).map_err(|status| failed(tried, &status))
}

/// Asked of each replica that is being rebuilt; one that cannot be asked makes the call fail.
pub(super) async fn rebuild_status(engine: &Engine) -> Result<wire::EngineReplicaRebuildStatusProxyResponse, Status> {
    let found = get(engine).await?;
    let mut status = std::collections::BTreeMap::new();
    for (name, mode) in &found.replica_mode_map {
        let address = found.replica_address_map.get(name).filter(|address| !address.is_empty());
        let (Ok(spdkrpc::ReplicaMode::Wo), Some(address)) = (spdkrpc::ReplicaMode::try_from(*mode), address) else {
            continue;
        };
        let request = spdkrpc::ReplicaRebuildingDstShallowCopyCheckRequest { name: name.clone() };
        let copied = clients::spdk_beside(address)?.replica_rebuilding_dst_shallow_copy_check(request).await;
        let tried = format!("failed to check rebuilding dst replica {name} shallow copy snapshot");
        let copied = copied.map_err(|status| wrapped(&status, tried))?.into_inner();
        let rebuild = ptypes::ReplicaRebuildStatusResponse {
            is_rebuilding: copied.total_state == "in_progress",
            error: copied.error,
            progress: i32::try_from(copied.total_progress).unwrap_or(i32::MAX),
            state: copied.total_state,
            from_replica_address: with_scheme(&copied.src_replica_address),
        };
        status.insert(with_scheme(address), rebuild);
    }
    Ok(wire::EngineReplicaRebuildStatusProxyResponse { status })
}

pub(super) async fn verify_rebuild(_: &Engine, _: &str, _: &str) -> Result<(), Status> {
    Err(Status::unimplemented("not implemented"))
}

pub(super) async fn remove_replica(engine: &Engine, address: &str, name: &str) -> Result<(), Status> {
    let address = address.strip_prefix("tcp://").unwrap_or(address);
    let engine_name = &engine.engine_name;
    let request = spdkrpc::EngineReplicaDeleteRequest {
        engine_name: engine_name.clone(),
        replica_name: name.to_owned(),
        replica_address: address.to_owned(),
    };
    let removed = client(engine)?.engine_replica_delete(request).await;
    removed.map(drop).map_err(|status| {
        wrapped(&status, format!("failed to delete replica {name} with address {address} to engine {engine_name}"))
    })
}

pub(super) async fn set_replica_mode(_: &Engine, _: &str, _: i32) -> Result<(), Status> {
    Err(Status::unimplemented("not implemented"))
}

pub(super) async fn metrics(engine: &Engine) -> Result<wire::EngineMetricsGetProxyResponse, Status> {
    let name = &engine.engine_name;
    let answer = client(engine)?.metrics_get(spdkrpc::MetricsRequest { name: name.clone() }).await;
    let metrics = answer.map_err(|status| failed(format!("failed to get engine {name}"), &status))?.into_inner();
    Ok(wire::EngineMetricsGetProxyResponse {
        metrics: Some(ptypes::Metrics {
            read_throughput: metrics.read_throughput,
            write_throughput: metrics.write_throughput,
            read_latency: metrics.read_latency,
            write_latency: metrics.write_latency,
            read_iops: metrics.read_iops,
            write_iops: metrics.write_iops,
        }),
    })
}
