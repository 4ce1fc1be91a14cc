//! The play: install Longhorn, then do what the plan says. The client speaks to the Kubernetes API only.

use std::sync::Arc;

use corral_kube_client::{DeleteParams, Patch, PatchParams};
use corral_world::Stage;
use host::time::sleep;
use longhorn_api::{Node, Volume, VolumeAttachment};
use serde_json::json;

use super::plan::{Action, read};
use crate::catalogue::selection;
use crate::clients::pod;
use crate::install::install;
use crate::player::{self, NotInTime, Player, holds, outside};

/// The block device of each machine.
const DEVICE: &str = "/dev/longhorn-block";
const DEVICE_BYTES: u64 = 16 << 30;
const VOLUME_BYTES: u64 = 64 << 20;
/// The client's ticket for its volumes.
const TICKET: &str = "test-client";

/// The play: everything is installed from outside, the rest is the client's, in a pod on the first machine.
pub async fn play(stage: Arc<Stage>) {
    let build = selection(&stage.arm).expect("checked before the run").longhorn().expect("checked before the run");
    let (table, actions) = read(&stage.plan).expect("checked before the run");
    for worker in table.workers() {
        let disks = stage.cluster().disks(&worker).expect("a worker of ours");
        let (_, root) = disks.iter().find(|(path, _)| path == "/").expect("every machine has a root");
        root.put_hole(DEVICE, DEVICE_BYTES).expect("an empty disk");
    }
    install(&outside(&stage), &build).await.expect("Longhorn's objects are accepted");
    let mut manifest = pod::manifest("tolerant");
    manifest["spec"]["nodeName"] = "worker-1".into();
    player::play(stage, manifest, move |player| async move {
        let user = User { machines: table.workers(), player };
        user.player.wait_until_ready(&user.machines).await;
        user.player.stage.begin_workload();
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
    machines: Vec<String>,
}

impl User {
    async fn act(&self, action: Action) -> Result<(), NotInTime> {
        match action {
            Action::SetSetting { name, value } => self.player.set_setting(&name, &value).await,
            Action::AddBlockDisks {} => self.add_block_disks().await,
            Action::CreateVolume { name, replicas, machine } => self.create_volume(&name, replicas, &machine).await,
            Action::DeleteVolume { name } => self.delete_volume(&name).await,
            Action::AwaitNode { machine, ready } => {
                let nodes = self.player.api::<Node>();
                let look = || async { nodes.get(&machine).await.is_ok_and(|node| holds(&node, "Ready") == ready) };
                let state = if ready { "ready" } else { "not ready" };
                self.player.wait_until(&format!("node {machine} is {state}"), look).await
            }
            Action::Wait { lasts } => {
                sleep(lasts).await;
                Ok(())
            }
        }
    }

    async fn add_block_disks(&self) -> Result<(), NotInTime> {
        let nodes = self.player.api::<Node>();
        for machine in &self.machines {
            let disk = json!({ "diskType": "block", "path": DEVICE, "allowScheduling": true, "storageReserved": 0, "tags": [] });
            let change = Patch::Merge(json!({ "spec": { "disks": { "block-1": disk } } }));
            let added = || async { nodes.patch(machine, &PatchParams::default(), &change).await.is_ok() };
            self.player.wait_until(&format!("node {machine} has its block disk"), added).await?;
        }
        for machine in &self.machines {
            let look = || async {
                let node = nodes.get(machine).await.ok();
                let status = node.as_ref().and_then(|node| node.status.disk_status.get("block-1"));
                status.is_some_and(|status| status.conditions.condition("Schedulable").status.as_str() == "True")
            };
            self.player.wait_until(&format!("the block disk of {machine} takes replicas"), look).await?;
        }
        Ok(())
    }

    async fn create_volume(&self, name: &str, replicas: u32, machine: &str) -> Result<(), NotInTime> {
        let mut volume = Volume::default();
        volume.metadata.name = Some(name.to_owned());
        let spec = json!({
            "size": VOLUME_BYTES.to_string(), "numberOfReplicas": replicas, "dataEngine": "v2", "frontend": "blockdev",
        });
        volume.spec = serde_json::from_value(spec).expect("a spec of ours");
        let volumes = self.player.api::<Volume>();
        let created = || async { volumes.create(&volume).await.is_ok() || volumes.get(name).await.is_ok() };
        self.player.wait_until(&format!("volume {name} exists"), created).await?;
        let state = |wanted: &'static str| {
            let volumes = volumes.clone();
            move || {
                let volumes = volumes.clone();
                async move { volumes.get(name).await.is_ok_and(|volume| volume.status.state.as_str() == wanted) }
            }
        };
        self.player.wait_until(&format!("volume {name} is detached"), state("detached")).await?;
        let ticket = json!({ "id": TICKET, "type": "longhorn-api", "nodeID": machine, "parameters": { "disableFrontend": "false" } });
        let change = Patch::Merge(json!({ "spec": { "attachmentTickets": { TICKET: ticket } } }));
        let attachments = self.player.api::<VolumeAttachment>();
        let asked = || async { attachments.patch(name, &PatchParams::default(), &change).await.is_ok() };
        self.player.wait_until(&format!("volume {name} is to be attached"), asked).await?;
        self.player.wait_until(&format!("volume {name} is attached"), state("attached")).await
    }

    async fn delete_volume(&self, name: &str) -> Result<(), NotInTime> {
        let volumes = self.player.api::<Volume>();
        let asked = || async {
            let answer = volumes.delete(name, &DeleteParams::default()).await;
            answer.is_ok() || volumes.get(name).await.is_err_and(|error| error.is_not_found())
        };
        self.player.wait_until(&format!("volume {name} is to be deleted"), asked).await?;
        let gone = || async { volumes.get(name).await.is_err_and(|error| error.is_not_found()) };
        self.player.wait_until(&format!("volume {name} is gone"), gone).await
    }
}
