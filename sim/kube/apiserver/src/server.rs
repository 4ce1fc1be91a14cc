//! The server process: what it keeps beside the store, and the way of a request through it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use host::http::{Body, Peer};
use host::net::TcpListener;
use host::random::Stream;
use http::{HeaderMap, Request, Response, header};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};

use crate::admission::Hooks;
use crate::answer::Answer;
use crate::call::Call;
use crate::decode::BODY_LIMIT;
use crate::definitions::Readiness;
use crate::error::ApiError;
use crate::events::{EVENTS, Expiry};
use crate::journal::{journal_refusal, journal_write};
use crate::options::{Access, AnswerFate, ClientIdentity, Options, RequestView};
use crate::past::{NotYet, Past, View};
use crate::registry::Registry;
use crate::resource::Resource;
use crate::route;
use crate::store::{Commit, Raced, Store, Subscription, Write};

const STORAGE_LIMIT: usize = 1536 << 10;
const MESSAGE_LIMIT: usize = 2 << 20;
/// What is read of a body that is refused for its size.
const DRAIN_LIMIT: usize = 64 << 20;

/// What a server process keeps: nothing that could not be had again from the store.
pub(crate) struct Inner {
    pub store: Arc<Store>,
    pub options: Options,
    pub http: host::http::Client,
    registry: RwLock<Arc<Registry>>,
    hooks: RwLock<Arc<Hooks>>,
    random: Mutex<Stream>,
    pub readiness: Mutex<Readiness>,
    pub expiry: Expiry,
    subscription: Mutex<Option<Subscription>>,
    /// What it shows, if that is the past: then nothing is written.
    pub past: Option<View>,
}

/// An API server over a store. Cheap to clone; see the crate's header.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Server")
            .field("store", &self.inner.store)
            .field("options", &self.inner.options)
            .finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// A server process over a store, which an earlier one may have filled. Watches from versions before this moment are answered 410, as after
    /// every restart of the real server. Call it in the process that will serve: random names and times are that process's.
    pub fn new(store: Arc<Store>, options: Options) -> Server {
        Server::over(store, options, None)
    }

    /// A server that shows a cluster as it was so long after its run began, and refuses to change it. Its watches tell all that followed, up to
    /// the run's end, and then stay open; ages are those of that moment.
    ///
    /// # Errors
    /// Nothing was there yet.
    pub fn past(past: &Past, at: Duration) -> Result<Server, NotYet> {
        let view = View::new(past, at)?;
        let store = Store::of_the_past(past, view.revision);
        // All that followed may be more than a reader takes at once, and events do not end while somebody looks at them.
        let options = Options { watch_queue: usize::MAX, event_life: Duration::MAX, ..Options::default() };
        Ok(Server::over(store, options, Some(view)))
    }

    fn over(store: Arc<Store>, options: Options, past: Option<View>) -> Server {
        let stream = host::random::stream(&format!("apiserver/{}", store.revision()));
        let inner = Arc::new(Inner {
            store: store.clone(),
            options,
            http: host::http::Client::new(),
            registry: RwLock::new(Arc::new(Registry::builtin())),
            hooks: RwLock::default(),
            random: Mutex::new(stream),
            readiness: Mutex::default(),
            expiry: Expiry::default(),
            subscription: Mutex::default(),
            past,
        });
        let weak = Arc::downgrade(&inner);
        let subscription = store.subscribe(move |commit| {
            if let Some(inner) = weak.upgrade() {
                inner.follow(commit);
            }
        });
        *lock(&inner.subscription) = Some(subscription);
        if inner.past.is_none() {
            inner.bootstrap();
        }
        inner.load();
        lock(&inner.readiness).floor = store.revision();
        Server { inner }
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }

    /// Answers requests until the process ends or this future is dropped.
    pub async fn serve(&self, listener: TcpListener) {
        if self.inner.past.is_none() {
            self.inner.resume_definitions();
        }
        let inner = self.inner.clone();
        host::http::serve(listener, move |request, peer: Peer| {
            let inner = inner.clone();
            async move { inner.handle(request, peer).await }
        })
        .await;
    }
}

fn header(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// An answer that never arrives: its body breaks before the first byte is sent.
fn lost() -> Response<Body> {
    let broken = futures_util::stream::once(async {
        Err::<http_body::Frame<bytes::Bytes>, host::http::BoxError>("the answer was lost".into())
    });
    let mut response = Response::new(http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(broken)));
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

impl Inner {
    async fn handle(self: Arc<Inner>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let user_agent = header(request.headers(), header::USER_AGENT).unwrap_or_default();
        let client = ClientIdentity { user_agent, address: peer.address };
        let (head, body) = request.into_parts();
        let body = match self.read_body(&head.headers, body).await {
            Ok(body) => body,
            Err(error) => return Answer::from(error).into_response(),
        };
        match route::route(&self, head, body, client) {
            Err(error) => Answer::from(error).into_response(),
            Ok(route::Routed::Answer(answer)) => answer.into_response(),
            Ok(route::Routed::Call(call)) => self.run(*call).await,
        }
    }

    async fn read_body(&self, headers: &HeaderMap, body: Incoming) -> Result<bytes::Bytes, ApiError> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > BODY_LIMIT) {
            // Read to its end: a client that is still sending would meet a reset instead of the answer.
            let _ = host::http::collect(body, DRAIN_LIMIT).await;
            return Err(ApiError::too_large(BODY_LIMIT));
        }
        host::http::collect(body, BODY_LIMIT).await.map_err(|error| match error {
            host::http::Error::Body(error) if error.is::<http_body_util::LengthLimitError>() => {
                ApiError::too_large(BODY_LIMIT)
            }
            other => ApiError::bad_request(other.to_string()),
        })
    }

    /// etcd takes no transaction over 1.5 MiB, and the gRPC client before it no message over 2 MiB.
    pub fn check_size(&self, call: &Call, object: &serde_json::Value) -> Result<(), ApiError> {
        let stored = self.store.at_key(&call.resource.key, &call.key());
        let grown = call.body.len() + stored.map_or(0, |object| object.record.bytes.len());
        if grown < STORAGE_LIMIT {
            return Ok(());
        }
        match object.to_string().len() {
            length if length > MESSAGE_LIMIT => Err(ApiError::without_reason(
                500,
                format!(
                    "rpc error: code = ResourceExhausted desc = trying to send message larger than max ({length} vs. {MESSAGE_LIMIT})"
                ),
            )),
            length if length > STORAGE_LIMIT => Err(ApiError::without_reason(500, "etcdserver: request is too large")),
            _ => Ok(()),
        }
    }

    /// Carries a request out, or what a fault makes of it.
    async fn run(self: Arc<Inner>, mut call: Call) -> Response<Body> {
        if let Some(past) = self.past.as_ref().filter(|_| !matches!(call.verb, "get" | "list" | "watch")) {
            return Answer::from(past.refusal()).into_response();
        }
        let fate = self.options.policy.request(&RequestView {
            client: &call.client,
            verb: call.verb,
            resource: &call.resource.key,
            subresource: &call.subresource,
            namespace: &call.namespace,
            name: &call.name,
        });
        if !fate.delay.is_zero() {
            host::time::sleep(fate.delay).await;
        }
        if let Some(refusal) = fate.refusal {
            let error = refused(&call, &refusal);
            journal_refusal(&call, &error);
            let mut answer = Answer::from(error);
            answer.retry_after = refusal.retry_after_seconds;
            return answer.into_response();
        }
        if call.resource.key.as_ref() == EVENTS {
            self.expire_events();
        }
        let answer = match route::perform(&mut call).await {
            Ok(answer) => answer,
            Err(error) => {
                journal_refusal(&call, &error);
                let answer = Answer::from(error);
                call.finish(answer)
            }
        };
        match fate.answer {
            AnswerFate::Sent => {}
            AnswerFate::Delayed(duration) => host::time::sleep(duration).await,
            AnswerFate::Lost => return lost(),
        }
        answer.into_response()
    }

    /// Waits as long as the storage takes.
    pub async fn storage(&self, access: Access) {
        let latency = self.options.storage_latency.as_ref().map_or(Duration::ZERO, |latency| latency(access));
        if !latency.is_zero() {
            host::time::sleep(latency).await;
        }
    }

    /// The one way from a request into the store.
    pub fn commit(&self, call: &Call, key: &Arc<str>, seen: Option<u64>, write: Write) -> Result<Commit, Raced> {
        let commit = self.store.commit(&call.resource.key, key, seen, write)?;
        self.tell(&commit, &call.subresource, &call.client.user_agent);
        Ok(commit)
    }

    /// The server's own writes: definitions' status, first objects.
    pub fn commit_own(
        &self,
        resource: &Arc<str>,
        key: &Arc<str>,
        seen: Option<u64>,
        write: Write,
    ) -> Result<Commit, Raced> {
        let commit = self.store.commit(resource, key, seen, write)?;
        self.tell(&commit, "", "kube-apiserver");
        Ok(commit)
    }

    /// Tells journal and recorder of a commit.
    fn tell(&self, commit: &Commit, subresource: &str, client: &str) {
        journal_write(commit, subresource, client);
        if let Some(recorder) = &self.options.recorder {
            recorder.note(commit);
        }
    }

    pub fn registry(&self) -> Arc<Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is served; one change after another, whatever thread it comes from.
    pub fn update_registry<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        let mut current = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let mut registry = (**current).clone();
        let result = change(&mut registry);
        *current = Arc::new(registry);
        result
    }

    pub fn hooks(&self) -> Arc<Hooks> {
        self.hooks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn load_hooks(&self) {
        let mut hooks = self.hooks.write().unwrap_or_else(PoisonError::into_inner);
        *hooks = Arc::new(Hooks::load(&self.store));
    }

    /// Now, to the second, as metadata has it.
    pub fn now(&self) -> String {
        self.now_plus(0)
    }

    /// The moment to which ages in a table refer, of objects as they were at a revision.
    pub fn age_reference(&self, revision: u64) -> String {
        self.past.as_ref().map_or_else(|| self.now(), |past| in_seconds(past.time_of(revision), 0))
    }

    /// So many seconds from now.
    pub fn now_plus(&self, seconds: i64) -> String {
        in_seconds(host::wall_clock::now(), seconds)
    }

    /// A time of the metadata, moved.
    pub fn shift_time(&self, time: &str, seconds: i64) -> String {
        time.parse().map_or_else(|_| self.now(), |time| in_seconds(time, seconds))
    }

    /// A fresh uid.
    pub fn new_uid(&self) -> String {
        let mut random = lock(&self.random);
        let (high, low) = (random.next_u64(), random.next_u64());
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
            .into_uuid()
            .to_string()
    }

    /// A name from a prefix.
    pub fn generate_name(&self, prefix: &str) -> String {
        let mut random = lock(&self.random);
        crate::meta::generate_name(prefix, |bound| random.below(bound))
    }

    /// A number below a bound, for those who look for a free place.
    pub fn draw(&self, bound: u64) -> u64 {
        lock(&self.random).below(bound)
    }

    /// How many seconds a watch lives that does not say so.
    pub fn watch_life(&self, least: u64) -> u64 {
        lock(&self.random).between(least, 2 * least)
    }
}

fn in_seconds(time: Timestamp, seconds: i64) -> String {
    let time = time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time);
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// A refusal by a fault, in the words that the real server has for its status.
fn refused(call: &Call, refusal: &crate::options::Refusal) -> ApiError {
    let resource: &Resource = &call.resource;
    match refusal.code {
        403 => ApiError::new(403, "Forbidden", refusal.message.clone()),
        409 => resource.stale(&call.name),
        429 => ApiError::too_many_requests(refusal.message.clone(), refusal.retry_after_seconds.unwrap_or(1)),
        500 => ApiError::internal(refusal.message.clone()),
        503 => ApiError::new(503, "ServiceUnavailable", refusal.message.clone()),
        504 => ApiError::new(504, "Timeout", refusal.message.clone()),
        code => ApiError::without_reason(code, refusal.message.clone()),
    }
}
