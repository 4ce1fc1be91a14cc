//! The start of a manager, in upstream's order (`app/daemon.go`): webhooks, datastore, recovery backend, upgrade, controllers,
//! settings, own Node, engine image, REST API.
//!
//! A step that fails ends the process with an error, and the kubelet starts the container again. SIGTERM ends it at once with success:
//! upstream waits for nothing, so whatever a reconcile was about to write is not written. (Upstream would finish a start that is still
//! under way before it ends; here that ends too.)

use std::net::SocketAddr;
use std::sync::Arc;

use corral_kube_client::{Api, Client, ClientOptions, Election, ElectionConfig, Stop};
use host::process;
use k8s_openapi::api::core::v1::Pod;
use longhorn_api::{Build, Release, names};

use crate::LonghornManager;
use crate::arguments::Arguments;
use crate::controllers;
use crate::installation;
use crate::manager::Manager;
use crate::pods;
use crate::rest;
use crate::runtime::{Context, Datastore, Error, Readers, Result};
use crate::upgrade::Upgrade;
use crate::webhooks::server::{serve_admission, serve_health, wait_for_service};
use crate::webhooks::{CONVERSION_PORT, CONVERSION_SERVICE, configuration};

/// The port of the recovery backend, which share managers ask for the sessions of their clients. It has no content yet.
const RECOVERY_BACKEND_PORT: u16 = 9503;

/// The main of the image `longhornio/longhorn-manager`: runs until SIGTERM and gives the exit status.
pub async fn main(own: LonghornManager) -> i32 {
    let stop = Stop::new();
    let stopped = stop.clone();
    host::spawn(async move {
        process::terminated().await;
        stopped.stop();
    });
    let run = run(stop.clone(), own);
    let result = tokio::select! { biased;
        () = stop.stopped() => Ok(()),
        result = run => result,
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            fail(&error.to_string(), "Error starting manager");
            1
        }
    }
}

/// Says why the process ends.
fn fail(error: &str, what: &str) {
    tracing::error!("{what}: {error}");
    process::print_error(&format!("{what}: {error}\n"));
}

async fn run(stop: Stop, own: LonghornManager) -> Result<()> {
    let arguments = Arguments::from_process().map_err(|error| Error::message(error.to_string()))?;
    let LonghornManager { build, resync } = own;
    let server = api_server()?;
    let start = Arc::new(Start { arguments, build, server, stop });

    start.webhooks_in_turn().await?;
    let (namespace, build) = (&start.arguments.namespace, start.build.clone());
    let datastore = Datastore::resyncing(&start.server, namespace, build, Readers::Controllers, resync)?;
    datastore.start(&start.stop).await;
    let node = start.arguments.node_name.clone();

    serve_health(RECOVERY_BACKEND_PORT).await?;
    pods::label_manager_pod(&datastore, &node, &[pods::RECOVERY_BACKEND]).await?;

    Upgrade::new(&start.server, &start.arguments, start.build.clone())?.run().await?;

    let manager = Manager::new(start.arguments.clone(), datastore);
    controllers::start(&manager);
    installation::apply_settings(&manager).await?;
    if manager.datastore.has_many_backup_targets() {
        installation::apply_default_backup_target(&manager).await?;
    }
    installation::apply_registry_secret(&manager).await?;
    controllers::create_own_node(&manager).await?;
    controllers::deploy_engine_image(&manager, &manager.arguments.engine_image).await?;

    let address = manager.arguments.pod_ip.parse();
    let address = address.map_err(|error| Error::message(format!("POD_IP {}: {error}", manager.arguments.pod_ip)))?;
    rest::serve(manager, SocketAddr::new(address, names::API_PORT)).await?;
    start.stop.stopped().await;
    Ok(())
}

/// The API server, as every pod is told of it.
pub(crate) fn api_server() -> Result<String> {
    let variable = |name: &str| process::env_var(name).filter(|value| !value.is_empty());
    match (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT")) {
        (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => Err(Error::message(
            "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined",
        )),
    }
}

/// What the steps of a start share.
struct Start {
    arguments: Arguments,
    build: Build,
    server: String,
    stop: Stop,
}

impl Start {
    /// Starts the webhooks. Since v1.8.0 one manager of the cluster at a time does so, under a lease that it gives back afterwards; one
    /// that loses the lease meanwhile goes on with both, its webhooks and the rest of its start.
    async fn webhooks_in_turn(self: &Arc<Self>) -> Result<()> {
        if self.build.release().before(Release::V1_8_0) {
            return self.webhooks().await;
        }
        let client = Client::new(&self.server, ClientOptions::limited("longhorn-manager/election", 5.0, 10))?;
        let (namespace, node) = (&self.arguments.namespace, &self.arguments.node_name);
        let mut config = ElectionConfig::new(namespace, names::WEBHOOK_LEASE, node);
        config.release_on_cancel = true;
        let started = Stop::new();
        let (start, done) = (self.clone(), started.clone());
        let lead = move |_lost: Stop| async move {
            if let Err(error) = start.webhooks().await {
                fail(&error.to_string(), "Error starting webhooks");
                process::exit(1).await;
            }
            done.stop();
        };
        Election::new(&client, config).run(&started, lead).await;
        Ok(())
    }

    /// The conversion webhook, whose health makes the pod ready, and the admission webhooks, each reached through its service.
    async fn webhooks(&self) -> Result<()> {
        let namespace = &self.arguments.namespace;
        serve_health(CONVERSION_PORT).await?;
        self.label_own_pod().await?;
        wait_for_service(CONVERSION_SERVICE, namespace, CONVERSION_PORT).await?;

        let datastore = Datastore::new(&self.server, namespace, self.build.clone(), Readers::Webhooks)?;
        datastore.start(&self.stop).await;
        let datastore = Arc::new(datastore);
        serve_admission(names::ADMISSION_WEBHOOK_PORT, datastore.clone()).await?;
        let registered = configuration::register(datastore.kubernetes(), namespace, self.build.release()).await;
        registered.context(|| "failed to register the admission webhooks")?;
        pods::label_manager_pod(&datastore, &self.arguments.node_name, &[pods::ADMISSION_WEBHOOK]).await?;
        wait_for_service(names::ADMISSION_WEBHOOK_SERVICE, namespace, names::ADMISSION_WEBHOOK_PORT).await
    }

    /// Makes the service of the conversion webhook lead here. There is no datastore yet to find the pod with.
    async fn label_own_pod(&self) -> Result<()> {
        let client = Client::new(&self.server, ClientOptions::limited("longhorn-manager/start", 50.0, 100))?;
        let api: Api<Pod> = Api::namespaced(&client, &self.arguments.namespace);
        let mut pod = api.get(&self.arguments.pod_name).await?;
        let labels = [pods::CONVERSION_WEBHOOK];
        pods::add(&mut pod, &labels);
        Ok(pods::update(&api, &self.build, pod, &labels).await?)
    }
}
