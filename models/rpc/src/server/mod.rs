//! The server's side: several services on one port, as grpc-go's `Server` serves them.
//!
//! A handler runs to its end even when its caller hangs up, as a Go handler does: a replica that was told to rebuild rebuilds. What is
//! streamed stops with its reader.

mod health;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::JoinHandle;
use host::http::{Executor, Timer};
use host::net::{Keepalive, TcpListener, TcpStream};
use host::time::Instant;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

pub use health::Health;

use crate::deadline::{self, Deadline};
use crate::identity::{Identity, ServerKind};

/// grpc-go's servers have a keep-alive time of two hours, and so tell the kernel to give unacknowledged bytes up after this.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Who called; among a request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

trait Handler: Send + Sync {
    fn handle(&self, request: Request<Body>) -> Answer;
}

impl<S> Handler for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn handle(&self, request: Request<Body>) -> Answer {
        let answer = self.clone().call(request);
        Box::pin(async move { answer.await.unwrap_or_else(|never| match never {}) })
    }
}

/// The services of one port.
#[derive(Default)]
pub struct Router {
    services: BTreeMap<&'static str, Box<dyn Handler>>,
    identity: Option<(ServerKind, Identity)>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let services: Vec<_> = self.services.keys().collect();
        f.debug_struct("Router").field("services", &services).field("identity", &self.identity).finish()
    }
}

impl Router {
    /// A port without services.
    pub fn new() -> Router {
        Router::default()
    }

    /// Adds a service (one of the generated `..Server`s).
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "nobody takes a router for a number")]
    pub fn add<S>(mut self, service: S) -> Router
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        self.services.insert(S::NAME, Box::new(service));
        self
    }

    /// Adds the health service; `health` goes on saying how it is.
    #[must_use]
    pub fn health(self, health: &Health) -> Router {
        self.add(health.service())
    }

    /// Refuses calls that are meant for another volume or instance.
    #[must_use]
    pub fn identity(mut self, kind: ServerKind, identity: Identity) -> Router {
        self.identity = Some((kind, identity));
        self
    }

    fn dispatch(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Answer, Status> {
        let path = request.uri().path();
        let malformed = || Status::unimplemented(format!("malformed method name: {path:?}"));
        let (name, _) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).ok_or_else(malformed)?;
        let service =
            self.services.get(name).ok_or_else(|| Status::unimplemented(format!("unknown service {name}")))?;
        if let Some((kind, identity)) = &self.identity {
            identity.check(*kind, request.headers())?;
        }
        let mut request = request.map(Body::new);
        if let Some(timeout) = deadline::timeout(request.headers()) {
            request.extensions_mut().insert(Deadline(Instant::now() + timeout));
        }
        request.extensions_mut().insert(Peer(peer));
        Ok(service.handle(request))
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        match self.dispatch(request, peer) {
            // A task of its own: it does not end with the caller's patience.
            Ok(answer) => match host::spawn(answer).await {
                Ok(answer) => answer,
                Err(error) => Status::internal(format!("the handler ended early: {error}")).into_http(),
            },
            Err(refusal) => refusal.into_http(),
        }
    }
}

/// Serves until the process ends. Dropping the future closes the port and every connection at once.
pub async fn serve(listener: TcpListener, router: Router) {
    serve_until(listener, router, std::future::pending()).await;
}

/// Serves until `stop` resolves, then takes no more calls, lets the open ones end, and returns. Dropping the future closes the port and
/// every connection at once.
pub async fn serve_until(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let router = Arc::new(router);
    let connections = OpenConnections(Arc::new(Connections::default()));
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => connections.0.start(stream, peer, router.clone()),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                // Out of descriptors, say: trying again at once would spin.
                host::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    connections.0.drain().await;
}

/// The open connections of a server.
#[derive(Default)]
struct Connections {
    open: Mutex<BTreeMap<u64, Option<JoinHandle<()>>>>,
    stopping: AtomicBool,
    changed: Notify,
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Option<JoinHandle<()>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, router: Arc<Router>) {
        let number = {
            let mut open = self.open();
            let number = open.last_key_value().map_or(0, |(last, _)| last + 1);
            open.insert(number, None);
            number
        };
        let connections = self.clone();
        let task = host::spawn(async move {
            if let Err(error) = connections.carry(stream, peer, router).await {
                tracing::debug!(%error, %peer, "connection ended");
            }
            connections.open().remove(&number);
            connections.changed.notify_waiters();
        });
        // In the real world the task may have ended already.
        if let Some(entry) = self.open().get_mut(&number) {
            *entry = Some(task);
        }
    }

    async fn carry(&self, stream: TcpStream, peer: SocketAddr, router: Arc<Router>) -> hyper::Result<()> {
        let _ = stream.set_keepalive(Keepalive::GO);
        let _ = stream.set_user_timeout(USER_TIMEOUT);
        let service = service_fn(move |request| {
            let router = router.clone();
            async move { Ok::<_, Infallible>(router.answer(request, peer).await) }
        });
        let mut builder = http2::Builder::new(Executor);
        // hyper caches the Date header in a thread-local that would tie a run to its predecessor. Go limits neither streams nor resets,
        // and callers that run out of time reset many.
        let builder = builder.auto_date_header(false).timer(Timer).max_concurrent_streams(None);
        let builder = builder.max_local_error_reset_streams(None).max_pending_accept_reset_streams(4096);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = self.stopping() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    async fn stopping(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            changed.await;
        }
    }

    async fn drain(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.open().is_empty() {
                return;
            }
            changed.await;
        }
    }
}

/// Closes what is open when the server is dropped.
struct OpenConnections(Arc<Connections>);

impl Drop for OpenConnections {
    fn drop(&mut self) {
        for task in self.0.open().values().flatten() {
            task.abort();
        }
    }
}
