//! What the tests of this crate share: the archive of stores that the real Longhorn v1.9.2 wrote, and snapshots and
//! targets in memory.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhorn_backupstore::{
    BackupStatus, Backupstore, Behaviour, Context, Credentials, Error, Extent, RestoreTarget, Result, SnapshotReader,
};
use sha2::{Digest, Sha256};

pub mod image;
pub mod place;

pub const BLOCK: usize = 2 << 20;

/// Every file of the golden archive by path, such as `backupstore-lz4/backupstore/volumes/...`. A missing archive fails
/// the test.
pub fn golden() -> BTreeMap<String, Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/backupstores.tar.zst");
    let packed =
        std::fs::File::open(path).unwrap_or_else(|error| panic!("the golden data must be there: {path}: {error}"));
    let unpacked = ruzstd::decoding::StreamingDecoder::new(packed).expect("a zstd frame");
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(unpacked).entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type().is_file() {
            let path =
                entry.path().expect("a path").to_str().expect("a readable path").trim_start_matches("./").to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its content");
            files.insert(path, content);
        }
    }
    assert_eq!(files.len(), 47, "the archive is complete");
    files
}

/// One of the golden stores, as files relative to its target.
pub fn golden_store(store: &str) -> BTreeMap<String, Vec<u8>> {
    let prefix = format!("{store}/");
    golden().into_iter().filter_map(|(path, content)| Some((path.strip_prefix(&prefix)?.to_owned(), content))).collect()
}

/// Writes files below a directory.
pub fn unpack(files: &BTreeMap<String, Vec<u8>>, directory: &Path) {
    for (path, content) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("files lie in directories")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }
}

/// All files below a directory, by path relative to it.
pub fn files_below(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(current) = open.pop() {
        for entry in std::fs::read_dir(&current).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).expect("below").to_str().expect("readable").to_owned();
                files.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

pub fn sha256(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

/// The newest release's behaviour without the wait between two looks at the locks.
pub fn hasty() -> Behaviour {
    Behaviour { lock_wait: Duration::ZERO, ..Behaviour::default() }
}

/// A store in a directory.
pub async fn open(directory: &Path, behaviour: Behaviour) -> Backupstore {
    let address = address(directory);
    Backupstore::open(&address, &Credentials::none(), &Context::new(behaviour)).await.expect("a directory opens")
}

pub fn address(directory: &Path) -> String {
    format!("vfs://{}", directory.display())
}

/// Snapshots of a volume in memory: content, and for each pair of snapshots the offsets of the blocks that may differ.
#[derive(Default)]
pub struct Snapshots {
    pub content: BTreeMap<String, Vec<u8>>,
    pub changed: BTreeMap<(String, Option<String>), Vec<i64>>,
    pub statuses: Mutex<Vec<BackupStatus>>,
}

impl Snapshots {
    /// One snapshot, all of whose blocks that hold data may differ from anything.
    pub fn one(name: &str, content: Vec<u8>) -> Self {
        let offsets = (0..content.len() / BLOCK)
            .filter(|index| content[index * BLOCK..(index + 1) * BLOCK].iter().any(|byte| *byte != 0))
            .map(|index| i64::try_from(index * BLOCK).expect("small"))
            .collect();
        Self {
            content: BTreeMap::from([(name.to_owned(), content)]),
            changed: BTreeMap::from([((name.to_owned(), None), offsets)]),
            statuses: Mutex::default(),
        }
    }

    pub fn last_status(&self) -> BackupStatus {
        self.statuses.lock().expect("no panic").last().cloned().expect("a status")
    }
}

impl SnapshotReader for Snapshots {
    fn has_snapshot<'a>(&'a self, snapshot: &'a str) -> BoxFuture<'a, bool> {
        async move { self.content.contains_key(snapshot) }.boxed()
    }

    fn open<'a>(&'a self, snapshot: &'a str) -> BoxFuture<'a, Result<()>> {
        let found = self.content.contains_key(snapshot);
        async move { if found { Ok(()) } else { Err(Error::Invalid(format!("no snapshot {snapshot}"))) } }.boxed()
    }

    fn compare<'a>(
        &'a self,
        snapshot: &'a str,
        older: Option<&'a str>,
        block_size: i64,
    ) -> BoxFuture<'a, Result<Vec<Extent>>> {
        let changed = self.changed.get(&(snapshot.to_owned(), older.map(str::to_owned)));
        let offsets = changed.unwrap_or_else(|| panic!("nobody said what differs between {snapshot} and {older:?}"));
        let extents = offsets.iter().map(|offset| Extent { offset: *offset, size: block_size }).collect();
        async move { Ok(extents) }.boxed()
    }

    fn read<'a>(&'a self, snapshot: &'a str, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        async move {
            let start = usize::try_from(offset).expect("small");
            let stored = self.content[snapshot].get(start..start + block.len());
            block.copy_from_slice(stored.ok_or_else(|| Error::Invalid("unexpected EOF".to_owned()))?);
            Ok(())
        }
        .boxed()
    }

    fn close<'a>(&'a self, _snapshot: &'a str) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn status(&self, status: BackupStatus) {
        self.statuses.lock().expect("no panic").push(status);
    }
}

/// A restore's target in memory.
#[derive(Default)]
pub struct Image {
    pub content: Mutex<Vec<u8>>,
    pub ends: Mutex<Vec<(i64, Option<String>)>>,
    pub stop: std::sync::atomic::AtomicBool,
}

impl Image {
    /// A target that holds what an earlier restore left; it is not emptied when it is opened.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn content(&self) -> Vec<u8> {
        self.content.lock().expect("no panic").clone()
    }

    pub fn end(&self) -> (i64, Option<String>) {
        self.ends.lock().expect("no panic").last().cloned().expect("a status")
    }
}

impl RestoreTarget for Image {
    fn open(&self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn set_size(&self, size: i64) -> BoxFuture<'_, Result<()>> {
        self.content.lock().expect("no panic").resize(usize::try_from(size).expect("small"), 0);
        async { Ok(()) }.boxed()
    }

    fn write<'a>(&'a self, offset: i64, data: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        let start = usize::try_from(offset).expect("small");
        self.content.lock().expect("no panic")[start..start + data.len()].copy_from_slice(data);
        async { Ok(()) }.boxed()
    }

    fn write_zeros(&self, offset: i64, size: i64) -> BoxFuture<'_, Result<()>> {
        let (start, length) = (usize::try_from(offset).expect("small"), usize::try_from(size).expect("small"));
        self.content.lock().expect("no panic")[start..start + length].fill(0);
        async { Ok(()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn status(&self, percent: i64, error: Option<&Error>) {
        self.ends.lock().expect("no panic").push((percent, error.map(Error::to_string)));
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Relaxed)
    }
}
