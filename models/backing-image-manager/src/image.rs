//! A file's properties: format, sizes, checksum, and its time in Go's words.

use host::fs::File;
use sha2::{Digest, Sha512};

use crate::error::{Context, Error, Result};

const READ_BYTES: usize = 1 << 20;
const QCOW2_MAGIC: &[u8; 4] = b"QFI\xfb";

/// What `qemu-img info` says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageInfo {
    /// Whether it is a qcow2 image; all else is raw.
    pub is_qcow2: bool,
    /// Size of the disk in the image.
    pub virtual_size: i64,
}

/// Looks into a file.
pub(crate) async fn info(path: &str) -> Result<ImageInfo> {
    let failed = || format!("failed to look into {path}");
    let file = File::open(path).await.context(failed)?;
    let len = file.metadata().await.context(failed)?.len;
    let mut head = [0; 32];
    if len >= 32 {
        file.read_exact_at(&mut head, 0).await.context(failed)?;
    }
    if head.starts_with(QCOW2_MAGIC) {
        let size = u64::from_be_bytes(head[24..32].try_into().expect("eight bytes"));
        return Ok(ImageInfo { is_qcow2: true, virtual_size: i64::try_from(size).unwrap_or(i64::MAX) });
    }
    // A raw disk has whole sectors.
    Ok(ImageInfo { is_qcow2: false, virtual_size: i64::try_from(len.next_multiple_of(512)).unwrap_or(i64::MAX) })
}

/// SHA-512 of a file, in hexadecimal.
pub(crate) async fn checksum(path: &str) -> Result<String> {
    let failed = || format!("failed to read {path}");
    let file = File::open(path).await.context(failed)?;
    let mut hash = Sha512::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut buffer, offset).await.context(failed)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
        offset += read as u64;
    }
}

/// When a file's content last changed; empty if there is no such file.
pub(crate) async fn modification_time(path: &str) -> String {
    host::fs::metadata(path).await.map_or_else(|_| String::new(), |metadata| go_time(metadata.modified))
}

/// A time as Go's `Time.String` prints it in UTC.
pub(crate) fn go_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()
}

/// Removes a file if there is one.
pub(crate) async fn remove_if_there(path: &str) -> Result<()> {
    match host::fs::remove_file(path).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::Io { what: format!("unlink {path}"), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_in_go() {
        let time = |text: &str| go_time(text.parse().expect("a time"));
        assert_eq!(time("2026-11-20T17:42:28.249598512Z"), "2026-11-20 17:42:28.249598512 +0000 UTC");
        assert_eq!(time("2026-11-20T17:42:28.25Z"), "2026-11-20 17:42:28.25 +0000 UTC");
        assert_eq!(time("2026-11-20T17:42:28Z"), "2026-11-20 17:42:28 +0000 UTC");
    }
}
