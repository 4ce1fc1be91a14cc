//! What the client does with nodes, settings and Longhorn itself.

use corral_kube_client::{ListParams, Patch, PatchParams};
use corral_world::Stage;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::{Backup, Node, Setting};
use serde_json::json;

use super::{Failed, LIMIT, User};
use crate::install::apply;
use crate::upgrade::UNREAD;

/// The block device of each machine.
const DEVICE: &str = "/dev/longhorn-block";
const DEVICE_BYTES: u64 = 16 << 30;

/// Gives each machine its block device.
pub(super) fn put_block_devices(stage: &Stage, workers: &[String]) {
    for worker in workers {
        let disks = stage.cluster().disks(worker).expect("a worker of ours");
        let (_, root) = disks.iter().find(|(path, _)| path == "/").expect("every machine has a root");
        root.put_hole(DEVICE, DEVICE_BYTES).expect("an empty disk");
    }
}

fn is_ready(node: &Node) -> bool {
    node.status.conditions.condition("Ready").status == ConditionStatus::True
}

impl User {
    /// Waits until every machine is a node of Longhorn that is ready.
    ///
    /// # Panics
    /// It does not come about: a set-up of ours is wrong.
    pub(super) async fn wait_until_longhorn_is_ready(&self) {
        let look = || async {
            let nodes = self.api::<Node>().list(&ListParams::default()).await;
            nodes.is_ok_and(|nodes| nodes.items.iter().filter(|node| is_ready(node)).count() == self.machines.len())
        };
        if self.wait_until("Longhorn is ready", look).await.is_err() {
            panic!("Longhorn is not ready within {} s", LIMIT.as_secs());
        }
    }

    pub(super) async fn await_node(&self, machine: &str, ready: bool) -> Result<(), Failed> {
        let nodes = self.api::<Node>();
        let look = || async { nodes.get(machine).await.is_ok_and(|node| is_ready(&node) == ready) };
        let state = if ready { "ready" } else { "not ready" };
        self.wait_until(&format!("node {machine} is {state}"), look).await
    }

    pub(super) async fn set_setting(&self, name: &str, value: &str) -> Result<(), Failed> {
        let settings = self.api::<Setting>();
        let change = Patch::Merge(json!({ "value": value }));
        let set = || async { settings.patch(name, &PatchParams::default(), &change).await.is_ok() };
        self.wait_until(&format!("setting {name} is {value}"), set).await
    }

    pub(super) async fn tag_node(&self, machine: &str, tag: &str) -> Result<(), Failed> {
        let nodes = self.api::<Node>();
        let change = Patch::Merge(json!({ "spec": { "tags": [tag] } }));
        let tagged = || async { nodes.patch(machine, &PatchParams::default(), &change).await.is_ok() };
        self.wait_until(&format!("node {machine} is tagged {tag}"), tagged).await
    }

    pub(super) async fn add_block_disks(&self) -> Result<(), Failed> {
        let nodes = self.api::<Node>();
        for machine in &self.machines {
            let disk = json!({ "diskType": "block", "path": DEVICE, "allowScheduling": true, "storageReserved": 0, "tags": [] });
            let change = Patch::Merge(json!({ "spec": { "disks": { "block-1": disk } } }));
            let added = || async { nodes.patch(machine, &PatchParams::default(), &change).await.is_ok() };
            self.wait_until(&format!("node {machine} has its block disk"), added).await?;
        }
        for machine in &self.machines {
            let look = || async {
                let node = nodes.get(machine).await.ok();
                let status = node.as_ref().and_then(|node| node.status.disk_status.get("block-1"));
                status.is_some_and(|status| status.conditions.condition("Schedulable").status == ConditionStatus::True)
            };
            self.wait_until(&format!("the block disk of {machine} takes replicas"), look).await?;
        }
        Ok(())
    }

    pub(super) async fn upgrade(&mut self) -> Result<(), Failed> {
        let next = self.next.clone().expect("an upgrade has its release");
        let to = next.release();
        let backups = self.api::<Backup>().list(&ListParams::default()).await.map_or(Vec::new(), |list| list.items);
        let unread = backups.iter().filter(|backup| backup.status.volume_name.is_empty()).count();
        self.stage.step(UNREAD, &unread.to_string());
        let applied = || async { apply(&self.client, &next).await.is_ok() };
        self.wait_until(&format!("the manifest of {to} is applied"), applied).await?;
        let settings = self.api::<Setting>();
        let ended =
            || async { settings.get("current-longhorn-version").await.is_ok_and(|setting| setting.value == to.name()) };
        self.wait_until("the upgrade has ended", ended).await?;
        self.build = next;
        Ok(())
    }
}
