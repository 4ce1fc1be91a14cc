//! Linux's arm.

use std::io;
use std::os::unix::fs::MetadataExt;

use tokio_real::fs as files;

use super::{DirEntry, FileSystem, Metadata};

pub(super) async fn read(path: &str) -> io::Result<Vec<u8>> {
    files::read(path).await
}

pub(super) async fn write(path: &str, content: &[u8]) -> io::Result<()> {
    files::write(path, content).await
}

pub(super) async fn create_dir(path: &str) -> io::Result<()> {
    files::create_dir(path).await
}

pub(super) async fn create_dir_all(path: &str) -> io::Result<()> {
    files::create_dir_all(path).await
}

pub(super) async fn remove_file(path: &str) -> io::Result<()> {
    files::remove_file(path).await
}

pub(super) async fn remove_dir(path: &str) -> io::Result<()> {
    files::remove_dir(path).await
}

pub(super) async fn remove_dir_all(path: &str) -> io::Result<()> {
    files::remove_dir_all(path).await
}

pub(super) async fn rename(from: &str, to: &str) -> io::Result<()> {
    files::rename(from, to).await
}

pub(super) async fn hard_link(existing: &str, new: &str) -> io::Result<()> {
    files::hard_link(existing, new).await
}

pub(super) async fn metadata(path: &str) -> io::Result<Metadata> {
    Ok(convert(&files::metadata(path).await?))
}

pub(super) async fn file_system(path: &str) -> io::Result<FileSystem> {
    let room = rustix::fs::statvfs(path)?;
    Ok(FileSystem {
        id: format!("{:016x}", room.f_fsid),
        kind: kind_name(rustix::fs::statfs(path)?.f_type as i64),
        block_bytes: room.f_frsize,
        blocks: room.f_blocks,
        free_blocks: room.f_bfree,
        available_blocks: room.f_bavail,
    })
}

/// As `stat -f` names it, of the kinds that a node's disks have (statfs(2)); others by their number.
fn kind_name(magic: i64) -> String {
    match magic {
        0xef53 => "ext2/ext3".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        0x794c_7630 => "overlayfs".to_owned(),
        other => format!("UNKNOWN (0x{other:x})"),
    }
}

pub(super) async fn read_dir(path: &str) -> io::Result<Vec<DirEntry>> {
    let mut directory = files::read_dir(path).await?;
    let mut entries = Vec::new();
    while let Some(entry) = directory.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(DirEntry { name, is_dir: entry.file_type().await?.is_dir() });
    }
    Ok(entries)
}

pub(super) async fn sync_dir(path: &str) -> io::Result<()> {
    files::File::open(path).await?.sync_all().await
}

pub(super) fn convert(metadata: &std::fs::Metadata) -> Metadata {
    let time = |seconds, nanoseconds: i64| {
        jiff::Timestamp::new(seconds, nanoseconds as i32).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    };
    Metadata {
        len: metadata.len(),
        allocated_bytes: metadata.blocks() * 512,
        is_dir: metadata.is_dir(),
        modified: time(metadata.mtime(), metadata.mtime_nsec()),
        changed: time(metadata.ctime(), metadata.ctime_nsec()),
        links: metadata.nlink(),
        mode: metadata.mode() & 0o7777,
    }
}
