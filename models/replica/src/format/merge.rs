//! The long steps of a removal, done on files beside an open replica (FoldFile and PruneFile in sparse-tools).

use host::fs::{File, OpenOptions};

use crate::error::{Error, Result};
use crate::format::directory::Directory;

/// How much is copied at once: 32 blocks of the file system.
const BATCH_BYTES: u64 = 32 * 4096;

/// Opens both files and makes the parent as large as its child, which an expansion may have made larger.
async fn open(directory: &Directory, child: &str, parent: &str, doing: &str) -> Result<(File, File, u64)> {
    let (child_path, parent_path) = (directory.path(child), directory.path(parent));
    let child_options = OpenOptions::new().read(true).direct(true);
    let child_file = child_options.open(&child_path).await.map_err(|error| Error::file("open", &child_path, &error))?;
    let parent_file = directory.open_disk(parent).await?;
    let child_size = child_file.metadata().await.map_err(|error| Error::file("stat", &child_path, &error))?.len;
    let parent_size = parent_file.metadata().await.map_err(|error| Error::file("stat", &parent_path, &error))?.len;
    if child_size < parent_size {
        return Err(Error::refused("file sizes are not equal and the parent file is larger than the child file"));
    }
    if child_size > parent_size {
        parent_file.set_len(child_size).await.map_err(|error| {
            let error = Error::file("truncate", &parent_path, &error);
            Error::Refused(format!("failed to expand the parent file size before {doing}: {error}"))
        })?;
    }
    Ok((child_file, parent_file, child_size))
}

/// Copies a child's data into its parent. Tells how many per cent are done.
///
/// # Errors
/// A file cannot be opened, read or written, or the parent is larger than its child.
pub async fn coalesce(
    directory: &Directory,
    child: &str,
    parent: &str,
    progress: &mut (dyn FnMut(u32) + Send),
) -> Result<()> {
    let (child_file, parent_file, size) = open(directory, child, parent, "coalesce").await?;
    let extents = child_file.extents().await.map_err(|error| Error::file("fiemap", &directory.path(child), &error))?;
    let mut buffer = vec![0; BATCH_BYTES as usize];
    for extent in extents {
        let end = extent.offset + extent.len;
        let mut offset = extent.offset;
        while offset < end {
            let part = &mut buffer[..BATCH_BYTES.min(end - offset) as usize];
            let read = child_file.read_exact_at(part, offset).await;
            read.map_err(|error| Error::file("read", &directory.path(child), &error))?;
            let written = parent_file.write_all_at(part, offset).await;
            written.map_err(|error| Error::file("write", &directory.path(parent), &error))?;
            offset += part.len() as u64;
        }
        progress((end * 100 / size.max(1)) as u32);
    }
    progress(100);
    Ok(())
}

/// Cuts out of a snapshot what the head behind it has as well. Tells how many per cent are done.
///
/// # Errors
/// As [`coalesce`].
pub async fn prune(
    directory: &Directory,
    head: &str,
    snapshot: &str,
    progress: &mut (dyn FnMut(u32) + Send),
) -> Result<()> {
    let (head_file, snapshot_file, size) = open(directory, head, snapshot, "pruning").await?;
    let extents = head_file.extents().await.map_err(|error| Error::file("fiemap", &directory.path(head), &error))?;
    for extent in extents {
        let punched = snapshot_file.punch_hole(extent.offset, extent.len).await;
        punched.map_err(|error| Error::file("fallocate", &directory.path(snapshot), &error))?;
        progress(((extent.offset + extent.len) * 100 / size.max(1)) as u32);
    }
    progress(100);
    Ok(())
}
