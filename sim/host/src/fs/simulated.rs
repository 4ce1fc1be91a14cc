//! The simulated arm: corral-disk, in this facade's terms.

use std::io;

use corral_disk::fs as files;

use super::{DirEntry, Extent, FileSystem, Metadata, OpenOptions};

pub(super) use files::{
    create_dir, create_dir_all, hard_link, read, remove_dir, remove_dir_all, remove_file, rename, sync_dir, write,
};

pub(super) async fn metadata(path: &str) -> io::Result<Metadata> {
    Ok(convert(files::metadata(path).await?))
}

pub(super) async fn file_system(path: &str) -> io::Result<FileSystem> {
    const BLOCK_BYTES: u64 = 4096;
    let (number, promises) = files::file_system(path).await?;
    let space = files::space(path).await?;
    let free = space.free_bytes() / BLOCK_BYTES;
    Ok(FileSystem {
        id: format!("{number:016x}"),
        kind: if promises == corral_disk::FileSystem::XFS { "xfs" } else { "ext2/ext3" }.to_owned(),
        block_bytes: BLOCK_BYTES,
        blocks: space.capacity_bytes / BLOCK_BYTES,
        free_blocks: free,
        available_blocks: free,
    })
}

pub(super) async fn read_dir(path: &str) -> io::Result<Vec<DirEntry>> {
    let entries = files::read_dir(path).await?;
    Ok(entries.into_iter().map(|entry| DirEntry { name: entry.name, is_dir: entry.is_dir }).collect())
}

pub(super) async fn open(options: OpenOptions, path: &str) -> io::Result<corral_disk::File> {
    let mut open = corral_disk::OpenOptions::new();
    open.read(options.read)
        .write(options.write)
        .append(options.append)
        .create(options.create)
        .create_new(options.create_new)
        .truncate(options.truncate)
        .direct(options.direct);
    if let Some(mode) = options.mode {
        open.mode(mode);
    }
    open.open(path).await
}

pub(super) fn convert(metadata: corral_disk::Metadata) -> Metadata {
    let time = |nanoseconds| jiff::Timestamp::from_nanosecond(nanoseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    Metadata {
        len: metadata.len,
        allocated_bytes: metadata.allocated_bytes,
        is_dir: metadata.is_dir,
        modified: time(metadata.modified_ns),
        changed: time(metadata.changed_ns),
        links: metadata.links.into(),
        mode: metadata.mode,
    }
}

pub(super) fn extents(extents: Vec<corral_disk::Extent>) -> Vec<Extent> {
    extents.into_iter().map(|extent| Extent { offset: extent.offset, len: extent.len }).collect()
}
