//! Listening sockets: the table's side and the handle.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use corral_core::{MachineId, Process, ProcessId};

use crate::connection::{EndId, EndState};
use crate::net::{Net, Socket, Turn};
use crate::slab::Key;
use crate::stream::TcpStream;

pub(crate) struct Listener {
    /// The pod's address.
    pub(crate) address: Ipv4Addr,
    /// What it was bound to: that address, loopback or all.
    pub(crate) bound: SocketAddrV4,
    pub(crate) machine: MachineId,
    pub(crate) owner: ProcessId,
    pub(crate) backlog: usize,
    /// Half-open connections that will be in its queue.
    pub(crate) pending: usize,
    pub(crate) queue: VecDeque<EndId>,
    pub(crate) wakers: Vec<Waker>,
}

/// A socket that accepts connections, as of `tokio::net`.
pub struct TcpListener {
    net: Arc<Net>,
    key: Key,
    local: SocketAddrV4,
}

impl TcpListener {
    /// Listens, as the current process, at an address of its own: its pod's, loopback, or all of them. Port 0 is any free one.
    ///
    /// # Errors
    /// `AddrInUse`; `AddrNotAvailable` for a foreign address; `NotConnected` if the process has ended.
    pub fn bind(address: SocketAddr) -> Result<TcpListener> {
        let world = corral_core::world();
        let net = Net::of(&world);
        let process = world.current_process().ok_or(ErrorKind::NotConnected)?;
        let (key, local) = net.turn(|turn| turn.listen(&process, address))?;
        Ok(TcpListener { net, key, local })
    }

    /// The address it was bound to, with its real port.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::V4(self.local))
    }

    /// How many connections may wait to be accepted; the first SYN beyond is dropped.
    pub fn set_backlog(&self, backlog: usize) {
        self.net.turn(|turn| {
            if let Some(listener) = turn.state.listeners.get_mut(self.key) {
                listener.backlog = backlog;
            }
        });
    }

    /// The next connection, with its peer's address.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<(TcpStream, SocketAddr)>> {
        let accepted = self.net.turn(|turn| turn.poll_accept(self.key, context));
        accepted.map_ok(|(end, local, peer)| (TcpStream::new(self.net.clone(), end, local, peer), SocketAddr::V4(peer)))
    }

    /// The next connection, with its peer's address.
    ///
    /// # Errors
    /// `NotConnected` if the process has ended, or its address is gone.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| self.poll_accept(context)).await
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.net.turn(|turn| turn.close_listener(self.key));
    }
}

impl Turn<'_> {
    fn listen(&mut self, process: &Process, at: SocketAddr) -> Result<(Key, SocketAddrV4)> {
        let address = process.spec.address;
        let machine = self.own_address(process)?;
        let bound = match at {
            SocketAddr::V4(at) => *at.ip(),
            // "All addresses" of a dual-stack socket.
            SocketAddr::V6(at) if at.ip().is_unspecified() => Ipv4Addr::UNSPECIFIED,
            SocketAddr::V6(_) => return Err(ErrorKind::AddrNotAvailable.into()),
        };
        if bound != address && !bound.is_unspecified() && !bound.is_loopback() {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let state = &mut *self.state;
        let port = state.addresses.port_to_listen(address, bound, at.port(), state.seed)?;
        let bound = SocketAddrV4::new(bound, port);
        let key = state.listeners.insert(Listener {
            address,
            bound,
            machine,
            owner: process.id,
            backlog: state.settings.backlog,
            pending: 0,
            queue: VecDeque::new(),
            wakers: Vec::new(),
        });
        state.addresses.add_listener(address, *bound.ip(), port, key);
        self.adopt(process.id, Socket::Listener(key));
        Ok((key, bound))
    }

    fn poll_accept(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<Result<(EndId, SocketAddrV4, SocketAddrV4)>> {
        loop {
            let Some(listener) = self.state.listeners.get_mut(key) else {
                return Poll::Ready(Err(Error::from(ErrorKind::NotConnected)));
            };
            let owner = listener.owner;
            let Some(id) = listener.queue.pop_front() else {
                if !listener.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    listener.wakers.push(context.waker().clone());
                }
                return Poll::Pending;
            };
            let Some(connection) = self.connection(id.connection) else { continue };
            let end = connection.end_mut(id.side);
            if end.state != EndState::Queued {
                continue;
            }
            end.state = EndState::Open;
            end.owner = Some(owner);
            let addresses = (end.local, end.peer);
            connection.listener = None;
            self.adopt(owner, Socket::End(id));
            return Poll::Ready(Ok((id, addresses.0, addresses.1)));
        }
    }
}
