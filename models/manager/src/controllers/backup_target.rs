//! The backup-target controller: keeps the poll timer of each target and, when a synchronisation was asked for, lists the store and
//! makes the cluster's resources follow it (`controller/backup_target_controller.go`).
//!
//! The three listings are taken one after the other and age before the cache is compared with them. A target without URL loses its
//! resources, not its data. Until v1.7.2 there is one target, `default`, whose timer and creation are the setting controller's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_kube_client::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use longhorn_api::kinds::backup_target::UNAVAILABLE;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::engine_image::EngineImageState;
use longhorn_api::{BackupTarget, EngineImage, names, settings};

use super::store_timer::StoreTimer;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Result, clock, ownership};

/// The controller.
pub struct BackupTargetController {
    pub(super) manager: Arc<Manager>,
    queue: Queue,
    timers: Mutex<BTreeMap<String, StoreTimer>>,
}

/// Starts it: BackupTargets with resync, EngineImages without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    let handler = queue.handler::<BackupTarget>();
    let hears_of_deletions = datastore.has_many_backup_targets();
    datastore.backup_targets.informer().add_handler(deletions_if(hears_of_deletions, handler));
    let engine_image_handler = {
        let (manager, queue) = (manager.clone(), queue.clone());
        move |event| {
            if let Event::Updated { old, new } = event {
                on_engine_image(&manager, &queue, &old, &new);
            }
        }
    };
    datastore.engine_images.informer().add_handler_with_resync(Duration::ZERO, engine_image_handler);
    let controller =
        BackupTargetController { manager: manager.clone(), queue: queue.clone(), timers: Mutex::default() };
    Runner::new(queue, Arc::new(controller)).start();
}

fn deletions_if(
    wanted: bool,
    mut handler: impl FnMut(Event<BackupTarget>) + Send,
) -> impl FnMut(Event<BackupTarget>) + Send {
    move |event| {
        if wanted || !matches!(event, Event::Deleted { .. }) {
            handler(event);
        }
    }
}

/// The default engine image became ready: queues the targets that nobody polls (until v1.7.2 the one target).
fn on_engine_image(manager: &Manager, queue: &Queue, old: &EngineImage, new: &EngineImage) {
    if old.metadata.resource_version == new.metadata.resource_version {
        return;
    }
    let datastore = &manager.datastore;
    let default_image = datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE);
    if !default_image.is_ok_and(|image| image == new.spec.image) || new.status.state != EngineImageState::Deployed {
        return;
    }
    if !datastore.has_many_backup_targets() {
        return queue.add(names::DEFAULT_BACKUP_TARGET);
    }
    let targets = datastore.backup_targets.list();
    for target in targets.iter().filter(|target| target.spec.poll_interval.to_std().is_zero()) {
        queue.add(name(&target.metadata));
    }
}

impl Reconcile for BackupTargetController {
    const NAME: &'static str = "longhorn-backup-target";

    async fn reconcile(&self, name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        if !datastore.has_many_backup_targets() && name != names::DEFAULT_BACKUP_TARGET {
            return Ok(());
        }
        let Some(target) = datastore.backup_targets.find(name) else { return Ok(()) };
        if target.spec.backup_target_url.is_empty() {
            // Every manager does this on its node, also if it is not responsible.
            self.clean_up_all_mounts(&target).await;
        }
        let me = self.manager.node();
        datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        if !datastore.is_responsible_for_backups(me, &target.status.owner_id).unwrap_or(false) {
            return Ok(());
        }
        let Some(mut target) = ownership::take(&datastore.backup_targets, (*target).clone(), me).await? else {
            return Ok(());
        };
        if datastore.has_many_backup_targets() {
            if target.metadata.deletion_timestamp.is_some() {
                self.stop_timer(name);
                self.clean_up_resources(name).await?;
                return datastore.backup_targets.remove_finalizer(target).await;
            }
            self.keep_timer(&target);
        }
        if !clock::sync_is_due(target.spec.sync_requested_at.as_ref(), target.status.last_synced_at.as_ref()) {
            return Ok(());
        }
        self.synchronise(&mut target).await
    }
}

impl BackupTargetController {
    /// Lists the store and makes the cluster follow; the status says whether the store was reached and when the listing began.
    async fn synchronise(&self, target: &mut BackupTarget) -> Result<()> {
        let before = target.status.clone();
        let began = clock::now();
        if self.follow_store(target, &began).await? {
            target.status.last_synced_at = Some(began);
        }
        if target.status == before {
            return Ok(());
        }
        match self.manager.datastore.backup_targets.update_status(target).await {
            Err(error) if error.is_conflict() => self.queue.add(name(&target.metadata)),
            Err(error) => tracing::warn!(%error, "Failed to update the status of a backup target"),
            Ok(_) => {}
        }
        Ok(())
    }

    /// Returns whether the store was read. A store that was not reached is noted in the status; that is no failure of the reconcile.
    async fn follow_store(&self, target: &mut BackupTarget, began: &Time) -> Result<bool> {
        let target_name = name(&target.metadata).to_owned();
        self.delete_duplicates(target).await?;
        if target.spec.backup_target_url.is_empty() {
            self.stop_timer(&target_name);
            set_availability(target, Some("backup target URL is empty"));
            self.clean_up_resources(&target_name).await?;
            return Ok(false);
        }
        let listing = match self.list_store(target).await {
            Ok(listing) => listing,
            Err(error) => {
                tracing::error!(%error, "Failed to get info from backup store");
                set_availability(target, Some(&error.to_string()));
                return Ok(false);
            }
        };
        set_availability(target, None);
        let Some(listing) = listing else { return Ok(false) };
        self.follow_listing(target, listing, began).await?;
        Ok(true)
    }

    async fn clean_up_all_mounts(&self, target: &BackupTarget) {
        let cleaned = match self.manager.datastore.backup_target_client_on_node(target) {
            Ok(client) => client.clean_up_all_mounts().await,
            Err(error) => Err(error),
        };
        if let Err(error) = cleaned.context(|| "Failed to clean up all mount points") {
            tracing::warn!("{error}");
        }
    }

    /// Starts, restarts or stops the timer as the spec wants it.
    fn keep_timer(&self, target: &BackupTarget) {
        let target_name = name(&target.metadata);
        let interval = target.spec.poll_interval.to_std();
        let mut timers = self.timers.lock().unwrap_or_else(PoisonError::into_inner);
        if timers.get(target_name).is_some_and(|timer| interval.is_zero() || timer.interval != interval)
            && let Some(timer) = timers.remove(target_name)
        {
            timer.stop();
        }
        if !interval.is_zero() && !target.spec.backup_target_url.is_empty() && !timers.contains_key(target_name) {
            let timer = StoreTimer::start(self.manager.clone(), target_name, interval);
            timers.insert(target_name.to_owned(), timer);
        }
    }

    fn stop_timer(&self, target_name: &str) {
        let timer = self.timers.lock().unwrap_or_else(PoisonError::into_inner).remove(target_name);
        if let Some(timer) = timer {
            timer.stop();
        }
    }
}

/// Notes that the store is available, or why it is not.
fn set_availability(target: &mut BackupTarget, unavailable: Option<&str>) {
    target.status.available = unavailable.is_none();
    let (status, reason) = match unavailable {
        Some(_) => (ConditionStatus::True, UNAVAILABLE),
        None => (ConditionStatus::False, ""),
    };
    let message = unavailable.unwrap_or_default();
    target.status.conditions.set_condition(UNAVAILABLE, status, reason, message, &clock::now_text());
}
