//! The play: install Longhorn and a store, then do what the plan says.

use std::sync::Arc;
use std::time::Duration;

use super::plan::{Action, duration_of, read};
use super::teardown::{Failed, Interpreter, Teardown};
use crate::catalogue::selection;
use crate::clients::LonghornClient;
use crate::clients::pod::{self, ClientDied, ClientWork};
use crate::fill::fill_store;
use crate::install::{create, install};
use crate::store;
use corral_cluster::cluster::API_SERVICE;
use corral_kube_client::{Api, Client, ClientOptions, ListParams};
use corral_world::{Arm, OWN_FAULT, Stage};
use host::time::{Instant, sleep};
use longhorn_api::{Backup, BackupVolume, Build, ClientBuild, DEFAULT_NAMESPACE};

/// Longest time until an installed Longhorn answers, and until what the store holds has its resources.
const READY_LIMIT: Duration = Duration::from_secs(600);
/// How often the client looks while it waits.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Longhorn and the test client that an arm asks for.
pub fn builds(arm: &Arm) -> (Build, ClientBuild) {
    let selection = selection(arm).expect("checked before the run");
    (selection.longhorn().expect("checked"), selection.client().expect("checked"))
}

/// The play: everything is installed from outside, the rest is the client's, in a pod of its own.
pub async fn play(stage: Arc<Stage>) {
    let (build, client_build) = builds(&stage.arm);
    let (table, actions) = read(&stage.plan).expect("checked before the run");
    let outside =
        Client::new(&stage.cluster().api_address(), ClientOptions::unlimited("kubectl")).expect("an address of ours");
    for object in store::manifests() {
        create(&outside, object).await.expect("the store's objects are accepted");
    }
    install(&outside, &build).await.expect("Longhorn's objects are accepted");
    create(&outside, store::secret()).await.expect("the store's secret is accepted");
    stage.stores().iter().for_each(|store| store::set_latency(store, table.store_latency));

    let instant_client = duration_of(&stage.arm, "client-delay").expect("checked before the run").is_some();
    let tag = client_build.image_tag();
    let server = format!("{}:{}", API_SERVICE.0, API_SERVICE.1);
    let player_stage = stage.clone();
    let done = stage.world().extension(ClientWork::default).hand_over(async move {
        let client = Client::new(&server, ClientOptions::unlimited(pod::CLIENT)).expect("an address of ours");
        Player { stage: player_stage, client, build, client_build, instant_client }.work(actions, table.age).await;
    });
    create(&outside, pod::manifest(&tag)).await.expect("the client's pod is accepted");
    if done.await.is_err() {
        // Nothing was shown: a plan that takes the client away is not judged by what is left.
        stage.violation(OWN_FAULT, &ClientDied.to_string());
    }
}

struct Player {
    stage: Arc<Stage>,
    client: Client,
    build: Build,
    client_build: ClientBuild,
    instant_client: bool,
}

impl Player {
    async fn work(&self, actions: Vec<Action>, age: Duration) {
        self.wait_until_longhorn_is_ready().await;
        sleep(age).await;
        let mut actions = actions.into_iter().peekable();
        while let Some(Action::FillStore { volume, backups, blocks }) =
            actions.next_if(|action| matches!(action, Action::FillStore { .. }))
        {
            fill_store(&self.stage, &volume, backups, blocks).await;
        }
        self.stage.begin_workload();
        for action in actions {
            if self.act(action).await.is_err() {
                // The test has failed, as a fixture that raised would have; the cluster goes on.
                break;
            }
        }
    }

    /// A set-up that does not come up is a panic of ours, and reported as such.
    async fn wait_until_longhorn_is_ready(&self) {
        let longhorn = self.longhorn();
        let machines = self.stage.cluster().worker_names().count();
        self.wait_until("Longhorn is ready", || async {
            longhorn.list("nodes").await.is_ok_and(|nodes| {
                let ready = |node: &&crate::clients::Item| node.value["conditions"]["Ready"]["status"] == "True";
                nodes.iter().filter(ready).count() == machines
            })
        })
        .await;
    }

    fn longhorn(&self) -> LonghornClient {
        LonghornClient::new(&format!("longhorn-backend.{DEFAULT_NAMESPACE}.svc:9500"))
    }

    fn backups(&self) -> Api<Backup> {
        Api::namespaced(&self.client, DEFAULT_NAMESPACE)
    }

    async fn wait_until<F: Future<Output = bool> + Send>(&self, what: &str, look: impl Fn() -> F + Send) {
        let began = Instant::now();
        while !look().await {
            assert!(began.elapsed() < READY_LIMIT, "{what}: not within {} s", READY_LIMIT.as_secs());
            sleep(LOOK_INTERVAL).await;
        }
        self.stage.step(what, "yes");
    }

    fn teardown(&self) -> Teardown {
        Teardown {
            stage: self.stage.clone(),
            longhorn: self.longhorn(),
            backups: self.backups(),
            build: self.client_build.clone(),
            interpreter: Interpreter::new(self.stage.stream("client"), self.instant_client),
        }
    }

    async fn act(&self, action: Action) -> Result<(), Failed> {
        match action {
            Action::FillStore { .. } => unreachable!("a plan fills the store before anything else"),
            Action::PullBackups {} => {
                self.pull_backups().await;
                Ok(())
            }
            Action::BackupstoreCleanup {} => self.teardown().backupstore_cleanup().await,
            Action::SystemBackupsCleanup {} => self.teardown().system_backups_cleanup().await,
            Action::BackupCleanup {} => self.teardown().backup_cleanup().await,
            Action::Wait { lasts } => {
                sleep(lasts).await;
                Ok(())
            }
        }
    }

    /// Points Longhorn at the store as a user of this release does, and asks for synchronisations until everything has its resource.
    async fn pull_backups(&self) {
        self.wait_until("the backup target is set", || async {
            store::set_backup_target(&self.client, self.build.release()).await.is_ok()
        })
        .await;
        let wanted = store::contents(&self.stage.stores()[0]);
        let backups = self.backups();
        let volumes: Api<BackupVolume> = Api::namespaced(&self.client, DEFAULT_NAMESPACE);
        self.wait_until("all backups are pulled", || async {
            let _ = store::synchronise(&self.client).await;
            let pulled = backups.list(&ListParams::default()).await.map_or(0, |list| {
                list.items.iter().filter(|backup| backup.status.state.as_str() == "Completed").count()
            });
            let known = volumes.list(&ListParams::default()).await.map_or(0, |list| list.items.len());
            pulled == wanted.backups && known == wanted.volumes
        })
        .await;
    }
}
