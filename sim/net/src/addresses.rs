//! Addresses, and the ports in use at each. A pod's processes share one address, and with it one set of ports and one loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;

use corral_core::MachineId;
use corral_core::random::Stream;

use crate::slab::Key;

/// Linux's default `ip_local_port_range` is 32768 to 60999.
const FIRST_EPHEMERAL_PORT: u16 = 32768;
const EPHEMERAL_PORTS: u16 = 61000 - FIRST_EPHEMERAL_PORT;

#[derive(Default)]
pub(crate) struct Addresses {
    /// None for one that was removed: only `add` brings it back.
    machines: BTreeMap<Ipv4Addr, Option<MachineId>>,
    ports: BTreeMap<Ipv4Addr, Ports>,
}

#[derive(Default)]
struct Ports {
    /// By port: the addresses bound (several, if none of them is all addresses), and the socket of each.
    listeners: BTreeMap<u16, Vec<(Ipv4Addr, Key)>>,
    outgoing: BTreeSet<u16>,
    /// The last ephemeral port given out, counted from the first.
    last: u16,
}

impl Addresses {
    pub(crate) fn add(&mut self, address: Ipv4Addr, machine: MachineId) {
        self.machines.insert(address, Some(machine));
    }

    /// The machine of a process's own address, which is added if nobody ever spoke of it.
    pub(crate) fn own(&mut self, address: Ipv4Addr, machine: MachineId) -> Result<(MachineId, bool)> {
        match self.machines.get(&address) {
            Some(Some(machine)) => Ok((*machine, false)),
            Some(None) => Err(Error::from(ErrorKind::NetworkUnreachable)),
            None => {
                self.add(address, machine);
                Ok((machine, true))
            }
        }
    }

    pub(crate) fn remove(&mut self, address: Ipv4Addr) {
        self.machines.insert(address, None);
        self.ports.remove(&address);
    }

    /// Who has the address.
    pub(crate) fn machine(&self, address: Ipv4Addr) -> Option<MachineId> {
        self.machines.get(&address).copied().flatten()
    }

    fn ports(&mut self, address: Ipv4Addr, seed: u64) -> &mut Ports {
        self.ports.entry(address).or_insert_with(|| Ports {
            last: Stream::new(seed, &format!("net/ports/{address}")).below(u64::from(EPHEMERAL_PORTS)) as u16,
            ..Ports::default()
        })
    }

    /// A free port of the ephemeral range, the next one after the last.
    fn ephemeral(ports: &mut Ports) -> Result<u16> {
        for _ in 0..EPHEMERAL_PORTS {
            ports.last = (ports.last + 1) % EPHEMERAL_PORTS;
            let port = FIRST_EPHEMERAL_PORT + ports.last;
            if !ports.outgoing.contains(&port) && !ports.listeners.contains_key(&port) {
                return Ok(port);
            }
        }
        Err(Error::from(ErrorKind::AddrNotAvailable))
    }

    /// Takes a port for an outgoing connection.
    pub(crate) fn take_port(&mut self, address: Ipv4Addr, seed: u64) -> Result<u16> {
        let ports = self.ports(address, seed);
        let port = Addresses::ephemeral(ports)?;
        ports.outgoing.insert(port);
        Ok(port)
    }

    pub(crate) fn release_port(&mut self, address: Ipv4Addr, port: u16) {
        if let Some(ports) = self.ports.get_mut(&address) {
            ports.outgoing.remove(&port);
        }
    }

    /// The port that a listener is to have: the one asked for if it is free, as SO_REUSEADDR has it (what is left of former
    /// connections does not count), or an ephemeral one for port 0.
    pub(crate) fn port_to_listen(&mut self, address: Ipv4Addr, bound: Ipv4Addr, port: u16, seed: u64) -> Result<u16> {
        let ports = self.ports(address, seed);
        if port == 0 {
            return Addresses::ephemeral(ports);
        }
        let overlaps = |other: &(Ipv4Addr, Key)| other.0 == bound || other.0.is_unspecified() || bound.is_unspecified();
        let listened = ports.listeners.get(&port).is_some_and(|listeners| listeners.iter().any(overlaps));
        if listened || ports.outgoing.contains(&port) { Err(Error::from(ErrorKind::AddrInUse)) } else { Ok(port) }
    }

    pub(crate) fn add_listener(&mut self, address: Ipv4Addr, bound: Ipv4Addr, port: u16, listener: Key) {
        self.ports.entry(address).or_default().listeners.entry(port).or_default().push((bound, listener));
    }

    pub(crate) fn remove_listener(&mut self, address: Ipv4Addr, port: u16, listener: Key) {
        let Some(ports) = self.ports.get_mut(&address) else { return };
        if let Some(listeners) = ports.listeners.get_mut(&port) {
            listeners.retain(|(_, key)| *key != listener);
            if listeners.is_empty() {
                ports.listeners.remove(&port);
            }
        }
    }

    /// Who listens to what is sent to `to` (the address itself, or one of loopback) at this address.
    pub(crate) fn listener(&self, address: Ipv4Addr, to: Ipv4Addr, port: u16) -> Option<Key> {
        let listeners = self.ports.get(&address)?.listeners.get(&port)?;
        listeners.iter().find(|(bound, _)| *bound == to || bound.is_unspecified()).map(|(_, key)| *key)
    }
}
