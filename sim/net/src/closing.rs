//! The ways to go: a handle is dropped, a process ends, a machine stops, an address disappears, a reset arrives.

use std::io::ErrorKind;
use std::time::Duration;

use corral_core::{MachineId, MachineState, ProcessId};

use crate::connection::{Connection, End, EndId, EndState, Fin, Side};
use crate::links::PACKET_BYTES;
use crate::net::{Happening, Socket, Turn};
use crate::slab::Key;

/// How long Linux probes a closed window for a socket whose process is gone: until the time-out between probes has reached its maximum.
const ORPHAN_FACES_A_CLOSED_WINDOW: Duration = Duration::from_millis(204_600);

impl Turn<'_> {
    // ---- from this side

    /// A process ended: its kernel closes what it held.
    pub(crate) fn process_ended(&mut self, process: ProcessId) {
        for socket in self.state.sockets_of.remove(&process).unwrap_or_default() {
            match socket {
                Socket::End(end) => self.close(end),
                Socket::Listener(listener) => self.close_listener(listener),
            }
        }
    }

    /// A process lets go of a socket. No effect if it, or its machine, is dead: then it was done for it.
    pub(crate) fn close(&mut self, id: EndId) {
        let Some(connection) = self.connection(id.connection) else { return };
        let (end, sent, received) = connection.split(id.side);
        if !matches!(end.state, EndState::Open | EndState::Connecting) {
            return;
        }
        let (owner, wakers) = (end.owner.take(), [end.reader.take(), end.writer.take()]);
        if end.state == EndState::Connecting {
            end.state = EndState::Gone;
            self.forget_half_open(id.peer());
        } else if end.dead {
            end.state = EndState::Gone;
        } else if !received.received.is_empty() {
            // What it did not read, it would never have been told of: the peer must learn that.
            self.destroy(id);
            self.send_reset(id);
        } else {
            end.state = EndState::Orphan;
            if sent.fin == Fin::NotYet {
                sent.fin = Fin::Wanted;
            }
            let blocked = !sent.unsent.is_empty();
            sent.taken_before = sent.taken;
            self.pump(id);
            if blocked {
                self.schedule(self.now() + ORPHAN_FACES_A_CLOSED_WINDOW, Happening::OrphanDeadline(id));
            }
        }
        wakers.into_iter().for_each(|waker| self.forget(waker));
        if let Some(owner) = owner {
            self.disown(owner, Socket::End(id));
        }
        self.free_if_over(id.connection);
    }

    /// An orphan's peer has had its time to make room.
    pub(crate) fn orphan_deadline(&mut self, id: EndId) {
        let Some(connection) = self.connection(id.connection) else { return };
        let (end, half, _) = connection.split(id.side);
        if end.state != EndState::Orphan || half.unsent.is_empty() {
            return;
        }
        let made_room = half.taken - half.taken_before >= PACKET_BYTES as u64;
        half.taken_before = half.taken;
        if made_room {
            self.schedule(self.now() + ORPHAN_FACES_A_CLOSED_WINDOW, Happening::OrphanDeadline(id));
        } else {
            self.destroy(id);
            self.free_if_over(id.connection);
        }
    }

    /// A listening socket is closed; who waited to be accepted is reset.
    pub(crate) fn close_listener(&mut self, key: Key) {
        let Some(listener) = self.state.listeners.remove(key) else { return };
        self.state.addresses.remove_listener(listener.address, listener.bound.port(), key);
        self.disown(listener.owner, Socket::Listener(key));
        let half_open = if listener.pending > 0 { self.half_open_for(key) } else { Vec::new() };
        for end in listener.queue.iter().copied().chain(half_open) {
            self.destroy(end);
            self.send_reset(end);
            self.free_if_over(end.connection);
        }
        // Its wakers go with it, after the lock.
        listener.wakers.into_iter().for_each(|waker| self.forget(Some(waker)));
    }

    /// The ends whose third packet this listener awaits.
    fn half_open_for(&self, listener: Key) -> Vec<EndId> {
        let waits = |connection: &Connection| {
            connection.listener == Some(listener) && connection.end(Side::Server).state == EndState::Handshaking
        };
        let keys = self.state.connections.keys().into_iter();
        keys.filter(|key| self.state.connections.get(*key).is_some_and(waits)).map(EndId::server).collect()
    }

    // ---- from the other side

    /// Tells the other side that here is no such connection; arrives after whatever was sent before.
    pub(crate) fn send_reset(&mut self, sender: EndId) {
        self.send_reset_after(sender, Duration::ZERO);
    }

    pub(crate) fn send_reset_after(&mut self, sender: EndId, delay: Duration) {
        let Some(arrives) = self.arrival_time(sender, 0) else { return };
        let Some(connection) = self.connection(sender.connection) else { return };
        let arrives = (arrives + delay).max(connection.half(sender.side).last_arrival);
        self.state.statistics.resets += 1;
        self.schedule(arrives, Happening::Reset(sender));
    }

    /// Something arrived for a connection that its receiver's kernel does not know, or cannot give to anybody.
    pub(crate) fn answer_with_reset(&mut self, sender: EndId) {
        self.destroy_if_orphan(sender.peer());
        self.send_reset(sender.peer());
        // Until the reset is there, the sender knows of nothing and tries again.
        self.lost(sender);
    }

    fn destroy_if_orphan(&mut self, id: EndId) {
        let connection = self.state.connections.get(id.connection);
        if connection.is_some_and(|connection| connection.end(id.side).state == EndState::Orphan) {
            self.destroy(id);
        }
    }

    pub(crate) fn reset_arrives(&mut self, sender: EndId) {
        let now = self.now();
        let receiver = sender.peer();
        let Some(connection) = self.connection(sender.connection) else { return };
        let sent = connection.half_mut(sender.side);
        if sent.arrival.is_some() && sent.flight.front().is_some_and(|segment| segment.arrives <= now) {
            let ticket = sent.arrival.take();
            self.cancel(ticket);
            self.arrival(sender);
        }
        if !self.is_open(sender) {
            return;
        }
        let Some(connection) = self.connection(sender.connection) else { return };
        let (end, own, other) = connection.split(receiver.side);
        // Linux calls it a broken pipe if the peer had said that it would send nothing more.
        let hung_up = other.fin_received && own.fin == Fin::NotYet;
        match end.state {
            EndState::Connecting => self.fail_connect(receiver, ErrorKind::ConnectionRefused),
            EndState::Handshaking => self.forget_half_open(receiver),
            EndState::Orphan => self.destroy(receiver),
            EndState::Open | EndState::Queued if !end.dead => {
                self.kill_end(receiver, if hung_up { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset });
            }
            _ => {}
        }
        self.abandon(sender);
    }

    /// The kernel forgets a socket that a process still holds; the process learns why by its next call.
    pub(crate) fn kill_end(&mut self, id: EndId, error: ErrorKind) {
        let Some(connection) = self.connection(id.connection) else { return };
        let (end, half, _) = connection.split(id.side);
        end.dead = true;
        end.error = Some(error);
        half.unsent.clear();
        let wakers = [end.reader.take(), end.writer.take()];
        wakers.into_iter().for_each(|waker| self.wake(waker));
        self.abandon(id);
    }

    /// The kernel forgets a socket. What is on the wire goes on; what would have to be sent again does not.
    pub(crate) fn destroy(&mut self, id: EndId) {
        let Some(connection) = self.connection(id.connection) else { return };
        match connection.end(id.side).state {
            EndState::Handshaking => self.forget_half_open(id),
            EndState::Connecting => self.forget_half_open(id.peer()),
            _ => {}
        }
        let Some(connection) = self.connection(id.connection) else { return };
        let (end, sent, received) = connection.split(id.side);
        end.state = EndState::Gone;
        sent.unsent.clear();
        received.received.clear();
        let wakers = [end.reader.take(), end.writer.take()];
        let (again, timer) = (sent.stall.take().is_some() || sent.lost, sent.timer.take());
        sent.owed = false;
        wakers.into_iter().for_each(|waker| self.wake(waker));
        self.cancel(timer);
        if again {
            self.abandon(id);
        }
    }

    // ---- machines and addresses

    pub(crate) fn machine_changed(&mut self, machine: MachineId, state: MachineState) {
        match state {
            MachineState::Running => {
                self.state.stopped.remove(&machine);
                self.state.version += 1;
                self.do_what_was_deferred(machine);
            }
            MachineState::Frozen => {
                self.state.stopped.insert(machine, state);
                self.something_broke();
            }
            MachineState::Off => {
                self.state.stopped.insert(machine, state);
                self.state.deferred.remove(&machine);
                self.vanish(|end| end.machine == Some(machine), |listener| listener.machine == machine);
                self.something_broke();
            }
        }
    }

    pub(crate) fn address_removed(&mut self, address: std::net::Ipv4Addr) {
        self.vanish(|end| end.address == address, |listener| listener.address == address);
        self.state.addresses.remove(address);
        self.something_broke();
    }

    /// These sockets are gone without a word.
    fn vanish(&mut self, ends: impl Fn(&End) -> bool, listeners: impl Fn(&crate::listener::Listener) -> bool) {
        for key in self.state.listeners.keys() {
            if let Some(listener) = self.state.listeners.get(key)
                && listeners(listener)
                && let Some(listener) = self.state.listeners.remove(key)
            {
                self.state.addresses.remove_listener(listener.address, listener.bound.port(), key);
                self.disown(listener.owner, Socket::Listener(key));
                listener.wakers.into_iter().for_each(|waker| self.wake(Some(waker)));
            }
        }
        for key in self.state.connections.keys() {
            for id in [EndId::client(key), EndId::server(key)] {
                let Some(end) = self.connection(key).map(|connection| connection.end_mut(id.side)) else { break };
                if end.state == EndState::Gone || !ends(end) {
                    continue;
                }
                if let Some(owner) = end.owner.take() {
                    self.disown(owner, Socket::End(id));
                }
                self.destroy(id);
                self.free_if_over(key);
            }
        }
    }
}
