//! Block devices of the host, opened as aio bdevs.

use std::io;

use host::fs::{File, OpenOptions};

/// Where the host's root is mounted in the pod (`hostPrefix`).
const HOST_PREFIX: &str = "/host";

/// A device's own unit, taken if nobody asks for another.
const SECTOR_BYTES: i64 = 512;

/// An open block device.
#[derive(Debug)]
pub(super) struct BlockDevice {
    /// Its path on the host.
    pub path: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Its unit of input and output, in bytes: what whoever opened it asked for.
    pub block_bytes: i64,
    /// Its open file.
    pub file: File,
}

/// The path in the pod of a path on the host.
pub(super) fn path_in_pod(path: &str) -> String {
    format!("{HOST_PREFIX}/{}", path.trim_start_matches('/'))
}

/// Opens a device for reading and writing. A simulated disk's devices are files, and their size is the device's.
pub(super) async fn open(path: &str, block_bytes: i64) -> io::Result<BlockDevice> {
    let in_pod = path_in_pod(path);
    let metadata = host::fs::metadata(&in_pod).await?;
    if metadata.is_dir {
        return Err(io::Error::other(format!("disk {in_pod} is not a block device")));
    }
    if metadata.len == 0 {
        return Err(io::Error::other(format!("disk {in_pod} size is 0")));
    }
    let file = OpenOptions::new().read(true).write(true).open(&in_pod).await?;
    let block_bytes = if block_bytes > 0 { block_bytes } else { SECTOR_BYTES };
    Ok(BlockDevice { path: path.to_owned(), bytes: metadata.len, block_bytes, file })
}

/// What stands for a device's number, which is its disk's identity to the manager. Files have none, so it is made from the path:
/// stable over restarts, and different for different devices, as long as nobody names one device by two paths.
pub(super) fn number_of(path: &str) -> String {
    let hash = path.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("252-{}", hash % (1 << 20))
}
