//! Clients of other pods' services, and of engines.

use std::time::Duration;

use longhorn_rpc::ptypes::controller_service_client::ControllerServiceClient;
use longhorn_rpc::spdkrpc::spdk_service_client::SpdkServiceClient;
use longhorn_rpc::{Channel, ChannelOptions, Identity};
use tonic::Status;

use crate::spdk::SERVICE_PORT;
use crate::status::plain;

/// How long a call may take (`GRPCServiceTimeout`).
const CALL_TIMEOUT: Duration = Duration::from_secs(180);

/// The SPDK service of the pod that has this address: whatever port it names, the service's is fixed.
pub(crate) fn spdk_beside(address: &str) -> Result<SpdkServiceClient<Channel>, Status> {
    let missing = || plain(format!("address {address}: missing port in address"));
    let (host, _) = address.rsplit_once(':').ok_or_else(missing)?;
    Ok(SpdkServiceClient::new(Channel::new(format!("{host}:{SERVICE_PORT}")).timeout(CALL_TIMEOUT)))
}

/// An engine's controller. Calls say whom they are meant for.
pub(crate) fn controller(address: &str, identity: Identity) -> ControllerServiceClient<Channel> {
    let options = ChannelOptions::default().identity(identity);
    ControllerServiceClient::new(Channel::with_options(address, options).timeout(CALL_TIMEOUT))
}
