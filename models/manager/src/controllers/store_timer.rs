//! The poll of a backup store: asks for a synchronisation of a BackupTarget once in an interval
//! (`BackupStoreTimer` in `controller/backup_target_controller.go`, until v1.7.2 in `controller/setting_controller.go`).
//!
//! The first request comes after one interval. A conflict is taken as somebody else's request. A timer that its manager does not
//! stop goes on after the manager lost the ownership of the target; then two managers ask.

use std::sync::Arc;
use std::time::Duration;

use host::JoinHandle;

use crate::manager::Manager;
use crate::runtime::clock;

/// A running timer; it stops when it is told to, not when it is dropped.
pub struct StoreTimer {
    /// How often it asks.
    pub interval: Duration,
    task: JoinHandle<()>,
}

impl StoreTimer {
    /// Starts a timer for the target of this name.
    pub fn start(manager: Arc<Manager>, target: &str, interval: Duration) -> Self {
        tracing::info!(target, ?interval, "Starting backup store timer");
        let name = target.to_owned();
        let polls = async move {
            loop {
                host::time::sleep(interval).await;
                if !request_sync(&manager, &name).await {
                    return;
                }
            }
        };
        Self { interval, task: host::spawn(polls) }
    }

    /// Stops it.
    pub fn stop(self) {
        self.task.abort();
    }
}

/// Asks for a synchronisation; false if the target is gone, with which the timer ends.
async fn request_sync(manager: &Manager, name: &str) -> bool {
    let scope = format!("backup-store-timer {name}");
    corral_kube_client::reads::scope(scope, async {
        let store = &manager.datastore.backup_targets;
        let mut target = match store.get(name) {
            Ok(target) => (*target).clone(),
            Err(error) => {
                tracing::error!(%error, "Failed to get {name} backup target");
                return false;
            }
        };
        target.spec.sync_requested_at = Some(clock::now());
        match store.update(&target).await {
            Err(error) if !error.is_conflict() => tracing::warn!(%error, "Failed to update backup target"),
            _ => {}
        }
        true
    })
    .await
}
