//! The snapshot controller: takes and deletes the snapshots that Snapshots ask for, and keeps their status in step with the engine's
//! (`controller/snapshot_controller.go`).
//!
//! The owner of the volume works on them. What needs a running engine holds a ticket on the volume's attachment. A deleted snapshot is
//! marked as removed, then purged into its child; the parent of the live head cannot be purged, so its resource stays until it can.

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Event, EventRecorder, EventType};
use longhorn_api::kinds::engine::SnapshotInfo;
use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::snapshot::SnapshotStatus;
use longhorn_api::kinds::volume::Choice;
use longhorn_api::kinds::volume_attachment::AttacherType;
use longhorn_api::{Engine, Release, Setting, Snapshot, Volume, settings};

use super::engine::connect;
use super::volume_attachment::{ANY_FRONTEND, keep_ticket};
use crate::manager::Manager;
use crate::runtime::backups::name;
use crate::runtime::controller::{Queue, Reconcile, Retries, Runner};
use crate::runtime::volumes::VOLUME_HEAD;
use crate::runtime::{Context, Datastore, Error, Result};

/// What is said of a snapshot that the engine had and has no longer.
const LOST: &str = "lost track of the corresponding snapshot info inside volume engine";

/// The controller.
pub struct SnapshotController {
    manager: Arc<Manager>,
    events: EventRecorder,
}

/// Starts it: Snapshots, changed Engines, Volumes that go or change their owner, one Setting; all without resync.
pub fn start(manager: &Arc<Manager>) {
    let queue = Queue::new(&manager.datastore.namespace);
    let datastore = &manager.datastore;
    datastore.snapshots.informer().add_handler_with_resync(Duration::ZERO, queue.handler::<Snapshot>());
    datastore.engines.informer().add_handler_with_resync(Duration::ZERO, on_engine(manager, &queue));
    let (of, to) = (manager.clone(), queue.clone());
    let on_volume = move |event: Event<Volume>| match &event {
        Event::Updated { old, new }
            if of.datastore.release().at_least(Release::V1_9_2)
                && new.metadata.deletion_timestamp.is_none()
                && old.status.owner_id != new.status.owner_id =>
        {
            queue_with_ticket(&of.datastore, &to, name(&new.metadata));
        }
        Event::Deleted { object, .. } if object.metadata.deletion_timestamp.is_some() => {
            for snapshot in of.datastore.snapshots_of_volume(name(&object.metadata)).keys() {
                to.add(snapshot);
            }
        }
        _ => {}
    };
    datastore.volumes.informer().add_handler_with_resync(Duration::ZERO, on_volume);
    let (of, to) = (manager.clone(), queue.clone());
    let on_setting = move |event: Event<Setting>| {
        let (changed, setting) = (matches!(event, Event::Updated { .. }), event.object());
        if changed && name(&setting.metadata) == settings::DISABLE_SNAPSHOT_PURGE && setting.value != "true" {
            for snapshot in of.datastore.snapshots.list() {
                if snapshot.metadata.deletion_timestamp.is_some() {
                    to.add(name(&snapshot.metadata));
                }
            }
        }
    };
    datastore.settings.informer().add_handler_with_resync(Duration::ZERO, on_setting);
    let events = manager.events(SnapshotController::NAME);
    Runner::new(queue, Arc::new(SnapshotController { manager: manager.clone(), events })).start();
}

/// Queues the snapshots that a change of an engine concerns: all of them when it starts or stops, those being deleted when a purge moves,
/// and those of which the engine says something else than before.
fn on_engine(manager: &Arc<Manager>, queue: &Queue) -> impl FnMut(Event<Engine>) + Send + 'static + use<> {
    let (manager, queue) = (manager.clone(), queue.clone());
    move |event: Event<Engine>| {
        let Event::Updated { old, new } = &event else { return };
        let datastore = &manager.datastore;
        let volume = datastore.volumes.find(&new.spec.volume_name);
        if volume.is_none_or(|volume| volume.status.owner_id != manager.node()) {
            return;
        }
        let (before, after) = (&old.status, &new.status);
        let all = before.current_state != after.current_state;
        let purged = before.purge_status != after.purge_status;
        if !all && !purged && before.snapshots == after.snapshots {
            return;
        }
        for (snapshot_name, snapshot) in datastore.snapshots_of_volume(&new.spec.volume_name) {
            let changed = before.snapshots.get(&snapshot_name) != after.snapshots.get(&snapshot_name);
            if all || changed || (purged && snapshot.metadata.deletion_timestamp.is_some()) {
                queue.add(&snapshot_name);
            }
        }
    }
}

/// Queues the snapshots that hold a ticket: the former owner may have forgotten them (longhorn#10874).
fn queue_with_ticket(datastore: &Datastore, queue: &Queue, volume: &str) {
    let Some(attachment) = datastore.volume_attachments.find(volume) else { return };
    for snapshot in datastore.snapshots_of_volume(volume).keys() {
        if attachment.spec.attachment_tickets.contains_key(&ticket_of(snapshot)) {
            queue.add(snapshot);
        }
    }
}

fn ticket_of(snapshot: &str) -> String {
    AttacherType::SnapshotController.ticket_id(snapshot)
}

impl Reconcile for SnapshotController {
    const NAME: &'static str = "longhorn-snapshot";
    const RETRIES: Retries = Retries::Forever;

    async fn reconcile(&self, snapshot_name: &str) -> Result<()> {
        let result = self.reconcile_snapshot(snapshot_name).await;
        result.context(|| format!("{}: failed to sync snapshot {snapshot_name}", Self::NAME))
    }
}

impl SnapshotController {
    async fn reconcile_snapshot(&self, snapshot_name: &str) -> Result<()> {
        let datastore = &self.manager.datastore;
        let Some(found) = datastore.snapshots.find(snapshot_name) else { return Ok(()) };
        let mut snapshot = (*found).clone();
        let volume = datastore.volumes.find(&snapshot.spec.volume);
        if volume.is_some_and(|volume| volume.status.owner_id != self.manager.node()) {
            return Ok(());
        }
        let followed = if snapshot.metadata.deletion_timestamp.is_some() {
            self.delete(&mut snapshot).await
        } else {
            self.keep(&mut snapshot).await
        };
        // A failure to take the snapshot is told in the status; after any other nothing is written.
        let tells = snapshot.status.error != found.status.error && !snapshot.status.error.is_empty();
        if followed.is_err() && !tells {
            return followed;
        }
        if snapshot.status != found.status {
            let updated = datastore.snapshots.update_status(&snapshot).await?;
            self.tell(&found.status, &updated);
        }
        Ok(())
    }

    /// Takes the snapshot if it is to be taken, and notes what the engine says of it.
    async fn keep(&self, snapshot: &mut Snapshot) -> Result<()> {
        let exists = !snapshot.spec.create_snapshot || !snapshot.status.creation_time.is_empty();
        let kept = self.take_and_note(snapshot, exists).await;
        // What is there needs no engine. (Upstream's result of this one replaces the other's.)
        if exists { self.drop_ticket(snapshot).await } else { kept }
    }

    async fn take_and_note(&self, snapshot: &mut Snapshot, exists: bool) -> Result<()> {
        let datastore = &self.manager.datastore;
        let snapshot_name = name(&snapshot.metadata).to_owned();
        let engine = self.engine_of(snapshot)?;
        let known =
            datastore.release().at_least(Release::V1_9_2) && engine.status.snapshots.contains_key(&snapshot_name);
        if !exists && !known {
            self.keep_ticket(snapshot, false).await?;
            if engine.status.current_state != InstanceState::Running {
                snapshot.status.error = format!(
                    "failed to take snapshot because the volume engine {} is not running. Waiting for the volume to be attached",
                    name(&engine.metadata)
                );
                return Ok(());
            }
            if let Err(error) = self.take(snapshot, &engine).await {
                snapshot.status.error = error.to_string();
                return Err(error);
            }
        }
        let engine = datastore.engines.get(name(&engine.metadata))?;
        let Some(info) = engine.status.snapshots.get(&snapshot_name) else {
            if exists {
                snapshot.status.error = LOST.to_owned();
            }
            snapshot.status.ready_to_use = false;
            return Ok(());
        };
        note(snapshot, info, engine.spec.volume_size.0)
    }

    async fn take(&self, snapshot: &Snapshot, engine: &Engine) -> Result<()> {
        let snapshot_name = name(&snapshot.metadata);
        let freeze = freezes(&self.manager.datastore, &engine.spec.volume_name)?;
        let mut proxy = connect(&self.manager, engine).await?;
        if proxy.snapshot(snapshot_name).await?.is_none() {
            tracing::info!("Creating snapshot {snapshot_name} of volume {}", snapshot.spec.volume);
            proxy.create_snapshot(snapshot_name, &snapshot.spec.labels, freeze).await?;
        }
        Ok(())
    }

    async fn delete(&self, snapshot: &mut Snapshot) -> Result<()> {
        let datastore = &self.manager.datastore;
        let volume = datastore.volumes.find(&snapshot.spec.volume);
        if volume.is_none_or(|volume| volume.metadata.deletion_timestamp.is_some()) {
            return datastore.snapshots.remove_finalizer(snapshot.clone()).await;
        }
        let engine = self.engine_of(snapshot)?;
        let deleted = self.delete_from(snapshot, &engine).await;
        let engine = datastore.engines.get(name(&engine.metadata))?;
        if let Some(info) = engine.status.snapshots.get(name(&snapshot.metadata)) {
            let info = info.clone();
            // A size that cannot be read leaves the status as it is.
            let _ = note(snapshot, &info, engine.spec.volume_size.0);
        }
        deleted
    }

    async fn delete_from(&self, snapshot: &Snapshot, engine: &Engine) -> Result<()> {
        let datastore = &self.manager.datastore;
        let snapshot_name = name(&snapshot.metadata);
        let listed = engine.status.snapshots.contains_key(snapshot_name);
        let is_parent_of_head = snapshot.status.children.contains_key(VOLUME_HEAD);
        // What cannot be purged now must not keep the volume attached.
        if listed && is_parent_of_head && snapshot.status.mark_removed {
            return self.drop_ticket(snapshot).await;
        }
        if datastore.setting_flag(settings::DISABLE_SNAPSHOT_PURGE)? {
            return self.drop_ticket(snapshot).await;
        }
        self.keep_ticket(snapshot, true).await?;
        if engine.status.current_state != InstanceState::Running {
            let engine = name(&engine.metadata);
            return Err(Error::message(format!(
                "failed to delete snapshot because the volume engine {engine} is not running. Will reenqueue and retry later"
            )));
        }
        self.remove_and_purge(snapshot_name, engine).await?;
        if datastore.release().at_least(Release::V1_9_2) {
            self.forget_checksums_of_children(snapshot).await;
        }
        let engine = datastore.engines.get(name(&engine.metadata))?;
        if !engine.status.snapshots.contains_key(snapshot_name) {
            self.drop_ticket(snapshot).await?;
            return datastore.snapshots.remove_finalizer(snapshot.clone()).await;
        }
        Ok(())
    }

    async fn remove_and_purge(&self, snapshot: &str, engine: &Engine) -> Result<()> {
        let mut proxy = connect(&self.manager, engine).await?;
        let Some(info) = proxy.snapshot(snapshot).await? else { return Ok(()) };
        if !info.removed {
            tracing::info!("Deleting snapshot {snapshot}");
            proxy.delete_snapshot(snapshot).await?;
        }
        let status = proxy.purge_status().await.context(|| "failed to get snapshot purge status")?;
        if !status.values().any(|status| status.is_purging) {
            tracing::info!("Starting SnapshotPurge to delete snapshot {snapshot}");
            proxy.purge().await?;
        }
        Ok(())
    }

    /// The content of a child changes when its parent is merged into it.
    async fn forget_checksums_of_children(&self, snapshot: &Snapshot) {
        let store = &self.manager.datastore.snapshots;
        for child in snapshot.status.children.keys().filter(|child| *child != VOLUME_HEAD) {
            let Some(found) = store.find(child) else { continue };
            if found.status.checksum.is_empty() {
                continue;
            }
            let mut changed = (*found).clone();
            changed.status.checksum.clear();
            if let Err(error) = store.update_status(&changed).await {
                tracing::error!(%error, "Failed to clean up the child snapshot {child} checksum");
            }
        }
    }

    fn engine_of(&self, snapshot: &Snapshot) -> Result<Arc<Engine>> {
        let volume = &snapshot.spec.volume;
        let mut engines = self.manager.datastore.engines_of_volume(volume);
        match (engines.pop_first(), engines.is_empty()) {
            (Some((_, only)), true) => Ok(only),
            _ => Err(Error::message(format!(
                "getTheOnlyEngineCRforSnapshot: found more than 1 engines for volume {volume}"
            ))),
        }
    }

    /// Keeps a ticket, so that the volume is attached. Before a deletion asks for it, the server is asked whether the snapshot is still there:
    /// the cache may be behind (longhorn#6652).
    async fn keep_ticket(&self, snapshot: &Snapshot, asks_server: bool) -> Result<()> {
        const WHAT: &str = "handleAttachmentTicketCreation: failed to create/update attachment";
        let datastore = &self.manager.datastore;
        let volume = datastore.volumes.get(&snapshot.spec.volume).context(|| WHAT)?;
        let attachment = datastore.attachment_of_volume(&snapshot.spec.volume).context(|| WHAT)?;
        let mut changed = attachment.clone();
        let ticket = ticket_of(name(&snapshot.metadata));
        let kind = AttacherType::SnapshotController;
        keep_ticket(&mut changed, &ticket, &volume.status.owner_id, ANY_FRONTEND, kind);
        if changed.spec == attachment.spec {
            return Ok(());
        }
        if asks_server {
            datastore.snapshots.api().get(name(&snapshot.metadata)).await.context(|| WHAT)?;
        }
        datastore.volume_attachments.update(&changed).await.context(|| WHAT).map(drop)
    }

    async fn drop_ticket(&self, snapshot: &Snapshot) -> Result<()> {
        const WHAT: &str = "handleAttachmentTicketDeletion: failed to clean up attachment";
        let store = &self.manager.datastore.volume_attachments;
        let Some(attachment) = store.find(&snapshot.spec.volume) else { return Ok(()) };
        let mut changed = (*attachment).clone();
        if changed.spec.attachment_tickets.remove(&ticket_of(name(&snapshot.metadata))).is_none() {
            return Ok(());
        }
        store.update(&changed).await.context(|| WHAT).map(drop)
    }

    /// Tells people what changed.
    fn tell(&self, before: &SnapshotStatus, snapshot: &Snapshot) {
        let after = &snapshot.status;
        let tell = |event_type, reason, message: &str| self.events.event(snapshot, event_type, reason, message);
        if !before.mark_removed && after.mark_removed {
            tell(EventType::Normal, "Delete", "snapshot is marked as removed");
        }
        if snapshot.spec.create_snapshot && before.creation_time.is_empty() && !after.creation_time.is_empty() {
            tell(EventType::Normal, "Create", "successfully provisioned the snapshot");
        }
        if !after.error.is_empty() && before.error != after.error {
            if after.error == LOST {
                tell(EventType::Normal, "Delete", "snapshot was removed from engine");
            } else {
                tell(EventType::Warning, "Failed", &after.error);
            }
        }
        if before.ready_to_use != after.ready_to_use {
            if after.ready_to_use {
                tell(EventType::Normal, "Update", "snapshot becomes ready to use");
            } else {
                tell(EventType::Warning, "Update", "snapshot becomes not ready to use");
            }
        }
    }
}

/// Notes what the engine says of a snapshot.
fn note(snapshot: &mut Snapshot, info: &SnapshotInfo, volume_size: i64) -> Result<()> {
    let size = info.size.parse().map_err(|_| Error::message(format!("invalid size {} of a snapshot", info.size)))?;
    let deleting = snapshot.metadata.deletion_timestamp.is_some();
    let status = &mut snapshot.status;
    status.parent.clone_from(&info.parent);
    status.children = info.children.clone();
    status.mark_removed = info.removed;
    status.user_created = info.user_created;
    status.creation_time.clone_from(&info.created);
    status.size = size;
    status.labels = info.labels.clone();
    status.restore_size = volume_size;
    status.ready_to_use = !info.removed && !deleting;
    if status.ready_to_use {
        status.error.clear();
    }
    Ok(())
}

/// Whether the volume's file system is frozen while a snapshot is taken.
pub(crate) fn freezes(datastore: &Datastore, volume: &str) -> Result<bool> {
    match datastore.volumes.get(volume)?.spec.freeze_filesystem_for_snapshot {
        Choice::Ignored => datastore.setting_flag(settings::FREEZE_FILESYSTEM_FOR_SNAPSHOT),
        ref choice => Ok(*choice == Choice::Enabled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_ready_while_it_is_not_removed() {
        let mut snapshot = Snapshot::default();
        snapshot.status.error = "failed".to_owned();
        let mut info = SnapshotInfo { size: "4096".to_owned(), user_created: true, ..SnapshotInfo::default() };
        note(&mut snapshot, &info, 1 << 20).unwrap();
        assert!(snapshot.status.ready_to_use && snapshot.status.error.is_empty());
        assert_eq!((snapshot.status.size, snapshot.status.restore_size), (4096, 1 << 20));
        info.removed = true;
        note(&mut snapshot, &info, 1 << 20).unwrap();
        assert!(!snapshot.status.ready_to_use && snapshot.status.mark_removed);
        info.size = "much".to_owned();
        assert!(note(&mut snapshot, &info, 0).is_err());
    }
}
