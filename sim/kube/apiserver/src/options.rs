//! How a server behaves: what a test or a fault injector may set.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::past::Recorder;
pub use crate::store::Delivery;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The User-Agent header.
    pub user_agent: String,
    /// The connection's other end.
    pub address: SocketAddr,
}

/// What a request is about, for those who decide its fate.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    /// Who asks.
    pub client: &'a ClientIdentity,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'a str,
    /// The resource, as the store names it: `pods`, `volumes.longhorn.io`.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Name, or empty.
    pub name: &'a str,
}

/// An answer given instead of the server's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status: 403, 409, 429, 500, 503, 504.
    pub code: u16,
    /// Seconds for a Retry-After header.
    pub retry_after_seconds: Option<u32>,
    /// The message.
    pub message: String,
}

/// What becomes of the answer of a request that was carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerFate {
    /// It is sent.
    #[default]
    Sent,
    /// It is sent so much later.
    Delayed(Duration),
    /// The connection closes instead: the request was carried out and the client does not know.
    Lost,
}

/// What a fault does to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFate {
    /// Waits before anything is done.
    pub delay: Duration,
    /// Answers this and does nothing.
    pub refusal: Option<Refusal>,
    /// What becomes of the answer.
    pub answer: AnswerFate,
}

/// Decides what faults strike which requests. Called on the server's path: must not wait and must not write to the store.
pub trait RequestPolicy: Send + Sync {
    /// A request has been read.
    fn request(&self, _request: &RequestView<'_>) -> RequestFate {
        RequestFate::default()
    }

    /// A change is about to be told to a watch of this client. Called under the store's lock: must not read the store either.
    fn delivery(&self, _client: &ClientIdentity, _resource: &str) -> Delivery {
        Delivery::Prompt
    }
}

/// No faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl RequestPolicy for NoFaults {}

/// What the storage is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A consistent read.
    Read,
    /// A transaction.
    Write,
    /// A webhook's call, beside its way over the network: TLS, encoding, the handler's time.
    Webhook,
}

/// How long the storage takes; drawn anew for each access.
pub type StorageLatency = Arc<dyn Fn(Access) -> Duration + Send + Sync>;

/// How webhooks are called that the real server calls over TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookScheme {
    /// They are stored and not called: there is no TLS here.
    #[default]
    NotCalled,
    /// Those named by a service are called in plain HTTP.
    Http,
}

/// What the measured server does in time around definitions (facts/kubernetes.md section 1).
#[derive(Clone, Copy, Debug)]
pub struct DefinitionTiming {
    /// From the creation of a definition to Established.
    pub establish: Duration,
    /// For so long after Established ...
    pub young: Duration,
    /// ... a create takes so long.
    pub young_create: Duration,
    /// From a change of the definition's spec to the end of its open watches.
    pub watches_end: Duration,
    /// For so long after a change LIST and WATCH are answered 429.
    pub reinitializing: Duration,
}

impl Default for DefinitionTiming {
    fn default() -> DefinitionTiming {
        DefinitionTiming {
            establish: Duration::from_millis(20),
            young: Duration::from_secs(2),
            young_create: Duration::from_secs(2),
            watches_end: Duration::from_secs(1),
            reinitializing: Duration::from_millis(20),
        }
    }
}

/// How a server behaves.
#[derive(Clone)]
pub struct Options {
    /// Faults.
    pub policy: Arc<dyn RequestPolicy>,
    /// Latency of the storage; none by default.
    pub storage_latency: Option<StorageLatency>,
    /// Accepts `http://` URLs in webhook configurations, which the real server refuses.
    pub allow_plain_http_webhooks: bool,
    /// How webhooks are called that the real server calls over TLS.
    pub webhook_scheme: WebhookScheme,
    /// What happens in time around definitions.
    pub definitions: DefinitionTiming,
    /// Between two bookmarks of a watch.
    pub bookmark_interval: Duration,
    /// How long an event is kept after its last change.
    pub event_life: Duration,
    /// Lines that may wait for a reader before its watch is ended.
    pub watch_queue: usize,
    /// How long a read of a future version waits for it.
    pub future_version_wait: Duration,
    /// The first two bytes of the addresses that services get.
    pub service_network: [u8; 2],
    /// Keeps every version of every object that is written.
    pub recorder: Option<Arc<Recorder>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            policy: Arc::new(NoFaults),
            storage_latency: None,
            allow_plain_http_webhooks: false,
            webhook_scheme: WebhookScheme::NotCalled,
            definitions: DefinitionTiming::default(),
            bookmark_interval: Duration::from_secs(60),
            event_life: Duration::from_secs(3600),
            watch_queue: 10_000,
            future_version_wait: Duration::from_secs(3),
            service_network: [10, 96],
            recorder: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("allow_plain_http_webhooks", &self.allow_plain_http_webhooks)
            .field("webhook_scheme", &self.webhook_scheme)
            .field("definitions", &self.definitions)
            .finish_non_exhaustive()
    }
}
