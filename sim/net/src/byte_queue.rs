//! Bytes waiting in a kernel's buffer, in the pieces in which they came.

use std::collections::VecDeque;

use tokio::io::ReadBuf;

/// Pieces below this are joined, so that a million one-byte writes to a slow reader are not a million allocations.
const JOIN_BELOW_BYTES: usize = 2048;

#[derive(Default)]
pub(crate) struct ByteQueue {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that were taken already.
    taken: usize,
    length: usize,
}

impl ByteQueue {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn push(&mut self, piece: Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        self.length += piece.len();
        match self.pieces.back_mut() {
            Some(last) if last.len() + piece.len() < JOIN_BELOW_BYTES => last.extend_from_slice(&piece),
            _ => self.pieces.push_back(piece),
        }
    }

    /// Moves as much as fits; returns how much that was.
    pub(crate) fn read_into(&mut self, target: &mut ReadBuf<'_>) -> usize {
        let mut moved = 0;
        while target.remaining() > 0
            && let Some(first) = self.pieces.front()
        {
            let rest = &first[self.taken..];
            let count = rest.len().min(target.remaining());
            target.put_slice(&rest[..count]);
            moved += count;
            self.advance(count);
        }
        moved
    }

    /// Takes the first `count` bytes, or all if there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.length);
        if self.taken == 0 && self.pieces.front().is_some_and(|first| first.len() == count) {
            self.length -= count;
            return self.pieces.pop_front().expect("just seen");
        }
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let rest = &self.pieces[0][self.taken..];
            let part = rest.len().min(count - bytes.len());
            bytes.extend_from_slice(&rest[..part]);
            self.advance(part);
        }
        bytes
    }

    /// Drops `count` bytes of the first piece.
    fn advance(&mut self, count: usize) {
        self.taken += count;
        self.length -= count;
        if self.pieces.front().is_some_and(|first| first.len() == self.taken) {
            self.pieces.pop_front();
            self.taken = 0;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = ByteQueue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteQueue, ReadBuf};

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_the_pieces() {
        let bytes: Vec<u8> = (0..10_000u32).map(|value| value as u8).collect();
        for (write, read) in [(1, 7), (7, 1), (3000, 4096), (10_000, 10_000)] {
            let mut queue = ByteQueue::default();
            bytes.chunks(write).for_each(|piece| queue.push(piece.to_vec()));
            assert_eq!(queue.len(), bytes.len());
            let mut out = queue.take(read);
            let mut space = vec![0; read];
            while !queue.is_empty() {
                let mut target = ReadBuf::new(&mut space);
                let count = queue.read_into(&mut target);
                assert_eq!(count, target.filled().len());
                out.extend_from_slice(target.filled());
            }
            assert_eq!(out, bytes);
        }
    }
}
