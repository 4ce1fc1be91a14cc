//! Operations on names: look up, create, link, remove, rename, list. Errors and their order are Linux's.

use corral_core::journal::content_hash;

use crate::block::PAGE;
use crate::errno::{Errno, Outcome};
use crate::inode::{Directory, Inode, InodeNumber, Kind, ROOT, Times};
use crate::journal::Change;
use crate::path::{NAME_LIMIT, is_within, names, split};
use crate::state::{Moment, State};

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Number of its inode.
    pub inode: u64,
}

impl State {
    /// The inode of a normal path.
    pub(crate) fn lookup(&self, path: &str) -> Outcome<InodeNumber> {
        names(path).try_fold(ROOT, |number, name| self.entry(number, name)?.ok_or(Errno::ENOENT))
    }

    /// The directory that holds the last name of a path, and that name; none for the root.
    pub(crate) fn parent<'a>(&self, path: &'a str) -> Outcome<Option<(InodeNumber, &'a str)>> {
        let Some((parent, name)) = split(path) else { return Ok(None) };
        let number = self.lookup(parent)?;
        self.inode(number).as_directory()?;
        Ok(Some((number, name)))
    }

    fn directory_mut(&mut self, number: InodeNumber) -> &mut Directory {
        match &mut self.inode_mut(number).kind {
            Kind::Directory(directory) => directory,
            Kind::File(_) => unreachable!("names are only put into directories"),
        }
    }

    /// Puts a name into a directory, as part of an operation or of undoing one.
    pub(crate) fn insert_entry(&mut self, parent: InodeNumber, name: &str, inode: InodeNumber) {
        let subdirectory = u32::from(self.inode(inode).is_directory());
        self.inode_mut(inode).links += 1;
        let directory = self.directory_mut(parent);
        directory.subdirectories += subdirectory;
        let before = directory.entries.insert(name.to_owned(), inode);
        assert!(before.is_none(), "a name is put where there is none");
    }

    /// Takes a name out of a directory, likewise.
    pub(crate) fn remove_entry(&mut self, parent: InodeNumber, name: &str) -> InodeNumber {
        let directory = self.directory_mut(parent);
        let inode = directory.entries.remove(name).expect("a name is taken where there is one");
        let subdirectory = u32::from(self.inode(inode).is_directory());
        self.directory_mut(parent).subdirectories -= subdirectory;
        self.inode_mut(inode).links -= 1;
        inode
    }

    fn entry(&self, parent: InodeNumber, name: &str) -> Outcome<Option<InodeNumber>> {
        let directory = self.inode(parent).as_directory()?;
        if name.len() > NAME_LIMIT {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(directory.entries.get(name).copied())
    }

    /// A new name for an inode, with its journal entry and times.
    fn add_name(&mut self, parent: InodeNumber, name: &str, inode: InodeNumber, now: Moment) {
        self.insert_entry(parent, name, inode);
        self.push(now, Change::Added { parent, name: name.to_owned() });
        self.touch(parent, true, now);
    }

    /// Creates an empty file; EEXIST if the name is taken.
    pub(crate) fn create_file(&mut self, path: &str, permissions: u32, now: Moment) -> Outcome<InodeNumber> {
        let Some((parent, name)) = self.parent(path)? else { return Err(Errno::EEXIST) };
        if self.entry(parent, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let times = Times { modified: now.wall_ns, changed: now.wall_ns };
        let inode = self.add_inode(Inode::file(permissions, times, path));
        self.add_name(parent, name, inode, now);
        self.file_mut(inode)?.metadata_sequence = self.pending.last();
        Ok(inode)
    }

    /// Creates an empty directory; EEXIST if the name is taken.
    pub(crate) fn create_directory(&mut self, path: &str, permissions: u32, now: Moment) -> Outcome<InodeNumber> {
        let Some((parent, name)) = self.parent(path)? else { return Err(Errno::EEXIST) };
        if self.entry(parent, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        if self.room(path) == 0 {
            return Err(Errno::ENOSPC);
        }
        let times = Times { modified: now.wall_ns, changed: now.wall_ns };
        let inode = self.add_inode(Inode::directory(permissions, times, path));
        self.add_name(parent, name, inode, now);
        Ok(inode)
    }

    /// A second name for a file; ENOENT for one that would have to be a directory's.
    pub(crate) fn hard_link(&mut self, from: &str, to: &str, must_be_directory: bool, now: Moment) -> Outcome<()> {
        let inode = self.lookup(from)?;
        let Some((parent, name)) = self.parent(to)? else { return Err(Errno::EEXIST) };
        if self.entry(parent, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        if must_be_directory {
            return Err(Errno::ENOENT);
        }
        if self.inode(inode).is_directory() {
            return Err(Errno::EPERM);
        }
        self.add_name(parent, name, inode, now);
        self.touch(inode, false, now);
        Ok(())
    }

    fn drop_name(&mut self, parent: InodeNumber, name: &str, now: Moment) {
        let inode = self.remove_entry(parent, name);
        self.inode_mut(inode).retained += 1;
        self.push(now, Change::Removed { parent, name: name.to_owned(), inode });
        self.touch(parent, true, now);
        if self.inodes.contains_key(&inode) {
            self.touch(inode, false, now);
        }
        self.reap(inode);
    }

    /// Removes a file's name; the file lives on while it has another name or a handle.
    pub(crate) fn remove_file(&mut self, path: &str, must_be_directory: bool, now: Moment) -> Outcome<()> {
        let Some((parent, name)) = self.parent(path)? else { return Err(Errno::EISDIR) };
        let inode = self.entry(parent, name)?.ok_or(Errno::ENOENT)?;
        if self.inode(inode).is_directory() {
            return Err(Errno::EISDIR);
        }
        if must_be_directory {
            return Err(Errno::ENOTDIR);
        }
        self.drop_name(parent, name, now);
        Ok(())
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&mut self, path: &str, now: Moment) -> Outcome<()> {
        let Some((parent, name)) = self.parent(path)? else { return Err(Errno::EBUSY) };
        let inode = self.entry(parent, name)?.ok_or(Errno::ENOENT)?;
        if !self.inode(inode).as_directory()?.entries.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.drop_name(parent, name, now);
        Ok(())
    }

    /// Moves a name, replacing a file or an empty directory of the new name in one step.
    pub(crate) fn rename(&mut self, from: &str, to: &str, must_be_directory: bool, now: Moment) -> Outcome<()> {
        let (from_parent, to_parent) = (self.parent(from)?, self.parent(to)?);
        let (Some((from_parent, from_name)), Some((to_parent, to_name))) = (from_parent, to_parent) else {
            return Err(Errno::EBUSY);
        };
        let inode = self.entry(from_parent, from_name)?.ok_or(Errno::ENOENT)?;
        let replaced = self.entry(to_parent, to_name)?;
        let is_directory = self.inode(inode).is_directory();
        if must_be_directory && !is_directory {
            return Err(Errno::ENOTDIR);
        }
        if from != to && is_within(to, from) {
            return Err(Errno::EINVAL);
        }
        if from != to && is_within(from, to) {
            return Err(Errno::ENOTEMPTY);
        }
        if replaced == Some(inode) {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            self.may_replace(is_directory, replaced)?;
        }
        if replaced.is_some() && !is_directory && self.options.file_system.flush_on_replace {
            self.flush(inode);
        }
        self.move_name((from_parent, from_name), (to_parent, to_name), replaced, now);
        Ok(())
    }

    fn may_replace(&self, with_directory: bool, replaced: InodeNumber) -> Outcome<()> {
        match (with_directory, &self.inode(replaced).kind) {
            (false, Kind::Directory(_)) => Err(Errno::EISDIR),
            (true, Kind::File(_)) => Err(Errno::ENOTDIR),
            (true, Kind::Directory(directory)) if !directory.entries.is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    fn move_name(
        &mut self,
        (from_parent, from_name): (InodeNumber, &str),
        (to_parent, to_name): (InodeNumber, &str),
        replaced: Option<InodeNumber>,
        now: Moment,
    ) {
        if let Some(replaced) = replaced {
            self.remove_entry(to_parent, to_name);
            self.inode_mut(replaced).retained += 1;
        }
        let inode = self.remove_entry(from_parent, from_name);
        self.insert_entry(to_parent, to_name, inode);
        let (from_name, to_name) = (from_name.to_owned(), to_name.to_owned());
        self.push(now, Change::Renamed { from_parent, from_name, to_parent, to_name, replaced });
        self.touch(from_parent, true, now);
        self.touch(to_parent, true, now);
        self.touch(inode, false, now);
        if let Some(replaced) = replaced
            && self.inodes.contains_key(&replaced)
        {
            self.touch(replaced, false, now);
            self.reap(replaced);
        }
    }

    /// The names in a directory, in an order that the seed decides and that holds as long as the disk does, as a hashed directory's.
    pub(crate) fn list(&self, number: InodeNumber) -> Outcome<Vec<DirEntry>> {
        let directory = self.inode(number).as_directory()?;
        let mut entries: Vec<(u64, DirEntry)> = directory
            .entries
            .iter()
            .map(|(name, &inode)| {
                let hash = (content_hash(name.as_bytes()) ^ self.directory_order).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                (hash.rotate_left(32), DirEntry { name: name.clone(), is_dir: self.inode(inode).is_directory(), inode })
            })
            .collect();
        entries.sort_by(|(left, a), (right, b)| left.cmp(right).then_with(|| a.name.cmp(&b.name)));
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Creates whatever of a path is missing, without time passing.
    pub(crate) fn create_directories(&mut self, path: &str, now: Moment) -> Outcome<InodeNumber> {
        let mut end = 0;
        for name in names(path) {
            end += 1 + name.len();
            match self.create_directory(&path[..end], 0o755, now) {
                Ok(_) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        let inode = self.lookup(path)?;
        self.inode(inode).as_directory()?;
        Ok(inode)
    }

    /// Bytes of memory that file contents take, the device's versions of dirty pages included.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let files = self.inodes.values().filter_map(|inode| inode.as_file().ok());
        let of_file = |file: &crate::content::FileData| -> u64 {
            let current: u64 = file.pages.values().map(|page| page.block.memory_bytes()).sum();
            let old = file.dirty.values().map(|dirty| match &dirty.old {
                crate::content::Old::Block(block) => block.memory_bytes(),
                crate::content::Old::Hole => 0,
            });
            current + old.sum::<u64>()
        };
        let kept = self.pending.removed_pages() * PAGE;
        files.map(of_file).sum::<u64>() + kept
    }
}
