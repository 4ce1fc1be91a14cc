//! Keep-alive, without an event while all is well: probes are planned when a route breaks, or the far end disappears, and are given up again
//! when one is answered. Until then they would all have been answered.

use std::io::ErrorKind;
use std::time::Duration;

use corral_core::Nanos;

use crate::connection::{EndId, EndState};
use crate::net::{Happening, Turn};
use crate::routes::Way;
use crate::settings::Keepalive;

impl Turn<'_> {
    pub(crate) fn set_keepalive(&mut self, id: EndId, keepalive: Option<Keepalive>) {
        let Some(connection) = self.connection(id.connection) else { return };
        connection.end_mut(id.side).keepalive = keepalive;
        self.watch_keepalive(id);
    }

    /// Plans the next probe, if there is a reason to.
    pub(crate) fn watch_keepalive(&mut self, id: EndId) {
        let Some(connection) = self.state.connections.get(id.connection) else { return };
        let end = connection.end(id.side);
        let established = end.state == EndState::Open && !end.dead;
        let (Some(keepalive), None, true) = (end.keepalive, end.probing, established) else { return };
        let (last_heard, peer_is_there) = (end.last_heard, connection.end(id.peer().side).has_socket());
        if peer_is_there && self.is_open(id) && self.is_open(id.peer()) {
            return;
        }
        // The last probe that was answered, had there been any.
        let now = self.now();
        let idle_ns = (keepalive.idle.as_nanos() as u64).max(1);
        let last_answer = Nanos(now.0 - now.since(last_heard).as_nanos() as u64 % idle_ns);
        self.probe_later(id, last_answer + keepalive.idle, 0);
    }

    fn probe_later(&mut self, id: EndId, at: Nanos, unanswered: u32) {
        if let Some(connection) = self.connection(id.connection) {
            connection.end_mut(id.side).probing = Some(unanswered);
            self.schedule(at, Happening::Keepalive(id));
        }
    }

    pub(crate) fn keepalive_due(&mut self, id: EndId) {
        if self.defer_if_frozen(id, Happening::Keepalive(id)) {
            return;
        }
        let now = self.now();
        let Some(connection) = self.connection(id.connection) else { return };
        let peer_is_there = connection.end(id.peer().side).has_socket();
        let (end, half, _) = connection.split(id.side);
        let unanswered = end.probing.take().unwrap_or_default();
        let (Some(keepalive), true) = (end.keepalive, end.has_socket()) else { return };
        let (heard, busy) = (end.last_heard, half.buffered() > 0 || half.owed);
        let (there, back) = (self.way(id), self.way(id.peer()));
        let answered = there == Some(Way::Open) && back == Some(Way::Open);
        if answered && !peer_is_there {
            // The reset that answers the probe.
            let travels = self.arrival_time(id, 0).map_or(Duration::ZERO, |arrives| arrives.since(now));
            return self.send_reset_after(id.peer(), travels);
        }
        if answered {
            return self.heard(id);
        }
        if busy || now.since(heard) < keepalive.idle {
            // Retransmission sees to it; or something was heard since this probe was planned.
            let at = if busy { now + keepalive.idle } else { heard + keepalive.idle };
            return self.probe_later(id, at, 0);
        }
        if unanswered >= keepalive.retries {
            let error = if there == Some(Way::NoHost) { ErrorKind::HostUnreachable } else { ErrorKind::TimedOut };
            self.send_reset(id);
            self.kill_end(id, error);
            return self.free_if_over(id.connection);
        }
        self.probe_later(id, now + keepalive.interval, unanswered + 1);
    }

    fn heard(&mut self, id: EndId) {
        let now = self.now();
        if let Some(connection) = self.connection(id.connection) {
            connection.end_mut(id.side).last_heard = now;
        }
    }
}
