//! What the client does with volumes, and with the devices of those that are attached to its machine.

use bytes::Bytes;
use corral_kube_client::{DeleteParams, Patch, PatchParams};
use corral_world::Oracle;
use longhorn_api::{Volume, VolumeAttachment};
use longhorn_engine::{BlockDevice, Device};
use serde_json::{Value, json};

use super::{Failed, User};
use crate::clients::pod::MACHINE;
use crate::oracles::RestoredVolumesHoldTheirData;
use crate::steps::Engine;

/// Size of every volume: room for 32 blocks of a backup.
const VOLUME_BYTES: u64 = 64 << 20;
/// Where in each of a backup's blocks something is written, and how much.
const BLOCK_BYTES: u64 = 2 << 20;
const PIECE_BYTES: usize = 4096;
/// The client's ticket for its volumes.
const TICKET: &str = "test-client";

/// What the client writes at the beginning of a block.
fn piece(volume: &str, block: u32) -> Bytes {
    let word = corral_core::journal::content_hash(format!("{volume}/{block}").as_bytes());
    word.to_le_bytes().into_iter().cycle().take(PIECE_BYTES).collect()
}

/// The volume is as it was backed up, if it was, and nobody uses it.
fn is_restored(volume: &Volume) -> bool {
    let (spec, status) = (&volume.spec, &volume.status);
    let is_filled = spec.from_backup.is_empty() || (status.restore_initiated && !status.restore_required);
    is_filled && status.state.as_str() == "detached"
}

impl User {
    async fn wait_for_volume(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&Volume) -> bool + Sync + Send,
    ) -> Result<(), Failed> {
        let volumes = self.api::<Volume>();
        let look = || async { volumes.get(name).await.is_ok_and(|volume| is_so(&volume)) };
        self.wait_until(&format!("volume {name} is {what}"), look).await
    }

    async fn wait_for_state(&self, name: &str, state: &str) -> Result<(), Failed> {
        self.wait_for_volume(name, state, |volume| volume.status.state.as_str() == state).await
    }

    pub(super) async fn create_volume(
        &self,
        name: &str,
        replicas: u32,
        engine: Engine,
        image: &str,
    ) -> Result<(), Failed> {
        let mut volume = Volume::default();
        volume.metadata.name = Some(name.to_owned());
        let spec = json!({
            "size": VOLUME_BYTES.to_string(), "numberOfReplicas": replicas, "dataEngine": engine, "frontend": "blockdev",
            "backingImage": image,
        });
        volume.spec = serde_json::from_value(spec).expect("a spec of ours");
        let volumes = self.api::<Volume>();
        let created = || async { volumes.create(&volume).await.is_ok() || volumes.get(name).await.is_ok() };
        self.wait_until(&format!("volume {name} exists"), created).await?;
        self.wait_for_state(name, "detached").await
    }

    pub(super) async fn attach_volume(&mut self, name: &str, machine: &str) -> Result<(), Failed> {
        let ticket = json!({ "id": TICKET, "type": "longhorn-api", "nodeID": machine, "parameters": { "disableFrontend": "false" } });
        self.change_ticket(name, "to be attached", ticket).await?;
        self.wait_for_state(name, "attached").await?;
        self.volumes.entry(name.to_owned()).or_default().is_attached = true;
        Ok(())
    }

    pub(super) async fn detach_volume(&mut self, name: &str) -> Result<(), Failed> {
        self.volumes.entry(name.to_owned()).or_default().is_attached = false;
        self.change_ticket(name, "to be detached", Value::Null).await?;
        self.wait_for_state(name, "detached").await
    }

    async fn change_ticket(&self, name: &str, what: &str, ticket: Value) -> Result<(), Failed> {
        let change = Patch::Merge(json!({ "spec": { "attachmentTickets": { TICKET: ticket } } }));
        let attachments = self.api::<VolumeAttachment>();
        let asked = || async { attachments.patch(name, &PatchParams::default(), &change).await.is_ok() };
        self.wait_until(&format!("volume {name} is {what}"), asked).await
    }

    pub(super) async fn delete_volume(&mut self, name: &str) -> Result<(), Failed> {
        self.volumes.entry(name.to_owned()).or_default().is_attached = false;
        let volumes = self.api::<Volume>();
        let is_gone = || async { volumes.get(name).await.is_err_and(|error| error.is_not_found()) };
        let asked = || async { volumes.delete(name, &DeleteParams::default()).await.is_ok() || is_gone().await };
        self.wait_until(&format!("volume {name} is to be deleted"), asked).await?;
        self.wait_until(&format!("volume {name} is gone"), is_gone).await
    }

    pub(super) async fn write_volume(&mut self, name: &str, blocks: u32) -> Result<(), Failed> {
        let wrote = || async {
            let Ok(device) = Device::open(name).await else { return false };
            for block in 0..blocks {
                if device.write_at(u64::from(block) * BLOCK_BYTES, piece(name, block)).await.is_err() {
                    return false;
                }
            }
            true
        };
        self.wait_until(&format!("{blocks} blocks of {name} are written"), wrote).await?;
        self.volumes.entry(name.to_owned()).or_default().blocks = blocks;
        Ok(())
    }

    /// Reads what was written. A restored volume comes back detached; if it is restored from a backup, it is attached by Longhorn first.
    pub(super) async fn check_volume(&mut self, name: &str) -> Result<(), Failed> {
        let known = self.volumes.entry(name.to_owned()).or_default();
        let blocks = known.blocks;
        if !known.is_attached {
            self.wait_for_volume(name, "restored", is_restored).await?;
            // It may be so before Longhorn has looked at the new volume for the first time; then it is attached by both.
            self.attach_volume(name, MACHINE).await?;
        }
        let mut wrong = 0;
        for block in 0..blocks {
            let read = || async {
                let device = Device::open(name).await.ok()?;
                device.read_at(u64::from(block) * BLOCK_BYTES, PIECE_BYTES as u32).await.ok()
            };
            let found = self.wait_for(&format!("block {block} of {name} can be read"), read).await?;
            wrong += u32::from(found != piece(name, block));
        }
        if wrong > 0 {
            let oracle = RestoredVolumesHoldTheirData.name();
            let detail = format!("{name}: {wrong} of {blocks} blocks are not what was written");
            self.stage.violation_as(oracle, "a restored volume is without its data", &detail);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_are_alike() {
        assert_ne!(piece("vol-1", 0), piece("vol-1", 1));
        assert_ne!(piece("vol-1", 0), piece("vol-2", 0));
        assert_eq!(piece("vol-1", 0).len(), PIECE_BYTES);
    }
}
