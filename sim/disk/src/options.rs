//! What a disk is like: its size, its speed, and what its file system and its write cache promise at a power cut.

use std::time::Duration;

use corral_core::Latency;

/// How to make a [`crate::Disk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Room for data, in bytes; beyond it writes answer ENOSPC.
    pub capacity_bytes: u64,
    /// What one access to the device takes, besides the transfer. Accesses queue, one at a time; the page cache answers in microseconds.
    pub latency: Latency,
    /// Transfer rate of the device; none for an unlimited one.
    pub bytes_per_second: Option<u64>,
    /// Logical block size of the device, 512 or 4096: what it writes whole or not at all, and the alignment that O_DIRECT asks for.
    pub sector_bytes: u32,
    /// Whether the device answers a write before it is on the medium and without a capacitor to save it: then a direct write is safe only
    /// after the next flush (fsync of anything on this disk, or a commit of the file system's journal).
    pub volatile_write_cache: bool,
    /// Whether the disk belongs to a machine's power; if not, a power cut does nothing to it.
    pub loses_power: bool,
    /// Granularity of the times of files. Linux stamps with its tick, not with its clock: two changes within a tick look like one.
    pub time_granularity: Duration,
    /// The promises of the file system on it.
    pub file_system: FileSystem,
}

/// What differs between file systems in what a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// How long a change of names, sizes or allocations waits at most for the journal's commit.
    pub commit_interval: Duration,
    /// How long a dirty page waits at most until it is written back and the file's size follows.
    pub write_back: Duration,
    /// Renaming over an existing file starts the write-back of the new one, so that the name never shows an empty file.
    pub flush_on_replace: bool,
    /// A file's grown size can be committed before the data that grew it; what was not written reads as zeros.
    pub size_before_data: bool,
}

impl FileSystem {
    /// ext4 as Linux mounts it: data=ordered, delayed allocation, auto_da_alloc, commit=5. Dirty pages expire after 30 s, are looked for each 5 s, and the
    /// allocation waits for one more commit (Linux: Documentation/admin-guide/ext4.rst, Documentation/admin-guide/sysctl/vm.rst).
    pub const EXT4: FileSystem = FileSystem {
        commit_interval: Duration::from_secs(5),
        write_back: Duration::from_secs(40),
        flush_on_replace: true,
        size_before_data: true,
    };
    /// XFS: the log is forced each 30 s; the size follows the data; a rename over an existing file flushes nothing, so an unsynced
    /// replacement can come back empty (Linux: Documentation/admin-guide/xfs.rst, xfssyncd_centisecs).
    pub const XFS: FileSystem = FileSystem {
        commit_interval: Duration::from_secs(30),
        write_back: Duration::from_secs(65),
        flush_on_replace: false,
        size_before_data: false,
    };
}

impl Default for DiskOptions {
    /// 100 GiB of data-centre solid-state disk with ext4.
    fn default() -> DiskOptions {
        DiskOptions {
            capacity_bytes: 100 << 30,
            latency: Latency::heavy(Duration::from_micros(40), Duration::from_micros(40)),
            bytes_per_second: Some(1 << 30),
            sector_bytes: 512,
            volatile_write_cache: false,
            loses_power: true,
            time_granularity: Duration::from_millis(4),
            file_system: FileSystem::EXT4,
        }
    }
}

impl DiskOptions {
    /// A disk of its own for a container's root: any size, no latency of its own, untouched by power cuts.
    pub fn ephemeral() -> DiskOptions {
        DiskOptions {
            capacity_bytes: 1 << 50,
            latency: Latency::ZERO,
            bytes_per_second: None,
            loses_power: false,
            ..DiskOptions::default()
        }
    }
}
