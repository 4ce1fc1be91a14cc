//! The connection to one API server: throttling, retries, time-outs, and how a refusal becomes an [`Error`].
//!
//! As client-go's REST client: a token bucket on this side (not for watches), `Retry-After` of a 429 or 5xx answer is obeyed up to ten times for
//! every verb, a GET whose connection broke is tried again after a second, a write never is: whether it was carried out is then unknown.
//! Fault model: the answer may be lost after the server committed; the caller sees a transport error or [`Error::Timeout`].
//! Source: client-go rest/request.go, rest/with_retry.go. HTTP/1.1 instead of HTTP/2 (sim/ARCHITECTURE.md, deviations).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use host::http::Body;
use host::net::Keepalive;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use kube_core::response::{Status, StatusCause, StatusDetails};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, no_details};
use crate::sync::lock;
use crate::token_bucket::TokenBucket;

/// The body of an answer, still arriving.
pub(crate) type Incoming = hyper::body::Incoming;

/// No answer but a LIST comes near this.
const MAXIMUM_ANSWER_BYTES: usize = 1 << 30;
/// Connections kept for the next request.
const IDLE_CONNECTIONS: usize = 100;
/// Source: client-go rest/request.go, NewRequest.
const MAXIMUM_RETRIES: u32 = 10;
/// What a broken connection counts as: a 500 that asks to wait a second.
const RETRY_AFTER_BREAK: Duration = Duration::from_secs(1);

/// How a [`Client`] behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Who is calling; the server's journal shows it. Also names this client's random stream: two clients of one process need two names, or be
    /// clones of one.
    pub user_agent: String,
    /// Requests a second, on average; `None` is unlimited.
    pub queries_per_second: Option<f64>,
    /// Requests at once.
    pub burst: u32,
    /// Ends every request but watches, retries included; `None` waits for ever, as client-go does.
    pub timeout: Option<Duration>,
}

impl Default for ClientOptions {
    /// client-go's: 5 requests a second, 10 at once, no time-out. Source: rest/config.go.
    fn default() -> ClientOptions {
        ClientOptions { user_agent: "corral".into(), queries_per_second: Some(5.0), burst: 10, timeout: None }
    }
}

impl ClientOptions {
    /// Without a limit on this side.
    pub fn unlimited(user_agent: impl Into<String>) -> ClientOptions {
        ClientOptions { user_agent: user_agent.into(), queries_per_second: None, ..ClientOptions::default() }
    }

    /// With this limit.
    pub fn limited(user_agent: impl Into<String>, queries_per_second: f64, burst: u32) -> ClientOptions {
        let queries_per_second = Some(queries_per_second);
        ClientOptions { user_agent: user_agent.into(), queries_per_second, burst, ..ClientOptions::default() }
    }
}

/// A client of one API server. Clones share connections, limit and random stream.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    http: host::http::Client,
    base: String,
    user_agent: HeaderValue,
    name: String,
    limit: Option<Mutex<TokenBucket>>,
    timeout: Option<Duration>,
    streams: AtomicU64,
}

/// What may be sent again after the connection broke.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Answers with `Retry-After` only.
    Answers,
    /// A read: broken connections too.
    Broken,
    /// A watch: also connections that time out.
    BrokenOrSlow,
}

/// One request, to be sent once or more.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) accept: Option<&'static str>,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn get(target: String) -> Call {
        Call { method: Method::GET, target, content_type: None, accept: None, body: Bytes::new() }
    }

    pub(crate) fn with_body(method: Method, target: String, content_type: &'static str, body: Vec<u8>) -> Call {
        Call { method, target, content_type: Some(content_type), accept: None, body: body.into() }
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) body: Bytes,
}

impl Client {
    /// A client of the server at `http://host:port`, or just `host:port`.
    pub fn new(server: &str, options: ClientOptions) -> Result<Client> {
        let server = server.trim_end_matches('/');
        let base = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        Request::get(format!("{base}/")).body(())?;
        let user_agent = HeaderValue::from_str(&options.user_agent).map_err(http::Error::from)?;
        let limit = options.queries_per_second.map(|rate| Mutex::new(TokenBucket::per_second(rate, options.burst)));
        // HTTP/2 would carry everything on one connection; without it, a controller's bursts must not connect anew each time.
        // client-go notices a dead server by HTTP/2's ping: 30 s of silence, 15 s for the answer. Here TCP does what the ping would.
        let connections = host::http::ClientOptions {
            max_idle_per_host: IDLE_CONNECTIONS,
            keepalive: Keepalive { idle: Duration::from_secs(30), interval: Duration::from_secs(15), retries: 1 },
            user_timeout: Some(Duration::from_secs(45)),
            ..host::http::ClientOptions::default()
        };
        let shared = Shared {
            http: host::http::Client::with_options(connections),
            base,
            user_agent,
            name: options.user_agent,
            limit,
            timeout: options.timeout,
            streams: AtomicU64::new(0),
        };
        Ok(Client { shared: Arc::new(shared) })
    }

    /// The address requests go to.
    pub fn server(&self) -> &str {
        &self.shared.base
    }

    /// Who this client says it is.
    pub fn user_agent(&self) -> &str {
        &self.shared.name
    }

    /// The JSON answer of a path that is no resource: `/version`, `/apis`, `/metrics`.
    pub async fn get_raw(&self, path: &str) -> Result<Bytes> {
        Ok(self.send(Call::get(path.to_owned())).await?.body)
    }

    /// A random stream for one user of this client; the next call gives another one.
    pub(crate) fn random(&self, user: &str) -> host::random::Stream {
        let number = self.shared.streams.fetch_add(1, Ordering::Relaxed);
        host::random::stream(&format!("kube-client/{}/{number}/{user}", self.shared.name))
    }

    /// Sends a request and decodes its answer.
    pub(crate) async fn decode<T: DeserializeOwned>(&self, call: Call, what: &str) -> Result<T> {
        let answer = self.send(call).await?;
        decode(&answer.body, what)
    }

    /// Sends a request; a code above 299 is an error.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer> {
        self.throttle().await;
        let whole = async {
            let repeat = if call.method == Method::GET { Repeat::Broken } else { Repeat::Answers };
            let response = self.send_repeatedly(&call, repeat).await?;
            self.receive(&call, response).await
        };
        match self.shared.timeout {
            Some(timeout) => host::time::timeout(timeout, whole).await.map_err(|_elapsed| Error::Timeout)?,
            None => whole.await,
        }
    }

    /// Opens a watch: no throttling, no time-out.
    pub(crate) async fn stream(&self, call: Call) -> Result<Incoming> {
        let response = self.send_repeatedly(&call, Repeat::BrokenOrSlow).await?;
        if response.status() == StatusCode::OK {
            return Ok(response.into_body());
        }
        match self.receive(&call, response).await {
            Ok(answer) => Err(refusal(&call, answer.code, &HeaderMap::new(), &answer.body)),
            Err(error) => Err(error),
        }
    }

    async fn send_repeatedly(&self, call: &Call, repeat: Repeat) -> Result<Response<Incoming>> {
        let mut tries = 0;
        loop {
            let result = self.shared.http.send(self.request(call)?).await.map_err(Error::from);
            tries += 1;
            let wait = if tries > MAXIMUM_RETRIES { None } else { wait_before_retry(&result, repeat) };
            let Some(wait) = wait else { return result };
            tracing::debug!(target = %call.target, tries, ?wait, "retrying a request");
            host::time::sleep(wait).await;
            self.throttle().await;
        }
    }

    async fn throttle(&self) {
        let wait = self.shared.limit.as_ref().map_or(Duration::ZERO, |limit| lock(limit).reserve());
        if !wait.is_zero() {
            host::time::sleep(wait).await;
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Body>> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.shared.base, call.target))
            .header(USER_AGENT, &self.shared.user_agent)
            .header(ACCEPT, call.accept.unwrap_or("application/json"));
        if let Some(content_type) = call.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let body = if call.body.is_empty() { host::http::empty() } else { host::http::full(call.body.clone()) };
        Ok(request.body(body)?)
    }

    async fn receive(&self, call: &Call, response: Response<Incoming>) -> Result<Answer> {
        let (head, body) = response.into_parts();
        let body = host::http::collect(body, MAXIMUM_ANSWER_BYTES).await?;
        if head.status.is_success() {
            return Ok(Answer { code: head.status, body });
        }
        Err(refusal(call, head.status, &head.headers, &body))
    }
}

/// Decodes an answer.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(body).map_err(|source| Error::Decode { what: what.to_owned(), source })
}

fn wait_before_retry(result: &Result<Response<Incoming>>, repeat: Repeat) -> Option<Duration> {
    match result {
        Ok(response) => {
            let code = response.status();
            let asks = code == StatusCode::TOO_MANY_REQUESTS || code.is_server_error();
            let seconds = retry_after_seconds(response.headers())?;
            asks.then_some(Duration::from_secs(seconds))
        }
        Err(error) => {
            let again = match repeat {
                Repeat::Answers => false,
                Repeat::Broken => error.is_connection_broken(),
                Repeat::BrokenOrSlow => error.is_connection_broken() || error.is_connection_timeout(),
            };
            again.then_some(RETRY_AFTER_BREAK)
        }
    }
}

fn retry_after_seconds(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// The error that an answer stands for: its Status if it is one, else one made up from the code.
fn refusal(call: &Call, code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    if let Ok(status) = serde_json::from_slice::<Status>(body)
        && status.is_failure()
    {
        return Error::Api(Box::new(status.with_code(code.as_u16())));
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(2048)]);
    let details = StatusDetails {
        retry_after_seconds: retry_after_seconds(headers).and_then(|seconds| seconds.try_into().ok()).unwrap_or(0),
        causes: vec![StatusCause {
            reason: "UnexpectedServerResponse".into(),
            message: text.trim().into(),
            field: String::new(),
        }],
        ..no_details()
    };
    let (reason, message) = generic_reason(call, code, text.trim());
    Error::Api(Box::new(Status::failure(&message, reason).with_code(code.as_u16()).with_details(details)))
}

/// Reason and message for an answer without a Status. Source: apierrors.NewGenericServerResponse.
fn generic_reason(call: &Call, code: StatusCode, text: &str) -> (&'static str, String) {
    let (reason, message) = match code.as_u16() {
        409 if call.method == Method::POST => ("AlreadyExists", "the server reported a conflict"),
        409 => ("Conflict", "the server reported a conflict"),
        404 => ("NotFound", "the server could not find the requested resource"),
        400 => ("BadRequest", "the server rejected our request for an unknown reason"),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials"),
        403 => ("Forbidden", text),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
        406 => ("NotAcceptable", text),
        415 => ("UnsupportedMediaType", text),
        422 => ("Invalid", "the server rejected our request due to an error in our request"),
        429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request",
        ),
        500.. => {
            let message = format!("an error on the server ({text:?}) has prevented the request from succeeding");
            return ("InternalError", message);
        }
        other => {
            let message =
                format!("the server responded with the status code {other} but did not return more information");
            return ("", message);
        }
    };
    (reason, message.to_owned())
}
