//! Establishing a connection: SYN, SYN-ACK, and the third packet, which is the first segment that the client sends.
//!
//! An attempt has one event pending at any time: the SYN, its answer, or the next SYN. So an answer that is lost is found out when it should
//! have arrived.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::task::{Context, Poll};
use std::time::Duration;

use corral_core::{MachineId, Process};

use crate::connection::{Connection, End, EndId, EndState, Side};
use crate::names::Target;
use crate::net::{Happening, Socket, Turn};
use crate::routes::Way;

/// Three ARP requests, one second apart, before a router says that nobody has the address.
const NO_HOST_AFTER: Duration = Duration::from_secs(3);

/// The first SYN's time-out; doubles each time (RFC 6298).
const FIRST_SYN_TIMEOUT: Duration = Duration::from_secs(1);

impl Turn<'_> {
    /// The machine that has this process's address.
    pub(crate) fn own_address(&mut self, process: &Process) -> Result<MachineId> {
        let (machine, is_new) = self.state.addresses.own(process.spec.address, process.spec.machine)?;
        self.state.version += u64::from(is_new);
        Ok(machine)
    }

    /// Sends a SYN. Also tells the local address.
    pub(crate) fn begin_connect(&mut self, process: &Process, to: SocketAddrV4) -> Result<(EndId, SocketAddrV4)> {
        let machine = self.own_address(process)?;
        let address = process.spec.address;
        // Linux takes "any address" for "this host" here.
        let to_loopback = to.ip().is_loopback() || to.ip().is_unspecified();
        let target = if to_loopback { Target::Real(to) } else { self.state.names.target(machine, to) };
        let port = self.state.addresses.take_port(address, self.state.seed)?;
        let local = SocketAddrV4::new(if to_loopback { Ipv4Addr::LOCALHOST } else { address }, port);
        let (remote, real) = match target {
            Target::Real(real) if to_loopback => (address, SocketAddrV4::new(Ipv4Addr::LOCALHOST, real.port())),
            Target::Real(real) => (*real.ip(), real),
            // The refusal comes from the own machine's packet filter.
            Target::Refused => (address, to),
            Target::BlackHole => (*to.ip(), to),
        };
        let mut client = End::new(address, Some(machine), local, to);
        client.state = EndState::Connecting;
        client.owner = Some(process.id);
        self.state.serial += 1;
        let server = End::new(remote, None, real, local);
        let mut connection = Connection::new(self.state.serial, self.now(), real.port(), client, server);
        connection.black_hole = target == Target::BlackHole;
        let id = EndId::client(self.state.connections.insert(connection));
        self.adopt(process.id, Socket::End(id));
        let first = if target == Target::Refused { Happening::Refused(id) } else { Happening::Syn(id) };
        self.send_bare(id, first);
        Ok((id, local))
    }

    /// Sends a packet without content, which arrives as this happening.
    fn send_bare(&mut self, sender: EndId, happening: Happening) {
        let Some(arrives) = self.arrival_time(sender, 0) else { return };
        let Some(connection) = self.connection(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        let arrives = arrives.max(half.last_arrival);
        half.last_arrival = arrives;
        self.schedule(arrives, happening);
    }

    fn is_connecting(&self, client: EndId) -> bool {
        let connection = self.state.connections.get(client.connection);
        connection.is_some_and(|connection| connection.end(Side::Client).state == EndState::Connecting)
    }

    pub(crate) fn syn_arrives(&mut self, client: EndId) {
        if !self.is_connecting(client) {
            return;
        }
        let Some(dial) = self.state.connections.get(client.connection).map(|connection| connection.dial) else {
            return;
        };
        // The first SYN had left; its repetitions wait for the kernel that is to send them.
        if dial.failures > 0 && self.defer_if_frozen(client, Happening::Syn(client)) {
            return;
        }
        match self.way(client) {
            Some(Way::Open) if !self.loses_packet(client) => self.answer_syn(client),
            Some(Way::NoHost) if self.now().since(dial.began) >= NO_HOST_AFTER => {
                self.fail_connect(client, ErrorKind::HostUnreachable);
            }
            _ => self.syn_failed(client),
        }
    }

    /// The destination's kernel got a SYN.
    fn answer_syn(&mut self, client: EndId) {
        let server = client.peer();
        let Some(connection) = self.state.connections.get_mut(client.connection) else { return };
        let end = connection.end_mut(Side::Server);
        if end.state == EndState::Handshaking {
            // Its answer was lost.
            return self.send_bare(server, Happening::SynAck(client));
        }
        let key = self.state.addresses.listener(end.address, *end.local.ip(), end.local.port());
        let Some((key, listener)) = key.and_then(|key| Some((key, self.state.listeners.get_mut(key)?))) else {
            return self.send_bare(server, Happening::Refused(client));
        };
        if listener.pending + listener.queue.len() >= listener.backlog {
            self.state.statistics.overflows += 1;
            return self.syn_failed(client);
        }
        listener.pending += 1;
        end.state = EndState::Handshaking;
        end.machine = Some(listener.machine);
        connection.listener = Some(key);
        self.send_bare(server, Happening::SynAck(client));
    }

    pub(crate) fn syn_ack_arrives(&mut self, client: EndId) {
        if !self.is_connecting(client) {
            // Given up meanwhile: a reset tells the server.
            return self.forget_half_open(client.peer());
        }
        if !self.is_open(client.peer()) || self.loses_packet(client.peer()) {
            return self.syn_failed(client);
        }
        let now = self.now();
        let Some(connection) = self.connection(client.connection) else { return };
        let end = connection.end_mut(Side::Client);
        end.state = EndState::Open;
        end.last_heard = now;
        let waker = end.writer.take();
        self.wake(waker);
        self.transmit(client, Vec::new(), false);
    }

    pub(crate) fn refusal_arrives(&mut self, client: EndId) {
        if !self.is_connecting(client) {
            return;
        }
        if self.is_open(client.peer()) {
            self.fail_connect(client, ErrorKind::ConnectionRefused);
        } else {
            self.syn_failed(client);
        }
    }

    /// No answer will come to the last SYN: there will be another, or the attempt times out.
    fn syn_failed(&mut self, client: EndId) {
        let retries = self.state.settings.syn_retries;
        let Some(connection) = self.connection(client.connection) else { return };
        let dial = &mut connection.dial;
        dial.failures += 1;
        let failures = dial.failures;
        // After 1, 3, 7 .. 63 s, and the end after 127 s.
        let at = dial.began + FIRST_SYN_TIMEOUT * (1u32.checked_shl(failures).unwrap_or(u32::MAX) - 1);
        if failures > retries {
            self.schedule(at, Happening::GiveUp(client));
        } else if let Some(arrives) = self.arrival_time(client, 0) {
            let travels = arrives.since(self.now());
            self.schedule(at + travels, Happening::Syn(client));
        }
    }

    pub(crate) fn fail_connect(&mut self, client: EndId, error: ErrorKind) {
        let Some(connection) = self.connection(client.connection) else { return };
        let end = connection.end_mut(Side::Client);
        end.state = EndState::Open;
        end.dead = true;
        end.error = Some(error);
        let waker = end.writer.take();
        self.wake(waker);
        self.forget_half_open(client.peer());
    }

    pub(crate) fn poll_connected(&mut self, client: EndId, context: &mut Context<'_>) -> Poll<Result<()>> {
        let not_connected = || Poll::Ready(Err(Error::from(ErrorKind::NotConnected)));
        let Some(connection) = self.connection(client.connection) else { return not_connected() };
        let end = connection.end_mut(Side::Client);
        match end.state {
            EndState::Connecting => {
                let old = end.writer.replace(context.waker().clone());
                self.forget(old);
                Poll::Pending
            }
            EndState::Open => match end.error.take() {
                Some(error) => Poll::Ready(Err(Error::from(error))),
                None => Poll::Ready(Ok(())),
            },
            _ => not_connected(),
        }
    }

    /// The third packet arrived: the connection is to be accepted.
    pub(crate) fn complete_handshake(&mut self, server: EndId) {
        let now = self.now();
        let Some(connection) = self.state.connections.get_mut(server.connection) else { return };
        let Some(listener) = connection.listener.and_then(|key| self.state.listeners.get_mut(key)) else { return };
        let end = connection.end_mut(Side::Server);
        end.state = EndState::Queued;
        end.last_heard = now;
        listener.pending -= 1;
        listener.queue.push_back(server);
        for waker in std::mem::take(&mut listener.wakers) {
            self.wake(Some(waker));
        }
    }

    /// The server's kernel gives up an end whose third packet it never got.
    pub(crate) fn forget_half_open(&mut self, server: EndId) {
        let Some(connection) = self.state.connections.get_mut(server.connection) else { return };
        if connection.end(Side::Server).state != EndState::Handshaking {
            return;
        }
        connection.end_mut(Side::Server).state = EndState::Gone;
        if let Some(listener) = connection.listener.take().and_then(|key| self.state.listeners.get_mut(key)) {
            listener.pending -= 1;
        }
        self.free_if_over(server.connection);
    }
}
