//! The volume controller: engine and replicas of each volume, where it is attached, how robust it is (`controller/volume_controller.go`).
//!
//! The manager of the node where the volume should be attached owns it, if that node has the default engine image. Each reconcile takes
//! a [`picture::Picture`] of the volume, its engines and replicas, goes through the steps of [`VolumeController::follow_steps`] in upstream's
//! order, and writes what they changed.
//!
//! Not here: migration between two engines, live upgrade of an engine (a detached volume's image is changed), balancing of replicas, clones
//! of volumes, share managers, labels of recurring jobs, persistent volumes.

mod attachment;
mod cleanup;
mod creation;
mod deletion;
mod picture;
mod replenish;
mod replicas;
mod restore;
mod robustness;
mod salvage;
mod scheduling;
mod size;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, Object};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::volume::VolumeState;
use longhorn_api::{BackupVolume, Defect, Engine, Node, Replica, Setting, Volume, labels, settings};

pub(crate) use replicas::set_failed;

use crate::manager::Manager;
use crate::runtime::backoff::Backoff;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Runner};
use crate::runtime::{Context, Datastore, Result, clock, ownership};
use creation::trims_snapshots;
use picture::Picture;

/// Delays between two uses of one failed replica.
const SHORTEST_REUSE_DELAY: Duration = Duration::from_secs(60);
const LONGEST_REUSE_DELAY: Duration = Duration::from_secs(180);

/// The controller.
pub struct VolumeController {
    manager: Arc<Manager>,
    queue: Queue,
    events: EventRecorder,
    /// Failed replicas that were used again.
    reuse_backoff: Mutex<Backoff>,
}

/// Starts it: Volumes with resync; Engines, Replicas, changed or deleted BackupVolumes, Nodes and some Settings without.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.volumes.informer().add_handler(queue.handler::<Volume>());
    datastore.engines.informer().add_handler_with_resync(Duration::ZERO, on_part::<Engine>(manager, &queue));
    datastore.replicas.informer().add_handler_with_resync(Duration::ZERO, on_part::<Replica>(manager, &queue));
    datastore.backup_volumes.informer().add_handler_with_resync(Duration::ZERO, on_backup_volume(manager, &queue));
    let (of, to) = (manager.clone(), queue.clone());
    let on_node = move |_event: Event<Node>| {
        for replica in of.datastore.replicas.list() {
            let waits = replica.spec.node_id.is_empty() || !replica.spec.failed_at.is_empty();
            if waits && of.datastore.volumes.find(&replica.spec.volume_name).is_some() {
                to.add(&replica.spec.volume_name);
            }
        }
    };
    datastore.nodes.informer().add_handler_with_resync(Duration::ZERO, on_node);
    datastore.settings.informer().add_handler_with_resync(Duration::ZERO, on_setting(manager, &queue));
    let controller = VolumeController {
        manager: manager.clone(),
        queue: queue.clone(),
        events: manager.events(VolumeController::NAME),
        reuse_backoff: Mutex::new(Backoff::new(SHORTEST_REUSE_DELAY, LONGEST_REUSE_DELAY)),
    };
    Runner::new(queue, Arc::new(controller)).start();
}

/// Queues the volume that an engine or a replica belongs to, if it is still the same one.
fn on_part<K: Object>(manager: &Arc<Manager>, queue: &Queue) -> impl FnMut(Event<K>) + Send + 'static + use<K> {
    let (manager, queue) = (manager.clone(), queue.clone());
    move |event: Event<K>| {
        let owners = event.object().meta().owner_references.iter().flatten();
        if let Some(owner) = owners.into_iter().next().filter(|owner| owner.kind == "Volume") {
            let volume = manager.datastore.volumes.find(&owner.name);
            if volume.is_some_and(|volume| volume.metadata.uid.as_deref() == Some(&owner.uid)) {
                queue.add(&owner.name);
            }
        }
    }
}

/// Queues the volume that a BackupVolume holds backups of, and standby volumes that follow it.
///
/// A release that looks the volume up by the BackupVolume's own name finds none once that name has a suffix (longhorn#10057); such a
/// volume learns of its last backup when it is next reconciled for another reason.
fn on_backup_volume(manager: &Arc<Manager>, queue: &Queue) -> impl FnMut(Event<BackupVolume>) + Send + 'static + use<> {
    let (manager, queue) = (manager.clone(), queue.clone());
    move |event: Event<BackupVolume>| {
        if matches!(event, Event::Added { .. }) {
            return;
        }
        let datastore = &manager.datastore;
        let backup_volume = event.object();
        let by_own_name = !datastore.has_many_backup_targets() || datastore.build.has(Defect::Issue10057Handler);
        let volume = if by_own_name { name(&backup_volume.metadata) } else { &backup_volume.spec.volume_name };
        if datastore.volumes.find(volume).is_some() {
            queue.add(volume);
        }
        for standby in datastore.volumes.list_labelled(&[(labels::BACKUP_VOLUME, volume)]) {
            let standby_name = name(&standby.metadata);
            let same_target = by_own_name || standby.spec.backup_target_name == backup_volume.spec.backup_target_name;
            if standby.spec.standby && same_target && standby_name != volume {
                queue.add(standby_name);
            }
        }
    }
}

/// Queues the volumes that leave a choice to the setting that changed.
fn on_setting(manager: &Arc<Manager>, queue: &Queue) -> impl FnMut(Event<Setting>) + Send + 'static + use<> {
    const FOLLOWED: [&str; 3] = [
        settings::REPLICA_AUTO_BALANCE,
        settings::SNAPSHOT_DATA_INTEGRITY,
        settings::REMOVE_SNAPSHOTS_DURING_FILESYSTEM_TRIM,
    ];
    let (manager, queue) = (manager.clone(), queue.clone());
    move |event: Event<Setting>| {
        let setting = name(&event.object().metadata);
        if matches!(event, Event::Deleted { .. }) || !FOLLOWED.contains(&setting) {
            return;
        }
        let follows = labels::volume_setting(setting);
        for volume in manager.datastore.volumes.list_labelled(&[(&follows, labels::IGNORED)]) {
            queue.add(name(&volume.metadata));
        }
    }
}

impl Reconcile for VolumeController {
    const NAME: &'static str = "longhorn-volume";

    async fn reconcile(&self, volume_name: &str) -> Result<()> {
        let result = self.reconcile_volume(volume_name).await;
        result.context(|| format!("failed to sync {}/{volume_name}", self.manager.datastore.namespace))
    }
}

impl VolumeController {
    async fn reconcile_volume(&self, volume_name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(volume) = datastore.volumes.find(volume_name) else { return Ok(()) };
        let image = datastore.existing_setting_value(settings::DEFAULT_ENGINE_IMAGE)?;
        if !self.is_responsible(&volume, &image)? {
            return Ok(());
        }
        let me = self.manager.node();
        let taken = ownership::take(&datastore.volumes, (*volume).clone(), me).await?;
        let Some(volume) = taken else { return Ok(()) };
        if volume.metadata.deletion_timestamp.is_some() {
            return self.delete(volume).await;
        }
        let mut picture = Picture::of(volume, datastore);
        let followed = self.follow_steps(&mut picture).await;
        let written = picture.write(datastore).await;
        match followed.and(written) {
            Err(error) if error.is_conflict() => {
                self.queue.add(volume_name);
                Ok(())
            }
            other => other,
        }
    }

    /// The steps of a reconcile. What one changed is written even if a later one fails.
    async fn follow_steps(&self, picture: &mut Picture) -> Result<()> {
        let datastore = &self.manager.datastore;
        self.create_attachment(&picture.volume).await?;
        self.follow_engine(picture).await?;
        follow_settings(picture, datastore)?;
        self.follow_image(picture).await?;
        self.note_last_backup(&mut picture.volume)?;
        let followed = self.follow_state(picture).await;
        followed.context(|| format!("failed to reconcile volume state for {}", picture.volume_name()))?;
        self.clean_up(picture).await
    }

    /// Everything about where the volume is and what state it is in (`ReconcileVolumeState`).
    async fn follow_state(&self, picture: &mut Picture) -> Result<()> {
        let engine = picture.current_engine()?;
        let volume = &mut picture.volume;
        if volume.status.current_image.is_empty() {
            volume.status.current_image.clone_from(&volume.spec.image);
        }
        self.begin_restore(volume)?;
        if let Some(engine) = &engine {
            self.request_restore(picture, engine);
        }
        let (is_new, engine) = self.create_parts(picture, engine).await?;
        follow_log_requests(picture, &engine);
        self.schedule(picture, &engine)?;
        self.follow_size(picture, &engine)?;
        picture.volume.status.frontend_disabled = picture.volume.spec.disable_frontend;
        if self.salvage(picture, &engine)? {
            return Ok(());
        }
        self.step(picture, &engine, is_new)?;
        let (volume, current) = (&mut picture.volume, &picture.engines[&engine]);
        let attached = !volume.status.current_node_id.is_empty() && volume.status.state == VolumeState::Attached;
        if attached && current.status.current_state == InstanceState::Running {
            if !current.spec.requested_backup_restore.is_empty() {
                let (now, reason) = (clock::now_text(), "RestoreInProgress");
                volume.status.conditions.set_condition("Restore", ConditionStatus::True, reason, "", &now);
            }
            size::finish_expansion(volume, current.status.current_size.0);
        }
        self.finish_restore(picture, &engine)
    }

    /// Gives a detached volume the image that it should have; an attached one keeps what it runs.
    async fn follow_image(&self, picture: &mut Picture) -> Result<()> {
        if picture.engines.len() > 1 {
            return Ok(());
        }
        let Some(engine) = picture.current_engine()? else { return Ok(()) };
        let volume = &mut picture.volume;
        let current = picture.engines.get_mut(&engine).expect("the current engine");
        if volume.status.current_image == volume.spec.image {
            if current.spec.image != volume.spec.image || current.spec.image == current.status.current_image {
                current.spec.image.clone_from(&volume.spec.image);
                current.spec.upgraded_replica_address_map = Default::default();
                current.spec.upgraded_replica_address_map.make();
            }
            return Ok(());
        }
        if volume.status.state != VolumeState::Detached {
            return Ok(());
        }
        current.spec.image.clone_from(&volume.spec.image);
        picture.replicas.values_mut().for_each(|replica| replica.spec.image.clone_from(&volume.spec.image));
        volume.status.current_image.clone_from(&volume.spec.image);
        let inactive = picture.replicas.iter().filter(|(_, replica)| !replica.spec.active);
        for replica_name in inactive.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            picture.delete_replica(&replica_name, &self.manager.datastore).await?;
        }
        Ok(())
    }

    /// The manager on the volume's node, or another one as long as that node has not got the default engine image.
    fn is_responsible(&self, volume: &Volume, image: &str) -> Result<bool> {
        let (datastore, me) = (&self.manager.datastore, self.manager.node());
        let (wanted, owner) = (&volume.spec.node_id, &volume.status.owner_id);
        datastore.is_responsible_for_instance(me, wanted, owner, image, &volume.spec.data_engine)
    }
}

/// Hands the volume's choices about snapshots down to its engine and replicas.
fn follow_settings(picture: &mut Picture, datastore: &Datastore) -> Result<()> {
    let trims = trims_snapshots(datastore, &picture.volume)?;
    let migrating = !picture.volume.spec.migration_node_id.is_empty();
    let (count, size) = (picture.volume.spec.snapshot_max_count, picture.volume.spec.snapshot_max_size);
    for engine in picture.engines.values_mut() {
        engine.spec.unmap_mark_snap_chain_removed_enabled = trims;
        if !migrating {
            (engine.spec.snapshot_max_count, engine.spec.snapshot_max_size) = (count, size);
        }
    }
    for replica in picture.replicas.values_mut() {
        replica.spec.unmap_mark_disk_chain_removed_enabled = trims;
        if !migrating {
            (replica.spec.snapshot_max_count, replica.spec.snapshot_max_size) = (count, size);
        }
    }
    Ok(())
}

/// Takes requests for logs back that were fulfilled; the engine's last.
fn follow_log_requests(picture: &mut Picture, engine: &str) {
    let mut waiting = false;
    for replica in picture.replicas.values_mut() {
        replica.spec.log_requested &= !replica.status.log_fetched;
        waiting |= replica.spec.log_requested;
    }
    let current = picture.engines.get_mut(engine).expect("the current engine");
    if current.spec.log_requested && current.status.log_fetched && !waiting {
        current.spec.log_requested = false;
    }
}
