//! The files of one replica: small JSON files replaced as a whole, disks with their metadata and checksum.
//!
//! Upstream syncs nothing here, neither files nor the directory: what a power cut leaves is what the file system makes of
//! a rename (defect c3).

use std::io;

use host::fs::{self, File, OpenOptions};
use longhorn_backupstore::json;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::format::names::{CHECKSUM_SUFFIX, META_SUFFIX};

/// A replica's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    path: String,
    /// Whether anything is synced.
    syncs: bool,
}

/// What came of reading a JSON file.
#[derive(Debug)]
pub enum Found<T> {
    /// It could be read.
    Valid(T),
    /// There is no such file, or nothing is in it.
    Nothing,
}

impl Directory {
    /// The directory at this path.
    pub fn new(path: impl Into<String>) -> Directory {
        Directory { path: path.into(), syncs: false }
    }

    /// The same directory; where it is synced, a file is before it takes another's place, the directory thereafter, and what is written to the
    /// head before it is acknowledged: the cure of c3.
    pub fn synced(self, syncs: bool) -> Directory {
        Directory { syncs, ..self }
    }

    /// Whether it is synced.
    pub fn is_synced(&self) -> bool {
        self.syncs
    }

    /// Where a file of this name lies; an absolute name stands for itself.
    pub fn path(&self, name: &str) -> String {
        if name.starts_with('/') { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// Where the directory itself lies.
    pub fn root(&self) -> &str {
        &self.path
    }

    /// Makes the directory unless it is there.
    pub async fn create(&self) -> Result<()> {
        match fs::create_dir(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::file("mkdir", &self.path, &error)),
            _ => Ok(()),
        }
    }

    /// The names in the directory, sorted as Go's `os.ReadDir` sorts them.
    pub async fn names(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.path).await.map_err(|error| Error::file("open", &self.path, &error))?;
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        Ok(names)
    }

    /// Whether there is something of this name.
    pub async fn exists(&self, name: &str) -> bool {
        fs::metadata(&self.path(name)).await.is_ok()
    }

    /// Whether there is a file of this name.
    pub async fn is_file(&self, name: &str) -> bool {
        fs::metadata(&self.path(name)).await.is_ok_and(|metadata| !metadata.is_dir)
    }

    /// Replaces a JSON file: written beside it, closed, renamed.
    pub async fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut text = json::to_bytes(value);
        text.push(b'\n');
        self.replace(name, &format!("{name}.tmp"), &text).await
    }

    /// Replaces a file's content by way of another file.
    pub async fn replace(&self, name: &str, temporary: &str, content: &[u8]) -> Result<()> {
        let (path, temporary) = (self.path(name), self.path(temporary));
        let renamed = async {
            fs::write(&temporary, content).await.map_err(|error| Error::file("write", &temporary, &error))?;
            if self.syncs {
                sync(&temporary).await.map_err(|error| Error::file("fsync", &temporary, &error))?;
            }
            fs::rename(&temporary, &path).await.map_err(|error| Error::file("rename", &path, &error))?;
            if self.syncs {
                fs::sync_dir(&self.path).await.map_err(|error| Error::file("fsync", &self.path, &error))?;
            }
            Ok(())
        };
        match renamed.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let _ = remove_all(&temporary).await;
                Err(error)
            }
        }
    }

    /// Reads a JSON file.
    pub async fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Found<T>> {
        let path = self.path(name);
        let content = match fs::read(&path).await {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(Error::file("open", &path, &error)),
        };
        // A list would do for serde where an object is meant.
        if content.trim_ascii_start().starts_with(b"[") {
            return Err(Error::Metadata { path, reason: "cannot unmarshal array".to_owned() });
        }
        match json::from_bytes(&content) {
            Ok(value) => Ok(Found::Valid(value)),
            Err(_) if content.iter().all(u8::is_ascii_whitespace) => Ok(Found::Nothing),
            Err(reason) => Err(Error::Metadata { path, reason }),
        }
    }

    /// Opens a disk for reading and writing past the page cache.
    pub async fn open_disk(&self, name: &str) -> Result<File> {
        let path = self.path(name);
        let opened = OpenOptions::new().read(true).write(true).direct(true).open(&path).await;
        opened.map_err(|error| Error::file("open", &path, &error))
    }

    /// Makes an empty disk, of this size and all of it a hole.
    pub async fn create_disk(&self, name: &str, size: u64) -> Result<File> {
        let path = self.path(name);
        let options = OpenOptions::new().read(true).write(true).direct(true).create(true).truncate(true);
        let file = options.open(&path).await.map_err(|error| Error::file("open", &path, &error))?;
        file.set_len(size).await.map_err(|error| Error::file("truncate", &path, &error))?;
        if self.syncs {
            file.sync_all().await.map_err(|error| Error::file("fsync", &path, &error))?;
        }
        Ok(file)
    }

    /// Gives a file one name more.
    pub async fn link(&self, existing: &str, new: &str) -> Result<()> {
        let new = self.path(new);
        fs::hard_link(&self.path(existing), &new).await.map_err(|error| Error::file("link", &new, &error))
    }

    /// Removes a disk with its metadata and checksum, as far as they are there. All are tried; the last failure is told.
    pub async fn remove_disk(&self, name: &str) -> Result<()> {
        if name.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        for suffix in ["", META_SUFFIX, CHECKSUM_SUFFIX] {
            let path = self.path(&format!("{name}{suffix}"));
            if let Err(error) = remove_all(&path).await {
                result = Err(Error::file("unlinkat", &path, &error));
            }
        }
        result
    }

    /// Removes one file if it is there.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        remove_all(&path).await.map_err(|error| Error::file("unlinkat", &path, &error))
    }

    /// The space a file takes, in bytes; -1 if that cannot be told.
    pub async fn allocated_bytes(&self, name: &str) -> i64 {
        let metadata = fs::metadata(&self.path(name)).await;
        metadata.map_or(-1, |metadata| i64::try_from(metadata.allocated_bytes).unwrap_or(i64::MAX))
    }
}

/// Removes a file if it is there.
async fn remove_all(path: &str) -> io::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

async fn sync(path: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path).await?.sync_all().await
}
