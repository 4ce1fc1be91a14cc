//! Faults of the wire: partitions and degraded links, by machine, address and port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use corral_core::{Latency, MachineId};

/// One side of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A machine with all its pods.
    Machine(MachineId),
    /// One address.
    Address(Ipv4Addr),
    /// Everybody.
    Any,
}

impl From<MachineId> for Selector {
    fn from(machine: MachineId) -> Selector {
        Selector::Machine(machine)
    }
}

impl From<Ipv4Addr> for Selector {
    fn from(address: Ipv4Addr) -> Selector {
        Selector::Address(address)
    }
}

impl Selector {
    fn matches(&self, address: Ipv4Addr, machine: Option<MachineId>) -> bool {
        match self {
            Selector::Machine(wanted) => machine == Some(*wanted),
            Selector::Address(wanted) => address == *wanted,
            Selector::Any => true,
        }
    }

    pub(crate) fn is_address(&self) -> bool {
        matches!(self, Selector::Address(_))
    }
}

/// Ports of the serving side of a connection, the one that was connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// A range, both ends included.
    Range(RangeInclusive<u16>),
    /// Single ports.
    Set(BTreeSet<u16>),
}

impl Ports {
    fn contains(&self, port: u16) -> bool {
        match self {
            Ports::Range(range) => range.contains(&port),
            Ports::Set(set) => set.contains(&port),
        }
    }
}

/// What a partition cuts. Loopback is never cut. Traffic within one machine is cut only if an address is named, or the machine on both
/// sides: "this machine from everybody" leaves its pods together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Who is not heard.
    pub from: Selector,
    /// Who does not hear.
    pub to: Selector,
    /// Only connections to these ports; all if none are given.
    pub ports: Option<Ports>,
    /// The other way too.
    pub both_ways: bool,
}

impl PartitionSpec {
    /// Nothing passes, either way.
    pub fn between(one: impl Into<Selector>, other: impl Into<Selector>) -> PartitionSpec {
        PartitionSpec { from: one.into(), to: other.into(), ports: None, both_ways: true }
    }

    /// Nothing passes from one to the other; the way back is open.
    pub fn one_way(from: impl Into<Selector>, to: impl Into<Selector>) -> PartitionSpec {
        PartitionSpec { both_ways: false, ..PartitionSpec::between(from, to) }
    }

    /// Only connections to this port.
    pub fn port(self, port: u16) -> PartitionSpec {
        PartitionSpec { ports: Some(Ports::Range(port..=port)), ..self }
    }

    fn touches(&self, flow: &Flow) -> bool {
        if self.ports.as_ref().is_some_and(|ports| !ports.contains(flow.port)) {
            return false;
        }
        touches(&self.from, &self.to, flow) || (self.both_ways && touches(&self.to, &self.from, flow))
    }
}

/// A link made worse for a while, for the same choice of traffic as a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DegradationSpec {
    /// Which traffic.
    pub scope: PartitionSpec,
    /// Added to the link's latency.
    pub extra_latency: Latency,
    /// Segments lost, as a ratio; taken if it is worse than the link's own.
    pub loss: (u64, u64),
    /// Taken if it is lower than the link's own.
    pub bandwidth_bytes_per_second: Option<u64>,
}

/// A partition in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionId(u64);

/// A degradation in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DegradationId(u64);

/// Packets of one connection, one way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) from: Ipv4Addr,
    pub(crate) from_machine: Option<MachineId>,
    pub(crate) to: Ipv4Addr,
    pub(crate) to_machine: Option<MachineId>,
    /// The serving side's port, whichever way the packets go.
    pub(crate) port: u16,
}

/// Whether traffic of this flow is between these two; see [`PartitionSpec`] for traffic within a machine.
pub(crate) fn touches(from: &Selector, to: &Selector, flow: &Flow) -> bool {
    let within = flow.from_machine.is_some() && flow.from_machine == flow.to_machine;
    let named = from.is_address() || to.is_address() || (from == to && matches!(from, Selector::Machine(_)));
    (!within || named) && from.matches(flow.from, flow.from_machine) && to.matches(flow.to, flow.to_machine)
}

/// The faults in force.
#[derive(Default)]
pub(crate) struct Faults {
    last: u64,
    partitions: BTreeMap<PartitionId, PartitionSpec>,
    degradations: BTreeMap<DegradationId, DegradationSpec>,
}

impl Faults {
    pub(crate) fn partition(&mut self, spec: PartitionSpec) -> PartitionId {
        self.last += 1;
        self.partitions.insert(PartitionId(self.last), spec);
        PartitionId(self.last)
    }

    pub(crate) fn heal(&mut self, id: PartitionId) -> bool {
        self.partitions.remove(&id).is_some()
    }

    pub(crate) fn degrade(&mut self, spec: DegradationSpec) -> DegradationId {
        self.last += 1;
        self.degradations.insert(DegradationId(self.last), spec);
        DegradationId(self.last)
    }

    pub(crate) fn restore(&mut self, id: DegradationId) -> bool {
        self.degradations.remove(&id).is_some()
    }

    pub(crate) fn clear(&mut self) {
        self.partitions.clear();
        self.degradations.clear();
    }

    pub(crate) fn cuts(&self, flow: &Flow) -> bool {
        self.partitions.values().any(|spec| spec.touches(flow))
    }

    pub(crate) fn degradations(&self, flow: &Flow) -> impl Iterator<Item = &DegradationSpec> {
        self.degradations.values().filter(move |spec| spec.scope.touches(flow))
    }
}
