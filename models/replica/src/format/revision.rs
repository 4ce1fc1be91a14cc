//! The revision counter: a 4 KiB block with a decimal number, one more with every write (pkg/replica/revision_counter.go).

use std::io;

use host::fs::{File, OpenOptions};
use tokio::sync::Mutex;

use crate::error::{Error, Result};
use crate::format::directory::Directory;
use crate::format::names::REVISION_COUNTER;

const BLOCK_BYTES: usize = 4096;

/// An open revision counter.
#[derive(Debug)]
pub(crate) struct Revision {
    file: File,
    path: String,
    counter: Mutex<i64>,
}

impl Revision {
    /// Opens the counter, or begins one at 0.
    pub async fn open(directory: &Directory) -> Result<Revision> {
        let path = directory.path(REVISION_COUNTER);
        let options = OpenOptions::new().read(true).write(true).direct(true).mode(0o600);
        let (file, is_new) = match options.open(&path).await {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = options.create(true).open(&path).await;
                (file.map_err(|error| Error::file("open", &path, &error))?, true)
            }
            Err(error) => return Err(Error::file("open", &path, &error)),
        };
        let revision = Revision { file, path, counter: Mutex::new(0) };
        if is_new {
            revision.set(0).await?;
        } else {
            *revision.counter.lock().await = revision.read().await?;
        }
        Ok(revision)
    }

    async fn read(&self) -> Result<i64> {
        let mut block = [0; BLOCK_BYTES];
        let read = self.file.read_at(&mut block, 0).await.map_err(|error| Error::file("read", &self.path, &error))?;
        let text = String::from_utf8_lossy(&block[..read]);
        let text = text.trim_matches('\0');
        let number = text.parse();
        number.map_err(|_| Error::Refused(format!("failed to parse revision counter file: invalid number {text:?}")))
    }

    /// Sets the counter.
    pub async fn set(&self, counter: i64) -> Result<()> {
        let mut current = self.counter.lock().await;
        self.write(counter).await?;
        *current = counter;
        Ok(())
    }

    /// Counts one write.
    pub async fn increment(&self) -> Result<()> {
        let mut current = self.counter.lock().await;
        let next = current.wrapping_add(1);
        self.write(next).await?;
        *current = next;
        Ok(())
    }

    /// What it is at.
    pub async fn get(&self) -> i64 {
        *self.counter.lock().await
    }

    async fn write(&self, counter: i64) -> Result<()> {
        let mut block = [0; BLOCK_BYTES];
        let text = counter.to_string();
        block[..text.len()].copy_from_slice(text.as_bytes());
        self.file.write_all_at(&block, 0).await.map_err(|error| Error::file("write", &self.path, &error))
    }
}
