//! The play: install Longhorn and a store, then do what the plan says. The client is on the first machine, where it uses the volumes' devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use corral_kube_client::{Api, DeleteParams, Patch, PatchParams};
use corral_world::{Oracle, Stage};
use host::time::sleep;
use longhorn_api::kinds::system_backup::SystemBackupState;
use longhorn_api::kinds::system_restore::SystemRestoreState;
use longhorn_api::{Build, SystemBackup, SystemRestore, Volume, VolumeAttachment};
use longhorn_engine::{BlockDevice, Device};
use serde_json::json;

use super::plan::{Action, read};
use crate::catalogue::selection;
use crate::clients::pod;
use crate::install::{create, install};
use crate::oracles::RestoredVolumesHoldTheirData;
use crate::player::{NotInTime, Player, outside};
use crate::{player, store};

const MACHINE: &str = "worker-1";
const VOLUME_BYTES: u64 = 64 << 20;
/// Where in each of a backup's blocks something is written, and how much.
const BLOCK_BYTES: u64 = 2 << 20;
const PIECE_BYTES: usize = 4096;
/// The client's ticket for its volumes.
const TICKET: &str = "test-client";

/// The play: everything is installed from outside, the rest is the client's.
pub async fn play(stage: Arc<Stage>) {
    let build = selection(&stage.arm).expect("checked before the run").longhorn().expect("checked before the run");
    let (table, actions) = read(&stage.plan).expect("checked before the run");
    let outside = outside(&stage);
    for object in store::manifests() {
        create(&outside, object).await.expect("the store's objects are accepted");
    }
    install(&outside, &build).await.expect("Longhorn's objects are accepted");
    create(&outside, store::secret()).await.expect("the store's secret is accepted");
    let mut manifest = pod::manifest("tolerant");
    manifest["spec"]["nodeName"] = MACHINE.into();
    manifest["spec"]["volumes"] = json!([{ "name": "host", "hostPath": { "path": "/" } }]);
    manifest["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "host", "mountPath": "/host" }]);
    player::play(stage, manifest, move |player| async move {
        player.wait_until_ready(&table.workers()).await;
        player.stage.begin_workload();
        let mut user = User { player, build, written: BTreeMap::new() };
        for action in actions {
            if user.act(action).await.is_err() {
                break;
            }
        }
    })
    .await;
}

struct User {
    player: Player,
    build: Build,
    /// Of each volume how many blocks it wrote.
    written: BTreeMap<String, u32>,
}

/// What the client writes at the beginning of a block.
fn piece(volume: &str, block: u32) -> Bytes {
    let word = corral_core::journal::content_hash(format!("{volume}/{block}").as_bytes());
    word.to_le_bytes().into_iter().cycle().take(PIECE_BYTES).collect()
}

impl User {
    async fn act(&mut self, action: Action) -> Result<(), NotInTime> {
        let player = self.player.clone();
        match action {
            Action::SetBackupTarget {} => {
                let set = || async { store::set_backup_target(&player.client, self.build.release()).await.is_ok() };
                player.wait_until("the backup target is set", set).await
            }
            Action::CreateVolume { name, replicas } => self.create_volume(&name, replicas).await,
            Action::AttachVolume { name } => self.attach(&name).await,
            Action::DetachVolume { name } => self.detach(&name).await,
            Action::WriteVolume { name, blocks } => self.write(&name, blocks).await,
            Action::SystemBackup { name } => self.back_up(&name).await,
            Action::DeleteVolume { name } => self.delete(&name).await,
            Action::SystemRestore { name } => self.restore(&name).await,
            Action::CheckVolume { name } => self.check(&name).await,
            Action::Wait { lasts } => {
                sleep(lasts).await;
                Ok(())
            }
        }
    }

    async fn wait_for_volume(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&Volume) -> bool + Sync + Send,
    ) -> Result<(), NotInTime> {
        let volumes = self.player.api::<Volume>();
        let look = || async { volumes.get(name).await.is_ok_and(|volume| is_so(&volume)) };
        self.player.wait_until(&format!("volume {name} is {what}"), look).await
    }

    async fn create_volume(&self, name: &str, replicas: u32) -> Result<(), NotInTime> {
        let mut volume = Volume::default();
        volume.metadata.name = Some(name.to_owned());
        let spec = json!({ "size": VOLUME_BYTES.to_string(), "numberOfReplicas": replicas, "frontend": "blockdev" });
        volume.spec = serde_json::from_value(spec).expect("a spec of ours");
        let volumes = self.player.api::<Volume>();
        let created = || async { volumes.create(&volume).await.is_ok() || volumes.get(name).await.is_ok() };
        self.player.wait_until(&format!("volume {name} exists"), created).await?;
        self.wait_for_volume(name, "detached", |volume| volume.status.state.as_str() == "detached").await
    }

    async fn attach(&self, name: &str) -> Result<(), NotInTime> {
        let ticket = json!({ "id": TICKET, "type": "longhorn-api", "nodeID": MACHINE, "parameters": { "disableFrontend": "false" } });
        self.change_ticket(name, "to be attached", ticket).await?;
        self.wait_for_volume(name, "attached", |volume| volume.status.state.as_str() == "attached").await
    }

    async fn detach(&self, name: &str) -> Result<(), NotInTime> {
        self.change_ticket(name, "to be detached", serde_json::Value::Null).await?;
        self.wait_for_volume(name, "detached", |volume| volume.status.state.as_str() == "detached").await
    }

    async fn change_ticket(&self, name: &str, what: &str, ticket: serde_json::Value) -> Result<(), NotInTime> {
        let change = Patch::Merge(json!({ "spec": { "attachmentTickets": { TICKET: ticket } } }));
        let attachments: Api<VolumeAttachment> = self.player.api();
        let asked = || async { attachments.patch(name, &PatchParams::default(), &change).await.is_ok() };
        self.player.wait_until(&format!("volume {name} is {what}"), asked).await
    }

    async fn write(&mut self, name: &str, blocks: u32) -> Result<(), NotInTime> {
        let wrote = || async {
            let Ok(device) = Device::open(name).await else { return false };
            for block in 0..blocks {
                if device.write_at(u64::from(block) * BLOCK_BYTES, piece(name, block)).await.is_err() {
                    return false;
                }
            }
            true
        };
        self.player.wait_until(&format!("{blocks} blocks of {name} are written"), wrote).await?;
        self.written.insert(name.to_owned(), blocks);
        Ok(())
    }

    async fn back_up(&self, name: &str) -> Result<(), NotInTime> {
        let backups = self.player.api::<SystemBackup>();
        let mut wanted = SystemBackup::default();
        wanted.metadata.name = Some(name.to_owned());
        let created = || async { backups.create(&wanted).await.is_ok() || backups.get(name).await.is_ok() };
        self.player.wait_until(&format!("system backup {name} is asked for"), created).await?;
        let done =
            || async { backups.get(name).await.is_ok_and(|backup| backup.status.state == SystemBackupState::Ready) };
        self.player.wait_until(&format!("system backup {name} is ready"), done).await
    }

    async fn delete(&self, name: &str) -> Result<(), NotInTime> {
        let volumes = self.player.api::<Volume>();
        let is_gone = || async { volumes.get(name).await.is_err_and(|error| error.is_not_found()) };
        let asked = || async { volumes.delete(name, &DeleteParams::default()).await.is_ok() || is_gone().await };
        self.player.wait_until(&format!("volume {name} is to be deleted"), asked).await?;
        self.player.wait_until(&format!("volume {name} is gone"), is_gone).await
    }

    async fn restore(&self, name: &str) -> Result<(), NotInTime> {
        let restores = self.player.api::<SystemRestore>();
        let mut wanted = SystemRestore::default();
        wanted.metadata.name = Some(format!("restore-{name}"));
        wanted.spec.system_backup = name.to_owned();
        let restore = format!("restore-{name}");
        let created = || async { restores.create(&wanted).await.is_ok() || restores.get(&restore).await.is_ok() };
        self.player.wait_until(&format!("system restore of {name} is asked for"), created).await?;
        let done = || async {
            restores.get(&restore).await.is_ok_and(|restore| restore.status.state == SystemRestoreState::Completed)
        };
        self.player.wait_until(&format!("system restore of {name} is completed"), done).await
    }

    /// Reads what was written. The volume comes back detached; if it is restored from a backup, it is attached by Longhorn first.
    async fn check(&self, name: &str) -> Result<(), NotInTime> {
        let is_restored = |volume: &Volume| {
            let (spec, status) = (&volume.spec, &volume.status);
            let is_filled = spec.from_backup.is_empty() || (status.restore_initiated && !status.restore_required);
            is_filled && status.state.as_str() == "detached"
        };
        self.wait_for_volume(name, "restored", is_restored).await?;
        // It may be so before Longhorn has looked at the new volume for the first time; then it is attached by both.
        self.attach(name).await?;
        let blocks = self.written.get(name).copied().unwrap_or(0);
        let mut wrong = Vec::new();
        for block in 0..blocks {
            let read = || async {
                let device = Device::open(name).await.ok()?;
                device.read_at(u64::from(block) * BLOCK_BYTES, PIECE_BYTES as u32).await.ok()
            };
            let looks = || async { read().await.is_some() };
            self.player.wait_until(&format!("block {block} of {name} can be read"), looks).await?;
            if read().await.is_some_and(|found| found != piece(name, block)) {
                wrong.push(block);
            }
        }
        if !wrong.is_empty() {
            let oracle = RestoredVolumesHoldTheirData.name();
            let detail = format!("{name}: {} of {blocks} blocks are not what was written", wrong.len());
            self.player.stage.violation_as(oracle, "a restored volume is without its data", &detail);
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
