//! A target that is a directory of the process's own file system (vfs/vfs.go and fsops/fsops.go upstream).
//!
//! Fault model: what the file system below does. A write is a new file that is renamed into place, not synced by
//! anybody; one that fails leaves its temporary file behind. Which failures of a list count as "no such directory" is
//! upstream's choice, and kept: see [`Driver::list`] below.

use std::io;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::fs;
use jiff::Timestamp;

use super::Driver;
use crate::error::{Error, Result};
use crate::gopath::{join, parent};
use crate::layout::BASE;
use crate::url::Url;

/// A removal also removes at most so many directories above that it leaves empty.
const MOST_PARENTS_REMOVED: usize = 10;

/// A directory as a target.
pub struct FileDriver {
    root: String,
    url: String,
}

impl FileDriver {
    /// The directory that the address names. It need not exist: a list of it is empty then, and the first write makes
    /// it.
    pub async fn open(url: &Url) -> Result<Self> {
        if !url.host.is_empty() {
            return Err(Error::Invalid("VFS path must follow: vfs:///path/ format".to_owned()));
        }
        if url.path.is_empty() {
            return Err(Error::Invalid("cannot find vfs path".to_owned()));
        }
        let driver = Self { root: url.path.clone(), url: format!("vfs://{}", url.path) };
        match driver.names_in("").await {
            Ok(_) => Ok(driver),
            Err(_) => Err(Error::Invalid(format!("VFS path {} doesn't exist or is not a directory", url.path))),
        }
    }

    fn local(&self, path: &str) -> String {
        join(&[&self.root, path])
    }

    /// Upstream runs `ls -1` and forgives two of its messages: that there is no such file, and that a directory cannot
    /// be opened, which is how a lack of permission shows. A directory that can be looked at but not read is an error,
    /// and so is a look that fails otherwise.
    async fn names_in(&self, path: &str) -> Result<Vec<String>> {
        let local = self.local(path);
        let failed = |what: &str, error: &io::Error| {
            let output = format!("ls: {what} '{local}': {error}\n");
            Error::Driver(format!("failed to execute: ls [-1 {local}], output {output}, error exit status 2"))
        };
        match fs::metadata(&local).await {
            Ok(found) if !found.is_dir => return Ok(vec![local]),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("cannot access", &error)),
        }
        let entries = match fs::read_dir(&local).await {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                Vec::new()
            }
            Err(error) => return Err(failed("reading directory", &error)),
        };
        let mut names: Vec<String> =
            entries.into_iter().map(|entry| entry.name).filter(|name| !name.starts_with('.')).collect();
        names.sort();
        Ok(names)
    }

    async fn replace(&self, path: &str, content: &[u8]) -> Result<()> {
        let (target, temporary) = (self.local(path), self.local(&temporary_name(path)));
        let written = async {
            fs::create_dir_all(&parent(&target)).await?;
            fs::write(&temporary, content).await?;
            fs::rename(&temporary, &target).await
        };
        written.await.map_err(|error| failed("write", &target, &error))
    }

    async fn remove_with_empty_parents(&self, path: &str) -> Result<()> {
        let mut local = self.local(path);
        remove_all(&local).await.map_err(|error| failed("remove", &local, &error))?;
        for _ in 0..MOST_PARENTS_REMOVED {
            local = parent(&local);
            if local.ends_with(BASE) || fs::remove_dir(&local).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn file(&self, path: &str) -> Option<fs::Metadata> {
        fs::metadata(&self.local(path)).await.ok().filter(|found| !found.is_dir)
    }
}

impl Driver for FileDriver {
    fn kind(&self) -> &'static str {
        "vfs"
    }

    fn url(&self) -> &str {
        &self.url
    }

    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.names_in(path).boxed()
    }

    fn read<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Bytes>> {
        let local = self.local(path);
        async move { fs::read(&local).await.map(Bytes::from).map_err(|error| failed("open", &local, &error)) }.boxed()
    }

    fn write<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        async move { self.replace(path, &content).await }.boxed()
    }

    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        self.remove_with_empty_parents(path).boxed()
    }

    fn file_size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<u64>> {
        async move { self.file(path).await.map(|found| found.len) }.boxed()
    }

    fn file_time<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<Timestamp>> {
        async move { self.file(path).await.map(|found| found.modified) }.boxed()
    }

    fn upload<'a>(&'a self, local: &'a str, path: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let content = fs::read(local).await.map_err(|error| failed("open", local, &error))?;
            self.replace(path, &content).await
        }
        .boxed()
    }

    fn download<'a>(&'a self, path: &'a str, local: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let content = self.read(path).await?;
            fs::write(local, &content).await.map_err(|error| failed("create", local, &error))
        }
        .boxed()
    }
}

/// No two writers share a temporary file, unless they write the same file in the same nanosecond.
fn temporary_name(path: &str) -> String {
    format!("{path}.tmp.{}", host::wall_clock::now().as_nanosecond())
}

async fn remove_all(local: &str) -> io::Result<()> {
    let removed = match fs::metadata(local).await {
        Ok(found) if found.is_dir => fs::remove_dir_all(local).await,
        Ok(_) => fs::remove_file(local).await,
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(doing: &str, local: &str, error: &io::Error) -> Error {
    Error::Driver(format!("{doing} {local}: {error}"))
}
