//! kube-controller-manager: one process, one lease, all controllers.

use std::time::Duration;

use corral_kube_client::{Client, ClientOptions, Error, InformerFactory, Stop};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::controllers::node_lifecycle::NodeLifecycleOptions;
use crate::controllers::{Context, daemon_set, endpoints, job, node_lifecycle, pod_garbage, taint_eviction};
use crate::election::Leadership;
use crate::garbage_collector::{self, GarbageCollectorOptions, SharedKinds};
use crate::namespace::{self, NamespaceControllerOptions};

/// How the controller manager works.
#[derive(Clone, Debug, Default)]
pub struct ControllerManagerOptions {
    /// The garbage collector's.
    pub garbage_collector: GarbageCollectorOptions,
    /// The namespace controller's.
    pub namespaces: NamespaceControllerOptions,
    /// The node lifecycle controller's.
    pub node_lifecycle: NodeLifecycleOptions,
}

/// The main of a controller manager's process.
pub(crate) async fn main(server: String, leadership: Leadership, options: ControllerManagerOptions) -> i32 {
    let at = server.clone();
    leadership
        .lead(&server, "kube-controller-manager", |stop| async move {
            if let Err(error) = run(at, options, stop).await {
                tracing::error!(%error, "cannot run the controllers");
            }
        })
        .await
}

/// What the controllers watch, for the collector to listen to.
fn shared_kinds(informers: &InformerFactory) -> SharedKinds {
    SharedKinds::default()
        .with(&informers.informer::<DaemonSet>())
        .with(&informers.informer::<ControllerRevision>())
        .with(&informers.informer::<Job>())
        .with(&informers.informer::<Lease>())
        .with(&informers.informer::<Endpoints>())
        .with(&informers.informer::<Node>())
        .with(&informers.informer::<Pod>())
        .with(&informers.informer::<Service>())
        .with(&informers.informer::<EndpointSlice>())
}

async fn run(server: String, options: ControllerManagerOptions, stop: Stop) -> Result<(), Error> {
    let client = Client::new(&server, ClientOptions::limited("kube-controller-manager/shared-informers", 20.0, 30))?;
    // Each informer tells its handlers again of everything only after half a day: never, in most runs.
    let informers = InformerFactory::new(&client, Duration::from_secs(12 * 3600));
    let context = Context { server: server.clone(), informers, stop: stop.clone() };
    daemon_set::start(&context)?;
    job::start(&context)?;
    endpoints::start(&context)?;
    node_lifecycle::start(&context, options.node_lifecycle)?;
    taint_eviction::start(&context)?;
    pod_garbage::start(&context)?;
    context.informers.start(&stop);
    let (collector_server, collector_stop) = (server.clone(), stop.clone());
    let shared = shared_kinds(&context.informers);
    host::spawn(async move {
        let options = options.garbage_collector;
        let done = garbage_collector::run_beside(shared, &collector_server, options, collector_stop).await;
        debug_assert!(done.is_ok(), "the address was good for the client above");
    });
    namespace::run(&server, options.namespaces, stop).await
}
