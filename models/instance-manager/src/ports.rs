//! Which ports are taken: a bitmap, searched from where the last search ended, so that a port that was given back is not handed out at once
//! (go-common-libs `bitmap/bitmap.go`).

use std::collections::BTreeSet;

/// A range of ports, both ends included.
#[derive(Debug)]
pub struct Ports {
    base: i32,
    size: i32,
    /// Where the next search begins, counted from the base.
    next: i32,
    free: BTreeSet<i32>,
}

/// Why ports cannot be taken or given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The end is before the start.
    #[error("invalid range, end ({end}) cannot be less than start ({start})")]
    Range {
        /// First port.
        start: i32,
        /// Last port.
        end: i32,
    },
    /// Fewer than one.
    #[error("invalid request for non-positive counts: {0}")]
    Count(i32),
    /// No such stretch is free.
    #[error("cannot find an empty port range")]
    NoneFree,
    /// Not ports of this range.
    #[error("exceed range: {start}-{end}")]
    Outside {
        /// First port.
        start: i32,
        /// Last port.
        end: i32,
    },
    /// Not `START-END`.
    #[error("invalid format for range: {0}")]
    Format(String),
}

impl Ports {
    /// All ports of the range, free.
    ///
    /// # Errors
    /// The end is before the start.
    pub fn new(start: i32, end: i32) -> Result<Ports, PortError> {
        if end < start {
            return Err(PortError::Range { start, end });
        }
        let size = end - start + 1;
        Ok(Ports { base: start, size, next: 0, free: (0..size).collect() })
    }

    /// The range written as `START-END`.
    ///
    /// # Errors
    /// It is not written so.
    pub fn parse(range: &str) -> Result<Ports, PortError> {
        let format = || PortError::Format(range.to_owned());
        let (start, end) = range.split_once('-').ok_or_else(format)?;
        let number = |text: &str| text.trim().parse().map_err(|_| format());
        Ports::new(number(start)?, number(end)?)
    }

    /// Takes so many ports in a row; gives the first and the last.
    ///
    /// # Errors
    /// No such stretch is free.
    pub fn take(&mut self, count: i32) -> Result<(i32, i32), PortError> {
        if count <= 0 {
            return Err(PortError::Count(count));
        }
        let first = self.find(count, self.next).or_else(|| self.find(count, 0)).ok_or(PortError::NoneFree)?;
        let last = first + count - 1;
        (first..=last).for_each(|port| {
            self.free.remove(&port);
        });
        self.next = last + 1;
        Ok((self.base + first, self.base + last))
    }

    /// Gives ports back. Both ends zero stands for "none were taken".
    ///
    /// # Errors
    /// They are not of this range.
    pub fn give_back(&mut self, start: i32, end: i32) -> Result<(), PortError> {
        if end < start {
            return Err(PortError::Range { start, end });
        }
        if start == 0 && end == 0 {
            return Ok(());
        }
        let (first, last) = (start - self.base, end - self.base);
        if first < 0 || last >= self.size {
            return Err(PortError::Outside { start, end });
        }
        self.free.extend(first..=last);
        Ok(())
    }

    /// The first stretch of so many free ports from `from` on. As upstream, the port at which a stretch is found to be broken is not tried as the
    /// beginning of the next one: a stretch that begins right behind a gap is missed, and its second port begins what is found.
    fn find(&self, count: i32, from: i32) -> Option<i32> {
        let mut ports = self.free.range(from..).copied();
        loop {
            let first = ports.next()?;
            let mut last = first;
            loop {
                if last - first + 1 == count {
                    return Some(first);
                }
                match ports.next()? {
                    next if next == last + 1 => last = next,
                    _ => break,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_given_back_is_not_handed_out_again_at_once() {
        let mut ports = Ports::parse("10000-10009").unwrap();
        assert_eq!(ports.take(3).unwrap(), (10000, 10002));
        assert_eq!(ports.take(1).unwrap(), (10003, 10003));
        ports.give_back(10000, 10002).unwrap();
        assert_eq!(ports.take(3).unwrap(), (10004, 10006));
        assert_eq!(ports.take(3).unwrap(), (10007, 10009));
        assert_eq!(ports.take(3).unwrap(), (10000, 10002), "from the bottom, once the top is reached");
        assert_eq!(ports.take(1), Err(PortError::NoneFree));
    }

    #[test]
    fn the_first_port_behind_a_gap_is_missed() {
        let mut ports = Ports::new(0, 9).unwrap();
        ports.take(10).unwrap();
        for (start, end) in [(1, 1), (3, 6)] {
            ports.give_back(start, end).unwrap();
        }
        assert_eq!(ports.take(3).unwrap(), (4, 6));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(Ports::parse("10-").unwrap_err(), PortError::Format("10-".into()));
        assert_eq!(Ports::new(2, 1).unwrap_err(), PortError::Range { start: 2, end: 1 });
        let mut ports = Ports::new(10, 20).unwrap();
        assert_eq!(ports.take(0), Err(PortError::Count(0)));
        assert_eq!(ports.give_back(19, 21), Err(PortError::Outside { start: 19, end: 21 }));
        assert_eq!(ports.give_back(0, 0), Ok(()));
    }
}
