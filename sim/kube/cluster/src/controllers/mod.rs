//! The controllers of kube-controller-manager: each watches, keeps a queue and writes what is missing.
//!
//! They run in one process ([`crate::controller_manager`]) and share its informers; each has a client, and so a request limit, of its own.
//! Deployment (with ReplicaSet), StatefulSet, CronJob and attach-detach will stand here, one file or folder each, begun by `controller_manager` like the
//! rest.

pub(crate) mod daemon_set;
pub(crate) mod endpoints;
pub(crate) mod expectations;
pub(crate) mod job;
pub(crate) mod node_lifecycle;
pub(crate) mod pod_garbage;
pub(crate) mod pods;
pub(crate) mod taint_eviction;

use std::future::Future;
use std::sync::Arc;

use corral_kube_client::{Client, ClientOptions, Error, InformerFactory, Stop, WorkQueue, reads};

/// What every controller gets from its manager.
#[derive(Clone)]
pub(crate) struct Context {
    /// `host:port` of the API server.
    pub server: String,
    /// The informers that all share.
    pub informers: InformerFactory,
    /// Given when the manager no longer leads.
    pub stop: Stop,
}

impl Context {
    /// A client with the manager's default limit: 20 requests a second, 30 at once.
    pub fn client(&self, controller: &str) -> Result<Client, Error> {
        Client::new(&self.server, ClientOptions::limited(format!("kube-controller-manager/{controller}"), 20.0, 30))
    }
}

/// Runs workers on a queue until it shuts down: each key is synced within a scope of the journal, and again with back-off after an error.
pub(crate) fn start_workers<S, F>(name: &'static str, workers: usize, queue: &WorkQueue<String>, sync: S)
where
    S: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let sync = Arc::new(sync);
    for _ in 0..workers {
        let (queue, sync) = (queue.clone(), sync.clone());
        host::spawn(async move {
            while let Some(key) = queue.get().await {
                match reads::scope(format!("{name} {key}"), sync(key.clone())).await {
                    Ok(()) => queue.forget(&key),
                    Err(error) => {
                        tracing::debug!(%error, key, "{name} cannot sync");
                        queue.add_rate_limited(key.clone());
                    }
                }
                queue.done(&key);
            }
        });
    }
}
