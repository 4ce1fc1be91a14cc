//! The network of a run: its tables behind one lock, and what can happen to them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use corral_core::journal::{End, Journal};
use corral_core::{EventQueue, Kernel, Machine, MachineId, MachineState, Nanos, Process, ProcessId, Ticket, World};

use crate::addresses::Addresses;
use crate::connection::{Connection, EndId, Side};
use crate::faults::Faults;
use crate::links::Links;
use crate::listener::Listener;
use crate::names::Names;
use crate::settings::TcpSettings;
use crate::slab::{Key, Slab};

/// The network of a run.
pub struct Net {
    pub(crate) queue: Arc<EventQueue>,
    pub(crate) journal: Arc<Journal>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) seed: u64,
    pub(crate) settings: TcpSettings,
    pub(crate) connections: Slab<Connection>,
    pub(crate) listeners: Slab<Listener>,
    pub(crate) sockets_of: BTreeMap<ProcessId, BTreeSet<Socket>>,
    pub(crate) addresses: Addresses,
    /// Machines that do not run.
    pub(crate) stopped: BTreeMap<MachineId, MachineState>,
    pub(crate) links: Links,
    pub(crate) faults: Faults,
    /// Raised by whatever changes a route; see [`crate::routes::Route`].
    pub(crate) version: u64,
    pub(crate) names: Names,
    /// What a frozen machine's kernel would have done.
    pub(crate) deferred: BTreeMap<MachineId, Vec<Happening>>,
    pub(crate) serial: u64,
    pub(crate) statistics: Statistics,
    after: After,
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Socket {
    End(EndId),
    Listener(Key),
}

/// What can happen later. The end is the sender of what arrives, or the one whose timer fires.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    /// A SYN of this end reaches its destination, or does not.
    Syn(EndId),
    /// The answer to this end's SYN reaches it: accepted.
    SynAck(EndId),
    /// The answer to this end's SYN reaches it: refused.
    Refused(EndId),
    /// What this end sent arrives.
    Arrival(EndId),
    /// This end sends again what was lost or not acknowledged, and it arrives.
    Retransmission(EndId),
    /// This end's patience with what it sent is over.
    GiveUp(EndId),
    /// A reset that this end sent arrives.
    Reset(EndId),
    /// This end told its peer that there is room again.
    WindowUpdate(EndId),
    /// This end probes its peer.
    Keepalive(EndId),
    /// This orphan has been facing a closed window for long.
    OrphanDeadline(EndId),
}

/// How much went on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections that some kernel still knows, or some process still holds.
    pub connections: usize,
    /// Listening sockets.
    pub listeners: usize,
    /// Segments that arrived, end-of-file included.
    pub segments_delivered: u64,
    /// Bytes that arrived.
    pub bytes_delivered: u64,
    /// Attempts to send again what had not arrived or was not acknowledged.
    pub retransmissions: u64,
    /// Resets sent.
    pub resets: u64,
    /// SYNs that met a full queue.
    pub overflows: u64,
}

/// What is left to do when the lock is released: a waker or a destructor may come back for the lock.
#[derive(Default)]
struct After {
    first: Option<Waker>,
    /// There is more than that.
    is_more: bool,
    wake: Vec<Waker>,
    forget: Vec<Waker>,
    #[expect(clippy::vec_box, reason = "moved here as they are")]
    freed: Vec<Box<Connection>>,
}

/// The tables, locked, with what is needed to change them.
pub(crate) struct Turn<'a> {
    pub(crate) net: &'a Arc<Net>,
    pub(crate) state: &'a mut State,
    /// Time stands still during a turn; it is asked for at most once.
    now: OnceCell<Nanos>,
}

/// Adds `self: &Arc<Net>` to the callbacks of a kernel.
struct NetKernel(Arc<Net>);

impl Kernel for NetKernel {
    fn process_ended(&self, process: &Process, _end: &End) {
        self.0.turn(|turn| turn.process_ended(process.id));
    }

    fn machine_changed(&self, machine: &Machine, state: MachineState) {
        self.0.turn(|turn| turn.machine_changed(machine.id, state));
    }
}

impl Net {
    /// The network of this world; made when first asked for.
    pub fn of(world: &World) -> Arc<Net> {
        if let Some(net) = world.try_extension::<Net>() {
            return net;
        }
        let net = world.extension(|| Net::new(world));
        world.add_kernel(Arc::new(NetKernel(net.clone())));
        net
    }

    fn new(world: &World) -> Net {
        let machines = world.machines();
        let stopped = machines.iter().map(|machine| (machine.id, machine.state()));
        let state = State {
            seed: world.seed(),
            settings: TcpSettings::default(),
            connections: Slab::default(),
            listeners: Slab::default(),
            sockets_of: BTreeMap::new(),
            addresses: Addresses::default(),
            stopped: stopped.filter(|(_, state)| *state != MachineState::Running).collect(),
            links: Links::new(world.seed()),
            faults: Faults::default(),
            version: 1,
            names: Names::new(world.seed()),
            deferred: BTreeMap::new(),
            serial: 0,
            statistics: Statistics::default(),
            after: After::default(),
        };
        Net { queue: world.queue().clone(), journal: world.journal().clone(), state: Mutex::new(state) }
    }

    /// Lets something happen later.
    pub(crate) fn schedule(self: &Arc<Self>, at: Nanos, happening: Happening) -> Ticket {
        let net = self.clone();
        self.queue.run_at(at, move || net.turn(|turn| turn.happen(happening)))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere in a task may unwind through here; the tables are consistent between two turns.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` with the tables locked, then wakes whom it woke.
    pub(crate) fn turn<T>(self: &Arc<Self>, f: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let mut guard = self.state();
        let result = f(&mut Turn { net: self, state: &mut guard, now: OnceCell::new() });
        let first = guard.after.first.take();
        let rest = guard.after.is_more.then(|| std::mem::take(&mut guard.after));
        drop(guard);
        if let Some(waker) = first {
            waker.wake();
        }
        if let Some(after) = rest {
            after.wake.into_iter().for_each(Waker::wake);
            drop((after.forget, after.freed));
        }
        result
    }
}

impl Turn<'_> {
    pub(crate) fn now(&self) -> Nanos {
        *self.now.get_or_init(|| self.net.queue.now())
    }

    pub(crate) fn schedule(&self, at: Nanos, happening: Happening) -> Ticket {
        self.net.schedule(at, happening)
    }

    pub(crate) fn cancel(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.net.queue.cancel(ticket);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Syn(client) => self.syn_arrives(client),
            Happening::SynAck(client) => self.syn_ack_arrives(client),
            Happening::Refused(client) => self.refusal_arrives(client),
            Happening::Arrival(sender) => self.arrival(sender),
            Happening::Retransmission(sender) => self.retransmission(sender),
            Happening::GiveUp(sender) => self.give_up(sender),
            Happening::Reset(sender) => self.reset_arrives(sender),
            Happening::WindowUpdate(receiver) => self.window_update_arrives(receiver),
            Happening::Keepalive(end) => self.keepalive_due(end),
            Happening::OrphanDeadline(end) => self.orphan_deadline(end),
        }
    }

    /// Wakes once the lock is released.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        let after = &mut self.state.after;
        match (waker, &after.first) {
            (Some(waker), None) => after.first = Some(waker),
            (Some(waker), Some(_)) => {
                after.is_more = true;
                after.wake.push(waker);
            }
            (None, _) => {}
        }
    }

    /// Drops once the lock is released.
    pub(crate) fn forget(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.state.after.is_more = true;
            self.state.after.forget.push(waker);
        }
    }

    pub(crate) fn connection(&mut self, id: Key) -> Option<&mut Connection> {
        self.state.connections.get_mut(id)
    }

    /// Forgets a connection that nobody can notice any more.
    pub(crate) fn free_if_over(&mut self, id: Key) {
        if !self.state.connections.get(id).is_some_and(Connection::is_over) {
            return;
        }
        let Some(mut connection) = self.state.connections.remove(id) else { return };
        for side in [Side::Client, Side::Server] {
            let half = connection.half_mut(side);
            for ticket in half.arrival.take().into_iter().chain(half.timer.take()) {
                self.net.queue.cancel(ticket);
            }
        }
        let client = connection.end(Side::Client);
        self.state.addresses.release_port(client.address, client.local.port());
        self.state.after.is_more = true;
        self.state.after.freed.push(connection);
    }

    /// Notes that a process holds a socket.
    pub(crate) fn adopt(&mut self, owner: ProcessId, socket: Socket) {
        self.state.sockets_of.entry(owner).or_default().insert(socket);
    }

    /// Notes that a process does not hold a socket any more.
    pub(crate) fn disown(&mut self, owner: ProcessId, socket: Socket) {
        if let Some(sockets) = self.state.sockets_of.get_mut(&owner) {
            sockets.remove(&socket);
            if sockets.is_empty() {
                self.state.sockets_of.remove(&owner);
            }
        }
    }
}
