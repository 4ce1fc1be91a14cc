//! The client of a scenario: what it does whatever the plan says. It runs in a pod, and speaks to the Kubernetes API.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use corral_cluster::cluster::API_SERVICE;
use corral_kube_client::{Api, Client, ClientOptions, Patch, PatchParams};
use corral_world::{Oracle, Stage};
use host::time::{Instant, sleep};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::{CustomResource, DEFAULT_NAMESPACE, Node, Setting};
use serde_json::{Value, json};

use crate::clients::pod::{ClientDied, ClientWork};
use crate::install::create;
use crate::oracles::ClientsAreServed;

/// Longest time until an installed Longhorn is ready, and until what the client asked for has come about.
pub const LIMIT: Duration = Duration::from_secs(900);
/// How often the client looks while it waits.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What did not come about in time; the rest of the plan would mean nothing.
#[derive(Clone, Copy, Debug)]
pub struct NotInTime;

/// The client.
#[derive(Clone)]
pub struct Player {
    /// What it plays on.
    pub stage: Arc<Stage>,
    /// Its way to the API server.
    pub client: Client,
}

/// Who installs things before the client begins: nobody's pod.
pub fn outside(stage: &Stage) -> Client {
    Client::new(&stage.cluster().api_address(), ClientOptions::unlimited("kubectl")).expect("an address of ours")
}

/// Lets the client work, in the pod of this manifest, until it is done.
pub async fn play<F: Future<Output = ()> + Send>(
    stage: Arc<Stage>,
    manifest: Value,
    work: impl FnOnce(Player) -> F + Send + 'static,
) {
    let server = format!("{}:{}", API_SERVICE.0, API_SERVICE.1);
    let player_stage = stage.clone();
    let done = stage.world().extension(ClientWork::default).hand_over(async move {
        let client = Client::new(&server, ClientOptions::unlimited("test-client")).expect("an address of ours");
        work(Player { stage: player_stage, client }).await;
    });
    create(&outside(&stage), manifest).await.expect("the client's pod is accepted");
    if done.await.is_err() {
        stage.step("the test client", &ClientDied.to_string());
    }
}

impl Player {
    /// Longhorn's objects of a kind.
    pub fn api<K: CustomResource>(&self) -> Api<K> {
        Api::namespaced(&self.client, DEFAULT_NAMESPACE)
    }

    /// Looks again and again, until it is so.
    ///
    /// # Errors
    /// It is not so within [`LIMIT`]; that is a violation of [`ClientsAreServed`].
    pub async fn wait_until<F: Future<Output = bool> + Send>(
        &self,
        what: &str,
        look: impl Fn() -> F + Send,
    ) -> Result<(), NotInTime> {
        let began = Instant::now();
        while !look().await {
            if began.elapsed() > LIMIT {
                self.stage.step(what, "not in time");
                let detail = format!("not within {} s: {what}", LIMIT.as_secs());
                self.stage.violation(ClientsAreServed.name(), &detail);
                return Err(NotInTime);
            }
            sleep(LOOK_INTERVAL).await;
        }
        self.stage.step(what, "yes");
        Ok(())
    }

    /// Waits until every machine is a node of Longhorn that is ready.
    ///
    /// # Panics
    /// It does not come about: a set-up of ours is wrong.
    pub async fn wait_until_ready(&self, machines: &[String]) {
        let look = || async {
            let nodes = self.api::<Node>();
            for machine in machines {
                if !nodes.get(machine).await.is_ok_and(|node| holds(&node, "Ready")) {
                    return false;
                }
            }
            true
        };
        if self.wait_until("Longhorn is ready", look).await.is_err() {
            panic!("Longhorn is not ready within {} s", LIMIT.as_secs());
        }
    }

    /// Changes a setting, again and again until Longhorn takes the value.
    ///
    /// # Errors
    /// It does not.
    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), NotInTime> {
        let settings = self.api::<Setting>();
        let change = Patch::Merge(json!({ "value": value }));
        let set = || async { settings.patch(name, &PatchParams::default(), &change).await.is_ok() };
        self.wait_until(&format!("setting {name} is {value}"), set).await
    }
}

/// Whether a condition of a node is true.
pub fn holds(node: &Node, condition: &str) -> bool {
    node.status.conditions.condition(condition).status == ConditionStatus::True
}
