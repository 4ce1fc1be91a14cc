//! The process manager's gRPC service.

use longhorn_rpc::process_manager as wire;
use longhorn_rpc::process_manager::process_manager_service_server::ProcessManagerService;
use tonic::{Request, Response, Status, async_trait};

use super::Manager;
use crate::stream::{Answers, heard};
use crate::version::Versions;

/// The service of a process manager.
pub(crate) struct Service {
    pub manager: Manager,
    pub versions: Versions,
}

fn required(spec: Option<wire::ProcessSpec>) -> Result<wire::ProcessSpec, Status> {
    // Upstream panics, and its caller sees the connection break.
    spec.ok_or_else(|| Status::invalid_argument("missing required argument"))
}

#[async_trait]
impl ProcessManagerService for Service {
    async fn process_create(
        &self,
        request: Request<wire::ProcessCreateRequest>,
    ) -> Result<Response<wire::ProcessResponse>, Status> {
        self.manager.create(required(request.into_inner().spec)?).await.map(Response::new)
    }

    async fn process_delete(
        &self,
        request: Request<wire::ProcessDeleteRequest>,
    ) -> Result<Response<wire::ProcessResponse>, Status> {
        let wire::ProcessDeleteRequest { name, uuid } = request.into_inner();
        self.manager.delete(&name, &uuid).map(Response::new)
    }

    async fn process_get(
        &self,
        request: Request<wire::ProcessGetRequest>,
    ) -> Result<Response<wire::ProcessResponse>, Status> {
        self.manager.get(&request.get_ref().name).map(Response::new)
    }

    async fn process_list(
        &self,
        _: Request<wire::ProcessListRequest>,
    ) -> Result<Response<wire::ProcessListResponse>, Status> {
        Ok(Response::new(wire::ProcessListResponse { processes: self.manager.list() }))
    }

    async fn process_log(
        &self,
        request: Request<wire::LogRequest>,
    ) -> Result<Response<Answers<wire::LogResponse>>, Status> {
        let lines = self.manager.log(&request.get_ref().name)?;
        let answers = lines.into_iter().map(|line| Ok(wire::LogResponse { line }));
        Ok(Response::new(Box::pin(futures_util::stream::iter(answers))))
    }

    async fn process_watch(&self, _: Request<()>) -> Result<Response<Answers<wire::ProcessResponse>>, Status> {
        Ok(Response::new(heard(self.manager.watch())))
    }

    async fn process_replace(
        &self,
        request: Request<wire::ProcessReplaceRequest>,
    ) -> Result<Response<wire::ProcessResponse>, Status> {
        let request = request.into_inner();
        self.manager.replace(required(request.spec)?, &request.terminate_signal).await.map(Response::new)
    }

    async fn version_get(&self, _: Request<()>) -> Result<Response<wire::VersionResponse>, Status> {
        Ok(Response::new(self.versions.to_wire()))
    }
}
