//! The play: install one release and a store, then do what the plan says. The client speaks to the Kubernetes API only.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::UNREAD;
use super::plan::{Action, builds, read};
use crate::clients::pod::{self, ClientDied, ClientWork};
use crate::fill::fill_store;
use crate::install::{apply, create, install};
use crate::store;
use corral_cluster::cluster::API_SERVICE;
use corral_kube_client::{Api, Client, ClientOptions, ListParams};
use corral_world::Stage;
use host::time::{Instant, sleep};
use longhorn_api::{Backup, Build, CustomResource, DEFAULT_NAMESPACE, Node, Setting};

/// Longest time until an installed Longhorn is ready, and until what the client asked for has come about.
const LIMIT: Duration = Duration::from_secs(600);
/// Longest time of an upgrade: managers wait 600 s for those of the other release, whose pods have a minute to go, and one leads.
const UPGRADE_LIMIT: Duration = Duration::from_secs(720);
/// How often the client looks while it waits.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What did not come about in time; the rest of the plan would mean nothing.
struct NotInTime;

/// The play: everything is installed from outside, the rest is the client's, in a pod of its own.
pub async fn play(stage: Arc<Stage>) {
    let (from, to) = builds(&stage.arm).expect("checked before the run");
    let (table, actions) = read(&stage.plan).expect("checked before the run");
    let outside =
        Client::new(&stage.cluster().api_address(), ClientOptions::unlimited("kubectl")).expect("an address of ours");
    for object in store::manifests() {
        create(&outside, object).await.expect("the store's objects are accepted");
    }
    install(&outside, &from).await.expect("Longhorn's objects are accepted");
    create(&outside, store::secret()).await.expect("the store's secret is accepted");
    let server = format!("{}:{}", API_SERVICE.0, API_SERVICE.1);
    let player_stage = stage.clone();
    let done = stage.world().extension(ClientWork::default).hand_over(async move {
        let client = Client::new(&server, ClientOptions::unlimited("test-client")).expect("an address of ours");
        Player { stage: player_stage, client, from, to, machines: table.workers() }.work(actions).await;
    });
    create(&outside, pod::manifest("tolerant")).await.expect("the client's pod is accepted");
    if done.await.is_err() {
        stage.step("the test client", &ClientDied.to_string());
    }
}

struct Player {
    stage: Arc<Stage>,
    client: Client,
    from: Build,
    to: Build,
    machines: Vec<String>,
}

impl Player {
    async fn work(&self, actions: Vec<Action>) {
        if self.wait_until("Longhorn is ready", LIMIT, || self.is_ready()).await.is_err() {
            panic!("Longhorn is not ready within {} s", LIMIT.as_secs());
        }
        let mut actions = actions.into_iter().peekable();
        while let Some(Action::FillStore { volume, backups }) =
            actions.next_if(|action| matches!(action, Action::FillStore { .. }))
        {
            fill_store(&self.stage, &volume, backups, 1).await;
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
        limit: Duration,
        look: impl Fn() -> F + Send,
    ) -> Result<(), NotInTime> {
        let began = Instant::now();
        while !look().await {
            if began.elapsed() > limit {
                self.stage.step(what, "not in time");
                return Err(NotInTime);
            }
            sleep(LOOK_INTERVAL).await;
        }
        self.stage.step(what, "yes");
        Ok(())
    }

    /// Whether every machine is a node of Longhorn that is ready.
    async fn is_ready(&self) -> bool {
        let nodes = self.api::<Node>();
        for machine in &self.machines {
            let node = nodes.get(machine).await.ok();
            if node.is_none_or(|node| node.status.conditions.condition("Ready").status.as_str() != "True") {
                return false;
            }
        }
        true
    }

    async fn act(&self, action: Action) -> Result<(), NotInTime> {
        match action {
            Action::FillStore { .. } => unreachable!("checked before the run: it comes first"),
            Action::SetBackupTarget {} => {
                let set = || async { store::set_backup_target(&self.client, self.from.release()).await.is_ok() };
                self.wait_until("the backup target is set", LIMIT, set).await
            }
            Action::AwaitBackups { count } => {
                let look = || async { self.backups().await.is_some_and(|backups| backups.len() >= count) };
                self.wait_until(&format!("{count} Backups are there"), LIMIT, look).await
            }
            Action::Upgrade {} => self.upgrade().await,
            Action::Wait { lasts } => {
                sleep(lasts).await;
                Ok(())
            }
        }
    }

    async fn backups(&self) -> Option<Vec<Backup>> {
        self.api::<Backup>().list(&ListParams::default()).await.ok().map(|list| list.items)
    }

    async fn upgrade(&self) -> Result<(), NotInTime> {
        let backups = self.backups().await.unwrap_or_default();
        let unread = backups.iter().filter(|backup| backup.status.volume_name.is_empty()).count();
        self.stage.step(UNREAD, &unread.to_string());
        let applied = || async { apply(&self.client, &self.to).await.is_ok() };
        self.wait_until(&format!("the manifest of {} is applied", self.to.release()), LIMIT, applied).await?;
        let settings = self.api::<Setting>();
        let ended = || async {
            let version = settings.get("current-longhorn-version").await;
            version.is_ok_and(|setting| setting.value == self.to.release().name())
        };
        self.wait_until("the upgrade has ended", UPGRADE_LIMIT, ended).await
    }
}
