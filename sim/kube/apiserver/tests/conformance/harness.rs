//! A server and a client on it, in either world.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use corral_apiserver::{DefinitionTiming, HistoryOptions, Options, Server, Store};
use host::http::{Client, collect, empty, full};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// Makes a test for each world of each function.
macro_rules! both {
    ($($function:ident),* $(,)?) => {
        $(mod $function {
            #[test]
            fn real() {
                host::real::block_on(super::$function());
            }
            #[test]
            fn simulated() {
                $crate::harness::simulated(super::$function);
            }
        })*
    };
}

/// Makes a test in the simulated world of each function.
macro_rules! simulated_only {
    ($($function:ident),* $(,)?) => {
        $(mod $function {
            #[test]
            fn simulated() {
                $crate::harness::simulated(super::$function);
            }
        })*
    };
}

/// Runs it under three seeds.
pub fn simulated<F, Fut>(function: F)
where
    F: FnOnce() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    for seed in 0..3 {
        let function = function.clone();
        corral_core::run(corral_core::Options::new(seed), async move { function().await }).unwrap();
    }
}

/// The namespace of most objects.
pub const NS: &str = "test";
/// Things, namespaced, with a status subresource.
pub const THINGS: &str = "/apis/test.example/v1/namespaces/test/things";
/// Config maps.
pub const MAPS: &str = "/api/v1/namespaces/test/configmaps";
/// Pods.
pub const PODS: &str = "/api/v1/namespaces/test/pods";
/// Definitions.
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub code: u16,
    pub body: Value,
    pub text: String,
    pub warnings: Vec<String>,
}

impl Reply {
    /// The body, if the code is this.
    #[track_caller]
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.body
    }

    /// The body, if the answer is a Status with this code and reason.
    #[track_caller]
    pub fn refused(self, code: u16, reason: &str) -> Value {
        assert_eq!((self.code, self.body["reason"].as_str().unwrap_or_default()), (code, reason), "{}", self.text);
        assert_eq!((&self.body["kind"], &self.body["status"]), (&json!("Status"), &json!("Failure")));
        self.body
    }
}

/// A server with a client.
pub struct Cluster {
    pub store: Arc<Store>,
    pub client: Client,
    pub base: String,
}

/// Options without the pauses that the real server makes around definitions.
pub fn quick() -> Options {
    let definitions = DefinitionTiming {
        establish: Duration::ZERO,
        young: Duration::ZERO,
        young_create: Duration::ZERO,
        watches_end: Duration::from_millis(5),
        reinitializing: Duration::ZERO,
    };
    Options { definitions, allow_plain_http_webhooks: true, ..Options::default() }
}

/// A listener on an address of this process.
pub async fn listen() -> (host::net::TcpListener, String) {
    let address = std::net::SocketAddr::new(host::net::local_ip(), 0);
    let listener = host::net::TcpListener::bind(address).await.expect("an address of our own");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    (listener, url)
}

impl Cluster {
    /// A server with things and the namespace.
    pub async fn start() -> Cluster {
        Cluster::with(quick()).await
    }

    /// The same with other options.
    pub async fn with(options: Options) -> Cluster {
        let cluster = Cluster::on(Store::new(HistoryOptions::default()), options).await;
        cluster
            .post("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}}))
            .await
            .expect(201);
        cluster.define(thing_definition()).await;
        cluster
    }

    /// A server on a store.
    pub async fn on(store: Arc<Store>, options: Options) -> Cluster {
        let (listener, base) = listen().await;
        let server = Server::new(store.clone(), options);
        host::spawn(async move { server.serve(listener).await });
        Cluster { store, client: Client::new(), base }
    }

    /// Installs a definition and waits until it is served.
    pub async fn define(&self, definition: Value) {
        let name = definition["metadata"]["name"].as_str().expect("a name").to_owned();
        self.post(DEFINITIONS, definition).await.expect(201);
        let path = format!("{DEFINITIONS}/{name}");
        loop {
            let stored = self.get(&path).await.expect(200);
            let conditions = stored["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_established = conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True");
            // In the real world the condition can be read a moment before the paths are there.
            if is_established {
                let Some(path) = served_path(&stored["spec"]) else { return };
                if self.get(&path).await.code != 404 {
                    return;
                }
            }
            host::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends a request.
    pub async fn send(&self, method: Method, path: &str, kind: &str, body: Option<String>) -> Reply {
        let request =
            Request::builder().method(method).uri(format!("{}{path}", self.base)).header("User-Agent", "test");
        let request = match body {
            Some(body) => request.header("Content-Type", kind).body(full(body)),
            None => request.body(empty()),
        };
        let response = self.client.send(request.expect("a request")).await.expect("an answer");
        let code = response.status().as_u16();
        let warnings = response
            .headers()
            .get_all("Warning")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect();
        let bytes = collect(response.into_body(), 64 << 20).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Reply { code, body: serde_json::from_slice(&bytes).unwrap_or_default(), text, warnings }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, "", None).await
    }

    /// GET in another form than plain objects.
    pub async fn get_as(&self, path: &str, accept: &str) -> Reply {
        let request =
            Request::get(format!("{}{path}", self.base)).header("Accept", accept).body(empty()).expect("a request");
        let response = self.client.send(request).await.expect("an answer");
        let code = response.status().as_u16();
        let bytes = collect(response.into_body(), 1 << 20).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Reply { code, body: serde_json::from_slice(&bytes).unwrap_or_default(), text, warnings: Vec::new() }
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, "application/json", Some(body.to_string())).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PUT, path, "application/json", Some(body.to_string())).await
    }

    /// A merge patch.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, "application/merge-patch+json", Some(body.to_string())).await
    }

    pub async fn json_patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, "application/json-patch+json", Some(body.to_string())).await
    }

    pub async fn strategic(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, "application/strategic-merge-patch+json", Some(body.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, "", None).await
    }

    pub async fn delete_with(&self, path: &str, options: Value) -> Reply {
        self.send(Method::DELETE, path, "application/json", Some(options.to_string())).await
    }

    /// Creates a thing.
    pub async fn thing(&self, name: &str) -> Value {
        self.post(THINGS, thing(name)).await.expect(201)
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str, parameters: &str) -> Watch {
        let url = format!("{}{path}?watch=1&{parameters}", self.base);
        let request = Request::get(url).header("User-Agent", "watcher").body(empty()).expect("a request");
        let response = self.client.send(request).await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        Watch { body: response.into_body(), buffer: Vec::new(), lines: VecDeque::new() }
    }
}

/// Where a definition's objects are listed, if they are.
fn served_path(spec: &Value) -> Option<String> {
    let versions = spec["versions"].as_array().into_iter().flatten();
    let served = versions.filter(|version| version["served"] == true).find_map(|version| version["name"].as_str())?;
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(format!("/apis/{}/{served}/{}", name(&spec["group"]), name(&spec["names"]["plural"])))
}

/// An open watch.
pub struct Watch {
    body: hyper::body::Incoming,
    buffer: Vec<u8>,
    lines: VecDeque<Value>,
}

impl Watch {
    /// The next event; none at the end. An error of the transfer is the event `broken`.
    pub async fn next(&mut self) -> Option<Value> {
        host::time::timeout(Duration::from_secs(10), self.next_line()).await.expect("an event, or the end")
    }

    /// The same, however long it takes.
    pub async fn next_unbounded(&mut self) -> Option<Value> {
        self.next_line().await
    }

    async fn next_line(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(_) => return Some(json!("broken")),
            };
            self.buffer.extend_from_slice(frame.data_ref().expect("data"));
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                self.lines.push_back(serde_json::from_slice(&line).expect("an event"));
            }
        }
    }

    /// Type and name of the next events.
    pub async fn take(&mut self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let event = self.next().await.expect("an event");
            seen.push(format!(
                "{} {}",
                event["type"].as_str().unwrap_or("?"),
                event["object"]["metadata"]["name"].as_str().unwrap_or("?")
            ));
        }
        seen
    }

    /// Nothing comes for this long.
    pub async fn is_silent(&mut self, duration: Duration) -> bool {
        host::time::timeout(duration, self.next_line()).await.is_err()
    }
}

/// A thing.
pub fn thing(name: &str) -> Value {
    json!({"apiVersion": "test.example/v1", "kind": "Thing", "metadata": {"name": name}, "spec": {"size": 1}})
}

/// A thing with more metadata.
pub fn thing_with(name: &str, metadata: Value) -> Value {
    let mut thing = thing(name);
    let given = metadata.as_object().cloned().expect("an object");
    thing["metadata"].as_object_mut().expect("metadata").extend(given);
    thing
}

/// A config map.
pub fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// The version of an object.
pub fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().expect("a version").parse().expect("a number")
}

/// The definition of things.
pub fn thing_definition() -> Value {
    definition(
        "things",
        "Thing",
        json!({
            "type": "object",
            "properties": {
                "spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "integer", "minimum": 0},
                    "mode": {"type": "string", "enum": ["rw", "ro"], "default": "rw"},
                    "tags": {"type": "array", "maxItems": 3, "items": {"type": "string"}},
                    "nested": {"type": "object", "properties": {"path": {"type": "string"}}},
                    "params": {"type": "object", "additionalProperties": {"type": "string"}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "at": {"type": "string", "format": "date-time", "nullable": true}}},
                "status": {"type": "object", "properties": {"state": {"type": "string"}, "replicas": {"type": "integer"}}}},
        }),
    )
}

/// A definition in group `test.example`, version v1, with a status subresource.
pub fn definition(plural: &str, kind: &str, schema: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.test.example")},
        "spec": {"group": "test.example", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]}]}})
}
