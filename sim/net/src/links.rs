//! Links: how long a segment takes from one machine to another, and whether it is lost. Each has random streams of its own, named after its
//! two machines, so that traffic elsewhere changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use corral_core::random::Stream;
use corral_core::{Latency, MachineId, Nanos};

use crate::faults::{DegradationSpec, Flow, Selector, touches};

/// Bytes of a full Ethernet packet's payload; loss strikes packets, and a segment here may be many.
pub(crate) const PACKET_BYTES: usize = 1448;

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProfile {
    /// Time a segment takes.
    pub latency: Latency,
    /// Bytes that fit through in a second, shared by all connections on the link; unlimited if none.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// Packets lost, as a ratio: (1, 100) is one in a hundred.
    pub loss: (u64, u64),
}

impl LinkProfile {
    /// Between two machines of one data centre: 200 to 300 us, now and then several times that.
    pub const BETWEEN_MACHINES: LinkProfile =
        LinkProfile::of(Latency::heavy(Duration::from_micros(200), Duration::from_micros(40)));
    /// Between pods of one machine: 15 to 30 us.
    pub const WITHIN_MACHINE: LinkProfile =
        LinkProfile::of(Latency::heavy(Duration::from_micros(15), Duration::from_micros(6)));
    /// Within a pod: 5 us.
    pub const LOOPBACK: LinkProfile =
        LinkProfile::of(Latency::heavy(Duration::from_micros(4), Duration::from_micros(1)));

    /// This latency, unlimited, without loss.
    pub const fn of(latency: Latency) -> LinkProfile {
        LinkProfile { latency, bandwidth_bytes_per_second: None, loss: (0, 1) }
    }

    fn degraded(self, spec: &DegradationSpec) -> LinkProfile {
        let (own, extra) = (self.latency, spec.extra_latency);
        // The sum of two distributions, near enough: floors and means add up, and the longer tail wins.
        let latency = Latency {
            floor_ns: own.floor_ns.saturating_add(extra.floor_ns),
            mean_ns: own.mean_ns.saturating_add(extra.mean_ns),
            tail_one_in: if extra.tail_one_in > 0 { extra.tail_one_in } else { own.tail_one_in },
            tail_factor: own.tail_factor.max(extra.tail_factor),
        };
        let worse =
            |(a, b): (u64, u64), (c, d): (u64, u64)| u128::from(a) * u128::from(d) < u128::from(c) * u128::from(b);
        let limits = self.bandwidth_bytes_per_second.into_iter().chain(spec.bandwidth_bytes_per_second);
        LinkProfile {
            latency,
            bandwidth_bytes_per_second: limits.min(),
            loss: if worse(self.loss, spec.loss) { spec.loss } else { self.loss },
        }
    }
}

/// What tells one link from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LinkKey {
    from: Option<MachineId>,
    to: Option<MachineId>,
    kind: LinkKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LinkKind {
    Loopback,
    Machines,
    Override(u32),
}

struct Link {
    latency: Stream,
    loss: Stream,
    busy_until: Nanos,
}

/// All links of the run.
pub(crate) struct Links {
    seed: u64,
    pub(crate) between: LinkProfile,
    pub(crate) within: LinkProfile,
    pub(crate) loopback: LinkProfile,
    overrides: Vec<(Selector, Selector, LinkProfile)>,
    links: Vec<Link>,
    by_key: BTreeMap<LinkKey, u32>,
}

impl Links {
    pub(crate) fn new(seed: u64) -> Links {
        Links {
            seed,
            between: LinkProfile::BETWEEN_MACHINES,
            within: LinkProfile::WITHIN_MACHINE,
            loopback: LinkProfile::LOOPBACK,
            overrides: Vec::new(),
            links: Vec::new(),
            by_key: BTreeMap::new(),
        }
    }

    /// Sets one direction between two selectors. The last one set that matches wins; setting a pair again keeps its place.
    pub(crate) fn set(&mut self, from: Selector, to: Selector, profile: LinkProfile) {
        match self.overrides.iter_mut().find(|(f, t, _)| (*f, *t) == (from, to)) {
            Some((_, _, old)) => *old = profile,
            None => self.overrides.push((from, to, profile)),
        }
    }

    /// The link that a flow takes, and its profile under these degradations.
    pub(crate) fn resolve<'a>(
        &mut self,
        flow: &Flow,
        loopback: bool,
        degradations: impl Iterator<Item = &'a DegradationSpec>,
    ) -> (u32, LinkProfile) {
        let special = self.overrides.iter().rposition(|(from, to, _)| touches(from, to, flow));
        let (kind, profile) = match special {
            _ if loopback => (LinkKind::Loopback, self.loopback),
            Some(index) => (LinkKind::Override(index as u32), self.overrides[index].2),
            None if flow.from_machine == flow.to_machine => (LinkKind::Machines, self.within),
            None => (LinkKind::Machines, self.between),
        };
        let profile = if loopback { profile } else { degradations.fold(profile, LinkProfile::degraded) };
        (self.link(LinkKey { from: flow.from_machine, to: flow.to_machine, kind }), profile)
    }

    fn link(&mut self, key: LinkKey) -> u32 {
        if let Some(&index) = self.by_key.get(&key) {
            return index;
        }
        let name = |machine: Option<MachineId>| match machine {
            // A handle may be dropped when its world is gone; nothing that is drawn then matters.
            Some(id) => corral_core::try_world().map_or_else(String::new, |world| world.machine(id).name.clone()),
            None => "nowhere".to_owned(),
        };
        let kind = match key.kind {
            LinkKind::Loopback => "/loopback".to_owned(),
            LinkKind::Machines => String::new(),
            LinkKind::Override(index) => format!("/{index}"),
        };
        let name = format!("net/link/{}/{}{kind}", name(key.from), name(key.to));
        self.links.push(Link {
            latency: Stream::new(self.seed, &name),
            loss: Stream::new(self.seed, &format!("{name}/loss")),
            busy_until: Nanos::ZERO,
        });
        let index = self.links.len() as u32 - 1;
        self.by_key.insert(key, index);
        index
    }

    /// When so many bytes, sent now, arrive.
    pub(crate) fn arrival(&mut self, link: u32, profile: &LinkProfile, now: Nanos, bytes: usize) -> Nanos {
        let link = &mut self.links[link as usize];
        let mut leaves = now;
        if let Some(bandwidth) = profile.bandwidth_bytes_per_second {
            let takes_ns = bytes as u128 * 1_000_000_000 / u128::from(bandwidth.max(1));
            leaves = Nanos(now.max(link.busy_until).0.saturating_add(takes_ns as u64));
            link.busy_until = leaves;
        }
        leaves + profile.latency.draw(&mut link.latency)
    }

    /// Whether one of the packets that carry so many bytes is lost: how many of the bytes come after the last such packet.
    pub(crate) fn loses(&mut self, link: u32, profile: &LinkProfile, bytes: usize) -> Option<usize> {
        let (numerator, denominator) = profile.loss;
        if numerator == 0 {
            return None;
        }
        let random = &mut self.links[link as usize].loss;
        let packets = bytes.div_ceil(PACKET_BYTES).max(1);
        // Every packet draws, so that the number of draws does not depend on their outcome.
        let last_lost = (1..=packets).filter(|_| random.chance(numerator, denominator)).last();
        last_lost.map(|packet| bytes.saturating_sub(packet * PACKET_BYTES))
    }
}

/// Enough packets follow to show the receiver a gap: it asks again at once, and nobody waits for a time-out (fast retransmission).
pub(crate) fn shows_a_gap(bytes_behind: usize) -> bool {
    bytes_behind >= 3 * PACKET_BYTES
}
