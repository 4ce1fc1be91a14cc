//! What a kernel does about something that was not acknowledged: send it again after 200 ms, then after twice that, up to 120 s, and at some
//! point give up. These timers exist only while something is wrong.

use std::io::ErrorKind;
use std::time::Duration;

use corral_core::{MachineId, Nanos};

use crate::connection::{Connection, EndId, EndState, Fin, Half, Side, Stall};
use crate::links::shows_a_gap;
use crate::net::{Happening, Turn};
use crate::routes::Way;

/// A server repeats its SYN-ACK after 1, 2, 4 .. s.
const FIRST_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);

impl Turn<'_> {
    /// The first segment on the wire did not get through.
    pub(crate) fn lost(&mut self, sender: EndId) {
        let now = self.now();
        let Some(connection) = self.connection(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        half.lost = true;
        let since = half.flight.front().map_or(now, |segment| segment.sent);
        self.failed(sender, since);
    }

    /// Chance took it: what follows shows the receiver a gap, and it asks again, or nothing does.
    pub(crate) fn lost_by_chance(&mut self, sender: EndId, behind_in_segment: usize) {
        let Some(connection) = self.connection(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        let first = half.flight.front().map_or(0, |segment| segment.bytes.len());
        let behind = half.flight_bytes - first + behind_in_segment;
        if half.timer.is_some() || half.stall.is_some() || !shows_a_gap(behind) {
            return self.lost(sender);
        }
        half.lost = true;
        let (Some(there), Some(back)) = (self.arrival_time(sender, 0), self.arrival_time(sender.peer(), 0)) else {
            return;
        };
        let now = self.now();
        let at = now + there.since(now) + back.since(now);
        let timer = Some(self.schedule(at, Happening::Retransmission(sender)));
        if let Some(connection) = self.connection(sender.connection) {
            connection.half_mut(sender.side).timer = timer;
        }
    }

    /// So many bytes arrived, or a probe did, and the sender does not know.
    pub(crate) fn acknowledgement_lost(&mut self, sender: EndId, bytes: usize) {
        let now = self.now();
        let Some(connection) = self.connection(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        half.unacknowledged += bytes;
        half.owed = true;
        self.failed(sender, now);
    }

    /// An attempt failed of which the first was made at `since`: plans the next one, or the end.
    fn failed(&mut self, sender: EndId, since: Nanos) {
        let now = self.now();
        let settings = self.state.settings;
        let no_host = self.way(sender) == Some(Way::NoHost);
        let Some(connection) = self.connection(sender.connection) else { return };
        if !connection.end(sender.side).has_socket() {
            return self.abandon(sender);
        }
        let handshake = is_bare_handshake(connection, sender);
        let (end, half, _) = connection.split(sender.side);
        end.unreachable |= no_host;
        if half.timer.is_some() {
            return;
        }
        let (first, limit) = match end.state {
            _ if handshake => (FIRST_HANDSHAKE_TIMEOUT, settings.handshake_retries),
            EndState::Orphan => (settings.first_timeout, settings.orphan_retransmissions),
            _ => (settings.first_timeout, settings.retransmissions),
        };
        let stall = half.stall.get_or_insert(Stall { since, fires: since, failures: 0 });
        let timeout = first.saturating_mul(1u32.checked_shl(stall.failures).unwrap_or(u32::MAX));
        stall.fires = (stall.fires + timeout.min(settings.longest_timeout)).max(now);
        stall.failures += 1;
        let deadline = end.user_timeout.map_or(Nanos::MAX, |timeout| stall.since + timeout);
        let (fires, gives_up) = (stall.fires.min(deadline), stall.failures > limit || stall.fires >= deadline);
        let timer = if gives_up {
            self.schedule(fires.max(now), Happening::GiveUp(sender))
        } else {
            let travels = self.arrival_time(sender, 0).map_or(Duration::ZERO, |arrives| arrives.since(now));
            self.schedule(fires + travels, Happening::Retransmission(sender))
        };
        if let Some(connection) = self.connection(sender.connection) {
            connection.half_mut(sender.side).timer = Some(timer);
        }
    }

    /// What was not acknowledged is sent again, and would arrive now.
    pub(crate) fn retransmission(&mut self, sender: EndId) {
        if self.defer_if_frozen(sender, Happening::Retransmission(sender)) {
            return;
        }
        let Some(connection) = self.connection(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        half.timer = None;
        if half.flight.is_empty() && !half.owed {
            return;
        }
        let was_lost = half.lost;
        self.state.statistics.retransmissions += 1;
        // Only the packet that was lost is sent again (SACK).
        if self.is_open(sender) && !self.loses_packet(sender) {
            return self.deliver(sender);
        }
        let now = self.now();
        if was_lost { self.lost(sender) } else { self.failed(sender, now) }
    }

    /// Patience is over.
    pub(crate) fn give_up(&mut self, sender: EndId) {
        if self.defer_if_frozen(sender, Happening::GiveUp(sender)) {
            return;
        }
        let Some(connection) = self.connection(sender.connection) else { return };
        let handshake = is_bare_handshake(connection, sender);
        let (end, half, _) = connection.split(sender.side);
        half.timer = None;
        let error = if end.unreachable { ErrorKind::HostUnreachable } else { ErrorKind::TimedOut };
        match end.state {
            EndState::Connecting => self.fail_connect(sender, error),
            _ if handshake => self.abandon(sender),
            EndState::Orphan => {
                self.abandon(sender);
                self.destroy(sender);
            }
            _ => {
                self.abandon(sender);
                self.kill_end(sender, error);
            }
        }
        self.free_if_over(sender.connection);
    }

    /// Forgets what was sent and not acknowledged.
    pub(crate) fn abandon(&mut self, sender: EndId) {
        let Some(connection) = self.connection(sender.connection) else { return };
        let half = connection.half_mut(sender.side);
        half.flight.clear();
        half.flight_bytes = 0;
        half.unacknowledged = 0;
        half.owed = false;
        half.lost = false;
        half.stall = None;
        let (arrival, timer) = (half.arrival.take(), half.timer.take());
        self.cancel(arrival);
        self.cancel(timer);
        if sender.side == Side::Client {
            // The third packet of the handshake was among it.
            self.forget_half_open(sender.peer());
        }
        self.free_if_over(sender.connection);
    }

    /// If this end's machine is frozen, its kernel does this when it runs again.
    pub(crate) fn defer_if_frozen(&mut self, end: EndId, happening: Happening) -> bool {
        let Some(machine) = self.frozen_at(end) else { return false };
        self.state.deferred.entry(machine).or_default().push(happening);
        true
    }

    /// What this machine's kernel put off, it does now.
    pub(crate) fn do_what_was_deferred(&mut self, machine: MachineId) {
        for happening in self.state.deferred.remove(&machine).unwrap_or_default() {
            let ticket = self.schedule(self.now(), happening);
            if let Happening::Retransmission(sender) | Happening::GiveUp(sender) = happening
                && let Some(connection) = self.connection(sender.connection)
            {
                connection.half_mut(sender.side).timer = Some(ticket);
            }
        }
    }
}

/// Whether all that this end sent is the third packet of the handshake, and it has not arrived.
fn is_bare_handshake(connection: &Connection, sender: EndId) -> bool {
    let nothing_else = |half: &Half| half.fin == Fin::NotYet && half.buffered() == 0;
    sender.side == Side::Client
        && connection.end(Side::Server).state == EndState::Handshaking
        && nothing_else(connection.half(Side::Client))
}
