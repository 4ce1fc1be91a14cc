//! The instance service: engines and replicas of both data engines, by one interface (`pkg/instance/instance.go`).
//!
//! v1 is the process manager, v2 the SPDK service. What is streamed to watchers is empty: it says that something changed, and they list.

mod v1;
mod v2;
mod watch;

use std::sync::{Mutex, PoisonError};

use longhorn_rpc::imrpc as wire;
use longhorn_rpc::imrpc::DataEngine;
use longhorn_rpc::imrpc::instance_service_server::InstanceService;
use longhorn_rpc::process_manager;
use tonic::{Request, Response, Status, async_trait};

use crate::process::Manager;
use crate::spdk;
use crate::status::plain;
use crate::stream::Answers;
use crate::version::Versions;

/// Kinds of instances, as requests name them.
mod kind {
    /// An engine.
    pub const ENGINE: &str = "engine";
    /// A replica.
    pub const REPLICA: &str = "replica";
}

/// The service of a pod.
pub(crate) struct Service {
    processes: Manager,
    /// The v2 data engine, if this pod has it.
    spdk: Option<spdk::Service>,
    versions: Versions,
    log_level: Mutex<String>,
}

type Answer<T> = Result<Response<T>, Status>;

/// The data engine that a number stands for.
fn data_engine(number: i32) -> Result<DataEngine, Status> {
    DataEngine::try_from(number).map_err(|_| Status::unimplemented(format!("unsupported data engine {number}")))
}

fn unknown_kind(kind: &str) -> Status {
    Status::invalid_argument(format!("unknown instance type {kind}"))
}

impl Service {
    /// The service over these.
    pub fn new(processes: Manager, spdk: Option<spdk::Service>, versions: Versions) -> Self {
        Self { processes, spdk, versions, log_level: Mutex::new("info".to_owned()) }
    }

    /// The v2 data engine. A pod without it does not listen at that port.
    fn spdk(&self) -> Result<&spdk::Service, Status> {
        let refused = "connection error: desc = \"transport: Error while dialing: dial tcp 0.0.0.0:8504: connect: connection refused\"";
        self.spdk.as_ref().ok_or_else(|| Status::unavailable(refused))
    }

    fn set_log_level(&self, level: &str) -> Result<(), Status> {
        const KNOWN: [&str; 8] = ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"];
        let level = level.to_lowercase();
        if !KNOWN.contains(&level.as_str()) {
            return Err(plain(format!("not a valid logrus Level: {level:?}")));
        }
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner) = level;
        Ok(())
    }
}

#[async_trait]
impl InstanceService for Service {
    async fn instance_create(&self, request: Request<wire::InstanceCreateRequest>) -> Answer<wire::InstanceResponse> {
        let spec = request.into_inner().spec.unwrap_or_default();
        let created = match data_engine(spec.data_engine)? {
            DataEngine::V1 => v1::create(&self.processes, spec).await,
            DataEngine::V2 => v2::create(self.spdk()?, spec).await,
        };
        created.map(Response::new)
    }

    async fn instance_delete(&self, request: Request<wire::InstanceDeleteRequest>) -> Answer<wire::InstanceResponse> {
        let request = request.into_inner();
        let deleted = match data_engine(request.data_engine)? {
            DataEngine::V1 => v1::delete(&self.processes, &request),
            DataEngine::V2 => v2::delete(self.spdk()?, &request).await,
        };
        deleted.map(Response::new)
    }

    async fn instance_get(&self, request: Request<wire::InstanceGetRequest>) -> Answer<wire::InstanceResponse> {
        let request = request.into_inner();
        let found = match data_engine(request.data_engine)? {
            DataEngine::V1 => v1::get(&self.processes, &request),
            DataEngine::V2 => v2::get(self.spdk()?, &request).await,
        };
        found.map(Response::new)
    }

    async fn instance_list(&self, _: Request<()>) -> Answer<wire::InstanceListResponse> {
        let mut instances = v1::list(&self.processes);
        if let Some(spdk) = &self.spdk {
            instances.extend(v2::list(spdk).await);
        }
        Ok(Response::new(wire::InstanceListResponse { instances }))
    }

    async fn instance_log(
        &self,
        request: Request<wire::InstanceLogRequest>,
    ) -> Answer<Answers<process_manager::LogResponse>> {
        let request = request.get_ref();
        match data_engine(request.data_engine)? {
            DataEngine::V1 => v1::log(&self.processes, &request.name).map(Response::new),
            DataEngine::V2 => Err(Status::unimplemented("v2 data engine instance log is not supported")),
        }
    }

    async fn instance_watch(&self, _: Request<()>) -> Answer<Answers<()>> {
        Ok(Response::new(watch::notifications(&self.processes, self.spdk.as_ref())))
    }

    async fn instance_replace(&self, request: Request<wire::InstanceReplaceRequest>) -> Answer<wire::InstanceResponse> {
        let wire::InstanceReplaceRequest { spec, terminate_signal } = request.into_inner();
        let spec = spec.unwrap_or_default();
        match data_engine(spec.data_engine)? {
            DataEngine::V1 => v1::replace(&self.processes, spec, &terminate_signal).await.map(Response::new),
            DataEngine::V2 => Err(Status::unimplemented("v2 data engine instance replace is not supported")),
        }
    }

    async fn instance_suspend(&self, request: Request<wire::InstanceSuspendRequest>) -> Answer<()> {
        let request = request.get_ref();
        match data_engine(request.data_engine)? {
            DataEngine::V1 => Err(Status::unimplemented("v1 data engine instance suspend is not supported")),
            DataEngine::V2 => v2::suspend(self.spdk()?, &request.name, &request.r#type).await.map(Response::new),
        }
    }

    async fn instance_resume(&self, request: Request<wire::InstanceResumeRequest>) -> Answer<()> {
        let request = request.get_ref();
        match data_engine(request.data_engine)? {
            DataEngine::V1 => Err(Status::unimplemented("v1 data engine instance resume is not supported")),
            DataEngine::V2 => v2::resume(self.spdk()?, &request.name, &request.r#type).await.map(Response::new),
        }
    }

    async fn instance_switch_over_target(&self, request: Request<wire::InstanceSwitchOverTargetRequest>) -> Answer<()> {
        let request = request.get_ref();
        let refused = match data_engine(request.data_engine)? {
            DataEngine::V1 => Status::unimplemented("v1 data engine instance target switch over is not supported"),
            DataEngine::V2 => {
                v2::refuse_target_change(&request.r#type, &request.name, "target switch over", "switch over")
            }
        };
        Err(refused)
    }

    async fn instance_delete_target(&self, request: Request<wire::InstanceDeleteTargetRequest>) -> Answer<()> {
        let request = request.get_ref();
        let refused = match data_engine(request.data_engine)? {
            DataEngine::V1 => Status::unimplemented("v1 data engine instance target delete is not supported"),
            DataEngine::V2 => v2::refuse_target_change(&request.r#type, &request.name, "target deletion", "delete"),
        };
        Err(refused)
    }

    async fn log_set_level(&self, request: Request<wire::LogSetLevelRequest>) -> Answer<()> {
        let request = request.get_ref();
        // The target's own log, which is v2's, is not kept.
        if data_engine(request.data_engine)? == DataEngine::V1 {
            self.set_log_level(&request.level)?;
        }
        Ok(Response::new(()))
    }

    async fn log_set_flags(&self, request: Request<wire::LogSetFlagsRequest>) -> Answer<()> {
        data_engine(request.get_ref().data_engine)?;
        Ok(Response::new(()))
    }

    async fn log_get_level(&self, request: Request<wire::LogGetLevelRequest>) -> Answer<wire::LogGetLevelResponse> {
        data_engine(request.get_ref().data_engine)?;
        let level = self.log_level.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Response::new(wire::LogGetLevelResponse { level }))
    }

    async fn log_get_flags(&self, request: Request<wire::LogGetFlagsRequest>) -> Answer<wire::LogGetFlagsResponse> {
        data_engine(request.get_ref().data_engine)?;
        Ok(Response::new(wire::LogGetFlagsResponse::default()))
    }

    async fn version_get(&self, _: Request<()>) -> Answer<process_manager::VersionResponse> {
        Ok(Response::new(self.versions.to_wire()))
    }
}
