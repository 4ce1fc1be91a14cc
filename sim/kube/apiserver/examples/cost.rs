//! What a create costs with watchers, in processor time: `time cargo run --release -p corral-apiserver --example cost -- CREATES WATCHERS`, twice
//! with different numbers; the difference is the cost. The object is a volume of 1.8 KB; clients decode what they receive.

use corral_apiserver::{HistoryOptions, Options, Server, Store};
use host::http::{Client, full};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};

/// A client's view of an object: typed, as informers have it.
#[derive(Debug, Deserialize)]
struct Volume {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    spec: Spec,
    status: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    size: String,
    frontend: String,
    #[serde(default)]
    disk_selector: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Line {
    object: Volume,
}

fn volume(number: usize) -> Value {
    let fields = (0..40).map(|field| (format!("someSettingOfTheVolume{field}"), json!("a value of it")));
    let mut spec: serde_json::Map<String, Value> = fields.collect();
    spec.insert("size".into(), json!("21474836480"));
    spec.insert("frontend".into(), json!("blockdev"));
    spec.insert("diskSelector".into(), json!([]));
    json!({"apiVersion": "bench.example/v1", "kind": "Volume",
        "metadata": {"name": format!("volume-{number}"), "namespace": "default", "labels": {"longhornvolume": "pvc-0f0e", "setting": "x"}, "finalizers": ["bench.example"]},
        "spec": spec})
}

fn definition() -> Value {
    let mut properties: serde_json::Map<String, Value> =
        (0..40).map(|field| (format!("someSettingOfTheVolume{field}"), json!({"type": "string"}))).collect();
    properties.insert("size".into(), json!({"type": "string"}));
    properties.insert("frontend".into(), json!({"type": "string", "enum": ["", "blockdev", "iscsi"]}));
    properties.insert("diskSelector".into(), json!({"type": "array", "items": {"type": "string"}}));
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "volumes.bench.example"},
        "spec": {"group": "bench.example", "scope": "Namespaced", "names": {"plural": "volumes", "singular": "volume", "kind": "Volume", "listKind": "VolumeList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}, "status": {"type": "object"}}}}}]}})
}

async fn post(client: &Client, url: &str, body: String) -> u16 {
    let request =
        http::Request::post(url).header("Content-Type", "application/json").body(full(body)).expect("a request");
    let response = client.send(request).await.expect("an answer");
    let code = response.status().as_u16();
    let bytes = host::http::collect(response.into_body(), 1 << 20).await.expect("a body");
    if code == 201 && url.contains("volumes") {
        let created: Volume = serde_json::from_slice(&bytes).expect("a volume");
        assert!(created.metadata.uid.is_some());
    }
    code
}

async fn follow(client: Client, url: String, expected: usize) {
    let response =
        client.send(http::Request::get(url).body(host::http::empty()).expect("a request")).await.expect("an answer");
    let mut body = response.into_body();
    let mut buffer = Vec::new();
    let mut seen = 0;
    while seen < expected {
        let frame = body.frame().await.expect("more").expect("a frame");
        buffer.extend_from_slice(frame.data_ref().expect("data"));
        let mut start = 0;
        while let Some(length) = buffer[start..].iter().position(|byte| *byte == b'\n') {
            let line: Line = serde_json::from_slice(&buffer[start..start + length]).expect("a line");
            assert!(
                line.object.spec.size.len() + line.object.spec.frontend.len() + line.object.spec.disk_selector.len()
                    > 8
            );
            assert!(line.object.status.is_none());
            start += length + 1;
            seen += 1;
        }
        buffer.drain(..start);
    }
}

fn main() {
    let argument = |index: usize, otherwise: usize| {
        std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let (creates, watchers) = (argument(1, 10_000), argument(2, 3));
    corral_core::run(corral_core::Options::new(1), async move {
        let listener =
            host::net::TcpListener::bind("192.168.0.1:8001".parse().expect("an address")).await.expect("free");
        let store = Store::new(HistoryOptions { max_bytes: 1 << 20, ..HistoryOptions::default() });
        let server = Server::new(store, Options::default());
        host::spawn(async move { server.serve(listener).await });
        let client = Client::new();
        let base = "http://192.168.0.1:8001/apis";
        let code = post(
            &client,
            &format!("{base}/apiextensions.k8s.io/v1/customresourcedefinitions"),
            definition().to_string(),
        )
        .await;
        assert_eq!(code, 201);
        host::time::sleep(std::time::Duration::from_secs(3)).await;
        let url = format!("{base}/bench.example/v1/namespaces/default/volumes");
        let following: Vec<_> = (0..watchers)
            .map(|_| host::spawn(follow(Client::new(), format!("{url}?watch=1&resourceVersion=0"), creates)))
            .collect();
        host::time::sleep(std::time::Duration::from_secs(1)).await;
        let template = volume(0).to_string();
        for number in 0..creates {
            let body = template.replacen("\"volume-0\"", &format!("\"volume-{number}\""), 1);
            assert_eq!(post(&client, &url, body).await, 201);
        }
        for watch in following {
            watch.await.expect("a watch ends");
        }
        println!("{creates} creates of {} bytes, {watchers} watchers", volume(0).to_string().len());
    })
    .unwrap();
}
