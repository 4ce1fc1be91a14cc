//! The webhook servers of a manager's pod: admission on port 9502, conversion on port 9501, which is also what the pod's readiness
//! probe asks (`webhook/server/server.go`, `webhook/webhook.go`). Plain HTTP: the simulation has no TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::reads;
use host::http::{Body, Client, collect, empty, full};
use host::net::TcpListener;
use host::time::{Instant, sleep, timeout};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;

use super::review::{self, Denial, Patch};
use super::{MUTATION_PATH, VALIDATION_PATH, mutators, validators};
use crate::runtime::{Context, Datastore, Error, Result};

/// Longest review that is read, in bytes.
const REVIEW_LIMIT_BYTES: usize = 8 << 20;
/// How long a webhook may take to become available, its service included.
const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves nothing but its health on `port`.
pub async fn serve_health(port: u16) -> Result<()> {
    let listener = listen(port).await?;
    host::spawn(host::http::serve(listener, |request, _peer| async move { health(request.uri().path()) }));
    Ok(())
}

/// Serves the admission webhooks on `port`.
pub async fn serve_admission(port: u16, datastore: Arc<Datastore>) -> Result<()> {
    let listener = listen(port).await?;
    host::spawn(host::http::serve(listener, move |request, _peer| admit(datastore.clone(), request)));
    Ok(())
}

async fn listen(port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    TcpListener::bind(address).await.map_err(|error| Error::message(format!("failed to listen on {address}: {error}")))
}

fn health(path: &str) -> Response<Body> {
    answer(if path == "/v1/healthz" { StatusCode::OK } else { StatusCode::NOT_FOUND }, empty())
}

fn answer(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

async fn admit(datastore: Arc<Datastore>, request: Request<hyper::body::Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mutates = match head.uri.path() {
        MUTATION_PATH => true,
        VALIDATION_PATH => false,
        other => return health(other),
    };
    let Ok(body) = collect(body, REVIEW_LIMIT_BYTES).await else {
        return answer(StatusCode::BAD_REQUEST, empty());
    };
    let question = match review::Request::read(&body) {
        Ok(question) => question,
        Err(error) => return answer(StatusCode::BAD_REQUEST, full(error.to_string())),
    };
    let (hook, operation) = (if mutates { "mutator" } else { "validator" }, question.operation.as_str());
    let scope = format!("webhook {hook} {operation} {}", question.resource);
    let verdict = reads::scope(scope, judge(&datastore, &question, mutates)).await;
    if let Err(denial) = &verdict {
        tracing::warn!(%denial, resource = question.resource, operation, "Rejected operation");
    }
    let mut response = Response::new(full(question.answer(verdict).to_string()));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

async fn judge(datastore: &Datastore, question: &review::Request, mutates: bool) -> Result<Patch, Denial> {
    if mutates {
        return mutators::mutate(datastore, question).await;
    }
    validators::validate(datastore, question).await.map(|()| Patch::default())
}

/// Waits until the service of a webhook answers: that the server listens does not mean that the service leads to one.
pub async fn wait_for_service(service: &str, namespace: &str, port: u16) -> Result<()> {
    let url = format!("http://{service}.{namespace}.svc:{port}/v1/healthz");
    let client = Client::new();
    let began = Instant::now();
    while began.elapsed() < START_LIMIT {
        match timeout(LOOK_TIMEOUT, look(&client, &url)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => tracing::warn!(%error, "Failed to check endpoint {url}"),
            Err(_elapsed) => tracing::warn!("Failed to check endpoint {url}: timeout"),
        }
        sleep(LOOK_INTERVAL).await;
    }
    let limit = START_LIMIT.as_secs();
    Err(Error::message(format!("webhook service {service} is not accessible after {limit} sec")))
}

async fn look(client: &Client, url: &str) -> Result<()> {
    let request = Request::builder().method(Method::GET).uri(url).body(empty());
    let request = request.map_err(|error| Error::message(error.to_string()))?;
    let response = client.send(request).await.map_err(|error| Error::message(error.to_string()));
    let response = response.context(|| format!("GET {url}"))?;
    let status = response.status();
    // Read to its end, so that the connection can be used again.
    let _ = response.into_body().collect().await;
    if status == StatusCode::OK { Ok(()) } else { Err(Error::message(format!("endpoint returned {status}"))) }
}
