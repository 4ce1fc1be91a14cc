//! A scripted server: each request is shown to a closure, which answers, streams, or breaks the connection off.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use corral_kube_client::{Client, ClientOptions};
use host::http::{Body, BodySender};
use host::net::TcpListener;
use http::{Request, Response};
use serde_json::{Value, json};

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub content_type: String,
    pub body: Bytes,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
    }
}

/// What to answer.
pub enum Reply {
    Json(u16, Value),
    Retry(u16, u64),
    Text(u16, &'static str),
    /// An open stream, whose other half the script keeps.
    Stream(Body),
}

pub type Requests = Arc<Mutex<Vec<Seen>>>;

/// A server with this script, and what it has seen.
pub async fn serve<F, R>(script: F) -> (SocketAddr, Requests)
where
    F: Fn(Seen) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Requests::default();
    let log = requests.clone();
    host::spawn(host::http::serve(listener, move |request, _peer| {
        let (script, log) = (script.clone(), log.clone());
        async move {
            let seen = receive(request).await;
            log.lock().unwrap().push(seen.clone());
            respond(script(seen).await)
        }
    }));
    (address, requests)
}

async fn receive(request: Request<hyper::body::Incoming>) -> Seen {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        content_type,
        body: host::http::collect(body, 1 << 20).await.unwrap(),
    }
}

fn respond(reply: Reply) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/json");
    match reply {
        Reply::Json(code, value) => response.status(code).body(host::http::full(value.to_string())),
        Reply::Retry(code, seconds) => response
            .status(code)
            .header("retry-after", seconds)
            .body(host::http::full(status(code, "TooManyRequests", "later").to_string())),
        Reply::Text(code, text) => response.status(code).body(host::http::full(text)),
        Reply::Stream(body) => response.status(200).body(body),
    }
    .unwrap()
}

pub fn client(address: SocketAddr) -> Client {
    Client::new(&address.to_string(), ClientOptions::unlimited("test")).unwrap()
}

pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})
}

pub fn config_map(name: &str, version: u64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "ns", "resourceVersion": version.to_string(), "labels": {"app": name}},
    })
}

pub fn list(version: u64, items: Vec<Value>) -> Value {
    json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": items})
}

pub fn line(event: &str, object: Value) -> Bytes {
    format!("{}\n", json!({"type": event, "object": object})).into()
}

/// Answers lists and watches of config maps from queues that a test fills.
#[derive(Clone, Default)]
pub struct Script {
    lists: Arc<Mutex<VecDeque<Reply>>>,
    watches: Arc<Mutex<VecDeque<Reply>>>,
}

impl Script {
    pub fn list(&self, reply: Reply) -> &Script {
        self.lists.lock().unwrap().push_back(reply);
        self
    }

    pub fn watch(&self, reply: Reply) -> &Script {
        self.watches.lock().unwrap().push_back(reply);
        self
    }

    /// Queues a watch that stays open, and gives the way into it.
    pub fn open_watch(&self) -> BodySender {
        let (sender, body) = host::http::channel(64);
        self.watch(Reply::Stream(body));
        sender
    }

    /// Starts a server that follows this script; an empty queue refuses with 500.
    pub async fn serve(&self) -> (SocketAddr, Requests) {
        let script = self.clone();
        serve(move |seen| {
            let queue = if seen.is_watch() { script.watches.clone() } else { script.lists.clone() };
            let reply = queue.lock().unwrap().pop_front();
            async move { reply.unwrap_or(Reply::Json(500, status(500, "InternalError", "the script is over"))) }
        })
        .await
    }
}
