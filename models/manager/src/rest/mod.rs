//! The Longhorn REST API on port 9500, as far as the modelled kinds are concerned (`api/`, `manager/`).
//!
//! Each manager answers from its own cache. Behind a service, one answer of a client may know more than its next one.

mod backup_targets;
mod backup_volumes;
mod forward;
mod images;
mod other_backups;
mod quantity;
mod resource;
mod schemas;
mod snapshots;
mod system;
mod volume_actions;
mod volume_parts;
mod volumes;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use corral_kube_client::reads;
use host::http::{Body, Client, collect};
use host::net::TcpListener;
use http::{Method, Request, Response, header};

use crate::manager::Manager;
use crate::runtime::{Error, Result};
use forward::Answerer;
use resource::{Call, Reply};

/// Longest request that is read, in bytes.
const REQUEST_LIMIT_BYTES: usize = 8 << 20;

/// The API of one manager.
struct Rest {
    manager: Arc<Manager>,
    /// For requests that other managers answer.
    http: Client,
}

/// Serves the API at `address` until the process ends.
pub async fn serve(manager: Arc<Manager>, address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| Error::message(format!("failed to listen on {address}: {error}")))?;
    let rest = Arc::new(Rest { manager, http: Client::new() });
    host::spawn(host::http::serve(listener, move |request, _peer| answer(rest.clone(), request)));
    Ok(())
}

async fn answer(rest: Arc<Rest>, request: Request<hyper::body::Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut call = Call {
        method: head.method,
        path_and_query: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        host: host.to_owned(),
        body: Bytes::new(),
    };
    match collect(body, REQUEST_LIMIT_BYTES).await {
        Ok(body) => call.body = body,
        Err(error) => return resource::error(&Error::message(error.to_string()), &call),
    }
    let scope = format!("rest {} {}", call.method, call.path_and_query);
    match reads::scope(scope, rest.route(&call)).await {
        Ok(reply) => reply.into_response(&call),
        Err(error) => {
            tracing::warn!(%error, "HTTP handling error");
            resource::error(&error, &call)
        }
    }
}

impl Rest {
    async fn route(&self, call: &Call) -> Result<Reply> {
        let parts = call.parts();
        let answerer = self.answerer(call, &parts);
        if let Some(reply) = self.forward(&answerer, call).await? {
            return Ok(reply);
        }
        match parts.split_first() {
            None => Ok(schemas::version(call)),
            Some((&"schemas", rest)) => Ok(schemas::schemas(call, rest)),
            Some((&"backupvolumes", rest)) => self.backup_volumes(call, rest).await,
            Some((&"backuptargets", rest)) => self.backup_targets(call, rest).await,
            Some((&"backupbackingimages", rest)) => self.backup_backing_images(call, rest).await,
            Some((&"systembackups", rest)) => self.system_backups(call, rest).await,
            Some((&"settings", rest)) => self.settings(call, rest).await,
            Some((&"nodes", rest)) => self.nodes(call, rest),
            Some((&"volumes", rest)) => self.volumes(call, rest).await,
            Some((&"engineimages", rest)) => self.engine_images(call, rest),
            Some((&"instancemanagers", rest)) => self.instance_managers(call, rest),
            Some(_) => Ok(Reply::Absent),
        }
    }

    /// Who answers a call. With one target, until v1.7.2, its actions were answered like those of backup volumes. What an engine is
    /// asked, its volume's manager asks.
    fn answerer(&self, call: &Call, parts: &[&str]) -> Answerer {
        match parts {
            ["backupvolumes", ..] => Answerer::NodeWithEngineImage,
            ["volumes"] if call.method == Method::POST => Answerer::NodeWithEngineImage,
            ["volumes", volume] if call.method == Method::POST && asks_engine(call.action()) => {
                Answerer::OwnerOfVolume((*volume).to_owned())
            }
            ["backuptargets", target] if call.method == Method::POST => {
                if self.manager.datastore.has_many_backup_targets() {
                    Answerer::OwnerOfTarget((*target).to_owned())
                } else {
                    Answerer::NodeWithEngineImage
                }
            }
            _ => Answerer::Anyone,
        }
    }
}

/// Whether an action goes to the engine of a volume rather than to its objects.
fn asks_engine(action: &str) -> bool {
    action.starts_with("snapshot") && !action.starts_with("snapshotCR")
}
