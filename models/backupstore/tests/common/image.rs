//! Backing images in memory.

use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhorn_backupstore::{BackingImageReader, BackingImageWriter, BackupStatus, Error, Result};

/// An image, as the source of a backup or the target of a restore.
#[derive(Default)]
pub struct Memory {
    content: Mutex<Vec<u8>>,
    ends: Mutex<Vec<(i64, Option<String>)>>,
    statuses: Mutex<Vec<BackupStatus>>,
}

impl Memory {
    pub fn of(content: Vec<u8>) -> Self {
        Self { content: Mutex::new(content), ..Self::default() }
    }

    pub fn content(&self) -> Vec<u8> {
        self.content.lock().expect("no panic").clone()
    }

    pub fn end(&self) -> (i64, Option<String>) {
        self.ends.lock().expect("no panic").last().cloned().expect("a status")
    }

    pub fn statuses(&self) -> Vec<BackupStatus> {
        self.statuses.lock().expect("no panic").clone()
    }
}

impl BackingImageReader for Memory {
    fn read<'a>(&'a self, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        let start = usize::try_from(offset).expect("small");
        block.copy_from_slice(&self.content.lock().expect("no panic")[start..start + block.len()]);
        async { Ok(()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn status(&self, status: BackupStatus) {
        self.statuses.lock().expect("no panic").push(status);
    }
}

impl BackingImageWriter for Memory {
    fn create(&self, size: i64) -> BoxFuture<'_, Result<()>> {
        *self.content.lock().expect("no panic") = vec![0; usize::try_from(size).expect("small")];
        async { Ok(()) }.boxed()
    }

    fn write<'a>(&'a self, offset: i64, data: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        let start = usize::try_from(offset).expect("small");
        self.content.lock().expect("no panic")[start..start + data.len()].copy_from_slice(data);
        async { Ok(()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn status(&self, bytes: i64, error: Option<&Error>) {
        self.ends.lock().expect("no panic").push((bytes, error.map(Error::to_string)));
    }
}
