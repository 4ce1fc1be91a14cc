//! Bytes from one end to the other: writing, arrival, reading, and the window that keeps a fast writer from filling a slow reader's memory.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use crate::connection::{EndId, EndState, Fin, Half, Segment};
use crate::net::{Happening, Turn};

impl Turn<'_> {
    // ---- the sender

    pub(crate) fn poll_write(
        &mut self,
        id: EndId,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let settings = self.state.settings;
        let fail = |kind: ErrorKind| Poll::Ready(Err(Error::from(kind)));
        let Some(connection) = self.connection(id.connection) else { return fail(ErrorKind::NotConnected) };
        let (end, half, _) = connection.split(id.side);
        if end.state != EndState::Open {
            return fail(ErrorKind::NotConnected);
        }
        if let Some(error) = end.error.take() {
            return fail(error);
        }
        if end.dead || half.fin != Fin::NotYet {
            return fail(ErrorKind::BrokenPipe);
        }
        let offered: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if offered == 0 {
            return Poll::Ready(Ok(0));
        }
        let accepted = offered.min(settings.send_buffer_bytes.saturating_sub(half.buffered()));
        if accepted == 0 {
            let old = register(&mut end.writer, context.waker());
            self.forget(old);
            return Poll::Pending;
        }
        let room = if half.unsent.is_empty() { half.room(settings.receive_buffer_bytes) } else { 0 };
        let sent = gather(buffers, 0, accepted.min(room));
        if accepted > room {
            half.unsent.push(gather(buffers, room, accepted - room));
            half.window_closed = true;
        }
        if !sent.is_empty() {
            self.transmit(id, sent, false);
        }
        if accepted > room {
            self.watch_window(id);
        }
        Poll::Ready(Ok(accepted))
    }

    /// No more will be written.
    pub(crate) fn shut_down(&mut self, id: EndId) -> Result<()> {
        let Some(connection) = self.connection(id.connection) else { return Err(ErrorKind::NotConnected.into()) };
        let (end, half, _) = connection.split(id.side);
        if end.state != EndState::Open || end.dead {
            return Err(ErrorKind::NotConnected.into());
        }
        if half.fin == Fin::NotYet {
            half.fin = Fin::Wanted;
            self.pump(id);
        }
        Ok(())
    }

    /// Puts bytes on the wire. Those that arrive no later than the ones before them join them.
    pub(crate) fn transmit(&mut self, sender: EndId, bytes: Vec<u8>, fin: bool) {
        let Some(arrives) = self.arrival_time(sender, bytes.len()) else { return };
        let sent = self.now();
        let Some(connection) = self.state.connections.get_mut(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        half.flight_bytes += bytes.len();
        let joins = arrives <= half.last_arrival;
        match half.flight.back_mut() {
            Some(last) if joins && !last.fin => {
                last.bytes.extend_from_slice(&bytes);
                last.fin = fin;
            }
            _ => {
                half.last_arrival = arrives.max(half.last_arrival);
                half.flight.push_back(Segment { bytes, fin, sent, arrives: half.last_arrival });
            }
        }
        self.expect_arrival(sender);
    }

    /// Makes sure that the first segment on the wire arrives.
    fn expect_arrival(&mut self, sender: EndId) {
        let Some(connection) = self.state.connections.get_mut(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        if half.arrival.is_none()
            && !half.lost
            && let Some(first) = half.flight.front()
        {
            half.arrival = Some(self.net.schedule(first.arrives, Happening::Arrival(sender)));
        }
    }

    /// Sends what waits, as far as the window allows, and then the end-of-file.
    pub(crate) fn pump(&mut self, sender: EndId) {
        let window = self.state.settings.receive_buffer_bytes;
        let Some(connection) = self.connection(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        let mut fin = half.fin == Fin::Wanted;
        if half.unsent.is_empty() && !fin {
            return;
        }
        let mut bytes = Vec::new();
        if !half.unsent.is_empty() {
            let room = half.room(window);
            // A window that opens by crumbs is not used until it is worth a segment (RFC 1122, 4.2.3.4).
            if room < half.unsent.len().min(window / 4) {
                half.window_closed = true;
                return;
            }
            bytes = half.unsent.take(room);
            half.window_closed = !half.unsent.is_empty();
            fin &= half.unsent.is_empty();
        }
        if fin {
            half.fin = Fin::Sent;
        }
        self.transmit(sender, bytes, fin);
    }

    // ---- the wire

    pub(crate) fn arrival(&mut self, sender: EndId) {
        let Some(connection) = self.state.connections.get_mut(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        half.arrival = None;
        let Some(first) = half.flight.front() else { return };
        let bytes = first.bytes.len();
        if !self.is_open(sender) {
            return self.lost(sender);
        }
        match self.loss(sender, bytes) {
            None => self.deliver(sender),
            Some(behind) => self.lost_by_chance(sender, behind),
        }
    }

    /// Whether chance takes one of the packets of so many bytes: how many of them come after it.
    fn loss(&mut self, sender: EndId, bytes: usize) -> Option<usize> {
        let state = &mut *self.state;
        let route = &state.connections.get(sender.connection)?.half(sender.side).route;
        state.links.loses(route.link, &route.profile, bytes)
    }

    /// Whether chance takes a single packet.
    pub(crate) fn loses_packet(&mut self, sender: EndId) -> bool {
        self.loss(sender, 0).is_some()
    }

    /// What was sent reaches the other kernel: it goes into its buffer, and is acknowledged if the way back is open.
    pub(crate) fn deliver(&mut self, sender: EndId) {
        let now = self.now();
        let receiver = sender.peer();
        let Some(connection) = self.state.connections.get_mut(sender.connection) else { return };
        let serial = connection.serial;
        let (end, _, half) = connection.split(receiver.side);
        let has_data = half.flight.front().is_some_and(|segment| !segment.bytes.is_empty());
        if !end.has_socket() || (end.state == EndState::Orphan && has_data) {
            return self.answer_with_reset(sender);
        }
        let handshaking = end.state == EndState::Handshaking;
        half.lost = false;
        let arrived = take_arrived(half, now);
        let waker = if arrived.bytes > 0 || arrived.fin { end.reader.take() } else { None };
        if arrived.bytes > 0 || arrived.fin {
            self.state.statistics.segments_delivered += 1;
            self.state.statistics.bytes_delivered += arrived.bytes as u64;
            self.net.journal.fold(now.0 ^ serial.rotate_left(40) ^ (arrived.bytes as u64).rotate_left(20));
        }
        self.wake(waker);
        if handshaking {
            self.complete_handshake(receiver);
        }
        if self.is_open(receiver) {
            self.acknowledged(sender);
        } else {
            self.acknowledgement_lost(sender, arrived.bytes);
        }
        self.expect_arrival(sender);
        self.free_if_over(sender.connection);
    }

    /// The sender's kernel knows that everything which has arrived has arrived.
    fn acknowledged(&mut self, sender: EndId) {
        let now = self.now();
        let limit = self.state.settings.send_buffer_bytes;
        let Some(connection) = self.state.connections.get_mut(sender.connection) else { return };
        connection.end_mut(sender.peer().side).last_heard = now;
        let (end, half, _) = connection.split(sender.side);
        end.last_heard = now;
        end.unreachable = false;
        half.unacknowledged = 0;
        half.owed = false;
        half.stall = None;
        let timer = half.timer.take();
        if half.fin == Fin::Sent && !half.flight.back().is_some_and(|segment| segment.fin) {
            half.fin = Fin::Acknowledged;
        }
        // Linux wakes a writer when a third of its buffer is free.
        let waker = if half.buffered() * 3 <= limit * 2 { end.writer.take() } else { None };
        let waits = !half.unsent.is_empty() || half.fin == Fin::Wanted;
        self.wake(waker);
        self.cancel(timer);
        if waits {
            self.pump(sender);
        }
    }

    // ---- the receiver

    pub(crate) fn poll_read(
        &mut self,
        id: EndId,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let fail = |kind: ErrorKind| Poll::Ready(Err(Error::from(kind)));
        let window = self.state.settings.receive_buffer_bytes;
        let Some(connection) = self.connection(id.connection) else { return fail(ErrorKind::NotConnected) };
        let (end, _, half) = connection.split(id.side);
        if end.state != EndState::Open {
            return fail(ErrorKind::NotConnected);
        }
        if target.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !half.received.is_empty() {
            half.taken += half.received.read_into(target) as u64;
            let opens = half.received.is_empty() || half.room(window) >= window / 2;
            if half.window_closed && !half.update_on_its_way && opens {
                self.tell_that_there_is_room(id);
            }
            return Poll::Ready(Ok(()));
        }
        if half.fin_received {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = end.error.take() {
            return fail(error);
        }
        if end.dead {
            return Poll::Ready(Ok(()));
        }
        let old = register(&mut end.reader, context.waker());
        self.forget(old);
        Poll::Pending
    }

    fn tell_that_there_is_room(&mut self, receiver: EndId) {
        let Some(arrives) = self.arrival_time(receiver, 0) else { return };
        let Some(connection) = self.connection(receiver.connection) else { return };
        connection.half_mut(receiver.peer().side).update_on_its_way = true;
        self.schedule(arrives, Happening::WindowUpdate(receiver));
    }

    pub(crate) fn window_update_arrives(&mut self, receiver: EndId) {
        let sender = receiver.peer();
        let Some(connection) = self.connection(receiver.connection) else { return };
        let (end, half, _) = connection.split(sender.side);
        half.update_on_its_way = false;
        let has_socket = end.has_socket();
        if !self.is_open(receiver) {
            return self.watch_window(sender);
        }
        if has_socket {
            self.pump(sender);
        } else {
            self.send_reset(sender);
        }
    }

    /// A sender that waits for room cannot hear that there is some: it begins to probe.
    pub(crate) fn watch_window(&mut self, sender: EndId) {
        let Some(connection) = self.connection(sender.connection) else { return };
        let (end, half, _) = connection.split(sender.side);
        let waits = end.has_socket() && !half.unsent.is_empty() && half.timer.is_none();
        if waits && !(self.is_open(sender) && self.is_open(sender.peer())) {
            self.acknowledgement_lost(sender, 0);
        }
    }
}

struct Arrived {
    bytes: usize,
    fin: bool,
}

/// Moves what has arrived by now from the wire to the receiver's buffer.
fn take_arrived(half: &mut Half, now: corral_core::Nanos) -> Arrived {
    let mut arrived = Arrived { bytes: 0, fin: false };
    while half.flight.front().is_some_and(|segment| segment.arrives <= now)
        && let Some(segment) = half.flight.pop_front()
    {
        arrived.bytes += segment.bytes.len();
        arrived.fin |= segment.fin;
        half.received.push(segment.bytes);
    }
    half.flight_bytes -= arrived.bytes;
    half.fin_received |= arrived.fin;
    arrived
}

/// Copies `count` bytes from `skip` on.
fn gather(buffers: &[IoSlice<'_>], mut skip: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count);
    for buffer in buffers {
        let start = skip.min(buffer.len());
        skip -= start;
        let end = buffer.len().min(start + count - bytes.len());
        bytes.extend_from_slice(&buffer[start..end]);
    }
    bytes
}

/// Puts a waker into a slot; returns the one it replaces.
fn register(slot: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match slot {
        Some(old) if old.will_wake(waker) => None,
        _ => slot.replace(waker.clone()),
    }
}
