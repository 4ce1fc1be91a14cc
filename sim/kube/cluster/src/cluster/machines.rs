//! The machines of a cluster and what runs on each of them by itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use corral_apiserver::{Server, Store};
use corral_core::{Attachments, Machine, World};
use corral_disk::{Disk, DiskOptions};
use corral_kube_client::{Api, Client, ClientOptions, Error};
use corral_net::Net;
use host::net::TcpListener;
use host::process::program;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use super::{
    API_PORT, API_SERVER, API_SERVICE, CONTROL_PLANE, CONTROL_PLANE_ADDRESS, CONTROLLER_MANAGER, ClusterSpec,
    KUBE_PROXY, KUBELET, NAME_SERVER, SCHEDULER, Worker, WorkerSpec,
};
use crate::controller_manager;
use crate::kubelet::runtime::Runtimes;
use crate::kubelet::volumes::MachineDisks;
use crate::kubelet::{self, KubeletConfig};
use crate::scheduler;
use crate::service_proxy::{self, ServiceTable};
use crate::storage::StorageLatencies;
use crate::supervisor::{Supervisor, Unit};

/// The first two numbers of the services' addresses.
const SERVICE_NETWORK: [u8; 2] = [10, 43];

/// The control plane's processes.
pub(super) fn control_units(
    spec: &ClusterSpec,
    store: &Arc<Store>,
    machine: &Machine,
    services: &Arc<ServiceTable>,
) -> Vec<Unit> {
    let server = format!("{CONTROL_PLANE_ADDRESS}:{API_PORT}");
    let unit = |name: &str, program| Unit {
        name: name.to_owned(),
        address: CONTROL_PLANE_ADDRESS,
        hostname: CONTROL_PLANE.to_owned(),
        program,
        attachments: Attachments::default(),
    };
    let (store, options, storage) = (store.clone(), spec.api_server.clone(), spec.storage);
    let api_server = program(move || {
        let options = corral_apiserver::Options { service_network: SERVICE_NETWORK, ..options.clone() };
        api_server_main(store.clone(), options, storage)
    });
    let (at, leadership, options) = (server.clone(), spec.leadership, spec.controller_manager.clone());
    let manager = program(move || controller_manager::main(at.clone(), leadership, options.clone()));
    let at = server.clone();
    let scheduler = program(move || scheduler::main(at.clone(), leadership));
    let at = server.clone();
    let names = program(move || service_proxy::names_main(at.clone()));
    let (id, services) = (machine.id, services.clone());
    let proxy = program(move || service_proxy::proxy_main(server.clone(), id, services.clone()));
    vec![
        unit(API_SERVER, api_server),
        unit(CONTROLLER_MANAGER, manager),
        unit(SCHEDULER, scheduler),
        unit(NAME_SERVER, names),
        unit(KUBE_PROXY, proxy),
    ]
}

/// A worker machine with its disks, its runtime and its processes, not booted yet.
pub(super) fn make_worker(world: &Arc<World>, spec: &ClusterSpec, worker: &WorkerSpec, number: u8) -> Worker {
    let machine = world.add_machine(&worker.name);
    let address = Ipv4Addr::new(10, 0, 1, number);
    let pod_network = [10, 42, number];
    Net::of(world).add_address(address, machine.id);
    let disk = |name: &str, options: &DiskOptions| {
        Disk::create(world, machine.id, &format!("{}:{name}", worker.name), options.clone())
    };
    let others = worker.disks.iter().map(|(path, options)| (path.clone(), disk(path, options))).collect();
    let disks = MachineDisks::new(disk("/", &worker.root), others);
    let runtime = Runtimes::of_world(world).install(&machine, address, pod_network);
    let config = KubeletConfig {
        node: worker.name.clone(),
        address,
        server: format!("{CONTROL_PLANE_ADDRESS}:{API_PORT}"),
        api_service: API_SERVICE,
        labels: worker.labels.clone(),
        huge_pages_mib: worker.huge_pages_mib,
        images: spec.images.clone(),
        disks: disks.clone(),
        latencies: spec.kubelet,
    };
    let server = config.server.clone();
    let (of_kubelet, services) = (runtime.clone(), Arc::new(ServiceTable::default()));
    let kubelet = program(move || kubelet::main(config.clone(), of_kubelet.clone()));
    let (id, table) = (machine.id, services.clone());
    let proxy = program(move || service_proxy::proxy_main(server.clone(), id, table.clone()));
    let attachments = Attachments::default().with(Arc::new(disks.mounts()));
    let unit = |name: &str, program| Unit {
        name: name.to_owned(),
        address,
        hostname: worker.name.clone(),
        program,
        attachments: attachments.clone(),
    };
    let units = vec![unit(KUBELET, kubelet), unit(KUBE_PROXY, proxy)];
    let supervisor = Supervisor::install(world, machine.id, units);
    Worker { machine, supervisor, runtime, disks, services }
}

/// The main of the API server's process.
async fn api_server_main(store: Arc<Store>, mut options: corral_apiserver::Options, storage: StorageLatencies) -> i32 {
    options.storage_latency.get_or_insert_with(|| storage.begin());
    let listener = match TcpListener::bind((CONTROL_PLANE_ADDRESS, API_PORT).into()).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot listen");
            return 1;
        }
    };
    let server = Server::new(store, options);
    host::spawn(async {
        if let Err(error) = publish_itself().await {
            tracing::error!(%error, "cannot publish the API server's endpoints");
        }
    });
    server.serve(listener).await;
    1
}

/// Makes the service `default/kubernetes`, which every API server has, lead here. Source: kubernetes pkg/controlplane/controller/kubernetesservice.
async fn publish_itself() -> Result<(), Error> {
    let client = Client::new(
        &format!("{CONTROL_PLANE_ADDRESS}:{API_PORT}"),
        ClientOptions::unlimited("kube-apiserver/kubernetes-service"),
    )?;
    let mut endpoints = Endpoints::default();
    endpoints.metadata.name = Some("kubernetes".into());
    endpoints.metadata.labels =
        Some(BTreeMap::from([("endpointslice.kubernetes.io/skip-mirror".to_owned(), "true".to_owned())]));
    endpoints.subsets = Some(vec![EndpointSubset {
        addresses: Some(vec![EndpointAddress { ip: CONTROL_PLANE_ADDRESS.to_string(), ..EndpointAddress::default() }]),
        ports: Some(vec![EndpointPort {
            name: Some("https".into()),
            port: i32::from(API_PORT),
            protocol: Some("TCP".into()),
            app_protocol: None,
        }]),
        not_ready_addresses: None,
    }]);
    unless_there(Api::<Endpoints>::namespaced(&client, "default").create(&endpoints).await)?;
    let slice = from_json(json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [CONTROL_PLANE_ADDRESS], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": API_PORT, "protocol": "TCP"}],
    }));
    unless_there(Api::<EndpointSlice>::namespaced(&client, "default").create(&slice).await)
}

fn from_json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("written here, and right")
}

fn unless_there<T>(created: Result<T, Error>) -> Result<(), Error> {
    match created {
        Err(error) if !error.is_already_exists() => Err(error),
        _created_or_there => Ok(()),
    }
}
