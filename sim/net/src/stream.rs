//! The handle of a connection.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Result};
use std::net::{SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use corral_core::journal::Event;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::EndId;
use crate::net::Net;
use crate::settings::Keepalive;

/// A connection, as of `tokio::net`. Dropping it closes it; so does the end of its process.
pub struct TcpStream {
    net: Arc<Net>,
    end: EndId,
    local: SocketAddrV4,
    peer: SocketAddrV4,
}

impl TcpStream {
    pub(crate) fn new(net: Arc<Net>, end: EndId, local: SocketAddrV4, peer: SocketAddrV4) -> TcpStream {
        TcpStream { net, end, local, peer }
    }

    /// Connects, as the current process. Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// `ConnectionRefused`; `TimedOut` after 127 s of silence; `HostUnreachable` after 3 s if nobody has the address; `NetworkUnreachable`
    /// without an address of one's own, or to an IPv6 one; `AddrNotAvailable` when all ports are taken.
    pub async fn connect(address: SocketAddr) -> Result<TcpStream> {
        let result = TcpStream::attempt(address).await;
        let outcome = match &result {
            Ok(_) => "ok".into(),
            Err(error) => error.to_string().into(),
        };
        corral_core::world().record(Event::Connected { to: address.to_string().into(), outcome });
        result
    }

    async fn attempt(address: SocketAddr) -> Result<TcpStream> {
        let SocketAddr::V4(peer) = address else { return Err(ErrorKind::NetworkUnreachable.into()) };
        let world = corral_core::world();
        let net = Net::of(&world);
        let process = world.current_process().ok_or(ErrorKind::NotConnected)?;
        let (end, local) = net.turn(|turn| turn.begin_connect(&process, peer))?;
        // From here on the handle's Drop gives the attempt up.
        let stream = TcpStream { net, end, local, peer };
        poll_fn(|context| stream.net.turn(|turn| turn.poll_connected(stream.end, context))).await?;
        Ok(stream)
    }

    /// Where it goes to; a service's address, if that was connected to.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::V4(self.peer))
    }

    /// Where it comes from.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::V4(self.local))
    }

    /// Probes the peer when it is silent, or not (the default).
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) {
        self.net.turn(|turn| turn.set_keepalive(self.end, keepalive));
    }

    /// Gives the connection up when what was sent is not acknowledged for so long (TCP_USER_TIMEOUT), or after the usual time (the
    /// default).
    pub fn set_user_timeout(&self, timeout: Option<Duration>) {
        self.net.turn(|turn| {
            if let Some(connection) = turn.connection(self.end.connection) {
                connection.end_mut(self.end.side).user_timeout = timeout;
            }
        });
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.net.turn(|turn| turn.close(self.end));
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.net.turn(|turn| turn.poll_read(self.end, context, target))
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.net.turn(|turn| turn.poll_write(self.end, context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(self.net.turn(|turn| turn.shut_down(self.end)))
    }
}

impl std::fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TcpStream {} -> {}", self.local, self.peer)
    }
}
