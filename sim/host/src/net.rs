//! TCP and names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a silent peer is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes before the connection has failed.
    pub retries: u32,
}

impl Keepalive {
    /// What Go's `net` package sets on every connection.
    pub const GO: Keepalive =
        Keepalive { idle: Duration::from_secs(15), interval: Duration::from_secs(15), retries: 9 };
}

/// Accepts connections.
pub struct TcpListener(Listener);

enum Listener {
    #[cfg(madsim)]
    Simulated(corral_net::TcpListener),
    Real(tokio_real::net::TcpListener),
}

impl std::fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TcpListener").field(&self.local_addr()).finish()
    }
}

impl TcpListener {
    /// Listens at this address; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// As `bind(2)`: address in use, not an address of this machine.
    pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        #[cfg(madsim)]
        if crate::simulated() {
            return Ok(TcpListener(Listener::Simulated(corral_net::TcpListener::bind(address)?)));
        }
        Ok(TcpListener(Listener::Real(tokio_real::net::TcpListener::bind(address).await?)))
    }

    /// The next connection, and who opened it.
    ///
    /// # Errors
    /// As `accept(2)`.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.0 {
            #[cfg(madsim)]
            Listener::Simulated(listener) => {
                listener.accept().await.map(|(stream, peer)| (TcpStream(Stream::Simulated(stream)), peer))
            }
            Listener::Real(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((TcpStream(Stream::Real(stream)), peer))
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            #[cfg(madsim)]
            Listener::Simulated(listener) => listener.local_addr(),
            Listener::Real(listener) => listener.local_addr(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct TcpStream(Stream);

#[derive(Debug)]
enum Stream {
    #[cfg(madsim)]
    Simulated(corral_net::TcpStream),
    Real(tokio_real::net::TcpStream),
}

impl TcpStream {
    /// Connects. The kernel gives up after about two minutes; callers want a time-out of their own.
    ///
    /// # Errors
    /// Refused, no route to host, timed out.
    pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        #[cfg(madsim)]
        if crate::simulated() {
            return Ok(TcpStream(Stream::Simulated(corral_net::TcpStream::connect(address).await?)));
        }
        let stream = tokio_real::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(TcpStream(Stream::Real(stream)))
    }

    /// Probes a silent peer, and gives it up when it does not answer.
    ///
    /// # Errors
    /// As `setsockopt(2)`.
    pub fn set_keepalive(&self, keepalive: Keepalive) -> io::Result<()> {
        match &self.0 {
            #[cfg(madsim)]
            Stream::Simulated(stream) => {
                let Keepalive { idle, interval, retries } = keepalive;
                stream.set_keepalive(Some(corral_net::Keepalive { idle, interval, retries }));
                Ok(())
            }
            Stream::Real(stream) => {
                sockopt::set_socket_keepalive(stream, true)?;
                sockopt::set_tcp_keepidle(stream, keepalive.idle)?;
                sockopt::set_tcp_keepintvl(stream, keepalive.interval)?;
                Ok(sockopt::set_tcp_keepcnt(stream, keepalive.retries)?)
            }
        }
    }

    /// Gives the connection up when what was sent is not acknowledged for so long (TCP_USER_TIMEOUT).
    ///
    /// # Errors
    /// As `setsockopt(2)`.
    pub fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
        match &self.0 {
            #[cfg(madsim)]
            Stream::Simulated(stream) => {
                stream.set_user_timeout(Some(timeout));
                Ok(())
            }
            Stream::Real(stream) => {
                let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
                Ok(sockopt::set_tcp_user_timeout(stream, milliseconds)?)
            }
        }
    }

    /// The other end.
    ///
    /// # Errors
    /// Not connected any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            #[cfg(madsim)]
            Stream::Simulated(stream) => stream.peer_addr(),
            Stream::Real(stream) => stream.peer_addr(),
        }
    }

    /// This end.
    ///
    /// # Errors
    /// Not connected any more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            #[cfg(madsim)]
            Stream::Simulated(stream) => stream.local_addr(),
            Stream::Real(stream) => stream.local_addr(),
        }
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! on_stream {
    ($stream:expr, $method:ident $(, $argument:expr)*) => {
        match &mut $stream.get_mut().0 {
            #[cfg(madsim)]
            Stream::Simulated(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Real(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_read, context, buffer)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write, context, bytes)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write_vectored, context, slices)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_flush, context)
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_shutdown, context)
    }
}

/// The addresses of `name:port`; a name may be an address, a host's or a service's.
///
/// # Errors
/// No such name, or no answer.
pub async fn lookup(name_and_port: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name_and_port.parse() {
        return Ok(vec![address]);
    }
    #[cfg(madsim)]
    if crate::simulated() {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name_and_port:?} is not name:port"));
        let (name, port) = name_and_port.rsplit_once(':').ok_or_else(invalid)?;
        return corral_net::lookup(name, port.parse().map_err(|_| invalid())?).await;
    }
    Ok(tokio_real::net::lookup_host(name_and_port).await?.collect())
}

/// This process's address: its pod's in the simulated world, loopback in the real one.
pub fn local_ip() -> IpAddr {
    #[cfg(madsim)]
    if let Some(process) = corral_core::try_world().and_then(|world| world.current_process()) {
        return process.spec.address.into();
    }
    Ipv4Addr::LOCALHOST.into()
}
