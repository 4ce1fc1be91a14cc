//! One connection: its two ends, and the two halves that carry bytes between them. Data only; what happens to it stands in `handshake`,
//! `transfer`, `retransmission`, `keepalive` and `closing`.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::task::Waker;
use std::time::Duration;

use corral_core::{MachineId, Nanos, ProcessId, Ticket};

use crate::byte_queue::ByteQueue;
use crate::routes::Route;
use crate::settings::Keepalive;
use crate::slab::Key;

/// The side that connected, or the one that accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Client = 0,
    Server = 1,
}

/// A socket: one end of a connection. Also names the half that this end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndId {
    pub(crate) connection: Key,
    pub(crate) side: Side,
}

impl EndId {
    pub(crate) fn client(connection: Key) -> EndId {
        EndId { connection, side: Side::Client }
    }

    pub(crate) fn server(connection: Key) -> EndId {
        EndId { connection, side: Side::Server }
    }

    pub(crate) fn peer(self) -> EndId {
        let side = match self.side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        EndId { side, ..self }
    }
}

pub(crate) struct Connection {
    /// Unique in the run; what the digest knows it by.
    pub(crate) serial: u64,
    /// The serving side's real port.
    pub(crate) port: u16,
    /// Both ends are in one pod.
    pub(crate) loopback: bool,
    /// A service address without this port: nobody answers.
    pub(crate) black_hole: bool,
    pub(crate) dial: Dial,
    /// Whose queue the server's end is in, or will be.
    pub(crate) listener: Option<Key>,
    ends: [End; 2],
    halves: [Half; 2],
}

/// The state of an attempt to connect.
#[derive(Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) began: Nanos,
    /// SYNs that were not answered.
    pub(crate) failures: u32,
}

impl Connection {
    pub(crate) fn new(serial: u64, began: Nanos, port: u16, client: End, server: End) -> Connection {
        Connection {
            serial,
            port,
            loopback: client.address == server.address,
            black_hole: false,
            dial: Dial { began, failures: 0 },
            listener: None,
            ends: [client, server],
            halves: [Half::default(), Half::default()],
        }
    }

    pub(crate) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(crate) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// The half that this side sends.
    pub(crate) fn half(&self, sender: Side) -> &Half {
        &self.halves[sender as usize]
    }

    pub(crate) fn half_mut(&mut self, sender: Side) -> &mut Half {
        &mut self.halves[sender as usize]
    }

    /// An end, with the half it sends and the half it receives.
    pub(crate) fn split(&mut self, side: Side) -> (&mut End, &mut Half, &mut Half) {
        let [client, server] = &mut self.ends;
        let [sent_by_client, sent_by_server] = &mut self.halves;
        match side {
            Side::Client => (client, sent_by_client, sent_by_server),
            Side::Server => (server, sent_by_server, sent_by_client),
        }
    }

    /// Whether nobody can notice any more that it is forgotten.
    pub(crate) fn is_over(&self) -> bool {
        [Side::Client, Side::Server].into_iter().all(|side| match self.end(side).state {
            EndState::Gone => true,
            EndState::Orphan => self.half(side).is_done(),
            _ => false,
        })
    }
}

/// What an end is to its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndState {
    /// Waits for an answer to its SYN.
    Connecting,
    /// Answered a SYN; the third packet is on its way.
    Handshaking,
    /// Waits to be accepted.
    Queued,
    /// A process holds it.
    Open,
    /// Its process let go of it, but its kernel still has it.
    Orphan,
    /// Nobody has it; what arrives is answered by a reset.
    Gone,
}

pub(crate) struct End {
    /// The pod's address.
    pub(crate) address: Ipv4Addr,
    pub(crate) machine: Option<MachineId>,
    pub(crate) local: SocketAddrV4,
    /// As the process sees its peer: a service's address, if it connected to one.
    pub(crate) peer: SocketAddrV4,
    pub(crate) state: EndState,
    /// Reset or timed out: a process may hold it, its kernel has forgotten it.
    pub(crate) dead: bool,
    /// Told to the process once, by what it does next.
    pub(crate) error: Option<ErrorKind>,
    /// "Host unreachable" came back for what was sent last.
    pub(crate) unreachable: bool,
    pub(crate) owner: Option<ProcessId>,
    pub(crate) last_heard: Nanos,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) keepalive: Option<Keepalive>,
    /// A keep-alive probe is due some time; how many were not answered.
    pub(crate) probing: Option<u32>,
    pub(crate) user_timeout: Option<Duration>,
}

impl End {
    pub(crate) fn new(address: Ipv4Addr, machine: Option<MachineId>, local: SocketAddrV4, peer: SocketAddrV4) -> End {
        End {
            address,
            machine,
            local,
            peer,
            state: EndState::Gone,
            dead: false,
            error: None,
            unreachable: false,
            owner: None,
            last_heard: Nanos::ZERO,
            reader: None,
            writer: None,
            keepalive: None,
            probing: None,
            user_timeout: None,
        }
    }

    /// Whether its kernel knows it, so that what arrives is no surprise.
    pub(crate) fn has_socket(&self) -> bool {
        self.state != EndState::Gone && !self.dead
    }
}

/// Where a half's end-of-file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fin {
    #[default]
    NotYet,
    /// To be sent after what waits to be sent.
    Wanted,
    Sent,
    Acknowledged,
}

/// Bytes from one end to the other.
#[derive(Default)]
pub(crate) struct Half {
    // ---- at the sender
    /// Accepted from the process, not sent: the window is closed.
    pub(crate) unsent: ByteQueue,
    pub(crate) fin: Fin,
    /// Arrived, but the acknowledgement did not come back.
    pub(crate) unacknowledged: usize,
    /// Something must be acknowledged besides what is on the wire: bytes that arrived, or a window probe.
    pub(crate) owed: bool,
    pub(crate) stall: Option<Stall>,
    /// The pending retransmission, or the end of all patience.
    pub(crate) timer: Option<Ticket>,
    // ---- on the wire
    pub(crate) flight: VecDeque<Segment>,
    pub(crate) flight_bytes: usize,
    /// The first segment was lost: nothing arrives until it is sent again.
    pub(crate) lost: bool,
    pub(crate) last_arrival: Nanos,
    /// The first segment's arrival.
    pub(crate) arrival: Option<Ticket>,
    pub(crate) route: Route,
    // ---- at the receiver
    pub(crate) received: ByteQueue,
    pub(crate) fin_received: bool,
    /// The sender was told "no room", and not yet that there is room again.
    pub(crate) window_closed: bool,
    /// That there is room again is on its way.
    pub(crate) update_on_its_way: bool,
    /// Bytes that the receiver's process took.
    pub(crate) taken: u64,
    /// As much when the sender's kernel last asked itself whether to go on without its process.
    pub(crate) taken_before: u64,
}

impl Half {
    /// Everything, end-of-file included, has arrived and is known to have arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.fin == Fin::Acknowledged && self.unsent.is_empty() && self.flight.is_empty() && !self.owed
    }

    /// Bytes that fill the sender's buffer.
    pub(crate) fn buffered(&self) -> usize {
        self.unsent.len() + self.flight_bytes + self.unacknowledged
    }

    /// Bytes that the receiver has room for.
    pub(crate) fn room(&self, receive_buffer_bytes: usize) -> usize {
        receive_buffer_bytes.saturating_sub(self.flight_bytes + self.received.len())
    }
}

/// Something that was sent and has not arrived.
pub(crate) struct Segment {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fin: bool,
    pub(crate) sent: Nanos,
    pub(crate) arrives: Nanos,
}

/// Retransmission under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    /// When what is missing was first sent.
    pub(crate) since: Nanos,
    /// When the retransmission timer fires next, or fired last.
    pub(crate) fires: Nanos,
    /// Attempts that failed, the first one included.
    pub(crate) failures: u32,
}
