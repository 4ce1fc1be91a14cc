//! The gRPC services between Longhorn's components, and their channel and server over the host's network.
//!
//! The definitions in proto/ have upstream's packages, names, numbers and types (longhorn/types, as release v1.9.2 vendors it; the older
//! releases' are subsets of it). [`Channel`] is what grpc-go's `ClientConn` is to Longhorn, [`serve`] what its `Server` is: HTTP/2 bytes
//! by hyper, time and sockets by `host`, so both run in the simulated world and on Linux.

mod channel;
mod deadline;
mod identity;
mod server;
mod services;
mod wording;

pub use channel::{Backoff, Channel, ChannelOptions, HttpKeepalive, ResponseBody};
pub use deadline::Deadline;
pub use identity::{Identity, ServerKind};
pub use server::{Health, Peer, Router, serve, serve_until};
pub use services::{bimrpc, imrpc, ptypes, spdkrpc};
pub use tonic::{Code, Request, Response, Status, Streaming, async_trait};
pub use wording::rpc_text;

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
