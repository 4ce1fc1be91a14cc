//! The client: pooled connections as Go's `net/http` has them, because a connection that went stale in a pool is a bug of its own kind.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::{Body, BoxError, empty};
use crate::net::{Keepalive, TcpStream, lookup};
use crate::time::{Instant, timeout};

/// How a client connects. The defaults are those of Go's `http.DefaultTransport`.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// Longest time for a connection to be made.
    pub connect_timeout: Duration,
    /// Idle connections kept for each host and port.
    pub max_idle_per_host: usize,
    /// An idle connection older than this is not used again.
    pub idle_timeout: Duration,
    /// How a silent server is probed.
    pub keepalive: Keepalive,
    /// A connection has failed when what was sent is not acknowledged for so long; none for the kernel's own quarter of an hour.
    pub user_timeout: Option<Duration>,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            connect_timeout: Duration::from_secs(30),
            max_idle_per_host: 2,
            idle_timeout: Duration::from_secs(90),
            keepalive: Keepalive::GO,
            user_timeout: None,
        }
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request names no host.
    #[error("{0} is not an absolute http URI")]
    Uri(Uri),
    /// The host's name has no address.
    #[error("cannot resolve {host}: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// No connection.
    #[error("cannot connect to {authority}: {error}")]
    Connect {
        /// Host and port.
        authority: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// No connection within the client's time.
    #[error("cannot connect to {authority}: i/o timeout")]
    ConnectTimeout {
        /// Host and port.
        authority: String,
    },
    /// The connection failed with the request under way; whether it was carried out is unknown.
    #[error("request failed: {0}")]
    Transfer(#[from] hyper::Error),
    /// A body broke off, or was longer than allowed.
    #[error("body failed: {0}")]
    Body(BoxError),
}

impl Error {
    /// Whether the request certainly never reached the server.
    pub fn is_connect(&self) -> bool {
        matches!(self, Error::Uri(_) | Error::Resolve { .. } | Error::Connect { .. } | Error::ConnectTimeout { .. })
    }
}

/// Sends requests. Clones share their idle connections.
#[derive(Clone, Default)]
pub struct Client {
    options: ClientOptions,
    pool: Arc<Mutex<BTreeMap<String, Vec<Idle>>>>,
}

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with Go's defaults.
    pub fn new() -> Client {
        Client::default()
    }

    /// A client with these options.
    pub fn with_options(options: ClientOptions) -> Client {
        Client { options, pool: Arc::default() }
    }

    fn pool(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Idle>>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request with an absolute `http://` URI and waits for the answer's head. A request that a stale pooled connection refused to
    /// take is sent again on a new one; so is one that it took and lost, if the method is safe and the body empty (RFC 9110, 9.2.2).
    ///
    /// # Errors
    /// No address, no connection, or a connection that failed under way.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let (authority, mut request) = to_origin_form(request)?;
        while let Some(mut sender) = self.checkout(&authority) {
            let again = repeatable(&request);
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.checkin(authority, sender);
                    return Ok(response);
                }
                Err(mut failed) => match failed.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(failed.into_error().into()),
                },
            }
        }
        let mut sender = self.connect(&authority).await?;
        let response = sender.send_request(request).await?;
        self.checkin(authority, sender);
        Ok(response)
    }

    fn checkout(&self, authority: &str) -> Option<SendRequest<Body>> {
        let mut pool = self.pool();
        let idle = pool.get_mut(authority)?;
        let oldest = Instant::now() - self.options.idle_timeout;
        idle.retain(|one| !one.sender.is_closed() && (one.since >= oldest || !one.sender.is_ready()));
        // The most recently used first, as Go does.
        let ready = idle.iter().rposition(|one| one.sender.is_ready())?;
        Some(idle.remove(ready).sender)
    }

    /// The answer's body may still be on its way; the connection becomes ready when it has been read, and closes if it is dropped.
    fn checkin(&self, authority: String, sender: SendRequest<Body>) {
        let mut pool = self.pool();
        let idle = pool.entry(authority).or_default();
        idle.retain(|one| !one.sender.is_closed());
        if idle.len() >= self.options.max_idle_per_host.max(1)
            && let Some(index) = idle.iter().position(|one| one.sender.is_ready())
        {
            idle.remove(index);
        }
        idle.push(Idle { sender, since: Instant::now() });
    }

    async fn connect(&self, authority: &str) -> Result<SendRequest<Body>, Error> {
        let addresses =
            lookup(authority).await.map_err(|error| Error::Resolve { host: authority.to_owned(), error })?;
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match timeout(self.options.connect_timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let configured =
                        stream.set_keepalive(self.options.keepalive).and_then(|()| match self.options.user_timeout {
                            Some(timeout) => stream.set_user_timeout(timeout),
                            None => Ok(()),
                        });
                    match configured {
                        Ok(()) => return self.handshake(stream).await,
                        Err(error) => failure = error,
                    }
                }
                Ok(Err(error)) => failure = error,
                Err(_) => return Err(Error::ConnectTimeout { authority: authority.to_owned() }),
            }
        }
        Err(Error::Connect { authority: authority.to_owned(), error: failure })
    }

    async fn handshake(&self, stream: TcpStream) -> Result<SendRequest<Body>, Error> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        crate::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(sender)
    }
}

/// Splits host and port off, and adds the Host header.
fn to_origin_form(mut request: Request<Body>) -> Result<(String, Request<Body>), Error> {
    let uri = request.uri().clone();
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(Error::Uri(uri)) };
    let host = header::HeaderValue::from_str(authority.as_str()).map_err(|_| Error::Uri(uri.clone()))?;
    let authority = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let path = uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    request.headers_mut().entry(header::HOST).or_insert(host);
    Ok((authority, request))
}

/// A copy to send again, for a request that may be.
fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
