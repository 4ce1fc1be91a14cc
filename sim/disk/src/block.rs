//! The content of one page of 4 KiB. A page of zeros takes no memory for them, and is still a page: data, not a hole.

/// Bytes in a page, and in a block of the file system.
pub(crate) const PAGE_BYTES: usize = 4096;
/// The same, for arithmetic on offsets.
pub(crate) const PAGE: u64 = PAGE_BYTES as u64;

/// Content of a page; none stands for zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block(Option<Box<[u8; PAGE_BYTES]>>);

impl Block {
    /// A page with these bytes at `from` and zeros around them.
    pub(crate) fn containing(from: usize, bytes: &[u8]) -> Block {
        if is_zero(bytes) {
            return Block(None);
        }
        if bytes.len() == PAGE_BYTES {
            return Block(Some(bytes.to_vec().into_boxed_slice().try_into().expect("a whole page")));
        }
        let mut block = Block(None);
        block.write(from, bytes);
        block
    }

    /// Copies from the page into `target`, starting at `from`.
    pub(crate) fn read(&self, from: usize, target: &mut [u8]) {
        match &self.0 {
            Some(bytes) => target.copy_from_slice(&bytes[from..from + target.len()]),
            None => target.fill(0),
        }
    }

    /// Overwrites a part of the page.
    pub(crate) fn write(&mut self, from: usize, bytes: &[u8]) {
        if bytes.len() == PAGE_BYTES && is_zero(bytes) {
            self.0 = None;
            return;
        }
        if self.0.is_none() && is_zero(bytes) {
            return;
        }
        self.bytes_mut()[from..from + bytes.len()].copy_from_slice(bytes);
    }

    /// Zeroes a part of the page.
    pub(crate) fn zero(&mut self, from: usize, to: usize) {
        if (from, to) == (0, PAGE_BYTES) {
            self.0 = None;
        } else if let Some(bytes) = &mut self.0 {
            bytes[from..to].fill(0);
        }
    }

    /// Inverts one bit.
    pub(crate) fn flip(&mut self, byte: usize, bit: u32) {
        self.bytes_mut()[byte] ^= 1 << (bit % 8);
    }

    /// A copy of a part of the page.
    pub(crate) fn part(&self, from: usize, to: usize) -> Vec<u8> {
        let mut part = vec![0; to - from];
        self.read(from, &mut part);
        part
    }

    /// The content; none if it is zeros.
    pub(crate) fn content(&self) -> Option<&[u8; PAGE_BYTES]> {
        self.0.as_deref().filter(|bytes| !is_zero(*bytes))
    }

    /// Whether it is stored at all.
    #[cfg(test)]
    fn is_stored(&self) -> bool {
        self.0.is_some()
    }

    /// Bytes of memory that the content takes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        if self.0.is_some() { PAGE } else { 0 }
    }

    fn bytes_mut(&mut self) -> &mut [u8; PAGE_BYTES] {
        self.0.get_or_insert_with(|| vec![0; PAGE_BYTES].into_boxed_slice().try_into().expect("a whole page"))
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_not_stored() {
        assert!(!Block::containing(10, &[0; 100]).is_stored());
        let mut block = Block::containing(10, &[1, 2]);
        assert_eq!(block.part(9, 13), [0, 1, 2, 0]);
        block.write(0, &[0; PAGE_BYTES]);
        assert!(!block.is_stored());
        block.flip(3, 9);
        assert_eq!(block.part(3, 4), [2]);
        block.zero(0, PAGE_BYTES);
        assert!(!block.is_stored());
    }
}
