//! The monitor of a data source: asks its pod for the file each 3 s and writes what it says into the status
//! (`BackingImageDataSourceMonitor`).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::reads;
use longhorn_api::BackingImageDataSource;
use longhorn_api::kinds::backing_image::BackingImageState;

use super::{BackingImageDataSourceController, lock};
use crate::engine::backing_image_manager::source_file;
use crate::manager::Manager;
use crate::runtime::backoff::Backoff;
use crate::runtime::backups::name;
use crate::runtime::{Context, Result};

/// `BackingImageDataSourcePollInterval`
const INTERVAL: Duration = Duration::from_secs(3);
/// Failures in a row after which the monitor ends (`MaxMonitorRetryCount`).
const MOST_FAILURES: u32 = 10;

struct Monitor {
    manager: Arc<Manager>,
    name: String,
    backoff: Arc<Mutex<Backoff>>,
}

impl BackingImageDataSourceController {
    /// Starts a monitor, unless one runs.
    pub(super) fn start_monitor(&self, source: &BackingImageDataSource) {
        let source_name = name(&source.metadata).to_owned();
        let mut monitors = lock(&self.monitors);
        if monitors.contains_key(&source_name) || source.status.ip.is_empty() {
            return;
        }
        let monitor =
            Monitor { manager: self.manager.clone(), name: source_name.clone(), backoff: self.backoff.clone() };
        let scope = format!("backing-image-data-source monitor {source_name}");
        let (ended, of) = (self.monitors.clone(), source_name.clone());
        let task = host::spawn(reads::scope(scope, async move {
            monitor.run().await;
            lock(&ended).remove(&of);
        }));
        monitors.insert(source_name, task);
    }

    pub(super) fn stop_monitor(&self, source_name: &str) {
        let task = lock(&self.monitors).remove(source_name);
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl Monitor {
    async fn run(&self) {
        let mut failures = 0;
        // At once, then one interval after each answer (`wait.Until`).
        while failures < MOST_FAILURES {
            match self.poll().await {
                Ok(true) => failures = 0,
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(%error, "failed to get {} info from backing image data source server", self.name);
                    failures += 1;
                }
            }
            host::time::sleep(INTERVAL).await;
        }
    }

    /// False if the monitor is no longer wanted.
    async fn poll(&self) -> Result<bool> {
        let store = &self.manager.datastore.backing_image_data_sources;
        let Some(found) = store.find(&self.name) else { return Ok(false) };
        if found.status.owner_id != self.manager.node() {
            return Ok(false);
        }
        if found.status.ip.is_empty() {
            return Ok(true);
        }
        let file = source_file(&found.status.ip).await?;
        let mut source = (*found).clone();
        source.status.current_state = file.state.as_str().into();
        source.status.size = file.size;
        source.status.progress = file.progress;
        source.status.checksum = file.current_checksum;
        source.status.message = file.message;
        if source.status != found.status {
            store.update_status(&source).await.context(|| "failed to write what the pod says")?;
        }
        if matches!(source.status.current_state, BackingImageState::Ready | BackingImageState::ReadyForTransfer) {
            lock(&self.backoff).forget(&self.name);
        }
        Ok(true)
    }
}
