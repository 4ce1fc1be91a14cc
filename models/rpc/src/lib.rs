//! The gRPC services between Longhorn's components, and their channel and server over the host's network.

mod services;

pub use services::{bimrpc, imrpc, ptypes, spdkrpc};

/// gRPC's standard health service, package `grpc.health.v1`.
pub mod health {
    pub use crate::services::grpc::health::v1::*;
}

/// The instance manager's process manager. Its package has no name (imrpc/imrpc.proto): old instance managers were compiled so.
pub mod process_manager {
    pub use crate::services::{
        LogRequest, LogResponse, ProcessCreateRequest, ProcessDeleteRequest, ProcessGetRequest, ProcessListRequest,
        ProcessListResponse, ProcessReplaceRequest, ProcessResponse, ProcessSpec, ProcessStatus, VersionResponse,
        process_manager_service_client, process_manager_service_server,
    };
}
