//! The client's side: a channel as grpc-go's `ClientConn` (v1.75, pick_first over one address) behaves.
//!
//! It connects when the first call comes. While it connects, calls wait; after a failed attempt they fail at once with UNAVAILABLE (unless
//! they asked to wait) until an attempt succeeds, with a growing pause between the attempts. A broken connection fails the calls on it, and
//! the next call connects again. A peer that fell silent is noticed only by a call's deadline, by HTTP/2 keep-alive where it is switched
//! on, or when the kernel gives up re-sending.

mod backoff;
mod body;
mod connection;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use host::time::{Instant, timeout_at};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

pub use backoff::Backoff;
pub use body::ResponseBody;
use connection::Connection;

use crate::deadline;
use crate::identity::Identity;

/// HTTP/2 pings on a quiet connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpKeepalive {
    /// Silence before a ping.
    pub time: Duration,
    /// How long its answer may take before the connection has failed; the kernel is told to give up unacknowledged bytes after as long.
    pub timeout: Duration,
}

/// How a channel connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelOptions {
    /// The pauses between attempts.
    pub backoff: Backoff,
    /// An attempt may take so long, or as long as the pause after it if that is longer.
    pub connect_timeout: Duration,
    /// Pings, if wanted; they go on while no call is open.
    pub keepalive: Option<HttpKeepalive>,
    /// Whom the calls are meant for.
    pub identity: Identity,
}

impl Default for ChannelOptions {
    /// grpc-go's own: as Longhorn's engine, manager and backing image manager connect.
    fn default() -> ChannelOptions {
        ChannelOptions {
            backoff: Backoff::GRPC,
            connect_timeout: Duration::from_secs(20),
            keepalive: None,
            identity: Identity::default(),
        }
    }
}

impl ChannelOptions {
    /// As every client of an instance manager's services connects (longhorn-instance-manager pkg/util/grpcutil.go, `Connect`). Its
    /// connection parameters leave the least connect time-out at zero, so an attempt gets as long as the pause: one second.
    pub fn instance_manager() -> ChannelOptions {
        ChannelOptions {
            backoff: Backoff::CONSTANT_SECOND,
            connect_timeout: Duration::ZERO,
            keepalive: Some(HttpKeepalive { time: Duration::from_secs(30), timeout: Duration::from_secs(20) }),
            identity: Identity::default(),
        }
    }

    /// The same, with calls meant for this volume and instance.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> ChannelOptions {
        self.identity = identity;
        self
    }
}

/// A channel to one address; clones share the connection. It is closed when the last clone is dropped and the open calls have ended.
#[derive(Clone, Debug)]
pub struct Channel {
    connection: Arc<Connection>,
    timeout: Option<Duration>,
    wait_for_ready: bool,
}

impl Channel {
    /// A channel to `host:port` (a `tcp://` in front is allowed) with grpc-go's defaults. Nothing is connected yet.
    pub fn new(address: impl Into<String>) -> Channel {
        Channel::with_options(address, ChannelOptions::default())
    }

    /// A channel to `host:port`. Nothing is connected yet.
    pub fn with_options(address: impl Into<String>, options: ChannelOptions) -> Channel {
        let address = address.into();
        let address = address.strip_prefix("tcp://").map(str::to_owned).unwrap_or(address);
        Channel { connection: Arc::new(Connection::new(address, options)), timeout: None, wait_for_ready: false }
    }

    /// The same channel for calls that may take so long (a shorter time-out set on a request itself goes first).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Channel {
        self.timeout = Some(timeout);
        self
    }

    /// The same channel for calls that may last for ever, as streams that are watched do.
    #[must_use]
    pub fn without_timeout(mut self) -> Channel {
        self.timeout = None;
        self
    }

    /// The same channel for calls that wait for a connection instead of failing while there is none.
    #[must_use]
    pub fn wait_for_ready(mut self) -> Channel {
        self.wait_for_ready = true;
        self
    }

    /// Where it connects to.
    pub fn address(&self) -> &str {
        self.connection.address()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A call waits for its connection under its own deadline, not before.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let asked = deadline::timeout(request.headers());
        let timeout = [asked, self.timeout].into_iter().flatten().min();
        if let Some(timeout) = timeout
            && asked != Some(timeout)
        {
            deadline::set_timeout(request.headers_mut(), timeout);
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let connection = self.connection.clone();
        let wait_for_ready = self.wait_for_ready;
        Box::pin(async move {
            let answer = connection.send(request, wait_for_ready);
            let answer = match deadline {
                Some(deadline) => timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(deadline_exceeded())),
                None => answer.await,
            };
            answer.map(|answer| answer.map(|body| ResponseBody::new(body, deadline)))
        })
    }
}

pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
}
