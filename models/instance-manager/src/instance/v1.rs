//! Instances of the v1 data engine: processes.

use std::collections::BTreeMap;

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::{BackendStoreDriver, DataEngine};
use longhorn_rpc::process_manager;
use tonic::Status;

use super::kind;
use crate::names::is_engine;
use crate::process::Manager;
use crate::status::plain;
use crate::stream::Answers;

/// What the process manager is asked for.
fn process_spec(spec: wire::InstanceSpec) -> Result<process_manager::ProcessSpec, Status> {
    let process = spec
        .process_instance_spec
        .ok_or_else(|| Status::invalid_argument("ProcessInstanceSpec is required for longhorn data engine"))?;
    if spec.name.is_empty() || process.binary.is_empty() {
        return Err(plain("failed to start process: missing required parameter"));
    }
    Ok(process_manager::ProcessSpec {
        name: spec.name,
        binary: process.binary,
        args: process.args,
        port_count: spec.port_count,
        port_args: spec.port_args,
    })
}

pub(super) async fn create(processes: &Manager, spec: wire::InstanceSpec) -> Result<wire::InstanceResponse, Status> {
    let kind = spec.r#type.clone();
    Ok(instance(processes.create(process_spec(spec)?).await?, &kind))
}

pub(super) fn delete(
    processes: &Manager,
    request: &wire::InstanceDeleteRequest,
) -> Result<wire::InstanceResponse, Status> {
    if request.name.is_empty() {
        return Err(plain("failed to delete process: missing required parameter name"));
    }
    Ok(instance(processes.delete(&request.name, &request.uuid)?, &request.r#type))
}

pub(super) fn get(processes: &Manager, request: &wire::InstanceGetRequest) -> Result<wire::InstanceResponse, Status> {
    if request.name.is_empty() {
        return Err(plain("failed to get process: missing required parameter name"));
    }
    Ok(instance(processes.get(&request.name)?, &request.r#type))
}

pub(super) fn list(processes: &Manager) -> BTreeMap<String, wire::InstanceResponse> {
    let kind_of = |name: &str| if is_engine(name) { kind::ENGINE } else { kind::REPLICA };
    let listed = processes.list().into_iter();
    listed.map(|(name, process)| (name.clone(), instance(process, kind_of(&name)))).collect()
}

pub(super) fn log(processes: &Manager, name: &str) -> Result<Answers<process_manager::LogResponse>, Status> {
    let lines = processes.log(name)?;
    let answers = lines.into_iter().map(|line| Ok(process_manager::LogResponse { line }));
    Ok(Box::pin(futures_util::stream::iter(answers)))
}

pub(super) async fn replace(
    processes: &Manager,
    spec: wire::InstanceSpec,
    signal: &str,
) -> Result<wire::InstanceResponse, Status> {
    let kind = spec.r#type.clone();
    let spec = process_spec(spec)?;
    if signal != "SIGHUP" {
        return Err(plain(format!("unsupported terminate signal {signal}")));
    }
    Ok(instance(processes.replace(spec, signal).await?, &kind))
}

/// A process as an instance. An engine's target is where the engine is.
fn instance(process: process_manager::ProcessResponse, kind: &str) -> wire::InstanceResponse {
    let (spec, status) = (process.spec.unwrap_or_default(), process.status.unwrap_or_default());
    let (target_port_start, target_port_end) = match kind {
        kind::ENGINE => (status.port_start, status.port_end),
        _ => (0, 0),
    };
    wire::InstanceResponse {
        spec: Some(wire::InstanceSpec {
            name: spec.name,
            r#type: kind.to_owned(),
            backend_store_driver: BackendStoreDriver::V1.into(),
            data_engine: DataEngine::V1.into(),
            process_instance_spec: Some(wire::ProcessInstanceSpec { binary: spec.binary, args: spec.args }),
            port_count: spec.port_count,
            port_args: spec.port_args,
            ..wire::InstanceSpec::default()
        }),
        status: Some(wire::InstanceStatus {
            state: status.state,
            error_msg: status.error_msg,
            port_start: status.port_start,
            port_end: status.port_end,
            conditions: status.conditions,
            target_port_start,
            target_port_end,
            uuid: status.uuid,
            ..wire::InstanceStatus::default()
        }),
        deleted: process.deleted,
    }
}
