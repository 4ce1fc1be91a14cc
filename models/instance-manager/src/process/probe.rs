//! Asking a process for its health, as `grpc_health_probe` does with its own time-out: a second to connect.

use std::time::Duration;

use longhorn_rpc::Channel;
use longhorn_rpc::health::HealthCheckRequest;
use longhorn_rpc::health::health_check_response::ServingStatus;
use longhorn_rpc::health::health_client::HealthClient;

/// A process that listens answers at once, so that the time for the answer, another second, is not told apart.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Whether what listens at this port of the pod says that it serves. The probe waits for a connection: what does not listen yet costs it the
/// whole of its time-out, unless it comes up in between.
pub(super) async fn serves(port: i32) -> bool {
    let channel = Channel::new(format!("localhost:{port}")).wait_for_ready().timeout(TIMEOUT);
    let mut client = HealthClient::new(channel);
    let answer = client.check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}
