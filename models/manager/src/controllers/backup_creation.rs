//! The making of a backup: a ticket that keeps the volume attached, the backup of its backing image, one call to the engine, and a monitor
//! until the upload has ended (`controller/backup_controller.go`: `handleAttachmentTicketCreation`, `backupBackingImage`, `checkMonitor`,
//! `syncWithMonitor`).
//!
//! What goes wrong before the engine is asked is an error, repeated without end; from v1.8.0-rc1 on what the engine or the snapshot is not
//! ready for makes the Backup Pending, and Error at the fifth time. Whatever fails from the call on makes it Error: the call cannot be
//! repeated. Until the upload was inspected in the store, the status does not name the volume.

use std::collections::BTreeMap;
use std::sync::Arc;

use corral_kube_client::{Api, EventType};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use longhorn_api::kinds::backup::{BackupMode, BackupState};
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::instance_manager::InstanceManagerState;
use longhorn_api::kinds::volume::{DataEngine, VolumeState};
use longhorn_api::kinds::volume_attachment::AttacherType;
use longhorn_api::{Backup, Engine, Release, Volume, labels, names, settings};

use super::backup::{BackupController, Place};
use super::backup_monitor::{BackupMonitor, Upload};
use super::volume_attachment::{ANY_FRONTEND, keep_ticket};
use crate::engine::proxy::{BackupOrder, EngineProxy};
use crate::runtime::backups::name;
use crate::runtime::{Context, Datastore, Error, Result, clock};

/// Key of `status.messages` for what is waited for.
const MESSAGE_INFO: &str = "info";
/// How often a Backup may be found waiting.
const MAXIMUM_WAITS: u32 = 5;
/// What the live data of a volume are called.
const VOLUME_HEAD: &str = "volume-head";
/// Parameter of the engine's call.
const PARAMETER_MODE: &str = "backup-mode";
/// A claim's storage class, as it was said before there was a field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Whether the upload is over and the store can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    Goes,
    Ended,
}

/// Why the engine is not asked yet.
struct Waiting {
    /// For people, in the status; how it reads when the patience is over.
    message: String,
    failure: String,
}

impl BackupController {
    /// The next step of making a backup of a snapshot.
    pub(super) async fn advance_upload(&self, backup: &mut Backup, place: &Place, began: &Time) -> Result<Upstream> {
        let datastore = &self.manager.datastore;
        let volume = match datastore.volumes.get(&place.volume) {
            Err(error) if error.is_not_found() => {
                let lower = datastore.release().at_least(Release::V1_9_0_DEV_00886872C);
                let message = format!("{}annot find the corresponding volume: {error}", if lower { "c" } else { "C" });
                tracing::error!("{message}");
                fail(backup, message, began);
                return Ok(Upstream::Goes);
            }
            found => found?,
        };
        self.take_ticket(backup, &volume).await?;
        if backup.status.snapshot_created_at.is_empty() || backup.status.volume_size.is_empty() {
            self.note_snapshot(backup, &volume).await;
        }
        let backs_up_image = volume.spec.data_engine == DataEngine::V1 || !datastore.has_many_backup_targets();
        if backs_up_image && !volume.spec.backing_image.is_empty() {
            self.back_up_backing_image(&volume).await?;
        }
        let monitor = match self.monitor(backup, &volume, place).await {
            Ok(monitor) => monitor,
            Err(error) if matches!(backup.status.state, BackupState::Error | BackupState::Pending) => {
                tracing::warn!(%error, "Waiting to enable the backup monitor for backup {}", name(&backup.metadata));
                return Ok(Upstream::Goes);
            }
            Err(error) => return Err(error),
        };
        self.follow_monitor(backup, &volume, &monitor);
        match backup.status.state {
            BackupState::Completed => {
                self.end_monitor(name(&backup.metadata)).await;
                Ok(Upstream::Ended)
            }
            BackupState::Error | BackupState::Unknown => {
                backup.status.last_synced_at = Some(began.clone());
                self.end_monitor(name(&backup.metadata)).await;
                Ok(Upstream::Goes)
            }
            _ => Ok(Upstream::Goes),
        }
    }

    /// Keeps the volume attached to its owner's node, with or without frontend.
    async fn take_ticket(&self, backup: &Backup, volume: &Volume) -> Result<()> {
        let store = &self.manager.datastore.volume_attachments;
        let failed = || "handleAttachmentTicketCreation: failed to create/update attachment";
        let attachment = store.get(name(&volume.metadata)).context(failed)?;
        let mut changed = (*attachment).clone();
        let ticket = AttacherType::BackupController.ticket_id(name(&backup.metadata));
        let node = &volume.status.owner_id;
        keep_ticket(&mut changed, &ticket, node, ANY_FRONTEND, AttacherType::BackupController);
        if changed.spec != attachment.spec {
            store.update(&changed).await.context(failed)?;
        }
        Ok(())
    }

    /// Whether the volume is attached where the ticket says, and is meant to be.
    fn is_attached(&self, backup: &Backup, volume: &Volume) -> Result<bool> {
        let attachment = self.manager.datastore.volume_attachments.get(name(&volume.metadata))?;
        let ticket = AttacherType::BackupController.ticket_id(name(&backup.metadata));
        let node = attachment.spec.attachment_tickets.get(&ticket).map_or("", |ticket| &ticket.node_id);
        Ok(volume.spec.node_id == node && attachment.is_satisfied(&ticket))
    }

    /// Notes what is known before the upload; without an engine that answers, the size only.
    async fn note_snapshot(&self, backup: &mut Backup, volume: &Volume) {
        backup.status.volume_size = volume.spec.size.0.to_string();
        let datastore = &self.manager.datastore;
        let created = async {
            let engine = datastore.current_engine(name(&volume.metadata))?;
            let mut proxy = EngineProxy::connect(datastore, &engine).await?;
            proxy.snapshot(&backup.spec.snapshot_name).await
        };
        match created.await {
            Ok(Some(snapshot)) => backup.status.snapshot_created_at = snapshot.created,
            Ok(None) => {
                tracing::warn!("Failed to get the snapshot {} when syncing backup status", backup.spec.snapshot_name)
            }
            Err(error) => tracing::warn!(%error, "Failed to get the snapshot when syncing backup status"),
        }
    }

    /// At each look: a backup of the image that is gone is made again, whatever took it away.
    async fn back_up_backing_image(&self, volume: &Volume) -> Result<()> {
        let datastore = &self.manager.datastore;
        let image = &volume.spec.backing_image;
        datastore.backing_images.get(image).context(|| format!("failed to get backing image {image}"))?;
        let target = match volume.spec.backup_target_name.as_str() {
            "" => names::DEFAULT_BACKUP_TARGET,
            target => target,
        };
        datastore.back_up_backing_image(image, target).await.map(drop)
    }

    /// The monitor that runs for the Backup, or a new one after the engine was asked.
    async fn monitor(&self, backup: &mut Backup, volume: &Volume, place: &Place) -> Result<Arc<BackupMonitor>> {
        if let Some(monitor) = self.running_monitor(name(&backup.metadata)).await {
            return Ok(monitor);
        }
        let datastore = &self.manager.datastore;
        let Some(target) = &place.target else { return Err(Error::message("there is no backup target")) };
        let checksum = self.backing_image_checksum(volume)?;
        let limit = datastore.setting_number(settings::BACKUP_CONCURRENT_LIMIT)?;
        if !self.is_attached(backup, volume)? {
            let ticket = AttacherType::BackupController.ticket_id(name(&backup.metadata));
            return Err(Error::message(format!(
                "waiting for attachment {ticket} to be attached before enabling backup monitor"
            )));
        }
        self.check_own_instance_manager()?;
        let client = datastore.backup_target_client(target)?;
        let storage_class = self.storage_class(volume).await;
        let engine = datastore.current_engine(name(&volume.metadata))?;
        if let Some(waiting) = self.not_ready(backup, volume, &engine) {
            return Err(self.wait(backup, waiting));
        }
        if datastore.has_many_backup_targets() {
            let others = datastore.backups_of_volume(name(&target.metadata), name(&volume.metadata));
            if let Some(other) = others.iter().find(|other| other.status.state == BackupState::Deleting) {
                let other = name(&other.metadata);
                backup.status.state = BackupState::Pending;
                backup.status.messages.insert(MESSAGE_INFO, format!("Wait for backup {other} to be deleted"));
                return Err(Error::message(format!(
                    "waiting for the backup {other} to be deleted before enabling backup monitor"
                )));
            }
        }
        let order = BackupOrder {
            backup: name(&backup.metadata).to_owned(),
            snapshot: backup.spec.snapshot_name.clone(),
            target: client.url.clone(),
            backing_image: volume.spec.backing_image.clone(),
            backing_image_checksum: checksum,
            compression_method: volume.spec.backup_compression_method.as_str().to_owned(),
            concurrent_limit: i32::try_from(limit).unwrap_or(i32::MAX),
            storage_class,
            labels: self.labels_in_store(backup, volume)?,
            credential: client.environment()?.into_iter().collect(),
            parameters: BTreeMap::from([(PARAMETER_MODE.to_owned(), mode(&backup.spec.backup_mode))]),
        };
        let monitor = match self.begin_upload(backup, &engine, order).await {
            Ok(monitor) => monitor,
            Err(error) => {
                fail(backup, error.to_string(), &clock::now());
                return Err(error);
            }
        };
        self.waits.forget(name(&backup.metadata));
        Ok(monitor)
    }

    /// Asks the engine, unless it was asked before, and starts to watch.
    async fn begin_upload(
        &self,
        backup: &mut Backup,
        engine: &Engine,
        order: BackupOrder,
    ) -> Result<Arc<BackupMonitor>> {
        let datastore = &self.manager.datastore;
        // Upstream has connected by now, to this node's instance manager, which is the one of the engine as a rule.
        let mut proxy = EngineProxy::connect(datastore, engine).await?;
        let mut upload = Upload::of(backup);
        let mut monitors = self.monitors.write().await;
        let is_new = matches!(backup.status.state, BackupState::New | BackupState::Pending);
        if is_new {
            let snapshot = order.snapshot.clone();
            if snapshot == VOLUME_HEAD {
                return Err(Error::message(format!("invalid operation: cannot backup {VOLUME_HEAD}")));
            }
            let engine_name = name(&engine.metadata);
            let found = proxy.snapshot(&snapshot).await;
            let found = found.context(|| format!("error getting snapshot '{snapshot}', engine '{engine_name}'"))?;
            if found.is_none() {
                return Err(Error::message(format!(
                    "could not find snapshot '{snapshot}' to backup, engine '{engine_name}'"
                )));
            }
            match proxy.back_up(order).await {
                Ok((_backup, replica)) => upload.replica = replica,
                // It has probably begun: the monitor will see.
                Err(error) if error.to_string().contains("DeadlineExceeded") => {
                    tracing::warn!(%error, "Snapshot backup timeout");
                    backup.status.state = BackupState::Pending;
                    upload.doubt(&self.manager.datastore.build);
                }
                Err(error) => return Err(error),
            }
            upload.status = backup.status.clone();
        }
        let monitor = Arc::new(BackupMonitor::start(proxy, upload, self.queue.clone()));
        monitors.insert(name(&backup.metadata).to_owned(), monitor.clone());
        Ok(monitor)
    }

    /// Why the engine or the snapshot cannot be used yet.
    fn not_ready(&self, backup: &Backup, volume: &Volume, engine: &Engine) -> Option<Waiting> {
        let engine_name = name(&engine.metadata);
        let runs =
            engine.status.current_state == InstanceState::Running && engine.spec.desire_state == InstanceState::Running;
        if !runs || volume.status.state != VolumeState::Attached {
            let message = format!("Waiting for the engine {engine_name} to be ready");
            return Some(Waiting {
                message,
                failure: format!("Failed waiting for the engine {engine_name} to be ready"),
            });
        }
        let snapshot_name = &backup.spec.snapshot_name;
        let Some(snapshot) = self.manager.datastore.snapshots.find(snapshot_name) else {
            let message = format!("Failed to get the Snapshot {snapshot_name}");
            return Some(Waiting { failure: message.clone(), message });
        };
        (!snapshot.status.ready_to_use).then(|| Waiting {
            message: format!("Waiting for the snapshot {snapshot_name} to be ready"),
            failure: format!("Failed waiting for the snapshot {snapshot_name} to be ready"),
        })
    }

    /// Makes a Backup Pending, or Error if that was too often; until v1.7.2 it may wait for ever.
    fn wait(&self, backup: &mut Backup, waiting: Waiting) -> Error {
        let backup_name = name(&backup.metadata).to_owned();
        let counts = self.manager.datastore.has_many_backup_targets();
        if counts && self.waits.increase(&backup_name) >= MAXIMUM_WAITS {
            self.waits.forget(&backup_name);
            fail(backup, waiting.failure.clone(), &clock::now());
            return Error::message(waiting.failure);
        }
        backup.status.state = BackupState::Pending;
        backup.status.messages.insert(MESSAGE_INFO, waiting.message.clone());
        Error::message(waiting.message)
    }

    /// The store is reached from this node only with a running instance manager (`getBackupTarget`).
    fn check_own_instance_manager(&self) -> Result<()> {
        let datastore = &self.manager.datastore;
        let node = self.manager.node();
        let engines = [DataEngine::V1, DataEngine::V2];
        let enabled = engines.into_iter().filter(|engine| datastore.is_data_engine_enabled(engine).unwrap_or(false));
        for engine in datastore.in_map_order(enabled) {
            if let Some(found) = datastore.running_instance_manager(node, &engine) {
                debug_assert_eq!(found.status.current_state, InstanceManagerState::Running);
                return Ok(());
            }
        }
        Err(Error::message(format!("failed to find a running instance manager for node {node}")))
    }

    /// The checksum of the volume's backing image; an error if the store has another content under that name.
    fn backing_image_checksum(&self, volume: &Volume) -> Result<String> {
        let image = &volume.spec.backing_image;
        if image.is_empty() {
            return Ok(String::new());
        }
        let datastore = &self.manager.datastore;
        let present = datastore.backing_images.get(image)?.status.checksum.clone();
        // Upstream looks for a BackupVolume of the volume's own name, which there is until v1.7.2 only.
        let stored = datastore.backup_volumes.find(name(&volume.metadata));
        let stored = stored.map(|stored| stored.status.backing_image_checksum.clone()).unwrap_or_default();
        if !stored.is_empty() && !present.is_empty() && stored != present {
            return Err(Error::message(format!(
                "the backing image {image} checksum {stored} in the backup volume doesn't match the current checksum {present}"
            )));
        }
        Ok(present)
    }

    /// The storage class of the claim that is bound to the volume now.
    async fn storage_class(&self, volume: &Volume) -> String {
        let status = &volume.status.kubernetes_status;
        if status.pvc_name.is_empty() || !status.last_pvc_ref_at.is_empty() {
            return String::new();
        }
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.manager.datastore.kubernetes(), &status.namespace);
        let Ok(Some(claim)) = claims.get_opt(&status.pvc_name).await else { return String::new() };
        let class = claim.spec.and_then(|spec| spec.storage_class_name).filter(|class| !class.is_empty());
        let annotated = || claim.metadata.annotations.as_ref()?.get(CLASS_ANNOTATION).cloned();
        class.or_else(annotated).unwrap_or_default()
    }

    /// The Backup's labels, and the volume's recurring jobs, which the store keeps with the volume.
    fn labels_in_store(&self, backup: &Backup, volume: &Volume) -> Result<BTreeMap<String, String>> {
        let mut labels = (*backup.spec.labels).clone();
        let jobs = self.manager.datastore.recurring_jobs_of(volume);
        let jobs = serde_json::to_string(&jobs).map_err(|error| Error::message(error.to_string()))?;
        labels.insert(labels::VOLUME_RECURRING_JOB_INFO.to_owned(), jobs);
        Ok(labels)
    }

    /// Takes over what the monitor saw, and tells people when the state changed.
    fn follow_monitor(&self, backup: &mut Backup, volume: &Volume, monitor: &BackupMonitor) {
        let before = backup.status.state.clone();
        let seen = monitor.status();
        let status = &mut backup.status;
        status.progress = seen.progress;
        status.url = seen.url;
        status.error = seen.error;
        status.snapshot_name = seen.snapshot_name;
        status.replica_address = seen.replica_address;
        status.state = seen.state;
        if status.state == before {
            return;
        }
        let labels: Vec<String> = backup.spec.labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let (snapshot, backup_name) = (&backup.spec.snapshot_name, name(&backup.metadata));
        let message = format!("Snapshot {snapshot} backup {backup_name} label map[{}]", labels.join(" "));
        let state = backup.status.state.as_str();
        if backup.status.error.is_empty() {
            self.events.event(volume, EventType::Normal, state, message);
        } else {
            self.events.event(volume, EventType::Warning, state, format!("{message}: {}", backup.status.error));
        }
    }

    /// Deletes the snapshot of a backup that a person made, if setting `auto-cleanup-snapshot-after-on-demand-backup-completed` says so.
    pub(super) async fn delete_snapshot_of_completed(&self, backup: &Backup) {
        let datastore = &self.manager.datastore;
        let setting = settings::AUTO_CLEANUP_SNAPSHOT_AFTER_ON_DEMAND_BACKUP_COMPLETED;
        let is_known = datastore.release().at_least(Release::V1_9_0_DEV_00886872C);
        if !is_known || backup.status.labels.contains_key(labels::RECURRING_JOB) {
            return;
        }
        let snapshot = &backup.spec.snapshot_name;
        if snapshot.is_empty() || !datastore.setting_flag(setting).unwrap_or(false) {
            return;
        }
        match datastore.snapshots.delete(snapshot).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(%error, "Failed to delete snapshot after backup completed")
            }
            _ => {}
        }
    }

    /// Whether no volume that is being restored reads from backups of this volume.
    pub(super) fn is_restored_from(&self, volume: &str) -> bool {
        let datastore = &self.manager.datastore;
        let restored = datastore.volumes.list_labelled(&[(labels::BACKUP_VOLUME, volume)]);
        let restored = restored.iter().filter(|volume| volume.status.restore_required);
        restored.into_iter().any(|volume| {
            let engines = datastore.engines_of_volume(name(&volume.metadata));
            engines.values().any(|engine| engine.status.restore_status.values().any(|status| status.is_restoring))
        })
    }
}

impl Datastore {
    /// The active engine of a volume (`GetVolumeCurrentEngine`).
    pub(super) fn current_engine(&self, volume: &str) -> Result<Arc<Engine>> {
        let engines = self.engines_of_volume(volume);
        let mut active = engines.values().filter(|engine| engine.spec.active);
        match (active.next(), active.next()) {
            (Some(only), None) => Ok(only.clone()),
            (Some(_), Some(_)) => {
                Err(Error::message(format!("BUG: found the second active engine for volume {volume}")))
            }
            (None, _) => {
                Err(Error::message(format!("cannot get the client since the engine of volume {volume} is nil")))
            }
        }
    }

    /// The recurring jobs that a volume takes part in, by itself or by a group.
    fn recurring_jobs_of(&self, volume: &Volume) -> BTreeMap<String, serde_json::Value> {
        let volume_labels = volume.metadata.labels.clone().unwrap_or_default();
        let prefixed = |prefix: &str| -> Vec<String> {
            volume_labels.keys().filter_map(|key| key.strip_prefix(prefix)).map(str::to_owned).collect()
        };
        let (own, groups) = (prefixed(&labels::recurring_job("")), prefixed(&labels::recurring_job_group("")));
        let mut found = BTreeMap::new();
        for job in self.recurring_jobs.list() {
            let job_name = name(&job.metadata);
            let from_job = own.iter().any(|own| own == job_name);
            let from_groups: Vec<&String> = groups.iter().filter(|group| job.spec.groups.contains(group)).collect();
            if !from_job && from_groups.is_empty() {
                continue;
            }
            let mut info = serde_json::json!({"jobSpec": job.spec, "fromJob": from_job});
            if !from_groups.is_empty() {
                info["fromGroup"] = serde_json::json!(from_groups);
            }
            found.insert(job_name.to_owned(), info);
        }
        found
    }
}

fn mode(mode: &BackupMode) -> String {
    mode.as_str().to_owned()
}

fn fail(backup: &mut Backup, why: String, at: &Time) {
    backup.status.error = why;
    backup.status.state = BackupState::Error;
    backup.status.last_synced_at = Some(at.clone());
}
