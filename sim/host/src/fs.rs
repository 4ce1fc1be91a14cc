//! Files of the process's own view: its container's root and what is mounted into it.

use std::io;

/// What is known of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Apparent size, in bytes.
    pub len: u64,
    /// Space it takes on its disk, in bytes (512 for each block that `stat(2)` counts).
    pub allocated_bytes: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// When its content last changed, by the machine's wall clock.
    pub modified: jiff::Timestamp,
    /// When its inode last changed.
    pub changed: jiff::Timestamp,
    /// Number of names.
    pub links: u64,
    /// Permission bits.
    pub mode: u32,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A stretch of a file that holds data; what lies between is a hole and reads as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub len: u64,
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Tells it from others of this machine.
    pub id: String,
    /// `ext2/ext3`, `xfs`, ..., as `stat -f` names it.
    pub kind: String,
    /// Size of its blocks, in bytes.
    pub block_bytes: u64,
    /// All its blocks.
    pub blocks: u64,
    /// Blocks that hold nothing.
    pub free_blocks: u64,
    /// Those of them that everyone may use.
    pub available_blocks: u64,
}

mod real;
#[cfg(madsim)]
mod simulated;

mod file;
pub use file::{File, OpenOptions};

/// Calls the same function of whichever world this is.
macro_rules! in_this_world {
    ($function:ident ( $($argument:expr),* )) => {{
        #[cfg(madsim)]
        if crate::simulated() {
            return simulated::$function($($argument),*).await;
        }
        real::$function($($argument),*).await
    }};
}

/// The whole content of a file.
///
/// # Errors
/// As `open(2)` and `read(2)`.
pub async fn read(path: &str) -> io::Result<Vec<u8>> {
    in_this_world!(read(path))
}

/// Makes or replaces a file's content, in place.
///
/// # Errors
/// As `open(2)` and `write(2)`.
pub async fn write(path: &str, content: &[u8]) -> io::Result<()> {
    in_this_world!(write(path, content))
}

/// Makes a directory.
///
/// # Errors
/// As `mkdir(2)`.
pub async fn create_dir(path: &str) -> io::Result<()> {
    in_this_world!(create_dir(path))
}

/// Makes a directory and what is missing above it.
///
/// # Errors
/// As `mkdir(2)`, but not if it is there already.
pub async fn create_dir_all(path: &str) -> io::Result<()> {
    in_this_world!(create_dir_all(path))
}

/// Removes a name of a file.
///
/// # Errors
/// As `unlink(2)`.
pub async fn remove_file(path: &str) -> io::Result<()> {
    in_this_world!(remove_file(path))
}

/// Removes an empty directory.
///
/// # Errors
/// As `rmdir(2)`.
pub async fn remove_dir(path: &str) -> io::Result<()> {
    in_this_world!(remove_dir(path))
}

/// Removes a directory and all below it.
///
/// # Errors
/// As `rmdir(2)` and `unlink(2)`.
pub async fn remove_dir_all(path: &str) -> io::Result<()> {
    in_this_world!(remove_dir_all(path))
}

/// Gives a file another name, replacing what has it.
///
/// # Errors
/// As `rename(2)`.
pub async fn rename(from: &str, to: &str) -> io::Result<()> {
    in_this_world!(rename(from, to))
}

/// Gives a file one name more.
///
/// # Errors
/// As `link(2)`.
pub async fn hard_link(existing: &str, new: &str) -> io::Result<()> {
    in_this_world!(hard_link(existing, new))
}

/// What is known of a path.
///
/// # Errors
/// As `stat(2)`.
pub async fn metadata(path: &str) -> io::Result<Metadata> {
    in_this_world!(metadata(path))
}

/// The file system that holds a path.
///
/// # Errors
/// As `statvfs(3)`.
pub async fn file_system(path: &str) -> io::Result<FileSystem> {
    in_this_world!(file_system(path))
}

/// The names in a directory, in the order in which the file system gives them: none that means anything.
///
/// # Errors
/// As `readdir(3)`.
pub async fn read_dir(path: &str) -> io::Result<Vec<DirEntry>> {
    in_this_world!(read_dir(path))
}

/// Makes a directory's entries durable.
///
/// # Errors
/// As `fsync(2)`.
pub async fn sync_dir(path: &str) -> io::Result<()> {
    in_this_world!(sync_dir(path))
}

/// Whether there is anything at a path.
///
/// # Errors
/// As `stat(2)`, but not if there is nothing.
pub async fn exists(path: &str) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
