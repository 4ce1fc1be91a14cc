//! The play: install Longhorn, then do what the plan says. The client speaks to the Kubernetes API only.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::plan::{Action, read};
use crate::catalogue::selection;
use crate::clients::pod::{self, ClientDied, ClientWork};
use crate::install::{create, install};
use corral_cluster::cluster::API_SERVICE;
use corral_kube_client::{Api, Client, ClientOptions, DeleteParams, Patch, PatchParams};
use corral_world::Stage;
use host::time::{Instant, sleep};
use longhorn_api::{CustomResource, DEFAULT_NAMESPACE, Node, Setting, Volume, VolumeAttachment};
use serde_json::json;

/// Longest time until an installed Longhorn is ready, and until what the client asked for has come about.
const LIMIT: Duration = Duration::from_secs(900);
/// How often the client looks while it waits.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The block device of each machine.
const DEVICE: &str = "/dev/longhorn-block";
const DEVICE_BYTES: u64 = 16 << 30;
const VOLUME_BYTES: u64 = 64 << 20;
/// The client's ticket for its volumes.
const TICKET: &str = "test-client";

/// What did not come about in time; the rest of the plan would mean nothing.
struct NotInTime;

/// The play: everything is installed from outside, the rest is the client's, in a pod on the first machine.
pub async fn play(stage: Arc<Stage>) {
    let build = selection(&stage.arm).expect("checked before the run").longhorn().expect("checked before the run");
    let (table, actions) = read(&stage.plan).expect("checked before the run");
    for worker in table.workers() {
        let disks = stage.cluster().disks(&worker).expect("a worker of ours");
        let (_, root) = disks.iter().find(|(path, _)| path == "/").expect("every machine has a root");
        root.put_hole(DEVICE, DEVICE_BYTES).expect("an empty disk");
    }
    let outside =
        Client::new(&stage.cluster().api_address(), ClientOptions::unlimited("kubectl")).expect("an address of ours");
    install(&outside, &build).await.expect("Longhorn's objects are accepted");
    let server = format!("{}:{}", API_SERVICE.0, API_SERVICE.1);
    let player_stage = stage.clone();
    let done = stage.world().extension(ClientWork::default).hand_over(async move {
        let client = Client::new(&server, ClientOptions::unlimited("test-client")).expect("an address of ours");
        let player = Player { stage: player_stage, client, machines: table.workers() };
        player.work(actions).await;
    });
    let mut manifest = pod::manifest("tolerant");
    manifest["spec"]["nodeName"] = "worker-1".into();
    create(&outside, manifest).await.expect("the client's pod is accepted");
    if done.await.is_err() {
        stage.step("the test client", &ClientDied.to_string());
    }
}

struct Player {
    stage: Arc<Stage>,
    client: Client,
    machines: Vec<String>,
}

impl Player {
    async fn work(&self, actions: Vec<Action>) {
        let ready = || async {
            let nodes = self.api::<Node>();
            for machine in &self.machines {
                let node = nodes.get(machine).await.ok();
                if !node.is_some_and(|node| holds(&node, "Ready")) {
                    return false;
                }
            }
            true
        };
        if self.wait_until("Longhorn is ready", ready).await.is_err() {
            panic!("Longhorn is not ready within {} s", LIMIT.as_secs());
        }
        self.stage.begin_workload();
        for action in actions {
            if self.act(action).await.is_err() {
                break;
            }
        }
    }

    fn api<K: CustomResource>(&self) -> Api<K> {
        Api::namespaced(&self.client, DEFAULT_NAMESPACE)
    }

    async fn wait_until<F: Future<Output = bool> + Send>(
        &self,
        what: &str,
        look: impl Fn() -> F + Send,
    ) -> Result<(), NotInTime> {
        let began = Instant::now();
        while !look().await {
            if began.elapsed() > LIMIT {
                self.stage.step(what, "not in time");
                return Err(NotInTime);
            }
            sleep(LOOK_INTERVAL).await;
        }
        self.stage.step(what, "yes");
        Ok(())
    }

    async fn act(&self, action: Action) -> Result<(), NotInTime> {
        match action {
            Action::SetSetting { name, value } => {
                let settings = self.api::<Setting>();
                let change = Patch::Merge(json!({ "value": value }));
                let set = || async { settings.patch(&name, &PatchParams::default(), &change).await.is_ok() };
                self.wait_until(&format!("setting {name} is {value}"), set).await
            }
            Action::AddBlockDisks {} => self.add_block_disks().await,
            Action::CreateVolume { name, replicas, machine } => self.create_volume(&name, replicas, &machine).await,
            Action::DeleteVolume { name } => self.delete_volume(&name).await,
            Action::AwaitNode { machine, ready } => {
                let nodes = self.api::<Node>();
                let look = || async { nodes.get(&machine).await.is_ok_and(|node| holds(&node, "Ready") == ready) };
                let state = if ready { "ready" } else { "not ready" };
                self.wait_until(&format!("node {machine} is {state}"), look).await
            }
            Action::Wait { lasts } => {
                sleep(lasts).await;
                Ok(())
            }
        }
    }

    async fn add_block_disks(&self) -> Result<(), NotInTime> {
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
                status.is_some_and(|status| status.conditions.condition("Schedulable").status.as_str() == "True")
            };
            self.wait_until(&format!("the block disk of {machine} takes replicas"), look).await?;
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
        let volumes = self.api::<Volume>();
        let created = || async { volumes.create(&volume).await.is_ok() || volumes.get(name).await.is_ok() };
        self.wait_until(&format!("volume {name} exists"), created).await?;
        let state = |wanted: &'static str| {
            let volumes = volumes.clone();
            move || {
                let volumes = volumes.clone();
                async move { volumes.get(name).await.is_ok_and(|volume| volume.status.state.as_str() == wanted) }
            }
        };
        self.wait_until(&format!("volume {name} is detached"), state("detached")).await?;
        let ticket = json!({ "id": TICKET, "type": "longhorn-api", "nodeID": machine, "parameters": { "disableFrontend": "false" } });
        let change = Patch::Merge(json!({ "spec": { "attachmentTickets": { TICKET: ticket } } }));
        let attachments = self.api::<VolumeAttachment>();
        let asked = || async { attachments.patch(name, &PatchParams::default(), &change).await.is_ok() };
        self.wait_until(&format!("volume {name} is to be attached"), asked).await?;
        self.wait_until(&format!("volume {name} is attached"), state("attached")).await
    }

    async fn delete_volume(&self, name: &str) -> Result<(), NotInTime> {
        let volumes = self.api::<Volume>();
        let asked = || async {
            let answer = volumes.delete(name, &DeleteParams::default()).await;
            answer.is_ok() || volumes.get(name).await.is_err_and(|error| error.is_not_found())
        };
        self.wait_until(&format!("volume {name} is to be deleted"), asked).await?;
        let gone = || async { volumes.get(name).await.is_err_and(|error| error.is_not_found()) };
        self.wait_until(&format!("volume {name} is gone"), gone).await
    }
}

fn holds(node: &Node, condition: &str) -> bool {
    node.status.conditions.condition(condition).status.as_str() == "True"
}
