//! What the client sends again, what it never does, how it throttles itself, and optimistic updates.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corral_kube_client::discovery::discover;
use corral_kube_client::{Api, Client, ClientOptions, DEFAULT_RETRY, Error, retry_on_conflict};
use host::net::TcpListener;
use host::time::Instant;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fake::{self, Reply, config_map, status};
use crate::simulate;

/// Answers the first requests with `trouble`, then as it should.
async fn trouble_first(count: u32, trouble: fn() -> Reply) -> (Api<ConfigMap>, fake::Requests) {
    let left = Arc::new(AtomicU32::new(count));
    let (address, requests) = fake::serve(move |_| {
        let trouble_now = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        async move { if trouble_now { trouble() } else { Reply::Json(200, config_map("a", 7)) } }
    })
    .await;
    (Api::namespaced(&fake::client(address), "ns"), requests)
}

/// Reads a request and closes the connection, so many times; then answers. Counts the connections.
async fn hang_up_first(count: u32) -> (Api<ConfigMap>, Arc<AtomicU32>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU32::new(0));
    let counter = connections.clone();
    host::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = counter.fetch_add(1, Ordering::SeqCst) >= count;
            let mut request = vec![0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0, "a request comes before the hang-up");
            if answer {
                let body = config_map("a", 7).to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        }
    });
    (Api::namespaced(&fake::client(address), "ns"), connections)
}

#[test]
fn a_read_whose_connection_broke_is_sent_again_a_write_is_not() {
    simulate(1, async {
        let (api, connections) = hang_up_first(2).await;
        let begun = Instant::now();
        api.get("a").await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 2, "a second for each");
        assert_eq!(connections.load(Ordering::SeqCst), 3);

        let (api, connections) = hang_up_first(1).await;
        let object = serde_json::from_value(config_map("a", 7)).unwrap();
        let error = api.update(&object).await.unwrap_err();
        assert!(error.is_connection_broken(), "{error:?}");
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn retry_after_is_obeyed_for_writes_too_ten_times() {
    simulate(2, async {
        let object = serde_json::from_value(config_map("a", 7)).unwrap();
        let (api, _) = trouble_first(3, || Reply::Retry(429, 2)).await;
        let begun = Instant::now();
        api.create(&object).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 6);

        let (api, requests) = trouble_first(50, || Reply::Retry(503, 1)).await;
        let error = api.create(&object).await.unwrap_err();
        assert_eq!(error.code(), 503);
        assert_eq!(requests.lock().unwrap().len(), 11);

        let (api, requests) = trouble_first(1, || Reply::Json(500, status(500, "InternalError", "no"))).await;
        assert!(api.create(&object).await.unwrap_err().is_internal_error());
        assert_eq!(requests.lock().unwrap().len(), 1, "without Retry-After there is no retry");
    });
}

#[test]
fn a_client_limits_itself_and_its_time_out_covers_the_retries() {
    simulate(3, async {
        let (address, _) = fake::serve(|_| async { Reply::Json(200, config_map("a", 7)) }).await;
        let client = Client::new(&format!("http://{address}/"), ClientOptions::limited("test", 5.0, 10)).unwrap();
        let api: Api<ConfigMap> = Api::namespaced(&client, "ns");
        let begun = Instant::now();
        for _ in 0..15 {
            api.get("a").await.unwrap();
        }
        let took = begun.elapsed().as_millis();
        assert!((1000..1100).contains(&took), "ten at once, then five a second: {took} ms");

        let (address, _) = fake::serve(|_| async { Reply::Retry(429, 4) }).await;
        let options = ClientOptions { timeout: Some(Duration::from_secs(10)), ..ClientOptions::unlimited("test") };
        let api: Api<ConfigMap> = Api::namespaced(&Client::new(&address.to_string(), options).unwrap(), "ns");
        let begun = Instant::now();
        assert!(matches!(api.get("a").await, Err(Error::Timeout)));
        assert_eq!(begun.elapsed().as_secs(), 10);
    });
}

#[test]
fn conflicts_are_tried_again_other_errors_are_not() {
    simulate(4, async {
        let conflict = || Reply::Json(409, status(409, "Conflict", "the object has been modified"));
        for (conflicts, expected) in [(4, true), (5, false)] {
            let (api, requests) = trouble_first(conflicts, conflict).await;
            let object = serde_json::from_value(config_map("a", 7)).unwrap();
            let result = retry_on_conflict(api.client(), DEFAULT_RETRY, || api.update(&object)).await;
            assert_eq!(result.is_ok(), expected);
            assert_eq!(requests.lock().unwrap().len(), 5);
        }
        let (api, requests) = trouble_first(1, || Reply::Json(404, status(404, "NotFound", "none"))).await;
        let result = retry_on_conflict(api.client(), DEFAULT_RETRY, || api.get("a")).await;
        assert!(result.unwrap_err().is_not_found());
        assert_eq!(requests.lock().unwrap().len(), 1);
    });
}

#[test]
fn discovery_takes_each_resource_at_its_preferred_version() {
    simulate(5, async {
        let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["delete", "list", "watch"]});
        let (address, _) = fake::serve(move |seen| async move {
            let resources = |items: Vec<serde_json::Value>| {
                Reply::Json(200, json!({"kind": "APIResourceList", "groupVersion": "", "resources": items}))
            };
            match seen.path.as_str() {
                "/api" => Reply::Json(200, json!({"kind": "APIVersions", "versions": ["v1"]})),
                "/api/v1" => resources(vec![resource("pods", "Pod"), resource("pods/status", "Pod")]),
                "/apis" => Reply::Json(
                    200,
                    json!({"kind": "APIGroupList", "groups": [{
                        "name": "x.io",
                        "versions": [
                            {"groupVersion": "x.io/v1", "version": "v1"},
                            {"groupVersion": "x.io/v2", "version": "v2"},
                            {"groupVersion": "x.io/v3", "version": "v3"},
                        ],
                        "preferredVersion": {"groupVersion": "x.io/v2", "version": "v2"},
                    }]}),
                ),
                "/apis/x.io/v1" => resources(vec![resource("things", "Thing"), resource("olds", "Old")]),
                "/apis/x.io/v2" => resources(vec![resource("things", "Thing")]),
                _ => Reply::Text(503, "not now"),
            }
        })
        .await;
        let discovered = discover(&fake::client(address)).await.unwrap();
        let found: Vec<String> = discovered
            .resources
            .iter()
            .map(|found| format!("{} {}", found.resource.path(None), found.supports(&["list", "watch"])))
            .collect();
        assert_eq!(found, ["/api/v1/pods true", "/apis/x.io/v2/things true", "/apis/x.io/v1/olds true"]);
        assert_eq!(discovered.failed.len(), 1);
        assert_eq!(discovered.failed[0].0, "/apis/x.io/v3");
    });
}
