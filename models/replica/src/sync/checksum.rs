//! Checksums of disks: CRC-64 (ISO), and the files that keep them.

use host::fs::{self, File, OpenOptions};
use longhorn_backupstore::json::null_is_default;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::names::CHECKSUM_SUFFIX;
use crate::format::{Directory, Found};

const POLYNOMIAL: u64 = 0xD800_0000_0000_0000;
/// How much is read at once.
const BATCH_BYTES: u64 = 1 << 20;

/// CRC-64 as Go's `crc64.ISO` computes it.
#[derive(Clone, Copy, Debug)]
pub struct Crc64(u64);

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u64;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64(!0)
    }
}

impl Crc64 {
    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = TABLE[usize::from(self.0 as u8 ^ byte)] ^ (self.0 >> 8);
        }
    }

    /// Goes on with so many zeros, in a time that grows with the logarithm of their number: each zero is the same linear
    /// map of the register.
    pub fn zeros(&mut self, mut count: u64) {
        // Column n is what becomes of bit n.
        let mut map: [u64; 64] = std::array::from_fn(|bit| {
            let register = 1_u64 << bit;
            TABLE[usize::from(register as u8)] ^ (register >> 8)
        });
        while count > 0 {
            if count & 1 == 1 {
                self.0 = apply(&map, self.0);
            }
            map = std::array::from_fn(|bit| apply(&map, map[bit]));
            count >>= 1;
        }
    }

    /// The checksum of all that came.
    pub fn finish(self) -> String {
        format!("{:016x}", !self.0)
    }
}

fn apply(map: &[u64; 64], mut register: u64) -> u64 {
    let mut result = 0;
    while register != 0 {
        result ^= map[register.trailing_zeros() as usize];
        register &= register - 1;
    }
    result
}

/// A `.checksum` file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ChecksumFile {
    #[serde(deserialize_with = "null_is_default")]
    pub method: String,
    #[serde(deserialize_with = "null_is_default")]
    pub checksum: String,
    /// When the disk's inode had last changed.
    #[serde(deserialize_with = "null_is_default")]
    pub change_time: String,
    #[serde(deserialize_with = "null_is_default")]
    pub last_hashed_at: String,
    #[serde(deserialize_with = "null_is_default")]
    pub silently_corrupted: bool,
}

/// The only method there is.
pub(crate) const METHOD: &str = "crc64";

impl ChecksumFile {
    /// What is recorded of a disk; an error if nothing is.
    pub async fn read(directory: &Directory, disk: &str) -> Result<ChecksumFile> {
        let name = format!("{disk}{CHECKSUM_SUFFIX}");
        match directory.read_json(&name).await? {
            Found::Valid(file) => Ok(file),
            Found::Nothing => {
                let path = directory.path(&name);
                Err(Error::file("open", &path, &std::io::Error::from_raw_os_error(2)))
            }
        }
    }

    /// Records it. The temporary name has two dots upstream.
    pub async fn write(&self, directory: &Directory, disk: &str) -> Result<()> {
        let name = format!("{disk}{CHECKSUM_SUFFIX}");
        let mut text = longhorn_backupstore::json::to_bytes(self);
        text.push(b'\n');
        directory.replace(&name, &format!("{name}..tmp"), &text).await
    }
}

/// When a disk's inode last changed, as Go prints a time.
pub(crate) async fn change_time(directory: &Directory, disk: &str) -> Result<String> {
    let path = directory.path(disk);
    let metadata = fs::metadata(&path).await.map_err(|error| Error::file("stat", &path, &error))?;
    let seconds = metadata.changed.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let fraction = format!("{:09}", metadata.changed.subsec_nanosecond());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{seconds}{dot}{fraction} +0000 UTC"))
}

/// The checksum of a whole disk, holes included.
pub(crate) async fn of_disk(directory: &Directory, disk: &str) -> Result<String> {
    let path = directory.path(disk);
    let opened = OpenOptions::new().read(true).direct(true).open(&path).await;
    let file =
        opened.map_err(|error| Error::Refused(format!("failed to open {path}: {}", crate::error::go_text(&error))))?;
    let failed = |error| Error::file("read", &path, &error);
    let size = file.metadata().await.map_err(failed)?.len;
    let mut sum = Crc64::default();
    let mut done = 0;
    let mut buffer = Vec::new();
    for extent in file.extents().await.map_err(failed)? {
        sum.zeros(extent.offset - done);
        done = extent.offset + extent.len;
        add(&file, extent.offset, done, &mut buffer, &mut sum).await.map_err(failed)?;
    }
    sum.zeros(size.saturating_sub(done));
    Ok(sum.finish())
}

async fn add(file: &File, mut offset: u64, end: u64, buffer: &mut Vec<u8>, sum: &mut Crc64) -> std::io::Result<()> {
    while offset < end {
        buffer.resize(BATCH_BYTES.min(end - offset) as usize, 0);
        file.read_exact_at(buffer, offset).await?;
        sum.update(buffer);
        offset += buffer.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_and_zeros() {
        let mut sum = Crc64::default();
        sum.update(b"123456789");
        assert_eq!(sum.finish(), "b90956c775a41001");
        for count in [0, 1, 7, 4096, 1_000_001] {
            let (mut long, mut short) = (sum, sum);
            long.update(&vec![0; count]);
            short.zeros(count as u64);
            assert_eq!(long.finish(), short.finish());
        }
    }
}
