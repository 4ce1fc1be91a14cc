//! Services: who serves them, and how connections find the way.

use std::collections::BTreeSet;
use std::time::Duration;

use corral_cluster::{Cluster, ClusterSpec, Image, WorkerSpec};
use corral_core::{Options, run};
use corral_kube_client::params::{DeleteParams, ListParams};
use corral_kube_client::{Api, Client};
use host::process::program;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use crate::common::*;

/// Asks a service again and again, from a pod, and prints who answered.
async fn ask() -> i32 {
    let url = host::process::env_var("URL").unwrap_or_default();
    loop {
        // A client of its own: each question finds its own way.
        let request = http::Request::get(&url).body(host::http::empty()).expect("a request");
        let asked = host::time::timeout(Duration::from_secs(2), host::http::Client::new().send(request)).await;
        let line = match asked {
            Ok(Ok(response)) => match host::http::collect(response.into_body(), 1 << 20).await {
                Ok(body) => String::from_utf8_lossy(&body).into_owned(),
                Err(error) => format!("broken: {error}"),
            },
            Ok(Err(error)) => format!("error: {error}"),
            Err(_elapsed) => "silence".to_owned(),
        };
        host::process::print(&format!("{line}\n"));
        host::time::sleep(Duration::from_millis(200)).await;
    }
}

fn service(name: &str, headless: bool) -> Service {
    let cluster_ip = headless.then_some("None");
    object(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"tier": "web"}, "clusterIP": cluster_ip, "ports": [{"port": 80, "targetPort": "web"}]},
    }))
}

fn web(name: &str) -> Pod {
    object(json!({
        "metadata": {"name": name, "labels": {"tier": "web"}},
        "spec": {"containers": [{
            "name": "main", "image": "test/server",
            "ports": [{"name": "web", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 2},
        }]},
    }))
}

/// What the asking pod has printed since the last time.
fn answers(cluster: &Cluster, from: &mut usize) -> BTreeSet<String> {
    let process = cluster.container_process("default", "asker", "main").expect("it runs");
    let (output, _) = process.output();
    let new = String::from_utf8_lossy(&output[*from..]).into_owned();
    *from = output.len();
    new.lines().map(str::to_owned).collect()
}

async fn addresses(client: &Client) -> (usize, usize) {
    let endpoints: Api<Endpoints> = Api::namespaced(client, "default");
    let count = |found: Option<Endpoints>| {
        let subsets = found.and_then(|found| found.subsets).unwrap_or_default();
        subsets.iter().map(|subset| subset.addresses.as_ref().map_or(0, Vec::len)).sum()
    };
    let slices: Api<EndpointSlice> = Api::namespaced(client, "default");
    let list = slices.list(&ListParams::default().labels("kubernetes.io/service-name=web")).await.expect("a list");
    let ready = list
        .items
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true)));
    (count(endpoints.get_opt("web").await.expect("an answer")), ready.count())
}

#[test]
fn a_service_leads_to_its_ready_pods_and_to_no_others() {
    run(Options::new(40), async {
        let images = images().with("test/asker", Image::new("/asker", |_| program(ask)));
        let cluster = Cluster::boot(ClusterSpec::workers(2).images(images)).await;
        let client = client(&cluster);
        let services: Api<Service> = Api::namespaced(&client, "default");
        services.create(&service("web", false)).await.expect("created");
        let pods = pods(&client);
        for name in ["web-1", "web-2"] {
            pods.create(&web(name)).await.expect("created");
        }
        let asker: Pod = object(json!({
            "metadata": {"name": "asker"},
            "spec": {"containers": [{
                "name": "main", "image": "test/asker",
                "env": [{"name": "URL", "value": "http://web.default.svc/"}],
            }]},
        }));
        pods.create(&asker).await.expect("created");
        eventually!("both are in", 60, addresses(&client).await == (2, 2));
        until(&pods, "asker", 30, is_ready).await;
        host::time::sleep(Duration::from_secs(3)).await;
        let mut read = 0;
        answers(&cluster, &mut read);
        host::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(answers(&cluster, &mut read), BTreeSet::from(["web-1".to_owned(), "web-2".to_owned()]));

        pods.delete("web-1", &DeleteParams::default()).await.expect("deleted");
        eventually!("one is out", 20, addresses(&client).await == (1, 1));
        host::time::sleep(Duration::from_secs(5)).await;
        answers(&cluster, &mut read);
        host::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(answers(&cluster, &mut read), BTreeSet::from(["web-2".to_owned()]));

        services.delete("web", &DeleteParams::default()).await.expect("deleted");
        eventually!("endpoints go with it", 30, {
            let endpoints: Api<Endpoints> = Api::namespaced(&client, "default");
            endpoints.get_opt("web").await.expect("an answer").is_none() && addresses(&client).await == (0, 0)
        });
    })
    .unwrap();
}

#[test]
fn a_headless_services_name_is_its_pods_addresses_and_pods_reach_the_api_server() {
    run(Options::new(41), async {
        let images = images().with(
            "test/asker",
            Image::new("/asker", |_| {
                program(|| async {
                    let host = host::process::env_var("KUBERNETES_SERVICE_HOST").unwrap_or_default();
                    let port = host::process::env_var("KUBERNETES_SERVICE_PORT").unwrap_or_default();
                    let server = format!("http://{host}:{port}");
                    let options = corral_kube_client::ClientOptions::unlimited("pod");
                    let client = Client::new(&server, options).expect("an address");
                    let pods: Api<Pod> = Api::namespaced(&client, "default");
                    let count = pods.list(&ListParams::default()).await.expect("a list").items.len();
                    let named = host::net::lookup("web.default:80").await.expect("a name").len();
                    host::process::print(&format!("{count} pods, {named} addresses"));
                    host::process::terminated().await;
                    0
                })
            }),
        );
        let spec = ClusterSpec { workers: vec![WorkerSpec::named("alone")], ..ClusterSpec::workers(0).images(images) };
        let cluster = Cluster::boot(spec).await;
        let client = client(&cluster);
        Api::<Service>::namespaced(&client, "default").create(&service("web", true)).await.expect("created");
        let pods = pods(&client);
        for name in ["web-1", "web-2"] {
            pods.create(&web(name)).await.expect("created");
            until(&pods, name, 60, is_ready).await;
        }
        host::time::sleep(Duration::from_secs(2)).await;
        pods.create(&pod("asker", "test/asker")).await.expect("created");
        until(&pods, "asker", 30, is_ready).await;
        host::time::sleep(Duration::from_secs(2)).await;
        let process = cluster.container_process("default", "asker", "main").expect("it runs");
        assert_eq!(String::from_utf8_lossy(&process.output().0), "3 pods, 2 addresses");
    })
    .unwrap();
}
