//! Pod addresses of one machine, as the host-local plug-in gives them: the next free one after the last that was given, round and round.
//!
//! So the address of a dead pod is used again, but only after all others: whoever still has it in a list talks to a stranger late, not at once.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The pool of a machine: `10.42.N.2` to `10.42.N.254`, the first being the bridge's.
#[derive(Clone, Debug)]
pub(crate) struct AddressPool {
    network: [u8; 3],
    last: u8,
    used: BTreeSet<u8>,
}

const FIRST: u8 = 2;
const LAST: u8 = 254;

impl AddressPool {
    pub fn new(network: [u8; 3]) -> AddressPool {
        AddressPool { network, last: FIRST - 1, used: BTreeSet::new() }
    }

    /// An address that nobody has; none if all are in use.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        let after = (self.last + 1..=LAST).chain(FIRST..=self.last);
        let host = after.into_iter().find(|host| !self.used.contains(host))?;
        self.used.insert(host);
        self.last = host;
        let [a, b, c] = self.network;
        Some(Ipv4Addr::new(a, b, c, host))
    }

    pub fn give_back(&mut self, address: Ipv4Addr) {
        self.used.remove(&address.octets()[3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_round_and_are_used_again_only_then() {
        let mut pool = AddressPool::new([10, 42, 7]);
        let first = pool.take().expect("a fresh pool");
        assert_eq!(first, Ipv4Addr::new(10, 42, 7, 2));
        pool.give_back(first);
        let second = pool.take().expect("nearly all are free");
        assert_eq!(second, Ipv4Addr::new(10, 42, 7, 3), "not the one just given back");
        let rest: Vec<Ipv4Addr> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(rest.len(), 252);
        assert_eq!(rest.last(), Some(&first), "the round ends where it began");
        assert!(!rest.contains(&second));
    }
}
