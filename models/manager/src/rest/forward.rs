//! Requests that another manager answers: those about backup volumes, and new volumes, go to a node with the default engine image, those
//! about one backup target to its owner, those that a volume's engine answers to the volume's (`api/forwarder.go`).
//!
//! A manager answers itself only if it was asked under its own address. One that was reached through the service therefore forwards even
//! to itself, once; the answer then links to the pod's address, which clients that follow links use from there on.

use http::{HeaderValue, Request, header};
use http_body_util::BodyExt;
use longhorn_api::{names, settings};

use super::Rest;
use super::resource::{Call, Reply};
use crate::pods;
use crate::runtime::{Context, Error, Result};

/// Who answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answerer {
    /// Whoever was asked.
    Anyone,
    /// A node with the default engine image.
    NodeWithEngineImage,
    /// The owner of this backup target.
    OwnerOfTarget(String),
    /// The owner of this volume.
    OwnerOfVolume(String),
}

impl Rest {
    /// Forwards the call if another address should answer it.
    pub(super) async fn forward(&self, answerer: &Answerer, call: &Call) -> Result<Option<Reply>> {
        let node = match answerer {
            Answerer::Anyone => return Ok(None),
            Answerer::NodeWithEngineImage => self.node_with_engine_image(),
            Answerer::OwnerOfTarget(target) => self.owner_of_target(target),
            Answerer::OwnerOfVolume(volume) => self.owner_of_volume(volume),
        };
        let address = node
            .context(|| "failed to get target node ID")
            .and_then(|node| self.address_of(&node).context(|| "failed to get the address from node ID"));
        let address = address.context(|| "failed to get the parameters")?;
        if address == call.host {
            return Ok(None);
        }
        tracing::debug!("Forwarding request to {address}");
        Ok(Some(self.send(&address, call).await))
    }

    /// This node if it can, so that nothing is forwarded in a circle.
    fn node_with_engine_image(&self) -> Result<String> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let image = datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        let nodes = datastore.ready_nodes_with_engine_image(&image)?;
        if nodes.iter().any(|node| node == me) {
            return Ok(me.to_owned());
        }
        datastore.in_map_order(nodes).into_iter().next().ok_or_else(|| {
            Error::message(format!(
                "failed to find a node that is ready and has the default engine image {image} deployed"
            ))
        })
    }

    fn owner_of_target(&self, target: &str) -> Result<String> {
        let found = self.manager.datastore.backup_targets.get(target);
        let target = found.context(|| format!("failed to get backup target '{target}'"))?;
        Ok(target.status.owner_id.clone())
    }

    fn owner_of_volume(&self, volume: &str) -> Result<String> {
        let found = self.manager.datastore.volumes.get(volume);
        Ok(found.context(|| format!("failed to get volume '{volume}'"))?.status.owner_id.clone())
    }

    fn address_of(&self, node: &str) -> Result<String> {
        let addresses = pods::manager_addresses(&self.manager.datastore)?;
        let address = addresses.get(node);
        let address = address.ok_or_else(|| Error::message(format!("cannot find longhorn manager on node {node}")))?;
        Ok(format!("{address}:{}", names::API_PORT))
    }

    /// What the manager at `address` answers; one that cannot be reached makes this one a bad gateway.
    async fn send(&self, address: &str, call: &Call) -> Reply {
        let request = Request::builder()
            .method(call.method.clone())
            .uri(format!("http://{address}{}", call.path_and_query))
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(host::http::full(call.body.clone()));
        let sent = match request {
            Ok(request) => self.http.send(request).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let response = match sent {
            Ok(response) => {
                response.map(|body| body.map_err(|error| Box::new(error) as host::http::BoxError).boxed_unsync())
            }
            Err(error) => {
                tracing::error!("http: proxy error: {error}");
                let mut response = http::Response::new(host::http::empty());
                *response.status_mut() = http::StatusCode::BAD_GATEWAY;
                response
            }
        };
        Reply::Forwarded(response)
    }
}
