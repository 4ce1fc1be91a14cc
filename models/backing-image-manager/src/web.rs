//! HTTP as this component speaks it: small answers, and requests with a time-out.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use host::http::{Body, Client, collect, empty, full};
use host::net::{TcpListener, lookup};
use host::time::{sleep, timeout};
use http::{Method, Request, Response, StatusCode, header};
use serde::Serialize;

use crate::error::{Context, Error, Result};

/// How long a request to a file or data source service may take (`HTTPClientTimeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer's or configuration's size beyond which something is wrong.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;

/// A success that says nothing.
pub(crate) fn done() -> Response<Body> {
    Response::new(empty())
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(text) => {
            let mut answer = Response::new(full(text));
            answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            answer
        }
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// A failure, as Go's `http.Error` writes it.
pub(crate) fn failure(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = Response::new(full(format!("{text}\n")));
    *answer.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// Sends a request, and gives the body of a successful answer.
pub(crate) async fn request(client: &Client, method: Method, url: &str, body: Option<Vec<u8>>) -> Result<Bytes> {
    let body = body.map_or_else(empty, full);
    let request = Request::builder().method(method).uri(url).body(body);
    let request = request.map_err(|error| Error::invalid(format!("invalid URL {url}: {error}")))?;
    within(REQUEST_TIMEOUT, async {
        let answer = client.send(request).await?;
        let status = answer.status();
        let body = collect(answer.into_body(), ANSWER_LIMIT_BYTES).await?;
        if status != StatusCode::OK {
            return Err(Error::Answer { status, body: String::from_utf8_lossy(&body).into_owned() });
        }
        Ok(body)
    })
    .await
}

/// The result, unless it takes longer.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, work).await.unwrap_or(Err(Error::Timeout))
}

/// Listens at `host:port`.
pub(crate) async fn listen(address: &str) -> Result<TcpListener> {
    let failed = || format!("listen tcp {address}");
    let addresses = lookup(address).await.context(failed)?;
    let address = addresses.first().ok_or_else(|| Error::invalid(format!("{address} has no address")))?;
    TcpListener::bind(*address).await.context(failed)
}

/// Waits until a server answers, asking once a second (`DetectHTTPServerAvailability`).
pub(crate) async fn is_available_within(client: &Client, url: &str, seconds: u32) -> bool {
    for _ in 0..=seconds {
        sleep(Duration::from_secs(1)).await;
        if answers(client, url).await {
            return true;
        }
    }
    false
}

/// Waits until no server answers any more, asking once a second.
pub(crate) async fn is_gone_within(client: &Client, url: &str, seconds: u32) -> bool {
    for _ in 0..=seconds {
        sleep(Duration::from_secs(1)).await;
        if !answers(client, url).await {
            return true;
        }
    }
    false
}

async fn answers(client: &Client, url: &str) -> bool {
    let Ok(request) = Request::builder().uri(url).body(empty()) else { return false };
    matches!(timeout(Duration::from_secs(1), client.send(request)).await, Ok(Ok(_)))
}
