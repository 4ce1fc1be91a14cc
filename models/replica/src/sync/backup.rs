//! Backing up a snapshot: the replica opened for reading, in this process, and a list of how backups are going
//! (pkg/replica/backup.go, pkg/backup/main.go, pkg/sync/rpc/list.go).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhorn_backupstore::config::VolumeConfig;
use longhorn_backupstore::{
    BackupRequest, BackupStatus as Told, Backupstore, Credentials, Error as StoreError, Extent, SnapshotReader,
};
use longhorn_rpc::ptypes;
use tokio::sync::RwLock;

use crate::format::names::VOLUME_META;
use crate::format::{Directory, Found, Replica, VolumeMeta};
use crate::sync::agent::{Agent, Progress, lock};

/// How many backups that ended well are remembered, and how many that did not.
const REMEMBERED: [(Progress, usize); 2] = [(Progress::Complete, 5), (Progress::Error, 10)];

/// How a backup is going.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackupStatus {
    pub state: Progress,
    pub percent: i32,
    pub url: String,
    pub error: String,
    pub snapshot: String,
}

/// The backups, newest last.
#[derive(Debug, Default)]
pub(crate) struct BackupList(Vec<(String, Arc<Mutex<BackupStatus>>)>);

impl BackupList {
    fn add(&mut self, name: &str, status: Arc<Mutex<BackupStatus>>) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), status));
        self.forget();
    }

    pub fn get(&mut self, name: &str) -> Option<BackupStatus> {
        self.forget();
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, status)| lock(status).clone())
    }

    /// Forgets old backups that have ended.
    fn forget(&mut self) {
        for (state, limit) in REMEMBERED {
            let ended = self.0.iter().filter(|(_, status)| lock(status).state == state).count();
            let mut surplus = ended.saturating_sub(limit);
            self.0.retain(|(_, status)| {
                let goes = surplus > 0 && lock(status).state == state;
                surplus -= usize::from(goes);
                !goes
            });
        }
    }
}

/// A replica's snapshots as a backup reads them.
struct Reader {
    directory: Directory,
    volume: VolumeMeta,
    opened: RwLock<Option<Replica>>,
    status: Arc<Mutex<BackupStatus>>,
}

fn invalid(error: impl std::fmt::Display) -> StoreError {
    StoreError::Invalid(error.to_string())
}

impl SnapshotReader for Reader {
    fn has_snapshot<'a>(&'a self, snapshot: &'a str) -> BoxFuture<'a, bool> {
        async move { self.opened.read().await.as_ref().is_some_and(|replica| replica.has_snapshot(snapshot)) }.boxed()
    }

    fn open<'a>(&'a self, snapshot: &'a str) -> BoxFuture<'a, longhorn_backupstore::Result<()>> {
        async move {
            let mut opened = self.opened.write().await;
            if opened.is_none() {
                *opened = Some(Replica::open_snapshot(&self.directory, snapshot).await.map_err(invalid)?);
            }
            Ok(())
        }
        .boxed()
    }

    fn compare<'a>(
        &'a self,
        snapshot: &'a str,
        older: Option<&'a str>,
        block_size: i64,
    ) -> BoxFuture<'a, longhorn_backupstore::Result<Vec<Extent>>> {
        async move {
            let opened = self.opened.read().await;
            let replica = opened.as_ref().ok_or_else(|| self.not_open(snapshot))?;
            let older = older.filter(|older| !older.is_empty());
            let blocks = replica.compare(snapshot, older, block_size.unsigned_abs()).await.map_err(invalid)?;
            let extent =
                |block: crate::format::Stretch| Extent { offset: block.offset as i64, size: block.length as i64 };
            Ok(blocks.into_iter().map(extent).collect())
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        snapshot: &'a str,
        offset: i64,
        block: &'a mut [u8],
    ) -> BoxFuture<'a, longhorn_backupstore::Result<()>> {
        async move {
            let opened = self.opened.read().await;
            let replica = opened.as_ref().ok_or_else(|| self.not_open(snapshot))?;
            replica.read_at(block, offset.unsigned_abs()).await.map_err(invalid)
        }
        .boxed()
    }

    fn close<'a>(&'a self, snapshot: &'a str) -> BoxFuture<'a, longhorn_backupstore::Result<()>> {
        async move {
            let closed = self.opened.write().await.take();
            closed.map(drop).ok_or_else(|| self.not_open(snapshot))
        }
        .boxed()
    }

    fn status(&self, told: Told) {
        let mut status = lock(&self.status);
        if matches!(status.state, Progress::Complete | Progress::Error) {
            return;
        }
        status.percent = i32::try_from(told.percent).unwrap_or(100);
        status.url = told.url;
        status.error = told.error;
        status.state = match () {
            () if status.percent == 100 => Progress::Complete,
            () if !status.error.is_empty() => Progress::Error,
            () => Progress::Running,
        };
    }
}

impl Reader {
    fn not_open(&self, snapshot: &str) -> StoreError {
        invalid(format!("volume [{}] and snapshot [{snapshot}] are not opened", self.volume.head))
    }
}

/// `key=value` labels as a map.
fn parse_labels(labels: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut parsed = BTreeMap::new();
    for label in labels {
        let Some((key, value)) = label.split_once('=') else {
            return Err(format!("invalid label not in <key>=<value> format {label}"));
        };
        if value.is_empty() {
            return Err(format!("invalid empty value for label with key {key}"));
        }
        parsed.insert(key.to_owned(), value.to_owned());
    }
    Ok(parsed)
}

/// What is needed to reach a target: what the caller gave, and what the process has.
pub(crate) fn credentials(given: &BTreeMap<String, String>) -> Credentials {
    if given.is_empty() {
        return Credentials::from_environment();
    }
    given.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Agent {
    /// Begins a backup. What fails from here on stands in the backup's status.
    pub(crate) async fn create_backup(
        &self,
        request: ptypes::BackupCreateRequest,
    ) -> Result<ptypes::BackupCreateResponse, String> {
        if [&request.volume_name, &request.snapshot_file_name, &request.backup_target]
            .iter()
            .any(|text| text.is_empty())
        {
            return Err("missing input parameter".to_owned());
        }
        if !longhorn_backupstore::url::is_valid_name(&request.volume_name) {
            let (volume, backup) = (&request.volume_name, &request.backup_name);
            return Err(format!("invalid volume name {volume} for backup {backup}"));
        }
        let labels = if request.labels.is_empty() {
            None
        } else {
            let parsed = parse_labels(&request.labels);
            let failed = |error| format!("cannot parse backup labels for backup {}: {error}", request.backup_name);
            Some(parsed.map_err(failed)?)
        };
        let volume = match self.directory().read_json::<VolumeMeta>(VOLUME_META).await {
            Ok(Found::Valid(volume)) => volume,
            Ok(Found::Nothing) => return Err(format!("open {VOLUME_META}: no such file or directory")),
            Err(error) => return Err(error.to_string()),
        };
        let name = match request.backup_name.as_str() {
            "" => self.0.backups.name("backup"),
            name => name.to_owned(),
        };
        let snapshot = request.snapshot_file_name.clone();
        let status = BackupStatus { state: Progress::Running, snapshot, ..BackupStatus::default() };
        let status = Arc::new(Mutex::new(status));
        lock(&self.0.statuses.backups).add(&name, Arc::clone(&status));
        let (directory, size) = (self.directory().clone(), volume.size);
        let reader = Reader { directory, volume, opened: RwLock::new(None), status: Arc::clone(&status) };
        let credentials = credentials(&request.credential);
        let store = Backupstore::open(&request.backup_target, &credentials, &self.0.backups).await;
        let store = store.map_err(|error| {
            let mut status = lock(&status);
            status.state = Progress::Error;
            status.error = error.to_string();
            error.to_string()
        })?;
        let began_at = crate::format::now();
        let backup = BackupRequest {
            name: name.clone(),
            volume: VolumeConfig {
                name: request.volume_name,
                size,
                labels: labels.clone(),
                created_time: began_at.clone(),
                backing_image_name: request.backing_image_name,
                backing_image_checksum: request.backing_image_checksum,
                compression_method: request.compression_method,
                storage_class_name: request.storage_class_name,
                ..VolumeConfig::default()
            },
            snapshot: request.snapshot_file_name,
            began_at,
            labels,
            parameters: Some(request.parameters).filter(|parameters| !parameters.is_empty()),
            workers: usize::try_from(request.concurrent_limit).unwrap_or(1).max(1),
        };
        let started = store.create_backup(backup, Arc::new(reader)).await.map_err(|error| error.to_string())?;
        Ok(ptypes::BackupCreateResponse { backup: name, is_incremental: started.is_incremental })
    }

    /// How a backup is going.
    pub(crate) fn backup_status(&self, name: &str) -> Result<ptypes::BackupStatusResponse, String> {
        if name.is_empty() {
            return Err("bad request: empty backup name".to_owned());
        }
        let status = lock(&self.0.statuses.backups).get(name).ok_or_else(|| format!("backup not found {name}"))?;
        Ok(ptypes::BackupStatusResponse {
            progress: status.percent,
            backup_url: status.url,
            error: status.error,
            snapshot_name: status.snapshot,
            state: status.state.as_str().to_owned(),
        })
    }
}
