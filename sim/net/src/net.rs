//! The network of a run: its tables behind one lock, and what an administrator may do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use corral_core::journal::{End, Journal};
use corral_core::{EventQueue, Kernel, Machine, MachineId, MachineState, Nanos, Process, ProcessId, Ticket, World};

use crate::addresses::Addresses;
use crate::connection::{Connection, EndId, Side};
use crate::faults::{DegradationId, DegradationSpec, Faults, PartitionId, PartitionSpec, Selector};
use crate::links::{LinkProfile, Links};
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
    wake: Vec<Waker>,
    forget: Vec<Waker>,
    freed: Vec<Box<Connection>>,
}

/// The tables, locked, with what is needed to change them.
pub(crate) struct Turn<'a> {
    pub(crate) net: &'a Arc<Net>,
    pub(crate) state: &'a mut State,
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

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere in a task may unwind through here; the tables are consistent between two turns.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` with the tables locked, then wakes whom it woke.
    pub(crate) fn turn<T>(self: &Arc<Self>, f: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let mut guard = self.state();
        let result = f(&mut Turn { net: self, state: &mut guard });
        let after = std::mem::take(&mut guard.after);
        drop(guard);
        after.first.into_iter().chain(after.wake).for_each(Waker::wake);
        drop((after.forget, after.freed));
        result
    }

    // ---- addresses and names

    /// Gives an address to a machine: its own, or one of a pod on it. An address that is somebody else's moves.
    pub fn add_address(self: &Arc<Self>, address: Ipv4Addr, machine: MachineId) {
        self.turn(|turn| {
            turn.state.addresses.add(address, machine);
            turn.state.version += 1;
        });
    }

    /// Takes an address away, with all its sockets: no packet leaves it any more, and those for it are answered "host unreachable".
    pub fn remove_address(self: &Arc<Self>, address: Ipv4Addr) {
        self.turn(|turn| turn.address_removed(address));
    }

    /// Lets a name stand for these addresses.
    pub fn set_name(self: &Arc<Self>, name: &str, addresses: Vec<Ipv4Addr>) {
        self.turn(|turn| turn.state.names.set(name, addresses));
    }

    /// Forgets a name.
    pub fn remove_name(self: &Arc<Self>, name: &str) {
        self.turn(|turn| turn.state.names.remove(name));
    }

    /// Makes name look-ups on a machine fail, or work again.
    pub fn set_names_available(self: &Arc<Self>, machine: MachineId, available: bool) {
        self.turn(|turn| turn.state.names.set_available(machine, available));
    }

    /// Sets the time a name look-up takes.
    pub fn set_name_latency(self: &Arc<Self>, latency: corral_core::Latency) {
        self.turn(|turn| turn.state.names.latency = latency);
    }

    /// On this machine, a new connection to this virtual address and port goes to one of the backends, drawn when it is made; with none
    /// it is refused. What kube-proxy does.
    pub fn set_service(
        self: &Arc<Self>,
        machine: MachineId,
        virtual_address: Ipv4Addr,
        port: u16,
        backends: Vec<SocketAddrV4>,
    ) {
        self.turn(|turn| turn.state.names.set_service(machine, virtual_address, port, backends));
    }

    /// Forgets a port of a virtual address.
    pub fn remove_service(self: &Arc<Self>, machine: MachineId, virtual_address: Ipv4Addr, port: u16) {
        self.turn(|turn| turn.state.names.remove_service(machine, virtual_address, port));
    }

    // ---- links

    /// Sets what every link between two machines is that has no profile of its own.
    pub fn set_default_link(self: &Arc<Self>, profile: LinkProfile) {
        self.change_links(|links| links.between = profile);
    }

    /// Sets what the traffic between pods of one machine is, if the machine has no profile of its own.
    pub fn set_default_link_within_machine(self: &Arc<Self>, profile: LinkProfile) {
        self.change_links(|links| links.within = profile);
    }

    /// Sets what the traffic within a pod is.
    pub fn set_loopback_link(self: &Arc<Self>, profile: LinkProfile) {
        self.change_links(|links| links.loopback = profile);
    }

    /// Sets one direction between two machines or addresses. Of several that match, the one set last wins.
    pub fn set_link(self: &Arc<Self>, from: impl Into<Selector>, to: impl Into<Selector>, profile: LinkProfile) {
        self.change_links(|links| links.set(from.into(), to.into(), profile));
    }

    fn change_links(self: &Arc<Self>, change: impl FnOnce(&mut Links)) {
        self.turn(|turn| {
            change(&mut turn.state.links);
            turn.state.version += 1;
        });
    }

    // ---- faults

    /// Cuts the wire.
    pub fn partition(self: &Arc<Self>, spec: PartitionSpec) -> PartitionId {
        self.turn(|turn| {
            let id = turn.state.faults.partition(spec);
            turn.something_broke();
            id
        })
    }

    /// Ends a partition; false if it had ended. What was held up comes with its next retransmission.
    pub fn heal(self: &Arc<Self>, id: PartitionId) -> bool {
        self.turn(|turn| {
            turn.state.version += 1;
            turn.state.faults.heal(id)
        })
    }

    /// Makes links worse.
    pub fn degrade(self: &Arc<Self>, spec: DegradationSpec) -> DegradationId {
        self.turn(|turn| {
            turn.state.version += 1;
            turn.state.faults.degrade(spec)
        })
    }

    /// Ends a degradation; false if it had ended.
    pub fn restore(self: &Arc<Self>, id: DegradationId) -> bool {
        self.turn(|turn| {
            turn.state.version += 1;
            turn.state.faults.restore(id)
        })
    }

    /// Ends all partitions and degradations.
    pub fn heal_all(self: &Arc<Self>) {
        self.turn(|turn| {
            turn.state.version += 1;
            turn.state.faults.clear();
        });
    }

    // ---- the rest

    /// The kernels' limits and time-outs.
    pub fn settings(&self) -> TcpSettings {
        self.state().settings
    }

    /// Sets the kernels' limits and time-outs, from now on.
    pub fn set_settings(&self, settings: TcpSettings) {
        self.state().settings = settings;
    }

    /// How much went on so far.
    pub fn statistics(&self) -> Statistics {
        let state = self.state();
        Statistics { connections: state.connections.len(), listeners: state.listeners.len(), ..state.statistics }
    }
}

impl Turn<'_> {
    pub(crate) fn now(&self) -> Nanos {
        self.net.queue.now()
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
            (Some(waker), Some(_)) => after.wake.push(waker),
            (None, _) => {}
        }
    }

    /// Drops once the lock is released.
    pub(crate) fn forget(&mut self, waker: Option<Waker>) {
        self.state.after.forget.extend(waker);
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
