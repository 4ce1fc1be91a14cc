//! The pod in which a scenario's client runs: the workload reaches the cluster as longhorn-tests' pod does, over services and the pod network.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use corral_cluster::Image;
use corral_core::Latency;
use host::process::program;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Repository of the client's image.
pub const REPOSITORY: &str = "corral/test-client";
/// Namespace of the client's pod.
pub const NAMESPACE: &str = "default";
/// Where it runs: it uses the devices of the volumes that are attached there.
pub const MACHINE: &str = "worker-1";
const NAME: &str = CLIENT;
/// How the client names itself to the API server.
pub const CLIENT: &str = "test-client";

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the client's container is to do, handed over when the cluster is up.
#[derive(Clone, Default)]
pub struct ClientWork {
    work: Arc<Mutex<Option<Work>>>,
}

/// The client died before it was done: its machine was lost, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the test client died before its work was done")]
pub struct ClientDied;

impl ClientWork {
    /// The image that does the work, whatever it will be.
    pub fn image(&self) -> Image {
        let slot = self.work.clone();
        let image = Image::new("/usr/bin/test-client", move |_tag| {
            let slot = slot.clone();
            program(move || {
                let work = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                async move {
                    match work {
                        Some(work) => work.await,
                        // A second container of this pod: what the first one did not finish is not begun again.
                        None => return 1,
                    }
                    0
                }
            })
        });
        image.pull_latency(Latency::ZERO)
    }

    /// Hands the work over; the receiver resolves when it is done, or fails when its process died.
    pub fn hand_over(&self, work: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let work = Box::pin(async move {
            work.await;
            let _ = done.send(());
        });
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
        receiver
    }
}

/// The client's pod; its image's tag is the client's release.
pub fn manifest(tag: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": NAME, "namespace": NAMESPACE },
        "spec": {
            "restartPolicy": "Never",
            "nodeName": MACHINE,
            "volumes": [{ "name": "host", "hostPath": { "path": "/" } }],
            "containers": [{
                "name": NAME, "image": format!("{REPOSITORY}:{tag}"),
                "volumeMounts": [{ "name": "host", "mountPath": "/host" }]
            }]
        }
    })
}
