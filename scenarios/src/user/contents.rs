//! What may stand in a volume, by what its only writer knows: each place holds what was acknowledged last, or something that was written since
//! and never answered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use corral_core::journal::content_hash;

/// Places in which something is written: the beginnings of the 32 blocks that a backup has, and another place in each of them.
pub const PLACES: u32 = 2 * BLOCKS;
const BLOCKS: u32 = 32;
const BLOCK_BYTES: u64 = 2 << 20;
const SECOND_PLACE: u64 = 64 << 10;
/// How much is written at once.
pub const PIECE_BYTES: usize = 4096;

/// Where in the volume a place is.
pub fn offset(place: u32) -> u64 {
    u64::from(place % BLOCKS) * BLOCK_BYTES + u64::from(place / BLOCKS) * SECOND_PLACE
}

/// The writer's knowledge of one volume.
#[derive(Clone, Debug)]
pub struct Contents {
    volume: String,
    places: BTreeMap<u32, Place>,
}

/// The writes to a place are numbered from 1; zero is a place that was never written. Other runs write the same to the same places, so that most
/// blocks of a backup have been summed before.
#[derive(Clone, Debug, Default)]
struct Place {
    writes: u64,
    acknowledged: u64,
    unanswered: Vec<u64>,
    /// Acknowledged ones that others followed.
    past: Vec<u64>,
}

/// What is wrong with what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Something else was acknowledged since.
    #[error("an acknowledged write is lost, an older one is read")]
    Older,
    /// It is zeros, and something was acknowledged.
    #[error("an acknowledged write is lost, zeros are read")]
    Zeros,
    /// Nobody wrote it, or not there.
    #[error("what is read was never written there")]
    Foreign,
}

impl Contents {
    /// An empty volume.
    pub fn new(volume: &str) -> Contents {
        Contents { volume: volume.to_owned(), places: BTreeMap::new() }
    }

    /// The places that were written, answered or not.
    pub fn written(&self) -> Vec<u32> {
        self.places.keys().copied().collect()
    }

    /// Where in the volume a write was never answered, nor any after it.
    pub fn in_doubt(&self) -> BTreeSet<u64> {
        let in_doubt = self.places.iter().filter(|(_, place)| !place.unanswered.is_empty());
        in_doubt.map(|(place, _)| offset(*place)).collect()
    }

    /// A write is sent: its number, and what it writes.
    pub fn begin(&mut self, place: u32) -> (u64, Bytes) {
        let known = self.places.entry(place).or_default();
        known.writes += 1;
        known.unanswered.push(known.writes);
        let number = known.writes;
        (number, self.piece(place, number))
    }

    /// A write was answered: nothing older may be read from now on.
    pub fn acknowledge(&mut self, place: u32, number: u64) {
        let place = self.places.entry(place).or_default();
        let before = std::mem::replace(&mut place.acknowledged, number);
        place.past.push(before);
        place.past.append(&mut place.unanswered);
        place.past.retain(|past| *past != number);
    }

    /// Judges what was read.
    ///
    /// # Errors
    /// It may not stand there.
    pub fn judge(&self, place: u32, found: &[u8]) -> Result<(), Wrong> {
        let nothing = Place::default();
        let known = self.places.get(&place).unwrap_or(&nothing);
        let is = |number: &u64| self.piece(place, *number) == found;
        match () {
            () if is(&known.acknowledged) || known.unanswered.iter().any(is) => Ok(()),
            () if found.iter().all(|byte| *byte == 0) => Err(Wrong::Zeros),
            () if known.past.iter().any(is) => Err(Wrong::Older),
            () => Err(Wrong::Foreign),
        }
    }

    fn piece(&self, place: u32, number: u64) -> Bytes {
        if number == 0 {
            return Bytes::from_static(&[0; PIECE_BYTES]);
        }
        let word = content_hash(format!("{}/{place}/{number}", self.volume).as_bytes());
        word.to_le_bytes().repeat(PIECE_BYTES / 8).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_or_not_answered_may_be_read() {
        let mut contents = Contents::new("vol-1");
        let zeros = [0; PIECE_BYTES];
        assert_eq!(contents.judge(3, &zeros), Ok(()));
        let (first, one) = contents.begin(3);
        assert_eq!((contents.judge(3, &zeros), contents.judge(3, &one)), (Ok(()), Ok(())));
        contents.acknowledge(3, first);
        assert_eq!((contents.judge(3, &zeros), contents.judge(3, &one)), (Err(Wrong::Zeros), Ok(())));
        let (_, two) = contents.begin(3);
        assert_eq!((contents.judge(3, &one), contents.judge(3, &two)), (Ok(()), Ok(())));
        assert_eq!(contents.in_doubt(), [offset(3)].into());
        let (third, three) = contents.begin(3);
        contents.acknowledge(3, third);
        assert_eq!(contents.judge(3, &three), Ok(()));
        assert!(contents.in_doubt().is_empty());
        assert_eq!((contents.judge(3, &one), contents.judge(3, &two)), (Err(Wrong::Older), Err(Wrong::Older)));
        assert_eq!(contents.judge(4, &three), Err(Wrong::Foreign));
        assert_eq!(Contents::new("vol-2").judge(3, &three), Err(Wrong::Foreign));
    }

    #[test]
    fn places_do_not_overlap() {
        let mut offsets: Vec<u64> = (0..PLACES).map(offset).collect();
        offsets.sort_unstable();
        assert!(offsets.windows(2).all(|pair| pair[1] - pair[0] >= PIECE_BYTES as u64));
    }
}
