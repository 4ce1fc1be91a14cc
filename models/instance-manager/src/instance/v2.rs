//! Instances of the v2 data engine: replicas and engines of the SPDK service.

use std::collections::BTreeMap;

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::{BackendStoreDriver, DataEngine};
use longhorn_rpc::rpc_text;
use longhorn_rpc::spdkrpc;
use longhorn_rpc::spdkrpc::spdk_service_server::SpdkService;
use tonic::{Request, Response, Status};

use super::{kind, unknown_kind};
use crate::process::state;
use crate::spdk::Service;
use crate::status::{plain, wrapped};

pub(super) async fn create(spdk: &Service, spec: wire::InstanceSpec) -> Result<wire::InstanceResponse, Status> {
    match spec.r#type.as_str() {
        kind::ENGINE => create_engine(spdk, spec).await,
        kind::REPLICA => create_replica(spdk, spec).await,
        other => Err(unknown_kind(other)),
    }
}

async fn create_engine(spdk: &Service, spec: wire::InstanceSpec) -> Result<wire::InstanceResponse, Status> {
    let settings = spec.spdk_instance_spec.unwrap_or_default();
    if spec.name.is_empty() || spec.volume_name.is_empty() || settings.replica_address_map.is_empty() {
        return Err(plain("failed to start SPDK engine: missing required parameters"));
    }
    let request = spdkrpc::EngineCreateRequest {
        name: spec.name,
        volume_name: spec.volume_name,
        spec_size: settings.size,
        replica_address_map: settings.replica_address_map,
        frontend: settings.frontend,
        port_count: spec.port_count,
        initiator_address: spec.initiator_address,
        target_address: spec.target_address,
        salvage_requested: settings.salvage_requested,
        upgrade_required: spec.upgrade_required,
    };
    let created = spdk.create_engine(&request).await;
    created.map(of_engine).map_err(|status| wrapped(&status, "failed to start SPDK engine"))
}

async fn create_replica(spdk: &Service, spec: wire::InstanceSpec) -> Result<wire::InstanceResponse, Status> {
    let settings = spec.spdk_instance_spec.unwrap_or_default();
    if spec.name.is_empty() || settings.disk_name.is_empty() || settings.disk_uuid.is_empty() {
        return Err(plain("failed to start SPDK replica: missing required parameters"));
    }
    let request = spdkrpc::ReplicaCreateRequest {
        name: spec.name,
        lvs_name: settings.disk_name,
        lvs_uuid: settings.disk_uuid,
        spec_size: settings.size,
        port_count: spec.port_count,
        backing_image_name: settings.backing_image_name,
    };
    let created = spdk.create_replica(&request).await;
    created.map(of_replica).map_err(|status| wrapped(&status, "failed to start SPDK replica"))
}

/// Stops a replica, and deletes it only if it is to be cleaned up; an engine is not touched unless it is.
pub(super) async fn delete(
    spdk: &Service,
    request: &wire::InstanceDeleteRequest,
) -> Result<wire::InstanceResponse, Status> {
    let name = &request.name;
    match request.r#type.as_str() {
        kind::ENGINE if !request.cleanup_required => {}
        kind::ENGINE | kind::REPLICA if name.is_empty() => {
            return Err(plain(format!("failed to delete SPDK {}: missing required parameter", request.r#type)));
        }
        kind::ENGINE => {
            let deleted = spdk.delete_engine(name).await;
            deleted.map_err(|status| wrapped(&status, format!("failed to delete SPDK engine {name}")))?;
        }
        kind::REPLICA => {
            let deleted = spdk.delete_replica(name, request.cleanup_required).await;
            deleted.map_err(|status| wrapped(&status, format!("failed to delete SPDK replica {name}")))?;
        }
        other => return Err(unknown_kind(other)),
    }
    Ok(wire::InstanceResponse {
        spec: Some(wire::InstanceSpec { name: name.clone(), ..wire::InstanceSpec::default() }),
        status: Some(wire::InstanceStatus { state: state::STOPPED.to_owned(), ..wire::InstanceStatus::default() }),
        deleted: true,
    })
}

pub(super) async fn get(spdk: &Service, request: &wire::InstanceGetRequest) -> Result<wire::InstanceResponse, Status> {
    let name = request.name.clone();
    let failed = |what: &str| format!("failed to get SPDK {what} {}", request.name);
    match request.r#type.as_str() {
        kind::ENGINE => {
            let engine = spdk.engine_get(Request::new(spdkrpc::EngineGetRequest { name })).await;
            engine.map(|answer| of_engine(answer.into_inner())).map_err(|status| wrapped(&status, failed("engine")))
        }
        kind::REPLICA => {
            let replica = spdk.replica_get(Request::new(spdkrpc::ReplicaGetRequest { name })).await;
            replica.map(|answer| of_replica(answer.into_inner())).map_err(|status| wrapped(&status, failed("replica")))
        }
        other => Err(unknown_kind(other)),
    }
}

pub(super) async fn list(spdk: &Service) -> BTreeMap<String, wire::InstanceResponse> {
    let mut instances: BTreeMap<_, _> =
        spdk.replicas().await.into_iter().map(|(name, replica)| (name, of_replica(replica))).collect();
    instances.extend(spdk.engines().await.into_iter().map(|(name, engine)| (name, of_engine(engine))));
    instances
}

pub(super) async fn suspend(spdk: &Service, name: &str, kind: &str) -> Result<(), Status> {
    must_be_engine(kind, "suspend")?;
    let request = spdkrpc::EngineSuspendRequest { name: name.to_owned() };
    answered(spdk.engine_suspend(Request::new(request)).await, &format!("failed to suspend engine {name}"))
}

pub(super) async fn resume(spdk: &Service, name: &str, kind: &str) -> Result<(), Status> {
    must_be_engine(kind, "resume")?;
    let request = spdkrpc::EngineResumeRequest { name: name.to_owned() };
    answered(spdk.engine_resume(Request::new(request)).await, &format!("failed to resume engine {name}"))
}

/// The client library puts the same words before the error as the service that uses it.
fn answered(answer: Result<Response<()>, Status>, why: &str) -> Result<(), Status> {
    answer.map(drop).map_err(|status| Status::internal(format!("{why}: {why}: {}", rpc_text(&status))))
}

fn must_be_engine(kind: &str, what: &str) -> Result<(), Status> {
    match kind {
        kind::ENGINE => Ok(()),
        kind::REPLICA => Err(Status::invalid_argument(format!("{what} is not supported for instance type {kind}"))),
        other => Err(unknown_kind(other)),
    }
}

/// An engine's target is where the engine is: it is neither moved nor deleted alone.
pub(super) fn refuse_target_change(kind: &str, name: &str, what: &str, verb: &str) -> Status {
    let refusal = format!(
        "failed to {verb} target for engine {name}: rpc error: code = Unimplemented desc = engine and target are not apart"
    );
    must_be_engine(kind, what).map_or_else(|status| status, |()| Status::internal(refusal))
}

fn of_replica(replica: spdkrpc::Replica) -> wire::InstanceResponse {
    let status = wire::InstanceStatus {
        state: replica.state,
        error_msg: replica.error_msg,
        port_start: replica.port_start,
        port_end: replica.port_end,
        uuid: replica.uuid,
        ..wire::InstanceStatus::default()
    };
    of(replica.name, kind::REPLICA, status)
}

fn of_engine(engine: spdkrpc::Engine) -> wire::InstanceResponse {
    let status = wire::InstanceStatus {
        state: engine.state,
        error_msg: engine.error_msg,
        port_start: engine.port,
        port_end: engine.port,
        target_port_start: engine.target_port,
        target_port_end: engine.target_port,
        standby_target_port_start: engine.standby_target_port,
        standby_target_port_end: engine.standby_target_port,
        ublk_id: engine.ublk_id,
        uuid: engine.uuid,
        ..wire::InstanceStatus::default()
    };
    of(engine.name, kind::ENGINE, status)
}

fn of(name: String, kind: &str, status: wire::InstanceStatus) -> wire::InstanceResponse {
    let spec = wire::InstanceSpec {
        name,
        r#type: kind.to_owned(),
        backend_store_driver: BackendStoreDriver::V2.into(),
        data_engine: DataEngine::V2.into(),
        ..wire::InstanceSpec::default()
    };
    wire::InstanceResponse { spec: Some(spec), status: Some(status), deleted: false }
}
