//! A client of the S3 interface that asks as the AWS SDK for Go (version 1.55) asks for Longhorn: the same requests,
//! and the same patience.
//!
//! Upstream (s3/s3_service.go) allows three retries. A larger number it sets for uploads has no effect, because the SDK
//! copies the number when its client is made. There is no time-out on an answer: a store that accepts and stays silent
//! holds its client for ever.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use host::http::Client;
use host::random::Stream;
use http::{HeaderMap, Method, Request, StatusCode};

use super::answers::{self, Head, ListPage};
use super::signature::{Signable, Signer, UNSIGNED_PAYLOAD, amz_date};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::error::{Error, Result};

const MOST_RETRIES: u32 = 3;
/// Shortest first delays before a retry: after a failure, and after being told to slow down (`client.DefaultRetryer`).
const RETRY_DELAY: Duration = Duration::from_millis(30);
const THROTTLE_DELAY: Duration = Duration::from_millis(500);
/// A list or an error is not longer than that; an object is not either, since a block has at most 16 MiB.
const LONGEST_ANSWER_BYTES: usize = 1 << 30;

/// A bucket, and how to reach it.
pub(super) struct S3Client {
    http: Client,
    endpoint: Endpoint,
    bucket: String,
    signer: Signer,
    jitter: Mutex<Stream>,
}

struct Endpoint {
    authority: String,
    /// Whether the bucket is the first part of the host's name instead of the path.
    bucket_in_host: bool,
}

/// Everything listed under a prefix, all pages.
#[derive(Default)]
pub(super) struct Listed {
    pub keys: Vec<String>,
    pub common_prefixes: Vec<String>,
}

/// One attempt's answer.
struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

/// One attempt's failure, in the SDK's terms.
struct Failure {
    code: String,
    message: String,
    status: Option<StatusCode>,
    retry: Retry,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Never,
    Soon,
    /// The store told the client to slow down, perhaps for a time it named.
    Later(Duration),
}

impl S3Client {
    pub fn new(bucket: String, region: &str, credentials: &Credentials, context: &Context) -> Result<Self> {
        let region = if region.is_empty() { credentials.get("AWS_REGION") } else { region };
        if region.is_empty() {
            return Err(Error::Driver("MissingRegion: could not find region configuration".to_owned()));
        }
        let (access_key, secret_key) = (credentials.get("AWS_ACCESS_KEY_ID"), credentials.get("AWS_SECRET_ACCESS_KEY"));
        if access_key.is_empty() || secret_key.is_empty() {
            let text = "NoCredentialProviders: no valid providers in chain. Deprecated.\n\t\
                        For verbose messaging see aws.Config.CredentialsChainVerboseErrors";
            return Err(Error::Driver(text.to_owned()));
        }
        Ok(Self {
            http: Client::new(),
            endpoint: Endpoint::of(credentials)?,
            bucket,
            signer: Signer {
                access_key: access_key.to_owned(),
                secret_key: secret_key.to_owned(),
                region: region.to_owned(),
            },
            jitter: Mutex::new(context.stream("s3-retry-jitter")),
        })
    }

    /// All keys under a prefix; those with the delimiter behind the prefix are rolled up. Version 1 of the list, which
    /// is what upstream asks.
    pub async fn list(&self, prefix: &str, delimiter: &str) -> Result<Listed> {
        let mut listed = Listed::default();
        let mut marker = None;
        loop {
            let page = self.list_page(prefix, delimiter, marker.as_deref()).await.map_err(|failure| {
                let arguments =
                    format!("{{\n  Bucket: {:?},\n  Delimiter: {delimiter:?},\n  Prefix: {prefix:?}\n}}", self.bucket);
                Error::Driver(format!("failed to list objects with param: {arguments} error: {failure}"))
            })?;
            marker = page.marker();
            listed.keys.extend(page.contents.into_iter().map(|contents| contents.key));
            listed.common_prefixes.extend(page.common_prefixes.into_iter().map(|common| common.prefix));
            if marker.is_none() {
                return Ok(listed);
            }
        }
    }

    async fn list_page(
        &self,
        prefix: &str,
        delimiter: &str,
        marker: Option<&str>,
    ) -> std::result::Result<ListPage, Failure> {
        // In the order of their names, as the signature wants them.
        let mut query = format!("delimiter={}", encode(delimiter, false));
        if let Some(marker) = marker {
            query += &format!("&marker={}", encode(marker, false));
        }
        query += &format!("&prefix={}", encode(prefix, false));
        let answer = self.send(Method::GET, "", &query, Bytes::new()).await?;
        ListPage::parse(&answer.body).map_err(|why| Failure {
            code: "SerializationError".to_owned(),
            message: format!("failed to decode REST XML response\n{why}"),
            status: Some(StatusCode::OK),
            retry: Retry::Never,
        })
    }

    pub async fn head(&self, key: &str) -> Result<Head> {
        let failed = |why: String| {
            Error::Driver(format!("failed to get metadata for object: {key} response: {{\n\n}} error: {why}"))
        };
        let answer =
            self.send(Method::HEAD, key, "", Bytes::new()).await.map_err(|failure| failed(failure.to_string()))?;
        Head::of(&answer.headers).ok_or_else(|| failed("no length".to_owned()))
    }

    pub async fn get(&self, key: &str) -> Result<Bytes> {
        let answer = self.send(Method::GET, key, "", Bytes::new()).await;
        Ok(answer
            .map_err(|failure| {
                Error::Driver(format!("failed to get object: {key} response: {{\n\n}} error: {failure}"))
            })?
            .body)
    }

    pub async fn put(&self, key: &str, content: Bytes) -> Result<()> {
        let answer = self.send(Method::PUT, key, "", content).await;
        answer.map(drop).map_err(|failure| {
            Error::Driver(format!("failed to put object: {key} response: {{\n\n}} error: {failure}"))
        })
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        let answer = self.send(Method::DELETE, key, "", Bytes::new()).await;
        answer.map(drop).map_err(|failure| Error::Driver(failure.to_string()))
    }

    /// Sends a request, and again after failures that may pass.
    async fn send(&self, method: Method, key: &str, query: &str, body: Bytes) -> std::result::Result<Answer, Failure> {
        let mut retries = 0;
        loop {
            let failure = match self.attempt(&method, key, query, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if retries == MOST_RETRIES || failure.retry == Retry::Never {
                return Err(failure);
            }
            let delay = self.delay(failure.retry, retries);
            tracing::debug!(%failure, ?delay, key, "asking the store again");
            host::time::sleep(delay).await;
            retries += 1;
        }
    }

    /// Doubles with each retry, with jitter of its own size.
    fn delay(&self, retry: Retry, retries: u32) -> Duration {
        let (shortest, named) = match retry {
            Retry::Later(named) => (THROTTLE_DELAY, named),
            _ => (RETRY_DELAY, Duration::ZERO),
        };
        let mut jitter = self.jitter.lock().expect("nothing panics while it draws");
        jitter.duration(shortest, shortest * 2) * 2u32.pow(retries) + named
    }

    async fn attempt(
        &self,
        method: &Method,
        key: &str,
        query: &str,
        body: Bytes,
    ) -> std::result::Result<Answer, Failure> {
        let request = self.request(method, key, query, body);
        let uri = request.uri().to_string();
        let response = self.http.send(request).await.map_err(|error| Failure::of_transport(method, &uri, &error))?;
        let (head, body) = response.into_parts();
        let body = host::http::collect(body, LONGEST_ANSWER_BYTES).await;
        if !head.status.is_success() {
            return Err(Failure::of_answer(head.status, &head.headers, &body.unwrap_or_default()));
        }
        // The SDK hands the body out as a stream, so that a transfer that breaks is not repeated.
        let body = body.map_err(|_| Failure::plain("unexpected EOF"))?;
        Ok(Answer { headers: head.headers, body })
    }

    fn request(&self, method: &Method, key: &str, query: &str, body: Bytes) -> Request<host::http::Body> {
        let path = self.endpoint.path(&self.bucket, key);
        let host = self.endpoint.host(&self.bucket);
        let now = host::wall_clock::now();
        let date = amz_date(now);
        let headers =
            [("host", host.as_str()), ("x-amz-content-sha256", UNSIGNED_PAYLOAD), ("x-amz-date", date.as_str())];
        let signable =
            Signable { method: method.as_str(), path: &path, query, headers: &headers, payload_hash: UNSIGNED_PAYLOAD };
        let authorization = self.signer.authorization(&signable, now);
        let question = if query.is_empty() { "" } else { "?" };
        let mut request =
            Request::builder().method(method.clone()).uri(format!("http://{host}{path}{question}{query}"));
        for (name, value) in headers.into_iter().skip(1).chain([("authorization", authorization.as_str())]) {
            request = request.header(name, value);
        }
        let body = if body.is_empty() { host::http::empty() } else { host::http::full(body) };
        request.body(body).expect("names are encoded and the endpoint was checked")
    }
}

impl Endpoint {
    /// The first of `AWS_ENDPOINTS`; the bucket goes into the path unless `VIRTUAL_HOSTED_STYLE` says otherwise.
    fn of(credentials: &Credentials) -> Result<Self> {
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY"] {
            if !credentials.get(proxy).is_empty() {
                return Err(Error::Invalid(format!("{proxy} is set, and proxies are not supported here")));
            }
        }
        let endpoint = credentials.get("AWS_ENDPOINTS");
        let authority = endpoint.strip_prefix("http://").unwrap_or_default().trim_end_matches('/');
        if authority.parse::<http::uri::Authority>().is_err() {
            return Err(Error::Invalid(format!(
                "AWS_ENDPOINTS must be the address of a store without TLS, http://host:port, got {endpoint:?}"
            )));
        }
        let bucket_in_host = credentials.get("VIRTUAL_HOSTED_STYLE") == "true";
        Ok(Self { authority: authority.to_owned(), bucket_in_host })
    }

    fn host(&self, bucket: &str) -> String {
        if self.bucket_in_host { format!("{bucket}.{}", self.authority) } else { self.authority.clone() }
    }

    fn path(&self, bucket: &str, key: &str) -> String {
        let key = encode(key, true);
        match (self.bucket_in_host, key.is_empty()) {
            (true, _) => format!("/{key}"),
            (false, true) => format!("/{bucket}"),
            (false, false) => format!("/{bucket}/{key}"),
        }
    }
}

impl Failure {
    fn plain(message: &str) -> Self {
        Self { code: String::new(), message: message.to_owned(), status: None, retry: Retry::Never }
    }

    /// No answer came. All such failures are tried again but one: a reset that is seen while reading.
    fn of_transport(method: &Method, uri: &str, error: &host::http::Error) -> Self {
        let reset = matches!(error, host::http::Error::Transfer(error) if is_reset(error));
        let verb = {
            let name = method.as_str();
            format!("{}{}", &name[..1], name[1..].to_ascii_lowercase())
        };
        Self {
            code: "RequestError".to_owned(),
            message: format!("send request failed {verb} {uri:?}: {}", dial_text(error)),
            status: None,
            retry: if reset { Retry::Never } else { Retry::Soon },
        }
    }

    /// The store refused.
    fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let (code, message) = answers::error(status, body);
        let named = headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let named = Duration::from_secs(named.unwrap_or(0));
        let retry = match status.as_u16() {
            429 | 503 => Retry::Later(named),
            502 | 504 => Retry::Later(Duration::ZERO),
            500 => Retry::Soon,
            _ if code == "RequestTimeout" => Retry::Soon,
            _ => Retry::Never,
        };
        Self { code, message, status: Some(status), retry }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.code.is_empty() {
            return write!(formatter, "{}", self.message);
        }
        match self.status {
            Some(status) => {
                writeln!(formatter, "AWS Error:  {} {} <nil>\n{} ", self.code, self.message, status.as_u16())
            }
            None => writeln!(formatter, "AWS Error:  {} {}", self.code, self.message),
        }
    }
}

/// Go's words for a connection that could not be made; people search logs for them.
fn dial_text(error: &host::http::Error) -> String {
    match error {
        host::http::Error::Connect { authority, error } => format!("dial tcp {authority}: connect: {error}"),
        host::http::Error::ConnectTimeout { authority } => format!("dial tcp {authority}: i/o timeout"),
        other => other.to_string(),
    }
}

fn is_reset(error: &dyn std::error::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionReset;
        }
        cause = error.source();
    }
    false
}

/// Percent-encodes all but unreserved characters; slashes are kept in paths.
fn encode(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte as char),
            b'/' if keep_slashes => encoded.push('/'),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
