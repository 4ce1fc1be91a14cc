//! The setting controller: notes that a setting is applied, and until v1.7.2 keeps the one backup target in step with its three
//! settings (`controller/setting_controller.go`).
//!
//! It has one worker. Settings have no owner: every manager writes `status.applied`, and the conflicts are only logged. The backup
//! target is kept by the first of the ready nodes by name, which also polls the store; another manager stops its timer when it
//! next looks at the setting. The switches of the data engines delete instance
//! managers; other settings that change workloads (tolerations, priority class ...) reach those that are made after the change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_kube_client::Event;
use longhorn_api::go;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{BackupTarget, Node, Setting, names, settings};

use super::store_timer::StoreTimer;
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Error, Result, clock};

/// Resync period of settings.
const RESYNC: Duration = Duration::from_secs(3600);

/// The controller.
pub struct SettingController {
    manager: Arc<Manager>,
    timer: Mutex<Option<StoreTimer>>,
}

/// Starts it: Settings each hour; until v1.7.2 also Nodes and deleted BackupTargets, for the settings of the backup target.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.settings.informer().add_handler_with_resync(RESYNC, queue.handler::<Setting>());
    if !datastore.has_many_backup_targets() {
        let on_node = queue.clone();
        let handler = move |_event: Event<Node>| on_node.add(settings::BACKUP_TARGET);
        datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, handler);
        let on_target = queue.clone();
        let handler = move |event: Event<BackupTarget>| {
            if matches!(event, Event::Deleted { .. }) {
                on_target.add(settings::BACKUP_TARGET);
            }
        };
        datastore.backup_targets.informer().add_handler_with_resync(Duration::ZERO, handler);
    }
    let controller = SettingController { manager: manager.clone(), timer: Mutex::new(None) };
    Runner::new(queue, Arc::new(controller)).start();
}

impl Reconcile for SettingController {
    const NAME: &'static str = "longhorn-setting";
    const WORKERS: usize = 1;

    async fn reconcile(&self, setting: &str) -> Result<()> {
        let result = self.apply(setting).await;
        self.note_applied(setting, result.is_ok()).await;
        result.context(|| format!("failed to sync setting for {setting}"))
    }
}

impl SettingController {
    async fn apply(&self, name: &str) -> Result<()> {
        match name {
            settings::BACKUP_TARGET
            | settings::BACKUP_TARGET_CREDENTIAL_SECRET
            | settings::BACKUPSTORE_POLL_INTERVAL
                if !self.manager.datastore.has_many_backup_targets() =>
            {
                self.keep_backup_target().await.context(|| "failed to sync backup target")
            }
            settings::V1_DATA_ENGINE => self.switch_data_engine(&DataEngine::V1).await,
            settings::V2_DATA_ENGINE => self.switch_data_engine(&DataEngine::V2).await,
            _ => Ok(()),
        }
    }

    /// A data engine that is switched off loses its instance managers, as soon as none of them has an engine; replicas and orphans do not
    /// count (`updateDataEngine`).
    async fn switch_data_engine(&self, engine: &DataEngine) -> Result<()> {
        let datastore = &self.manager.datastore;
        let setting = if *engine == DataEngine::V2 { settings::V2_DATA_ENGINE } else { settings::V1_DATA_ENGINE };
        let enabled = datastore.setting_flag(setting)?;
        let managers = datastore.validate_data_engine(engine, enabled).context(|| {
            format!(
                "failed to apply {setting} setting to Longhorn instance managers when there are attached volumes. \
                 It will be eventually applied"
            )
        })?;
        if enabled {
            return Ok(());
        }
        for manager in managers {
            let manager_name = name(&manager.metadata);
            tracing::info!("Cleaning up the {engine} instance manager {manager_name}");
            datastore.instance_managers.delete_foreground(manager_name).await?;
        }
        Ok(())
    }

    async fn note_applied(&self, name: &str, applied: bool) {
        let store = &self.manager.datastore.settings;
        let Some(setting) = store.find(name) else {
            return tracing::warn!("Failed to get setting: {name}");
        };
        if setting.status.applied == applied {
            return;
        }
        let mut setting = (*setting).clone();
        setting.status.applied = applied;
        if let Err(error) = store.update_status(&setting).await {
            tracing::warn!(%error, "Failed to update setting: {name}");
        }
    }

    /// Creates and changes the target `default` as the three settings say, and polls it.
    async fn keep_backup_target(&self) -> Result<()> {
        let datastore = &self.manager.datastore;
        let responsible = datastore.ready_nodes().into_iter().min();
        let responsible = responsible
            .ok_or_else(|| Error::message("failed to select node for sync backup target: no ready nodes available"))?;
        if responsible != self.manager.node() {
            self.keep_timer(None);
            return Ok(());
        }
        let wanted = self.wanted()?;
        let target = match datastore.backup_targets.find(names::DEFAULT_BACKUP_TARGET) {
            Some(target) => target,
            None => {
                let mut target = BackupTarget::default();
                target.metadata.name = Some(names::DEFAULT_BACKUP_TARGET.to_owned());
                wanted.write_to(&mut target);
                datastore.backup_targets.create(&target).await.context(|| "failed to create backup target")?
            }
        };
        let polled = !wanted.url.is_empty() && !wanted.interval.to_std().is_zero();
        self.keep_timer(polled.then(|| wanted.interval.to_std()));
        let mut changed = (*target).clone();
        wanted.write_to(&mut changed);
        if changed.spec != target.spec {
            // A changed target is listed at once.
            changed.spec.sync_requested_at = Some(clock::now());
            match datastore.backup_targets.update(&changed).await {
                Err(error) if !error.is_conflict() => tracing::warn!(%error, "Failed to update backup target"),
                _ => {}
            }
        }
        Ok(())
    }

    fn wanted(&self) -> Result<Wanted> {
        let datastore = &self.manager.datastore;
        Ok(Wanted {
            url: datastore.setting_value(settings::BACKUP_TARGET)?,
            secret: datastore.setting_value(settings::BACKUP_TARGET_CREDENTIAL_SECRET)?,
            interval: go::Duration::from_seconds(datastore.setting_number(settings::BACKUPSTORE_POLL_INTERVAL)?),
        })
    }

    /// Starts, restarts or stops the timer.
    fn keep_timer(&self, interval: Option<Duration>) {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if timer.as_ref().map(|timer| timer.interval) == interval {
            return;
        }
        if let Some(timer) = timer.take() {
            timer.stop();
        }
        *timer =
            interval.map(|interval| StoreTimer::start(self.manager.clone(), names::DEFAULT_BACKUP_TARGET, interval));
    }
}

/// What the three settings say.
struct Wanted {
    url: String,
    secret: String,
    interval: go::Duration,
}

impl Wanted {
    fn write_to(&self, target: &mut BackupTarget) {
        target.spec.backup_target_url.clone_from(&self.url);
        target.spec.credential_secret.clone_from(&self.secret);
        target.spec.poll_interval = self.interval;
    }
}
