//! The monitor of a backing image manager: lists its files and writes the list into the status (`BackingImageManagerMonitor`).

use std::sync::{Arc, PoisonError};

use corral_kube_client::{Stop, reads};
use longhorn_api::BackingImageManager;
use longhorn_api::kinds::backing_image::BackingImageState;

use super::{BackingImageManagerController, FileBackoff, lock};
use crate::controllers::news_ticker::{Counted, NewsTicker};
use crate::engine::backing_image_manager::BackingImageManagerClient;
use crate::engine::news::News;
use crate::manager::Manager;
use crate::runtime::Result;
use crate::runtime::backups::name;

struct Monitor {
    manager: Arc<Manager>,
    name: String,
    backoff: FileBackoff,
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
        let monitor =
            Monitor { manager: self.manager.clone(), name: manager_name.clone(), backoff: self.backoff(&manager_name) };
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

async fn open(manager: &BackingImageManager) -> Result<(BackingImageManagerClient, News)> {
    let mut client = BackingImageManagerClient::of(manager)?;
    let news = client.watch().await?;
    Ok((client, news))
}

impl Monitor {
    async fn run(&self, mut client: BackingImageManagerClient, news: News, stop: &Stop) {
        let mut ticker = NewsTicker::new(news, Counted::InARow, stop);
        while ticker.tick().await && self.poll(&mut client).await {}
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
