//! Names of services and hosts, and the virtual addresses of services, as a cluster's DNS and kube-proxy have them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use corral_core::random::Stream;
use corral_core::{Latency, MachineId};

use crate::net::Net;

/// resolv.conf's defaults: two attempts of 5 s.
const GIVES_UP_AFTER: Duration = Duration::from_secs(10);

pub(crate) struct Names {
    addresses: BTreeMap<String, Vec<Ipv4Addr>>,
    unavailable: BTreeSet<MachineId>,
    services: BTreeMap<(MachineId, Ipv4Addr, u16), Vec<SocketAddrV4>>,
    pub(crate) latency: Latency,
    latency_random: Stream,
    order_random: Stream,
    backend_random: Stream,
}

/// Where a connection to an address really goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To this address: it is not virtual, or its backend was drawn.
    Real(SocketAddrV4),
    /// To a service without backends.
    Refused,
    /// To a service's address, but a port it does not have.
    BlackHole,
}

impl Names {
    pub(crate) fn new(seed: u64) -> Names {
        Names {
            addresses: BTreeMap::new(),
            unavailable: BTreeSet::new(),
            services: BTreeMap::new(),
            latency: Latency::heavy(Duration::from_micros(300), Duration::from_micros(200)),
            latency_random: Stream::new(seed, "net/names/latency"),
            order_random: Stream::new(seed, "net/names/order"),
            backend_random: Stream::new(seed, "net/services"),
        }
    }

    pub(crate) fn set(&mut self, name: &str, addresses: Vec<Ipv4Addr>) {
        self.addresses.insert(name.to_owned(), addresses);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.addresses.remove(name);
    }

    pub(crate) fn set_available(&mut self, machine: MachineId, available: bool) {
        if available {
            self.unavailable.remove(&machine);
        } else {
            self.unavailable.insert(machine);
        }
    }

    pub(crate) fn set_service(&mut self, on: MachineId, address: Ipv4Addr, port: u16, backends: Vec<SocketAddrV4>) {
        self.services.insert((on, address, port), backends);
    }

    pub(crate) fn remove_service(&mut self, on: MachineId, address: Ipv4Addr, port: u16) {
        self.services.remove(&(on, address, port));
    }

    /// Where a new connection from this machine goes.
    pub(crate) fn target(&mut self, on: MachineId, to: SocketAddrV4) -> Target {
        match self.services.get(&(on, *to.ip(), to.port())) {
            Some(backends) => self.backend_random.pick(backends).map_or(Target::Refused, |&to| Target::Real(to)),
            None if self.services.range((on, *to.ip(), 0)..=(on, *to.ip(), u16::MAX)).next().is_some() => {
                Target::BlackHole
            }
            None => Target::Real(to),
        }
    }

    /// The addresses of a name, in the order in which this query's answer has them.
    fn query(&mut self, name: &str) -> Vec<Ipv4Addr> {
        let mut addresses = self.addresses.get(name).cloned().unwrap_or_default();
        self.order_random.shuffle(&mut addresses);
        addresses
    }
}

/// The addresses of a name, with this port. Numeric addresses and `localhost` ask nobody. An unknown name is `NotFound`; when names are
/// not available, the answer is `TimedOut` after 10 s.
pub async fn lookup(name: &str, port: u16) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if name == "localhost" {
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
    }
    let world = corral_core::world();
    let net = Net::of(&world);
    let machine = world.current_process().map(|process| process.spec.machine);
    let (available, latency) = net.turn(|turn| {
        let names = &mut turn.state.names;
        let latency = names.latency.draw(&mut names.latency_random);
        (machine.is_none_or(|machine| !names.unavailable.contains(&machine)), latency)
    });
    if !available {
        corral_core::sleep(GIVES_UP_AFTER).await;
        return Err(Error::new(ErrorKind::TimedOut, format!("lookup {name}: no answer from any name server")));
    }
    corral_core::sleep(latency).await;
    let addresses = net.turn(|turn| turn.state.names.query(name));
    if addresses.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, format!("lookup {name}: no such host")));
    }
    Ok(addresses.into_iter().map(|address| SocketAddr::from((address, port))).collect())
}
