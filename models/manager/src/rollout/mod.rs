//! The process that brings a system backup back: `longhorn-manager system-rollout NAME`, started by a Job of the system-restore controller
//! (`app/system_rollout.go`, `controller/system_rollout_controller.go`).
//!
//! It downloads the archive, unpacks it, and creates or changes object after object. What it has unpacked is in its memory only: a
//! container that is started again in the middle of the restoring has nothing to restore, and says that it is done. A kind whose
//! restoring fails is tried again each second for a day.

mod archive_content;
mod resources;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::token_bucket::TokenBucket;
use corral_kube_client::workqueue::{Bucket, ItemExponential, MaximumOf};
use corral_kube_client::{Event, EventRecorder, EventSource, EventType, Stop, WorkQueue, reads};
use host::process;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::engine_image::EngineImageState;
use longhorn_api::kinds::system_restore::{
    CONDITION_ERROR, MESSAGE_FAILED, MESSAGE_UNPACK_FAILED, REASON_RESTORE, REASON_UNPACK, SystemRestoreState,
};
use longhorn_api::{Build, EngineImage, SystemRestore, labels, names};

use crate::daemon;
use crate::engine::BackupTargetClient;
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Error, Readers, Result, archive, clock};
use archive_content::Content;

/// The sub-command.
pub const COMMAND: &str = "system-rollout";
/// Upstream's name of the controller, in events.
const NAME: &str = "longhorn-system-rollout";
/// Where the archive is unpacked, in the container.
const FOLDER: &str = "/tmp";
/// Of failures: from the first to the longest pause (`NewSystemRolloutController`).
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The main of the Job's container.
pub async fn main(build: Build) -> i32 {
    let stop = Stop::new();
    let stopped = stop.clone();
    host::spawn(async move {
        process::terminated().await;
        stopped.stop();
    });
    match run(build, &stop).await {
        Ok(()) => 0,
        Err(error) => {
            process::print_error(&format!("{error}\n"));
            1
        }
    }
}

async fn run(build: Build, stop: &Stop) -> Result<()> {
    let restore = process::args().iter().skip_while(|word| *word != COMMAND).nth(1).cloned();
    let restore = restore.ok_or_else(|| Error::message("require SystemRestore name"))?;
    let variable = |name: &str, what: &str| {
        let value = process::env_var(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Error::message(what))
    };
    let namespace = variable("POD_NAMESPACE", "namespace is required")?;
    let node = variable("NODE_NAME", "fail to detect the node name")?;
    let datastore = Datastore::new(&daemon::api_server()?, &namespace, build, Readers::Controllers)?;

    let pauses = MaximumOf(vec![
        Box::new(ItemExponential::new(SHORTEST_PAUSE, LONGEST_PAUSE)),
        Box::new(Bucket(TokenBucket::per_second(100.0, 1000))),
    ]);
    let queue: WorkQueue<()> = WorkQueue::new(Box::new(pauses));
    let heard = queue.clone();
    datastore.system_restores.informer().add_handler(move |event| {
        if !matches!(event, Event::Deleted { .. }) {
            heard.add(());
        }
    });
    datastore.start(stop).await;
    let source = EventSource { component: format!("{NAME}-controller"), host: String::new() };
    let events = EventRecorder::new(datastore.kubernetes(), source);
    let mut rollout = Rollout::new(Arc::new(datastore), events, node, restore);
    loop {
        let got = tokio::select! { biased;
            () = stop.stopped() => None,
            got = queue.get() => got,
        };
        if got.is_none() {
            return Ok(());
        }
        let within = format!("{NAME} {}", rollout.name);
        let result = reads::scope(within, rollout.advance()).await;
        match &result {
            Ok(Progress::Over) => return Ok(()),
            Ok(Progress::GoesOn) => {
                queue.forget(&());
                queue.add(());
            }
            Err(error) => {
                tracing::error!(%error, "Worker error");
                queue.add_rate_limited(());
            }
        }
        queue.done(&());
    }
}

/// Whether there is more to do.
enum Progress {
    GoesOn,
    Over,
}

/// Where a step led.
struct Record {
    state: SystemRestoreState,
    reason: String,
    message: String,
}

/// One restore.
struct Rollout {
    datastore: Arc<Datastore>,
    events: EventRecorder,
    node: String,
    name: String,
    /// The release whose backup it is; known after the first look.
    version: Option<String>,
    backup: String,
    /// When it began, as the objects that it touches say.
    began: String,
    content: Content,
}

/// The store, and the address of the backup in it.
struct Source {
    client: BackupTargetClient,
    address: String,
}

impl Rollout {
    fn new(datastore: Arc<Datastore>, events: EventRecorder, node: String, name: String) -> Self {
        let began = clock::now_text();
        let (version, backup, content) = (None, String::new(), Content::default());
        Self { datastore, events, node, name, version, backup, began, content }
    }

    /// One step, and what is to be done after it.
    async fn advance(&mut self) -> Result<Progress> {
        let source = self.prepare().await?;
        let result = self.step(&source).await;
        // A failure is written before; only the next look says whether it was the end.
        let restore = self.datastore.system_restores.get(&self.name)?;
        if !matches!(restore.status.state, SystemRestoreState::Completed | SystemRestoreState::Error) {
            return result.map(|()| Progress::GoesOn);
        }
        match self.datastore.remove_restore_label(&restore).await {
            Ok(()) => Ok(Progress::Over),
            Err(error) => {
                tracing::warn!(%error, "failed to remove SystemRestore label");
                Ok(Progress::GoesOn)
            }
        }
    }

    /// What each step needs: the backup, its release, and an engine of the image that made it.
    async fn prepare(&mut self) -> Result<Source> {
        let datastore = &self.datastore;
        if self.version.is_none() {
            let restore = datastore.system_restores.get(&self.name)?;
            self.backup.clone_from(&restore.spec.system_backup);
            let backup = datastore.system_backups.get(&self.backup);
            let backup = backup.context(|| format!("failed to get SystemBackup {}", self.backup))?;
            self.version = Some(backup.status.version.clone());
        }
        let version = self.version.clone().unwrap_or_default();
        let target = datastore.backup_targets.get(names::DEFAULT_BACKUP_TARGET)?;
        let client = datastore.backup_target_client(&target).context(|| "failed to init backup target clients")?;
        let config = client.system_backup_config(&self.backup, &version).await?;
        let image = config.engine_image;
        let image_name = names::engine_image(&image);
        let deployed = match datastore.engine_images.find(&image_name) {
            Some(found) => found.status.state == EngineImageState::Deployed,
            None => {
                let mut created = EngineImage::default();
                created.metadata.name = Some(image_name.clone());
                created.metadata.labels = Some(labels::of_engine_image(&image_name));
                created.spec.image.clone_from(&image);
                datastore.engine_images.create(&created).await?;
                false
            }
        };
        if !deployed {
            return Err(Error::message(format!("engine image {image_name} not deployed yet")));
        }
        let address = client.system_backup_url(&self.backup, &version)?;
        Ok(Source { client: BackupTargetClient { image, ..client }, address })
    }

    /// The step of the state that the cache has; its outcome is written.
    async fn step(&mut self, source: &Source) -> Result<()> {
        let mut restore = (*self.datastore.system_restores.get(&self.name)?).clone();
        let before = restore.status.clone();
        let mut failures = Vec::new();
        let outcome = match restore.status.state {
            SystemRestoreState::Pending => self.initialize(&mut restore, source).await.map(Some),
            SystemRestoreState::Downloading => self.download(source).await.map(Some),
            SystemRestoreState::Unpacking => Ok(self.unpack(&mut failures).await),
            SystemRestoreState::Restoring => {
                failures = self.restore(source).await;
                let message = "System rollout completed".to_owned();
                let done = Record { state: SystemRestoreState::Completed, reason: "Restored".to_owned(), message };
                Ok(failures.is_empty().then_some(done))
            }
            _ => Ok(None),
        };
        let (record, result) = match outcome {
            Ok(record) => (record, Ok(())),
            Err(error) => {
                failures.push(error.to_string());
                (None, Err(error))
            }
        };
        self.write(restore, &before, record, &failures).await;
        result
    }

    /// Labels the restore as the one in progress, once the store is seen to have the backup.
    async fn initialize(&self, restore: &mut SystemRestore, source: &Source) -> Result<Record> {
        let stored = source.client.system_backups().await.context(|| "failed to list rollouts in the backup target")?;
        let version = self.version.as_deref().unwrap_or_default();
        let is_there = stored.get(&self.backup).is_some_and(|path| path.rsplit('/').nth(1) == Some(version));
        if !is_there {
            return Err(Error::message(format!("failed to find system backup {} of version {version}", self.backup)));
        }
        labels::set(&mut restore.metadata, labels::SYSTEM_RESTORE, SystemRestoreState::InProgress.as_str());
        let updated = self.datastore.system_restores.update(restore).await;
        *restore = updated.context(|| "failed to initialize system rollout: failed to update SystemRestore")?;
        restore.status.owner_id.clone_from(&self.node);
        let message = format!("Initialized system rollout for {}", self.backup);
        Ok(Record { state: SystemRestoreState::Downloading, reason: "Start".to_owned(), message })
    }

    fn archive(&self) -> String {
        format!("{FOLDER}/{}.zip", self.name)
    }

    async fn download(&self, source: &Source) -> Result<Record> {
        let version = self.version.as_deref().unwrap_or_default();
        let downloaded = source.client.download_system_backup(&self.backup, version, &self.archive()).await;
        downloaded.context(|| "failed to download system backup")?;
        let message = format!("Downloaded from {}", source.client.url);
        Ok(Record { state: SystemRestoreState::Unpacking, reason: "Fetched".to_owned(), message })
    }

    async fn unpack(&mut self, failures: &mut Vec<String>) -> Option<Record> {
        let unpacked = async {
            let unpacked = archive::unpack(&self.archive(), FOLDER).await;
            unpacked.map_err(|error| Error::message(format!("failed to unzip {}: {error}", self.archive())))?;
            Content::read(&format!("{FOLDER}/{}/yamls", self.backup)).await
        };
        let unpacked: Result<Content> = unpacked.await;
        match unpacked {
            Ok(content) => {
                self.content = content;
                let message = format!("Unpacked {}", self.archive());
                Some(Record { state: SystemRestoreState::Restoring, reason: "Fetched".to_owned(), message })
            }
            Err(error) => {
                failures.push(error.to_string());
                let (reason, message) = (REASON_UNPACK.to_owned(), MESSAGE_UNPACK_FAILED.to_owned());
                Some(Record { state: SystemRestoreState::Error, reason, message })
            }
        }
    }

    async fn write(
        &self,
        mut restore: SystemRestore,
        before: &longhorn_api::kinds::system_restore::SystemRestoreStatus,
        record: Option<Record>,
        failures: &[String],
    ) {
        if !failures.is_empty() {
            let (reason, message) = match record {
                Some(record) => (record.reason, record.message),
                None => (REASON_RESTORE.to_owned(), MESSAGE_FAILED.to_owned()),
            };
            restore.status.state = SystemRestoreState::Error;
            let text = format!("{message}: {}", failures.join("; "));
            let now = clock::now_text();
            restore.status.conditions.set_condition(CONDITION_ERROR, ConditionStatus::True, &reason, &text, &now);
            self.events.event(&restore, EventType::Warning, "Failed", message);
        } else if let Some(record) = record {
            restore.status.state = record.state;
            self.events.event(&restore, EventType::Normal, &record.reason, record.message);
        }
        if restore.status != *before
            && let Err(error) = self.datastore.system_restores.update_status(&restore).await
        {
            tracing::warn!(%error, "Requeue due to failed to update SystemRestore status");
        }
    }
}

impl Datastore {
    /// Takes off the label by which a restore is known to be in progress.
    pub(crate) async fn remove_restore_label(&self, restore: &SystemRestore) -> Result<()> {
        if labels::get(&restore.metadata, labels::SYSTEM_RESTORE).is_none() {
            return Ok(());
        }
        let mut restore = restore.clone();
        restore.metadata.labels.get_or_insert_default().remove(labels::SYSTEM_RESTORE);
        let updated = self.system_restores.api().update(&restore).await;
        let label = labels::SYSTEM_RESTORE;
        updated
            .context(|| format!("unable to remove SystemRestore {} label {label}", name(&restore.metadata)))
            .map(drop)
    }
}
