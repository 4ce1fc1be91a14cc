//! The connection behind a channel, and the task that makes it again.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use host::http::{Executor, Timer};
use host::net::{Keepalive, TcpStream, lookup};
use host::time::{sleep, timeout};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tonic::Status;
use tonic::body::Body;

use super::ChannelOptions;

/// What grpc-go's dialer asks of TCP: the kernel's own keep-alive settings.
const KERNEL_KEEPALIVE: Keepalive =
    Keepalive { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), retries: 9 };

enum State {
    /// Nobody has called since the last connection ended.
    Idle,
    /// The first attempt of a row is under way.
    Connecting,
    /// Connected.
    Ready(SendRequest<Body>),
    /// The last attempt failed, as this says; the next is to come or under way.
    Failed(String),
}

pub(super) struct Connection {
    address: String,
    options: ChannelOptions,
    state: Mutex<State>,
    changed: Notify,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state() {
            State::Idle => "idle",
            State::Connecting => "connecting",
            State::Ready(_) => "ready",
            State::Failed(_) => "failed",
        };
        f.debug_struct("Connection").field("address", &self.address).field("state", &state).finish_non_exhaustive()
    }
}

impl Connection {
    pub fn new(address: String, options: ChannelOptions) -> Connection {
        Connection { address, options, state: Mutex::new(State::Idle), changed: Notify::new() }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state() = state;
        self.changed.notify_waiters();
    }

    /// Sends a request on the connection, once there is one.
    pub async fn send(
        self: &Arc<Connection>,
        request: Request<Body>,
        wait_for_ready: bool,
    ) -> Result<Response<Incoming>, Status> {
        let mut request = self.addressed(request)?;
        loop {
            let mut sender = self.ready(wait_for_ready).await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut failure) => match failure.take_message() {
                    // Not one byte of it was sent: grpc-go tries such a call again without a word.
                    Some(unsent) if sender.is_closed() => request = unsent,
                    _ => return Err(broken(failure.error())),
                },
            }
        }
    }

    /// The request with our authority and metadata; tonic gives it the path alone.
    fn addressed(&self, request: Request<Body>) -> Result<Request<Body>, Status> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        let uri = Uri::builder().scheme("http").authority(self.address.as_str());
        head.uri = uri
            .path_and_query(path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")))
            .build()
            .map_err(|error| Status::unavailable(format!("{} is no address: {error}", self.address)))?;
        self.options.identity.add_to(&mut head.headers);
        Ok(Request::from_parts(head, body))
    }

    async fn ready(self: &Arc<Connection>, wait_for_ready: bool) -> Result<SendRequest<Body>, Status> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.state();
                match &*state {
                    State::Ready(sender) if !sender.is_closed() => return Ok(sender.clone()),
                    State::Idle | State::Ready(_) => {
                        *state = State::Connecting;
                        host::spawn(keep_connected(Arc::downgrade(self), self.address.clone(), self.options.clone()));
                    }
                    State::Failed(error) if !wait_for_ready => return Err(Status::unavailable(error.clone())),
                    State::Connecting | State::Failed(_) => {}
                }
            }
            changed.await;
        }
    }
}

/// Tries until it is connected, then carries the connection to its end. Ends early when nobody holds the channel any more.
async fn keep_connected(connection: Weak<Connection>, address: String, options: ChannelOptions) {
    let mut random = host::random::stream(&format!("grpc/{address}"));
    let mut failures = 0;
    let carrier = loop {
        if connection.strong_count() == 0 {
            return;
        }
        let pause = options.backoff.pause(failures, &mut random);
        match timeout(options.connect_timeout.max(pause), connect(&address, &options)).await {
            Ok(Ok((sender, carrier))) => {
                let Some(connection) = connection.upgrade() else { return };
                connection.set(State::Ready(sender));
                break carrier;
            }
            attempt => {
                let error = match attempt {
                    Ok(Err(error)) => error,
                    _ => format!("dial tcp {address}: i/o timeout"),
                };
                tracing::debug!(%address, %error, "cannot connect");
                let Some(connection) = connection.upgrade() else { return };
                let error = format!("connection error: desc = \"transport: Error while dialing: {error}\"");
                connection.set(State::Failed(error));
            }
        }
        sleep(pause).await;
        failures += 1;
    };
    if let Err(error) = carrier.await {
        tracing::debug!(%address, %error, "connection ended");
    }
    // A later connection may have taken its place already: then its state is not ours to change.
    if let Some(connection) = connection.upgrade() {
        let mut state = connection.state();
        if matches!(&*state, State::Ready(sender) if sender.is_closed()) {
            *state = State::Idle;
        }
    }
}

type Carrier = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Connects, and waits for the server's first bytes as grpc-go does: a server that accepts and stays silent is none.
async fn connect(address: &str, options: &ChannelOptions) -> Result<(SendRequest<Body>, Carrier), String> {
    let stream = dial(address).await.map_err(|error| format!("dial tcp {address}: {}", reason(&error)))?;
    let _ = stream.set_keepalive(KERNEL_KEEPALIVE);
    let mut builder = http2::Builder::new(Executor);
    builder.timer(Timer);
    if let Some(keepalive) = options.keepalive {
        let _ = stream.set_user_timeout(keepalive.timeout);
        builder.keep_alive_interval(keepalive.time).keep_alive_timeout(keepalive.timeout).keep_alive_while_idle(true);
    }
    let heard = Arc::new(Notify::new());
    let stream = Listening { stream, heard: Some(heard.clone()) };
    let (sender, carrier) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| format!("handshake with {address}: {error}"))?;
    let mut carrier: Carrier = Box::pin(carrier);
    tokio::select! {
        biased;
        () = heard.notified() => Ok((sender, carrier)),
        ended = &mut carrier => {
            let error = ended.err().map_or_else(|| "EOF".to_owned(), |error| error.to_string());
            Err(format!("error reading server preface: {error}"))
        }
    }
}

async fn dial(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup(address).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// How Go names what the kernel said.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
        io::ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}

/// What a broken connection means to the calls on it.
pub(super) fn broken(error: &hyper::Error) -> Status {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Status::unavailable(format!("error reading from server: {text}"))
}

/// A stream that says when it is first heard from.
struct Listening {
    stream: TcpStream,
    heard: Option<Arc<Notify>>,
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before
            && let Some(heard) = self.heard.take()
        {
            heard.notify_one();
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
