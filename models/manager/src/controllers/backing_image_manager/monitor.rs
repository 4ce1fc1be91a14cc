//! The monitor of a backing image manager: lists its files when its stream has said that something changed, or after 60 seconds, and writes
//! the list into the status (`BackingImageManagerMonitor`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use corral_kube_client::{Stop, reads};
use host::time::sleep;
use longhorn_api::BackingImageManager;
use longhorn_api::kinds::backing_image::BackingImageState;

use super::{BackingImageManagerController, FileBackoff, lock};
use crate::engine::backing_image_manager::{BackingImageManagerClient, FileNews};
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::{Result, Ticker};

/// `MinPollCount` times `PollInterval`.
const TICK: Duration = Duration::from_secs(1);
/// Ticks after which the pod is listed though it said nothing.
const MOST_TICKS: u32 = 60;
/// Errors of the stream after which the monitor ends.
const MOST_STREAM_ERRORS: u32 = 10;

struct Monitor {
    manager: Arc<Manager>,
    name: String,
    backoff: FileBackoff,
    notified: AtomicBool,
    done: AtomicBool,
}

impl BackingImageManagerController {
    /// Starts a monitor, unless one runs.
    pub(super) async fn start_monitor(&self, manager: &BackingImageManager) {
        let manager_name = name(&manager.metadata).to_owned();
        if lock(&self.monitors).contains_key(&manager_name) {
            return;
        }
        let (client, news) = match open(manager).await {
            Ok(opened) => opened,
            Err(error) => return tracing::error!(%error, "Failed to launch gRPC watching stream before monitoring"),
        };
        let stop = Stop::new();
        lock(&self.monitors).insert(manager_name.clone(), stop.clone());
        let monitor = Arc::new(Monitor {
            manager: self.manager.clone(),
            name: manager_name.clone(),
            backoff: self.backoff(&manager_name),
            notified: AtomicBool::new(true),
            done: AtomicBool::new(false),
        });
        let monitors = self.monitors.clone();
        host::spawn(async move {
            let scope = format!("backing-image-manager-monitor {manager_name}");
            reads::scope(scope, monitor.run(client, news, &stop)).await;
            stop.stop();
            monitors.lock().unwrap_or_else(PoisonError::into_inner).remove(&manager_name);
        });
    }

    /// Tells a monitor to end; another may start at once.
    pub(super) fn stop_monitor(&self, manager_name: &str) {
        if let Some(stop) = lock(&self.monitors).remove(manager_name) {
            stop.stop();
        }
    }
}

async fn open(manager: &BackingImageManager) -> Result<(BackingImageManagerClient, FileNews)> {
    let mut client = BackingImageManagerClient::of(manager)?;
    let news = client.watch().await?;
    Ok((client, news))
}

impl Monitor {
    async fn run(self: &Arc<Self>, mut client: BackingImageManagerClient, news: FileNews, stop: &Stop) {
        let (reader, stopped) = (self.clone(), stop.clone());
        host::spawn(async move {
            tokio::select! { biased;
                () = stopped.stopped() => {}
                () = reader.read(news) => {}
            }
        });
        let mut ticker = Ticker::new(TICK);
        let mut ticks = 0;
        loop {
            tokio::select! { biased;
                () = stop.stopped() => return,
                () = ticker.tick() => {}
            }
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            ticks += 1;
            if ticks < MOST_TICKS && !self.notified.load(Ordering::Relaxed) {
                continue;
            }
            self.notified.store(false, Ordering::Relaxed);
            ticks = 0;
            if !self.poll(&mut client).await {
                return;
            }
        }
    }

    async fn read(&self, mut news: FileNews) {
        let mut errors = 0;
        while errors < MOST_STREAM_ERRORS && !self.done.load(Ordering::Relaxed) {
            match news.next().await {
                Ok(()) => {
                    errors = 0;
                    self.notified.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::error!(%error, "Error receiving next item");
                    errors += 1;
                    sleep(TICK).await;
                }
            }
        }
        self.done.store(true, Ordering::Relaxed);
    }

    /// Lists and writes. False if the monitor is no longer wanted.
    async fn poll(&self, client: &mut BackingImageManagerClient) -> bool {
        let store = &self.manager.datastore.backing_image_managers;
        let Some(found) = store.find(&self.name) else { return false };
        if found.status.owner_id != self.manager.node() {
            return false;
        }
        let files = match client.list().await {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(%error, "Failed to poll and update backing image file map in monitor goroutine");
                return true;
            }
        };
        if found.status.backing_image_file_map == files {
            return true;
        }
        let mut manager = (*found).clone();
        manager.status.backing_image_file_map = files;
        if let Err(error) = store.update_status(&manager).await {
            tracing::error!(%error, "Failed to poll and update backing image file map in monitor goroutine");
            return true;
        }
        let files = manager.status.backing_image_file_map.iter();
        for (image, _) in files.filter(|(_, file)| file.state == BackingImageState::Ready) {
            lock(&self.backoff).forget(image);
        }
        true
    }
}
