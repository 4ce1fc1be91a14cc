//! What the tests of the cluster share: a few images, objects from JSON, and waiting for what is to happen.

use std::time::Duration;

use corral_cluster::{Cluster, ClusterSpec, Image, Images};
use corral_core::Latency;
use corral_kube_client::{Api, Client, ClientOptions, Object};
use host::process::program;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// Serves its pod's name at every path on port 8080 until it is asked to stop.
async fn serve() -> i32 {
    let address = (host::net::local_ip(), 8080).into();
    let listener = host::net::TcpListener::bind(address).await.expect("a free port");
    let name = host::process::hostname();
    let serving = host::http::serve(listener, move |_request, _peer| {
        let name = name.clone();
        async move { http::Response::new(host::http::full(name)) }
    });
    tokio::select! {
        biased;
        () = host::process::terminated() => {}
        () = serving => {}
    }
    0
}

/// What the tests' containers run.
pub fn images() -> Images {
    let quick = |image: Image| image.pull_latency(Latency::fixed(Duration::from_millis(700)));
    Images::new()
        .with("test/server", quick(Image::new("/server", |_| program(serve))))
        .with(
            "test/sleeper",
            quick(Image::new("/sleeper", |_| {
                program(|| async {
                    host::process::terminated().await;
                    0
                })
            })),
        )
        .with(
            "test/stubborn",
            quick(Image::new("/stubborn", |_| {
                program(|| async {
                    host::process::terminated().await;
                    std::future::pending().await
                })
            })),
        )
        .with(
            "test/worker",
            quick(Image::new("/worker", |tag| {
                let code = if tag == "fails" { 1 } else { 0 };
                program(move || async move {
                    host::time::sleep(Duration::from_secs(2)).await;
                    code
                })
            })),
        )
}

/// A cluster with so many workers and the tests' images, ready.
pub async fn boot(workers: usize) -> (Cluster, Client) {
    let cluster = Cluster::boot(ClusterSpec::workers(workers).images(images())).await;
    let client = client(&cluster);
    (cluster, client)
}

/// A client from outside.
pub fn client(cluster: &Cluster) -> Client {
    Client::new(&cluster.api_address(), ClientOptions::unlimited("test")).expect("an address")
}

/// An object from JSON.
pub fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object of this kind")
}

/// A pod with one container.
pub fn pod(name: &str, image: &str) -> Pod {
    object(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }))
}

/// Pods of the default namespace.
pub fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client, "default")
}

/// Waits until the object is as wanted, and gives it; polls each 10 ms.
pub async fn until<K: Object>(api: &Api<K>, name: &str, limit_seconds: u64, wanted: impl Fn(&K) -> bool) -> K {
    let mut last = None;
    let waiting = async {
        loop {
            let found = api.get_opt(name).await.expect("an answer");
            match found {
                Some(object) if wanted(&object) => return object,
                other => last = other,
            }
            host::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match host::time::timeout(Duration::from_secs(limit_seconds), waiting).await {
        Ok(object) => object,
        Err(_) => panic!("{name} is not as wanted: {}", serde_json::to_string_pretty(&last).expect("JSON")),
    }
}

/// Waits until the object is gone.
pub async fn until_gone<K: Object>(api: &Api<K>, name: &str, limit_seconds: u64) {
    let waiting = async {
        while api.get_opt(name).await.expect("an answer").is_some() {
            host::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if host::time::timeout(Duration::from_secs(limit_seconds), waiting).await.is_err() {
        let left = api.get_opt(name).await.expect("an answer");
        panic!("{name} is still there: {}", serde_json::to_string_pretty(&left).expect("JSON"));
    }
}

/// Waits until a condition, which may await, is true; looks each 10 ms.
macro_rules! eventually {
    ($what:expr, $limit_seconds:expr, $condition:expr) => {{
        let deadline = host::time::Instant::now() + std::time::Duration::from_secs($limit_seconds);
        while !$condition {
            assert!(host::time::Instant::now() < deadline, "never: {}", $what);
            host::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }};
}
pub(crate) use eventually;

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True")
}

pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).sum()
}

/// Why the first container waits, or how it has ended.
pub fn reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let state = status.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    waiting.or_else(|| state.terminated.as_ref()?.reason.clone())
}

pub fn pod_ip(pod: &Pod) -> Option<std::net::Ipv4Addr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

pub fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default()
}
