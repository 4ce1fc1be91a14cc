//! The ports at which files are received.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// A range of ports, some of them in use.
pub(super) struct Ports {
    first: u16,
    last: u16,
    used: Mutex<BTreeSet<u16>>,
}

impl Ports {
    /// A range such as `30001-31000`.
    pub fn parse(range: &str) -> Result<Ports> {
        if range.is_empty() {
            return Err(Error::invalid("empty port range"));
        }
        let invalid = || Error::Invalid(format!("invalid format for range: {range}"));
        let (first, last) = range.split_once('-').ok_or_else(invalid)?;
        let port = |text: &str| text.trim().parse().map_err(|_| invalid());
        Ok(Ports { first: port(first)?, last: port(last)?, used: Mutex::default() })
    }

    /// Takes the lowest free port.
    pub fn take(&self) -> Result<u16> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let free = (self.first..=self.last).find(|port| !used.contains(port));
        let port = free.ok_or_else(|| Error::invalid("fail to allocate 1 ports: cannot find an empty port range"))?;
        used.insert(port);
        Ok(port)
    }

    /// Gives a port back.
    pub fn give_back(&self, port: u16) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
    }
}
