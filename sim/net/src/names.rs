//! Names of services and hosts, and the virtual addresses of services, as a cluster's DNS and kube-proxy have them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use corral_core::random::Stream;
use corral_core::{Latency, MachineId, ProcessSpec};

use crate::faults::Flow;
use crate::net::{Net, Turn};
use crate::routes::{Way, way_of};

/// resolv.conf's defaults.
const ATTEMPTS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a name server.
const PORT: u16 = 53;

pub(crate) struct Names {
    addresses: BTreeMap<String, Vec<Ipv4Addr>>,
    unavailable: BTreeSet<MachineId>,
    /// Where the name server is; none if it is everywhere.
    pub(crate) server: Option<Ipv4Addr>,
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
            server: None,
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

impl Turn<'_> {
    /// Whether a question of this process gets to the name server, and its answer back.
    fn name_server_answers(&self, process: &ProcessSpec) -> bool {
        let state = &self.state;
        if state.names.unavailable.contains(&process.machine) {
            return false;
        }
        let Some(server) = state.names.server else { return true };
        let (ours, its) = ((process.address, Some(process.machine)), (server, state.addresses.machine(server)));
        let passes = |(from, from_machine), (to, to_machine): (_, Option<MachineId>)| {
            let flow = Flow { from, from_machine, to, to_machine, port: PORT };
            way_of(&flow, false, &state.stopped, &state.faults) == Way::Open
        };
        passes(ours, its) && passes(its, ours)
    }
}

/// The addresses of a name, with this port. Numeric addresses and `localhost` ask nobody. An unknown name is `NotFound`; when names are
/// not available on the process's machine, or the name server is out of reach, it is asked again after 5 s, and the answer is `TimedOut` after 10 s.
pub async fn lookup(name: &str, port: u16) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if name == "localhost" {
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
    }
    let world = corral_core::world();
    let net = Net::of(&world);
    let process = world.current_process();
    for _ in 0..ATTEMPTS {
        let (is_answered, latency) = net.turn(|turn| {
            let names = &mut turn.state.names;
            let latency = names.latency.draw(&mut names.latency_random);
            (process.as_ref().is_none_or(|process| turn.name_server_answers(&process.spec)), latency)
        });
        if !is_answered {
            corral_core::sleep(PATIENCE).await;
            continue;
        }
        corral_core::sleep(latency).await;
        let addresses = net.turn(|turn| turn.state.names.query(name));
        if addresses.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("lookup {name}: no such host")));
        }
        return Ok(addresses.into_iter().map(|address| SocketAddr::from((address, port))).collect());
    }
    Err(Error::new(ErrorKind::TimedOut, format!("lookup {name}: no answer from any name server")))
}
