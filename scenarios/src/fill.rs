//! Fills a store with backups, as another installation of Longhorn would have left them: real locks, real blocks, real configurations.

use std::sync::Arc;
use std::time::Duration;

use corral_world::Stage;
use futures_util::future::{BoxFuture, FutureExt};
use host::time::{Instant, sleep};
use longhorn_backupstore::config::{Labels, VolumeConfig};
use longhorn_backupstore::{
    BackupRequest, BackupStatus, Backupstore, Behaviour, Context, Extent, Result, SnapshotReader,
};

use crate::store;

/// Backups of a volume are made of blocks of this size.
const BLOCK_BYTES: i64 = 2 << 20;
/// Size of every volume: 16 blocks.
const VOLUME_BYTES: i64 = 16 * BLOCK_BYTES;

/// A volume whose content is a number in each block: the last snapshot that changed it.
struct Synthetic {
    volume: u64,
    changed_blocks: i64,
}

/// Snapshots are called `snap-1`, `snap-2` and so on.
fn number_of(snapshot: &str) -> i64 {
    snapshot.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl SnapshotReader for Synthetic {
    fn has_snapshot<'a>(&'a self, _snapshot: &'a str) -> BoxFuture<'a, bool> {
        async { true }.boxed()
    }

    fn open<'a>(&'a self, _snapshot: &'a str) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn compare<'a>(
        &'a self,
        snapshot: &'a str,
        _older: Option<&'a str>,
        block_size: i64,
    ) -> BoxFuture<'a, Result<Vec<Extent>>> {
        // Each snapshot rewrites the next few blocks, round and round.
        let first = number_of(snapshot) * self.changed_blocks;
        let blocks = VOLUME_BYTES / block_size;
        let mut offsets: Vec<i64> =
            (first..first + self.changed_blocks).map(|block| block % blocks * block_size).collect();
        offsets.sort_unstable();
        offsets.dedup();
        async move { Ok(offsets.into_iter().map(|offset| Extent { offset, size: block_size }).collect()) }.boxed()
    }

    fn read<'a>(&'a self, snapshot: &'a str, offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        let content = (self.volume ^ ((number_of(snapshot) as u64) << 32) ^ offset as u64).to_le_bytes();
        block.chunks_mut(content.len()).for_each(|chunk| chunk.copy_from_slice(&content[..chunk.len()]));
        async { Ok(()) }.boxed()
    }

    fn close<'a>(&'a self, _snapshot: &'a str) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn status(&self, _status: BackupStatus) {}
}

/// How long the store may take to come up, and how often it is tried.
const READY_LIMIT: Duration = Duration::from_secs(600);
const TRY_INTERVAL: Duration = Duration::from_secs(1);

/// Makes so many backups of a volume in the cluster's store, as soon as that answers. Each of them rewrites so many blocks.
///
/// # Panics
/// The store does not come up, or takes no backups: a set-up of ours is wrong.
pub async fn fill_store(stage: &Stage, volume: &str, backups: u32, changed_blocks: u32) {
    let context = Context::new(Behaviour { lock_wait: Duration::ZERO, ..Behaviour::default() });
    let began = Instant::now();
    let store = loop {
        match Backupstore::open(store::TARGET, &store::credentials(), &context).await {
            Ok(store) => break store,
            Err(error) => assert!(began.elapsed() < READY_LIMIT, "the store does not come up: {error}"),
        }
        sleep(TRY_INTERVAL).await;
    };
    let mut random = stage.stream(&format!("fill/{volume}"));
    let names: Vec<String> = (0..backups).map(|_| longhorn_api::names::backup(&random.hex(16))).collect();
    make_backups(&store, volume, &names, changed_blocks).await.expect("an empty store takes backups");
    stage.step(&format!("fill store: {volume}"), &format!("{backups} backups"));
}

/// Backups, one after another, each of them a full path through the store.
async fn make_backups(store: &Backupstore, volume: &str, names: &[String], changed_blocks: u32) -> Result<()> {
    let reader = Arc::new(Synthetic {
        volume: corral_core::journal::content_hash(volume.as_bytes()),
        changed_blocks: changed_blocks.into(),
    });
    for (index, name) in names.iter().enumerate() {
        let request = BackupRequest {
            name: name.clone(),
            volume: VolumeConfig {
                name: volume.to_owned(),
                size: VOLUME_BYTES,
                created_time: longhorn_backupstore::now(),
                compression_method: "lz4".into(),
                data_engine: "v1".into(),
                ..VolumeConfig::default()
            },
            snapshot: format!("snap-{}", index + 1),
            began_at: longhorn_backupstore::now(),
            labels: Labels::default(),
            parameters: Labels::default(),
            workers: 2,
        };
        let started = store.create_backup(request, reader.clone()).await?;
        // A task of this process ends with it at the latest.
        let _ = started.upload.await;
    }
    Ok(())
}
