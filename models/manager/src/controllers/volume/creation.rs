//! What a new volume gets: its attachment, an engine, replicas.

use longhorn_api::kinds::instance::InstanceState;
use longhorn_api::kinds::volume::Choice;
use longhorn_api::{Engine, Replica, Volume, VolumeAttachment, labels, names, settings};

use super::VolumeController;
use super::picture::Picture;
use crate::runtime::backups::{name, owner_reference};
use crate::runtime::{Context, Datastore, Result};

impl VolumeController {
    /// Creates the volume's attachment, without a ticket.
    pub(super) async fn create_attachment(&self, volume: &Volume) -> Result<()> {
        let volume_name = name(&volume.metadata);
        let store = &self.manager.datastore.volume_attachments;
        if store.find(volume_name).is_some() {
            return Ok(());
        }
        let mut attachment = VolumeAttachment::default();
        attachment.metadata.name = Some(volume_name.to_owned());
        labels::set(&mut attachment.metadata, labels::VOLUME, volume_name);
        attachment.spec.attachment_tickets.make();
        attachment.spec.volume = volume_name.to_owned();
        store.create(&attachment).await.map(drop)
    }

    /// Creates engine and replicas of a volume that has none. Gives the engine's name, and whether the volume is new.
    pub(super) async fn create_parts(&self, picture: &mut Picture, engine: Option<String>) -> Result<(bool, String)> {
        let (is_new, engine) = match engine {
            Some(engine) => (false, engine),
            None => {
                let engine = self.create_engine(&picture.volume).await?;
                let engine_name = name(&engine.metadata).to_owned();
                picture.engines.insert(engine_name.clone(), engine);
                (true, engine_name)
            }
        };
        if picture.replicas.is_empty() {
            self.replenish(picture, &engine, "").await?;
        }
        Ok((is_new, engine))
    }

    async fn create_engine(&self, volume: &Volume) -> Result<Engine> {
        let datastore = &self.manager.datastore;
        let volume_name = name(&volume.metadata);
        let mut engine = Engine::default();
        engine.metadata.name = Some(names::engine(volume_name, None));
        engine.metadata.owner_references = Some(vec![owner_reference(volume)]);
        let spec = &mut engine.spec;
        spec.volume_name = volume_name.to_owned();
        spec.volume_size = volume.spec.size;
        spec.image.clone_from(&volume.status.current_image);
        spec.data_engine = volume.spec.data_engine.clone();
        spec.desire_state = InstanceState::Stopped;
        spec.frontend = volume.spec.frontend.clone();
        spec.replica_address_map.make();
        spec.upgraded_replica_address_map.make();
        spec.revision_counter_disabled = volume.spec.revision_counter_disabled;
        spec.snapshot_max_count = volume.spec.snapshot_max_count;
        spec.snapshot_max_size = volume.spec.snapshot_max_size;
        if !volume.spec.from_backup.is_empty() && volume.status.restore_required {
            let source = self.restore_source(volume);
            let source = source
                .context(|| format!("failed to get backup volume information for restoring volume {volume_name}"))?;
            (spec.backup_volume, spec.requested_backup_restore) = source;
        }
        spec.unmap_mark_snap_chain_removed_enabled = trims_snapshots(datastore, volume)?;
        spec.active = true;
        datastore.create_engine(engine).await
    }

    /// A replica that is not stored yet; a node if it may only go there.
    pub(super) fn new_replica(&self, volume: &Volume, engine: &Engine, node_affinity: &str) -> Replica {
        let volume_name = name(&volume.metadata);
        let digits = self.manager.datastore.random_digits(names::SHORT_RANDOM_CHARACTERS);
        let mut replica = Replica::default();
        replica.metadata.name = Some(names::replica(volume_name, &digits));
        replica.metadata.owner_references = Some(vec![owner_reference(volume)]);
        let spec = &mut replica.spec;
        spec.volume_name = volume_name.to_owned();
        spec.volume_size = volume.spec.size;
        spec.image.clone_from(&volume.status.current_image);
        spec.data_engine = volume.spec.data_engine.clone();
        spec.desire_state = InstanceState::Stopped;
        spec.engine_name = name(&engine.metadata).to_owned();
        spec.active = true;
        spec.backing_image.clone_from(&volume.spec.backing_image);
        spec.hard_node_affinity = node_affinity.to_owned();
        spec.revision_counter_disabled = volume.spec.revision_counter_disabled;
        spec.unmap_mark_disk_chain_removed_enabled = engine.spec.unmap_mark_snap_chain_removed_enabled;
        spec.snapshot_max_count = volume.spec.snapshot_max_count;
        spec.snapshot_max_size = volume.spec.snapshot_max_size;
        replica
    }
}

/// Whether a trim of the volume reaches into its snapshots.
pub(super) fn trims_snapshots(datastore: &Datastore, volume: &Volume) -> Result<bool> {
    match volume.spec.unmap_mark_snap_chain_removed {
        Choice::Ignored => datastore.setting_flag(settings::REMOVE_SNAPSHOTS_DURING_FILESYSTEM_TRIM),
        ref choice => Ok(*choice == Choice::Enabled),
    }
}
