//! Getting a backing image's file from another manager: a port is opened here, and the other is asked to send there.

use std::time::Duration;

use host::time::sleep;
use longhorn_rpc::bimrpc::backing_image_manager_service_client::BackingImageManagerServiceClient;
use longhorn_rpc::bimrpc::{BackingImageResponse, BackingImageSpec, SendRequest, SyncRequest};
use longhorn_rpc::{Channel, Code, Status};

use super::{MONITOR_INTERVAL, Manager, unknown};
use crate::error::{Error, Result};
use crate::files::NewFile;
use crate::info::image_path;
use crate::web;

/// How long a peer may take to answer (`GRPCServiceTimeout`).
const PEER_TIMEOUT: Duration = Duration::from_secs(60);
const PENDING_TIMEOUT_SECONDS: u32 = 300;
const RECEIVING_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a receiver that should be closed is waited for.
const PORT_TIMEOUT_SECONDS: u32 = 180;

impl Manager {
    /// Begins to receive; the answer says how the file is.
    pub(super) async fn start_receiving(
        &self,
        request: SyncRequest,
    ) -> std::result::Result<BackingImageResponse, Status> {
        let spec = request.spec.ok_or_else(|| Status::invalid_argument("missing required argument"))?;
        let port = self.0.ports.take().map_err(|error| unknown(&error))?;
        let path = image_path(&spec.name, &spec.uuid);
        let file = NewFile { path: &path, uuid: &spec.uuid, disk_uuid: &self.0.disk_uuid, checksum: &spec.checksum };
        let (size, port_text) = (spec.size.to_string(), port.to_string());
        let more = [("file-type", ""), ("port", port_text.as_str()), ("size", size.as_str()), ("data-engine", "v1")];
        if let Err(error) = self.0.files.begin("receiveFromPeer", file, &more, None).await {
            let manager = self.clone();
            host::spawn(async move { manager.give_back(port).await });
            return Err(unknown(&error));
        }
        let (manager, name, uuid) = (self.clone(), spec.name.clone(), spec.uuid.clone());
        host::spawn(async move {
            match manager.ask_peer(&spec, &request.from_address, port).await {
                Ok(()) => manager.wait_for_the_end(&spec).await,
                Err(error) => tracing::error!(image = spec.name, %error, "failed to request sending the backing image"),
            }
            manager.give_back(port).await;
        });
        self.get_and_update(&name, &uuid).await
    }

    async fn ask_peer(&self, spec: &BackingImageSpec, peer: &str, port: u16) -> Result<()> {
        let state = self.wait_while_pending(spec).await?;
        if state != "starting" {
            return Err(Error::Invalid(format!(
                "there is no need to request backing image since the current state is {state} rather than starting"
            )));
        }
        let own = host::process::env_var("POD_IP").filter(|address| !address.is_empty()).ok_or_else(|| {
            Error::invalid("can't get a ip from either the specified interface or the environment variable")
        })?;
        let mut peer = BackingImageManagerServiceClient::new(Channel::new(peer).timeout(PEER_TIMEOUT));
        let to_address = format!("{own}:{port}");
        let request = SendRequest { name: spec.name.clone(), uuid: spec.uuid.clone(), to_address: to_address.clone() };
        let sent = peer.send(request).await;
        sent.map(|_| ()).map_err(|status| {
            Error::Invalid(format!(
                "sender failed to request backing image sending to {to_address}: {}",
                status.message()
            ))
        })
    }

    async fn wait_while_pending(&self, spec: &BackingImageSpec) -> Result<String> {
        for _ in 0..PENDING_TIMEOUT_SECONDS {
            sleep(Duration::from_secs(1)).await;
            let answer = self.get_and_update(&spec.name, &spec.uuid).await;
            if let Some(state) = answer.ok().and_then(|answer| answer.status).map(|status| status.state)
                && state != "pending"
            {
                return Ok(state);
            }
        }
        let (name, uuid) = (&spec.name, &spec.uuid);
        Err(Error::Invalid(format!("failed to wait for backing image {name}({uuid}) becoming state non-pending")))
    }

    async fn wait_for_the_end(&self, spec: &BackingImageSpec) {
        let ends = async {
            loop {
                sleep(MONITOR_INTERVAL).await;
                match self.get_and_update(&spec.name, &spec.uuid).await {
                    Err(status) if status.code() == Code::NotFound => return,
                    Err(_) => {}
                    Ok(answer) => {
                        let state = answer.status.unwrap_or_default().state;
                        if state == "ready" || state == "failed" {
                            return;
                        }
                    }
                }
            }
        };
        if host::time::timeout(RECEIVING_TIMEOUT, ends).await.is_err() {
            tracing::error!(image = spec.name, "timeout waiting before releasing the port");
        }
    }

    /// Frees a port once nobody listens there any more; keeps it if that does not happen.
    async fn give_back(&self, port: u16) {
        let url = format!("http://127.0.0.1:{port}");
        if web::is_gone_within(&self.0.process.client, &url, PORT_TIMEOUT_SECONDS).await {
            self.0.ports.give_back(port);
        } else {
            tracing::error!(port, "failed to wait for the receiver to stop, cannot release its port");
        }
    }
}
