//! Connections to the services of an instance manager, and the failures of their calls in the words that grpc-go gives them: upstream tells
//! failures apart by these.

use std::future::Future;
use std::time::Duration;

use longhorn_rpc::health::HealthCheckRequest;
use longhorn_rpc::health::health_client::HealthClient;
use longhorn_rpc::{Channel, ChannelOptions, Response, Status};

use crate::runtime::{Error, Result};

/// Connects to a service of an instance manager and asks whether it is healthy. Calls may take `timeout`.
///
/// Upstream tries with TLS first; without certificates that fails at once, at their files.
pub async fn open(ip: &str, port: u16, timeout: Duration) -> Result<Channel> {
    let channel = Channel::with_options(format!("{ip}:{port}"), ChannelOptions::instance_manager()).timeout(timeout);
    call(HealthClient::new(channel.clone()).check(HealthCheckRequest::default())).await?;
    Ok(channel)
}

/// The answer of a call.
pub async fn call<T>(answer: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    answer.await.map(Response::into_inner).map_err(|status| failure(&status))
}

/// A failed call, as grpc-go words it.
pub fn failure(status: &Status) -> Error {
    Error::Rpc(longhorn_rpc::rpc_text(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_worded_as_by_grpc_go() {
        let error = failure(&Status::not_found("cannot find process v1-e-0"));
        assert_eq!(error.to_string(), "rpc error: code = NotFound desc = cannot find process v1-e-0");
        assert!(error.says_cannot_find());
        assert!(failure(&Status::already_exists("instance v1-e-0 already exists")).says_already_exists());
    }
}
