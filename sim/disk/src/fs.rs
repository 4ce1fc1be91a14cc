//! What a process may do with files, by path: the functions that the host offers. Paths are the process's own view, see [`crate::Mounts`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corral_core::{ProcessId, world};

use crate::device::Operation;
use crate::errno::{Errno, Outcome};
use crate::fault::Access;
use crate::file::File;
use crate::inode::Metadata;
use crate::mounts::{Location, Mounts};
use crate::names::DirEntry;
use crate::open::OpenOptions;
use crate::options::FileSystem;
use crate::registry::{Disks, disks};
use crate::state::{Space, State};

/// The calling process and what it sees.
pub(crate) struct View {
    pub(crate) disks: Arc<Disks>,
    pub(crate) mounts: Arc<Mounts>,
    pub(crate) process: ProcessId,
}

pub(crate) fn view() -> View {
    let world = world();
    let process = world
        .current_process()
        .expect("files belong to processes: the kernels and the run loop use Disk's own functions");
    let disks = disks(&world);
    View { mounts: disks.mounts_of(&world, &process), disks, process: process.id }
}

pub(crate) fn text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or(Errno::EINVAL)
}

/// EROFS on a read-only mount.
fn writable(location: &Location<'_>) -> Outcome<()> {
    if location.read_only { Err(Errno::EROFS) } else { Ok(()) }
}

/// The whole content of a file.
///
/// # Errors
/// As [`OpenOptions::open`] and [`File::read_at`].
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).open(path.as_ref()).await?;
    let mut content = vec![0; file.metadata().await?.len as usize];
    let mut done = 0;
    loop {
        if done == content.len() {
            // It may have grown: only a read of nothing is the end.
            content.resize(done + 512, 0);
        }
        match file.read_at(&mut content[done..], done as u64).await? {
            0 => break,
            count => done += count,
        }
    }
    content.truncate(done);
    Ok(content)
}

/// Creates or replaces the content of a file: opened, cut, written, closed; not synced.
///
/// # Errors
/// As [`OpenOptions::open`] and [`File::write_at`].
pub async fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(path.as_ref()).await?;
    file.write_all_at(content.as_ref(), 0).await
}

/// mkdir, with mode 0755.
///
/// # Errors
/// EEXIST, ENOENT, ENOTDIR, ENOSPC, EROFS, EIO.
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    create_dir_with_mode(path, 0o755).await
}

/// mkdir with these permission bits.
///
/// # Errors
/// As [`create_dir`].
pub async fn create_dir_with_mode(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let view = view();
    let location = view.mounts.resolve(text(path.as_ref())?)?;
    if location.is_top {
        return Err(Errno::EEXIST.into());
    }
    let (path, read_only) = (location.path.as_str(), location.read_only);
    let access = if read_only { Access::Look } else { Access::Create };
    let create = |state: &mut State, now| match state.lookup(path) {
        Ok(_) => Err(Errno::EEXIST),
        Err(Errno::ENOENT) if read_only => Err(Errno::EROFS),
        _ => state.create_directory(path, mode, now).map(drop),
    };
    location.disk.operate(Operation::CreateDirectory, [path; 2], access, create).await
}

/// Creates a directory and whatever of its path is missing; content with what exists.
///
/// # Errors
/// As [`create_dir`].
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = vec![path.as_ref().to_owned()];
    while let Some(path) = missing.last() {
        if path.as_os_str().is_empty() {
            missing.pop();
            continue;
        }
        match create_dir(path).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(parent) if !missing.iter().any(|path| path == parent) => {
                    missing.push(parent.to_owned());
                    continue;
                }
                _ => return Err(error),
            },
            Err(error) => {
                if !metadata(path).await.is_ok_and(|metadata| metadata.is_dir) {
                    return Err(error);
                }
            }
        }
        missing.pop();
    }
    Ok(())
}

/// unlink: a file that is open lives on until its last handle is closed.
///
/// # Errors
/// ENOENT, EISDIR, ENOTDIR, EROFS, EIO.
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let view = view();
    let location = view.mounts.resolve(text(path.as_ref())?)?;
    if location.is_top {
        return Err(Errno::EISDIR.into());
    }
    writable(&location)?;
    let (path, must_be_directory) = (location.path.as_str(), location.must_be_directory);
    let remove = |state: &mut State, now| state.remove_file(path, must_be_directory, now);
    location.disk.operate(Operation::RemoveFile, [path; 2], Access::Change, remove).await
}

/// rmdir: the directory has to be empty.
///
/// # Errors
/// ENOENT, ENOTDIR, ENOTEMPTY, EBUSY at a mount point, EROFS, EIO.
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let view = view();
    let location = view.mounts.resolve(text(path.as_ref())?)?;
    if location.is_top {
        return Err(Errno::EBUSY.into());
    }
    writable(&location)?;
    let path = location.path.as_str();
    let remove = |state: &mut State, now| state.remove_directory(path, now);
    location.disk.operate(Operation::RemoveDirectory, [path; 2], Access::Change, remove).await
}

/// Removes a directory with all that is in it, one operation a name: a crash leaves a part of it.
///
/// # Errors
/// As [`remove_dir`] and [`remove_file`].
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let mut rest = vec![(path.as_ref().to_owned(), false)];
    while let Some((directory, emptied)) = rest.pop() {
        if emptied {
            remove_dir(&directory).await?;
            continue;
        }
        let entries = read_dir(&directory).await?;
        rest.push((directory.clone(), true));
        for entry in entries {
            let path = directory.join(&entry.name);
            if entry.is_dir {
                rest.push((path, false));
            } else {
                match remove_file(&path).await {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// rename: replaces a file, or an empty directory, of the new name in one step.
///
/// # Errors
/// ENOENT, EXDEV across mounts, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL into itself, EBUSY at a mount point, EROFS, EIO.
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let view = view();
    let from = view.mounts.resolve(text(from.as_ref())?)?;
    let to = view.mounts.resolve(text(to.as_ref())?)?;
    if !from.same_mount(&to) {
        return Err(Errno::EXDEV.into());
    }
    if from.is_top || to.is_top {
        return Err(Errno::EBUSY.into());
    }
    writable(&from)?;
    let must_be_directory = from.must_be_directory || to.must_be_directory;
    let (old, new) = (from.path.as_str(), to.path.as_str());
    let rename = |state: &mut State, now| state.rename(old, new, must_be_directory, now);
    from.disk.operate(Operation::Rename, [old, new], Access::Change, rename).await
}

/// link: a second name for a file.
///
/// # Errors
/// ENOENT, EEXIST, EXDEV across mounts, EPERM for a directory, EROFS, EIO, ENOSPC by fault.
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let view = view();
    let original = view.mounts.resolve(text(original.as_ref())?)?;
    let link = view.mounts.resolve(text(link.as_ref())?)?;
    if original.must_be_directory {
        original.disk.is_directory(&original.path)?;
    }
    if link.is_top {
        return Err(Errno::EEXIST.into());
    }
    if !original.same_mount(&link) {
        return Err(Errno::EXDEV.into());
    }
    writable(&link)?;
    let (old, new) = (original.path.as_str(), link.path.as_str());
    let must_be_directory = link.must_be_directory;
    let add = |state: &mut State, now| state.hard_link(old, new, must_be_directory, now);
    link.disk.operate(Operation::Link, [old, new], Access::Create, add).await
}

/// stat.
///
/// # Errors
/// ENOENT, ENOTDIR.
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let view = view();
    let location = view.mounts.resolve(text(path.as_ref())?)?;
    let (path, must_be_directory) = (location.path.as_str(), location.must_be_directory);
    let stat = |state: &mut State, _| {
        let number = state.lookup(path)?;
        let metadata = state.inode(number).metadata(number);
        if must_be_directory && !metadata.is_dir { Err(Errno::ENOTDIR) } else { Ok(metadata) }
    };
    location.disk.operate(Operation::Stat, [path; 2], Access::Look, stat).await
}

/// The file system that holds a path: its number and its promises. Its room: [`space`].
///
/// # Errors
/// ENOENT, ENOTDIR.
pub async fn file_system(path: impl AsRef<Path>) -> io::Result<(u64, FileSystem)> {
    metadata(&path).await?;
    let view = view();
    let location = view.mounts.resolve(text(path.as_ref())?)?;
    Ok((location.disk.number(), location.disk.promises()))
}

/// Whether there is something of this name.
///
/// # Errors
/// Whatever keeps it from being known.
pub async fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names in a directory, in an order that the seed decides.
///
/// # Errors
/// ENOENT, ENOTDIR, EIO.
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<Vec<DirEntry>> {
    let view = view();
    let location = view.mounts.resolve(text(path.as_ref())?)?;
    let path = location.path.as_str();
    let list = |state: &mut State, _| state.list(state.lookup(path)?);
    location.disk.operate(Operation::List, [path; 2], Access::Read, list).await
}

/// Opens a directory and syncs it: the names in it survive a power cut.
///
/// # Errors
/// ENOENT, ENOTDIR, EIO.
pub async fn sync_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let directory = OpenOptions::new().read(true).open(path.as_ref()).await?;
    if !directory.metadata().await?.is_dir {
        return Err(Errno::ENOTDIR.into());
    }
    directory.sync_all().await
}

/// statfs: the room on the disk that a path is on.
///
/// # Errors
/// ENOENT, ENOTDIR.
pub async fn space(path: impl AsRef<Path>) -> io::Result<Space> {
    let view = view();
    let location = view.mounts.resolve(text(path.as_ref())?)?;
    let path = location.path.as_str();
    let room = |state: &mut State, _| state.lookup(path).map(|_| state.space());
    location.disk.operate(Operation::Stat, [path; 2], Access::Look, room).await
}
