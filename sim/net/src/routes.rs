//! Routes: whether what an end sends would get through now, and over which link. Worked out when first needed and again after any change.

use std::collections::BTreeMap;

use corral_core::{Latency, MachineId, MachineState};

use crate::connection::EndId;
use crate::faults::{Faults, Flow};
use crate::links::LinkProfile;
use crate::net::Turn;
use crate::slab::Key;

/// Whether packets get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They do.
    Open,
    /// They vanish: cut, or nobody is there to take them.
    Silent,
    /// They are answered "host unreachable": nobody has that address.
    NoHost,
}

/// Whether packets of this flow get through.
pub(crate) fn way_of(flow: &Flow, loopback: bool, stopped: &BTreeMap<MachineId, MachineState>, faults: &Faults) -> Way {
    match flow.to_machine {
        Some(machine) if stopped.contains_key(&machine) => Way::Silent,
        _ if !loopback && faults.cuts(flow) => Way::Silent,
        Some(_) => Way::Open,
        None => Way::NoHost,
    }
}

/// What is known about one way of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// The version of the tables it was worked out from; 0 for none.
    version: u64,
    pub(crate) way: Way,
    pub(crate) link: u32,
    pub(crate) profile: LinkProfile,
}

impl Default for Route {
    fn default() -> Route {
        Route { version: 0, way: Way::Silent, link: 0, profile: LinkProfile::of(Latency::ZERO) }
    }
}

impl Turn<'_> {
    /// Whether what this end sends arrives. `None` if the connection is gone.
    pub(crate) fn way(&mut self, sender: EndId) -> Option<Way> {
        let state = &mut *self.state;
        let connection = state.connections.get_mut(sender.connection)?;
        if connection.half(sender.side).route.version == state.version {
            return Some(connection.half(sender.side).route.way);
        }
        let (from, to) = (connection.end(sender.side).address, connection.end(sender.peer().side).address);
        let flow = Flow {
            from,
            from_machine: state.addresses.machine(from),
            to,
            to_machine: state.addresses.machine(to),
            port: connection.port,
        };
        let loopback = connection.loopback;
        let (link, profile) = state.links.resolve(&flow, loopback, state.faults.degradations(&flow));
        let way =
            if connection.black_hole { Way::Silent } else { way_of(&flow, loopback, &state.stopped, &state.faults) };
        connection.half_mut(sender.side).route = Route { version: state.version, way, link, profile };
        Some(way)
    }

    /// Whether what this end sends arrives, all being well on its machine.
    pub(crate) fn is_open(&mut self, sender: EndId) -> bool {
        self.way(sender) == Some(Way::Open)
    }

    /// When so many bytes that this end sends now arrive, if they do.
    pub(crate) fn arrival_time(&mut self, sender: EndId, bytes: usize) -> Option<corral_core::Nanos> {
        self.way(sender)?;
        let now = self.now();
        let route = self.state.connections.get(sender.connection)?.half(sender.side).route;
        Some(self.state.links.arrival(route.link, &route.profile, now, bytes))
    }

    /// Whether this machine's kernel stands still: what it would do now, it does when it runs again.
    pub(crate) fn is_frozen(&self, machine: Option<MachineId>) -> Option<MachineId> {
        machine.filter(|machine| self.state.stopped.get(machine) == Some(&MachineState::Frozen))
    }

    /// The machine of this end, if it is frozen.
    pub(crate) fn frozen_at(&self, end: EndId) -> Option<MachineId> {
        if self.state.stopped.is_empty() {
            return None;
        }
        self.is_frozen(self.state.connections.get(end.connection)?.end(end.side).machine)
    }

    /// A route has become worse: those who are to notice without sending anything begin to look.
    pub(crate) fn something_broke(&mut self) {
        self.state.version += 1;
        for key in self.state.connections.keys() {
            self.look_after(key);
        }
    }

    /// Starts the timers that a healthy connection does not have, where this one needs them now.
    fn look_after(&mut self, connection: Key) {
        for end in [EndId::client(connection), EndId::server(connection)] {
            self.watch_keepalive(end);
            self.watch_window(end);
        }
    }
}
