//! Opening files: modes, and what Linux makes of them.

use std::io;
use std::path::Path;

use corral_core::ProcessId;

use crate::device::Operation;
use crate::errno::{Errno, Outcome};
use crate::fault::Access;
use crate::file::File;
use crate::fs::{text, view};
use crate::inode::InodeNumber;
use crate::state::{Moment, State};

/// How to open a file; the rules are those of `std::fs::OpenOptions` on Linux.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    pub(crate) read: bool,
    write: bool,
    pub(crate) append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    pub(crate) direct: bool,
    mode: Option<u32>,
}

impl OpenOptions {
    /// Nothing asked for yet.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// For reading.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.read = read;
        self
    }

    /// For writing.
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.write = write;
        self
    }

    /// For writing at the end, whatever offset is given.
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.append = append;
        self
    }

    /// Cut to nothing when opened.
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.truncate = truncate;
        self
    }

    /// Created if missing.
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.create = create;
        self
    }

    /// Created, and refused if it exists.
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.create_new = create_new;
        self
    }

    /// Past the page cache (O_DIRECT): offsets and lengths in whole sectors of the disk. A write is on the medium when it returns (unless the disk
    /// has a volatile write cache); newly allocated blocks and a new size wait for fsync or the journal's commit, as on ext4.
    pub fn direct(&mut self, direct: bool) -> &mut OpenOptions {
        self.direct = direct;
        self
    }

    /// Permission bits of a file that is created; 0644 if not set.
    pub fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.mode = Some(mode);
        self
    }

    /// Whether the file is opened for writing in any way.
    pub(crate) fn writes(&self) -> bool {
        self.write || self.append
    }

    fn check(&self) -> Outcome<()> {
        let changes = self.truncate || self.create || self.create_new;
        let valid = (self.read || self.writes())
            && (self.writes() || !changes)
            && !(self.append && self.truncate && !self.create_new);
        if valid { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Opens a file, or a directory for [`File::sync_all`] and [`File::metadata`].
    ///
    /// # Errors
    /// ENOENT, EEXIST, EISDIR, ENOTDIR, EROFS, ENOSPC, EIO, EINVAL, ENAMETOOLONG.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let options = *self;
        let view = view();
        options.check()?;
        let location = view.mounts.resolve(text(path.as_ref())?)?;
        let (disk, path) = (location.disk.clone(), location.path);
        let asked = Asked {
            options,
            process: view.process,
            must_be_directory: location.must_be_directory,
            read_only: location.read_only,
        };
        view.disks.note_use(view.process, &disk);
        // Held from here on, so that a caller who stops waiting leaves nothing open.
        let mut file = File::unopened(disk.clone(), path, options);
        let (handle, path) = file.slot();
        disk.operate(Operation::Open, [path; 2], Access::Look, |state, now| {
            *handle = open(state, path, asked, now)?;
            Ok(())
        })
        .await?;
        Ok(file)
    }
}

/// An open with its circumstances.
#[derive(Clone, Copy)]
struct Asked {
    options: OpenOptions,
    process: ProcessId,
    must_be_directory: bool,
    read_only: bool,
}

fn open(state: &mut State, path: &str, asked: Asked, now: Moment) -> Outcome<u64> {
    let Asked { options, .. } = asked;
    let creates = options.create || options.create_new;
    if creates && asked.must_be_directory {
        // Refused as soon as the directory above is found, whatever the name stands for.
        state.parent(path)?;
        return Err(Errno::EISDIR);
    }
    let inode = match state.lookup(path) {
        Ok(_) if options.create_new => return Err(Errno::EEXIST),
        Ok(inode) => {
            open_existing(state, inode, path, asked, now)?;
            inode
        }
        Err(Errno::ENOENT) if creates => {
            if asked.read_only {
                return Err(Errno::EROFS);
            }
            state.injected(path, Access::Create)?;
            state.create_file(path, options.mode.unwrap_or(0o644), now)?
        }
        Err(errno) => return Err(errno),
    };
    if options.writes() {
        path.clone_into(&mut state.inode_mut(inode).path);
    }
    Ok(state.open(inode, asked.process))
}

fn open_existing(state: &mut State, inode: InodeNumber, path: &str, asked: Asked, now: Moment) -> Outcome<()> {
    let Asked { options, .. } = asked;
    if state.inode(inode).is_directory() {
        return if options.writes() { Err(Errno::EISDIR) } else { Ok(()) };
    }
    if asked.must_be_directory {
        return Err(Errno::ENOTDIR);
    }
    if options.writes() {
        if asked.read_only {
            return Err(Errno::EROFS);
        }
        state.injected(path, Access::WriteCached)?;
    }
    if options.truncate {
        state.injected(path, Access::Change)?;
        let had_content = state.inode(inode).as_file()?.size > 0;
        state.resize(inode, 0, now)?;
        let data = state.file_mut(inode)?;
        data.flush_on_close |= had_content;
    }
    Ok(())
}
