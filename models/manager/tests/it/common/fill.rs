//! Backups in the store that this cluster has not made.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use longhorn_backupstore::config::VolumeConfig;
use longhorn_backupstore::{
    BackupRequest, BackupStatus, Backupstore, Context, Credentials, Extent, Result, SnapshotReader,
};

/// A volume of one block, which every snapshot writes anew.
struct OneBlock;

impl SnapshotReader for OneBlock {
    fn has_snapshot<'a>(&'a self, _snapshot: &'a str) -> BoxFuture<'a, bool> {
        async { true }.boxed()
    }

    fn open<'a>(&'a self, _snapshot: &'a str) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn compare<'a>(&'a self, _: &'a str, _: Option<&'a str>, block_size: i64) -> BoxFuture<'a, Result<Vec<Extent>>> {
        async move { Ok(vec![Extent { offset: 0, size: block_size }]) }.boxed()
    }

    fn read<'a>(&'a self, snapshot: &'a str, _offset: i64, block: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        block.fill(snapshot.as_bytes().last().copied().unwrap_or_default());
        async { Ok(()) }.boxed()
    }

    fn close<'a>(&'a self, _snapshot: &'a str) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn status(&self, _status: BackupStatus) {}
}

/// Makes so many backups of a volume, with the labels that Longhorn gives one.
pub async fn backups(build: &longhorn_api::Build, volume: &str, count: usize) {
    let credentials: Credentials = [
        ("AWS_ACCESS_KEY_ID".to_owned(), "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned()),
        ("AWS_ENDPOINTS".to_owned(), super::endpoint()),
    ]
    .into_iter()
    .collect();
    let behaviour = longhorn_backupstore::Behaviour::of(build);
    let store = Backupstore::open(super::TARGET, &credentials, &Context::new(behaviour)).await.expect("a store");
    for number in 1..=count {
        let labels = [("VolumeRecurringJobInfo", "{}"), ("longhorn.io/volume-access-mode", "rwo")];
        let request = BackupRequest {
            name: format!("backup-{number}"),
            volume: VolumeConfig {
                name: volume.to_owned(),
                size: 16 << 20,
                created_time: longhorn_backupstore::now(),
                compression_method: "lz4".into(),
                data_engine: "v1".into(),
                ..VolumeConfig::default()
            },
            snapshot: format!("snap-{number}"),
            began_at: longhorn_backupstore::now(),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            parameters: None,
            workers: 1,
        };
        let started = store.create_backup(request, Arc::new(OneBlock)).await.expect("a backup");
        started.upload.await.expect("an uploaded backup");
    }
}
