//! Blocks: their checksum, their compression, and how what is stored is checked (util/util.go and util.go upstream).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use sha2::{Digest, Sha512};
use xxhash_rust::xxh3::xxh3_128;

use crate::driver::Driver;
use crate::error::{Context, Error, Result};

/// Size of a block unless a backup says otherwise: 2 MiB.
pub const DEFAULT_BLOCK_SIZE_BYTES: i64 = 2 << 20;

/// Checksums are cut to so many hexadecimal characters.
const CHECKSUM_LENGTH: usize = 64;
/// So many sums are kept.
const MOST_KNOWN: usize = 1 << 14;

/// The first 64 hexadecimal characters of the SHA-512.
///
/// The same few blocks are summed again and again, by each upload, each restore and each run, and SHA-512 takes 3 ms for one: what this program has
/// summed before it knows by a fingerprint of 128 bits.
pub fn checksum(data: &[u8]) -> String {
    static KNOWN: Mutex<BTreeMap<u128, String>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let fingerprint = xxh3_128(data);
    if let Some(sum) = known().get(&fingerprint) {
        return sum.clone();
    }
    let mut sum = hex::encode(Sha512::digest(data));
    sum.truncate(CHECKSUM_LENGTH);
    let mut known = known();
    if known.len() >= MOST_KNOWN {
        known.clear();
    }
    known.insert(fingerprint, sum.clone());
    sum
}

/// Compresses a block as the named method does upstream: gzip at its default level and without a time or system in the
/// header, lz4 as a frame of independent blocks of at most 4 MiB with a checksum of the content.
pub fn compress(method: &str, block: &[u8]) -> Result<Bytes> {
    let packed = match method {
        "none" => return Ok(Bytes::copy_from_slice(block)),
        "gzip" => gzip(block),
        "lz4" => lz4(block),
        other => return Err(Error::Invalid(format!("unsupported compression method: {other}"))),
    };
    packed.map(Bytes::from).map_err(|error| Error::Invalid(format!("failed to compress a block: {error}")))
}

fn gzip(block: &[u8]) -> io::Result<Vec<u8>> {
    const SYSTEM_UNKNOWN: u8 = 255;
    let mut writer = GzBuilder::new().operating_system(SYSTEM_UNKNOWN).write(Vec::new(), Compression::default());
    writer.write_all(block)?;
    writer.finish()
}

fn lz4(block: &[u8]) -> io::Result<Vec<u8>> {
    let frame =
        FrameInfo::new().block_size(BlockSize::Max4MB).block_mode(BlockMode::Independent).content_checksum(true);
    let mut writer = FrameEncoder::with_frame_info(frame, Vec::new());
    writer.write_all(block)?;
    writer.finish().map_err(io::Error::other)
}

/// What is wrong with a stored block.
#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    /// The method's mark is not at its head; another method may have written it.
    OtherMethod(&'static str),
    Unreadable(String),
    OtherContent,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Flaw::OtherMethod("gzip") => {
                write!(formatter, "failed to create decompression reader: gzip: invalid header")
            }
            Flaw::OtherMethod(_) => write!(formatter, "failed to read decompressed data: lz4: bad magic number"),
            Flaw::Unreadable(why) => write!(formatter, "{why}"),
            Flaw::OtherContent => write!(formatter, "checksum verification failed for block"),
        }
    }
}

fn decompress(method: &str, stored: &[u8], expected: &str) -> std::result::Result<Vec<u8>, Flaw> {
    let unreadable = |error: io::Error| Flaw::Unreadable(format!("failed to read decompressed data: {error}"));
    let mut block = Vec::with_capacity(DEFAULT_BLOCK_SIZE_BYTES as usize);
    match method {
        "none" => block.extend_from_slice(stored),
        "gzip" if !stored.starts_with(&[0x1f, 0x8b, 8]) => return Err(Flaw::OtherMethod("gzip")),
        "gzip" => drop(flate2::read::MultiGzDecoder::new(stored).read_to_end(&mut block).map_err(unreadable)?),
        "lz4" if !stored.starts_with(&[0x04, 0x22, 0x4d, 0x18]) => return Err(Flaw::OtherMethod("lz4")),
        "lz4" if !is_whole_lz4_frame(stored) => return Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
        "lz4" => drop(FrameDecoder::new(stored).read_to_end(&mut block).map_err(unreadable)?),
        other => return Err(Flaw::Unreadable(format!("unsupported decompression method: {other}"))),
    }
    if checksum(&block) == expected { Ok(block) } else { Err(Flaw::OtherContent) }
}

/// Whether a frame goes on to its end mark: the decoder takes one that ends between two of its blocks for a whole one.
fn is_whole_lz4_frame(stored: &[u8]) -> bool {
    const HEAD_BYTES: usize = 6;
    let Some(flags) = stored.get(4) else { return false };
    let has = |bit: u8| usize::from(flags & bit != 0);
    let (block_checksum, content_size, dictionary) = (4 * has(0x10), 8 * has(0x08), 4 * has(0x01));
    let mut at = HEAD_BYTES + content_size + dictionary + 1;
    while let Some(size) = stored.get(at..).and_then(<[u8]>::first_chunk) {
        let size = u32::from_le_bytes(*size) & 0x7fff_ffff;
        at += 4;
        if size == 0 {
            return stored.len() >= at + 4 * has(0x04);
        }
        at += size as usize + block_checksum;
    }
    false
}

/// Reads a block from the store and checks it. If gzip or lz4 do not find their mark, the block is read once more and
/// the other one is tried: some releases recorded one method and used the other.
pub(crate) async fn read(driver: &dyn Driver, path: &str, method: &str, expected: &str) -> Result<Vec<u8>> {
    let stored = fetch(driver, path).await?;
    let flaw = match decompress(method, &stored, expected) {
        Ok(block) => return Ok(block),
        Err(flaw) => flaw,
    };
    let other = match flaw {
        Flaw::OtherMethod("gzip") => "lz4",
        Flaw::OtherMethod(_) => "gzip",
        flaw => return Err(Error::Invalid(format!("decompression verification failed for block {path}: {flaw}"))),
    };
    let stored = fetch(driver, path).await?;
    decompress(other, &stored, expected)
        .map_err(|flaw| Error::Invalid(format!("fallback decompression also failed for block {path}: {flaw}")))
}

async fn fetch(driver: &dyn Driver, path: &str) -> Result<Bytes> {
    driver.read(path).await.context(|| format!("failed to read block {path}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_zero_block_has_its_known_checksum() {
        assert_eq!(checksum(&vec![0; 2 << 20]), "731859029215873fdac1c9f2f8bd25a334abf0f3a9e1b057cf2cacc2826d86b0");
    }

    #[test]
    fn heads_are_those_of_the_real_writer() {
        assert_eq!(compress("lz4", &[7; 5000]).unwrap()[..7], [0x04, 0x22, 0x4d, 0x18, 0x64, 0x70, 0xb9]);
        assert_eq!(compress("gzip", &[7; 5000]).unwrap()[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(compress("zip", &[]).unwrap_err().to_string(), "unsupported compression method: zip");
    }

    #[test]
    fn a_block_that_differs_is_told_from_one_that_cannot_be_read() {
        let stored = compress("lz4", b"content").unwrap();
        assert_eq!(decompress("lz4", &stored, &checksum(b"other")), Err(Flaw::OtherContent));
        assert_eq!(decompress("gzip", &stored, &checksum(b"content")), Err(Flaw::OtherMethod("gzip")));
        for method in ["lz4", "gzip"] {
            let stored = compress(method, b"content").unwrap();
            for length in 5..stored.len() {
                let flaw = decompress(method, &stored[..length], &checksum(b"content"));
                assert!(matches!(flaw, Err(Flaw::Unreadable(_))), "{method} cut at {length}: {flaw:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn blocks_come_back_as_they_were(block in proptest::collection::vec(any::<u8>(), 0..9000), repeat in 1usize..40) {
            let block = block.repeat(repeat);
            for method in ["none", "gzip", "lz4"] {
                let stored = compress(method, &block).unwrap();
                prop_assert_eq!(decompress(method, &stored, &checksum(&block)), Ok(block.clone()));
            }
        }
    }
}
