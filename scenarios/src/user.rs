//! The client of every scenario: it does what the plan says. It runs in a pod, and speaks to the Kubernetes API, the Longhorn API and the devices of
//! volumes, as a user's programs do.

mod backups;
mod contents;
mod images;
mod nodes;
mod teardown;
mod volumes;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use corral_cluster::cluster::API_SERVICE;
use corral_kube_client::{Api, Client, ClientOptions};
use corral_world::{OWN_FAULT, Oracle, Stage};
use host::time::{Instant, sleep};
use longhorn_api::{Build, ClientBuild, CustomResource, DEFAULT_NAMESPACE};

use crate::catalogue::selection;
use crate::clients::pod::{self, ClientDied, ClientWork};
use crate::fill::fill_store;
use crate::install::{create, install};
use crate::oracles::ClientsAreServed;
use crate::steps::Action;
use crate::tables::{ClusterTable, is_instant};
use crate::user::contents::Contents;
use crate::{file_server, store, upgrade};

/// Longest time until an installed Longhorn is ready, and until what the client asked for has come about.
const LIMIT: Duration = Duration::from_secs(900);
/// How often the client looks while it waits.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The client was not served, or met what it does not expect, and has reported it. The rest of the plan would mean nothing.
#[derive(Clone, Copy, Debug)]
struct Failed;

/// The client.
struct User {
    stage: Arc<Stage>,
    /// Its way to the API server.
    client: Client,
    /// Its own release.
    own: ClientBuild,
    /// Whether its requests take no time of their own.
    is_instant: bool,
    /// The Longhorn that is there.
    build: Build,
    /// The one to come.
    next: Option<Build>,
    machines: Vec<String>,
    /// Volumes, and those of their names before them.
    volumes: BTreeMap<String, Known>,
}

/// What the client knows of a volume.
struct Known {
    contents: Contents,
    is_attached: bool,
    /// It was deleted: one of its name is another volume that holds the same.
    is_another: bool,
    /// How many backups were asked for.
    asked_backups: u32,
    /// Its completed backups, the last at the end, and what each holds.
    backups: Vec<(String, Contents)>,
}

/// The play: everything is installed from outside, the rest is the client's, in its pod.
pub async fn play(stage: Arc<Stage>, cluster: ClusterTable, actions: Vec<Action>) {
    let selection = selection(&stage.arm).expect("checked before the run");
    let has_next = actions.contains(&Action::Upgrade {});
    let (build, next) = if has_next {
        let (from, to) = upgrade::builds(&stage.arm).expect("checked before the run");
        (from, Some(to))
    } else {
        (selection.longhorn().expect("checked before the run"), None)
    };
    let own = selection.client().expect("checked before the run");
    let is_instant = is_instant(&stage.arm, "client-delay").expect("checked before the run");
    let outside =
        Client::new(&stage.cluster().api_address(), ClientOptions::unlimited("kubectl")).expect("an address of ours");
    set_up(&stage, &outside, &cluster, &actions, &build).await;

    let manifest = pod::manifest(&own.image_tag());
    let server = format!("{}:{}", API_SERVICE.0, API_SERVICE.1);
    let clients_stage = stage.clone();
    let done = stage.world().extension(ClientWork::default).hand_over(async move {
        let client = Client::new(&server, ClientOptions::unlimited(pod::CLIENT)).expect("an address of ours");
        let (machines, volumes) = (cluster.workers(), BTreeMap::new());
        let user = User { stage: clients_stage, client, own, is_instant, build, next, machines, volumes };
        user.work(actions, cluster.age).await;
    });
    create(&outside, manifest).await.expect("the client's pod is accepted");
    if done.await.is_err() {
        // Nothing was shown: a plan that takes the client away is not judged by what is left.
        stage.violation(OWN_FAULT, &ClientDied.to_string());
    }
}

/// Longhorn as it is installed, the store and the machines' block devices.
async fn set_up(stage: &Stage, outside: &Client, cluster: &ClusterTable, actions: &[Action], build: &Build) {
    let has_store = !stage.stores().is_empty();
    for object in store::manifests().into_iter().filter(|_| has_store) {
        create(outside, object).await.expect("the store's objects are accepted");
    }
    let has_files = actions.iter().any(Action::needs_files);
    for object in file_server::manifests().into_iter().filter(|_| has_files) {
        create(outside, object).await.expect("the file server's objects are accepted");
    }
    if actions.contains(&Action::AddBlockDisks {}) {
        nodes::put_block_devices(stage, &cluster.workers());
    }
    install(outside, build).await.expect("Longhorn's objects are accepted");
    if has_store {
        create(outside, store::secret()).await.expect("the store's secret is accepted");
    }
    stage.stores().iter().for_each(|buckets| store::set_latency(buckets, cluster.store_latency));
}

impl User {
    async fn work(mut self, actions: Vec<Action>, age: Duration) {
        self.wait_until_longhorn_is_ready().await;
        sleep(age).await;
        let (fillings, actions): (Vec<_>, Vec<_>) = actions.into_iter().partition(Action::fills_the_store);
        for filling in fillings {
            let Action::FillStore { volume, backups, blocks } = filling else { continue };
            fill_store(&self.stage, &volume, backups, blocks).await;
        }
        self.stage.begin_workload();
        for action in actions {
            if self.act(action).await.is_err() {
                // As a test that raised would have ended; the cluster goes on.
                break;
            }
        }
    }

    async fn act(&mut self, action: Action) -> Result<(), Failed> {
        match action {
            // It was done before the workload began.
            Action::FillStore { .. } => Ok(()),
            Action::SetBackupTarget { poll } => self.set_backup_target(poll).await,
            Action::PullBackups {} => self.pull_backups().await,
            Action::AwaitBackups { count } => self.await_backups(count).await,
            Action::BackupstoreCleanup {} => self.teardown().backupstore_cleanup().await,
            Action::SystemBackupsCleanup {} => self.teardown().system_backups_cleanup().await,
            Action::BackupCleanup {} => self.teardown().backup_cleanup().await,
            Action::SetSetting { name, value } => self.set_setting(&name, &value).await,
            Action::AddBlockDisks {} => self.add_block_disks().await,
            Action::TagNode { machine, tag } => self.tag_node(&machine, &tag).await,
            Action::CreateImage { name, mebibytes, copies, tag } => {
                self.create_image(&name, mebibytes, copies, &tag).await
            }
            Action::CreateVolume { name, replicas, data_engine, image } => {
                self.create_volume(&name, replicas, data_engine, &image).await
            }
            Action::AttachVolume { name, machine } => self.attach_volume(&name, &machine).await,
            Action::DetachVolume { name } => self.detach_volume(&name).await,
            Action::WriteVolume { name, blocks } => self.write_volume(&name, blocks).await,
            Action::UseVolumes { lasts } => self.use_volumes(lasts).await,
            Action::AwaitHealthy { name } => self.await_healthy(&name).await,
            Action::BackUpVolume { name } => self.back_up_volume(&name).await,
            Action::PruneBackups { name, after } => {
                self.prune_backups(&name, after);
                Ok(())
            }
            Action::RestoreVolume { name, from } => self.restore_volume(&name, &from).await,
            Action::CheckVolume { name } => self.check_volume(&name).await,
            Action::DeleteVolume { name } => self.delete_volume(&name).await,
            Action::SystemBackup { name } => self.back_up_system(&name).await,
            Action::SystemRestore { name } => self.restore_system(&name).await,
            Action::AwaitNode { machine, ready } => self.await_node(&machine, ready).await,
            Action::Upgrade {} => self.upgrade().await,
            Action::Wait { lasts } => {
                sleep(lasts).await;
                Ok(())
            }
        }
    }

    /// What is known of a volume.
    fn volume(&mut self, name: &str) -> &mut Known {
        let unknown = || Known {
            contents: Contents::new(name),
            is_attached: false,
            is_another: false,
            asked_backups: 0,
            backups: Vec::new(),
        };
        self.volumes.entry(name.to_owned()).or_insert_with(unknown)
    }

    /// Longhorn's objects of a kind.
    fn api<K: CustomResource>(&self) -> Api<K> {
        Api::namespaced(&self.client, DEFAULT_NAMESPACE)
    }

    /// Looks again and again, until there is something to see.
    ///
    /// # Errors
    /// There is nothing within [`LIMIT`]; that is a violation of [`ClientsAreServed`].
    async fn wait_for<T, F>(&self, what: &str, look: impl Fn() -> F + Send) -> Result<T, Failed>
    where
        T: Send,
        F: Future<Output = Option<T>> + Send,
    {
        self.wait_within(LIMIT, what, look).await
    }

    /// Looks again and again, until there is something to see.
    ///
    /// # Errors
    /// There is nothing in time; that is a violation of [`ClientsAreServed`].
    async fn wait_within<T, F>(&self, limit: Duration, what: &str, look: impl Fn() -> F + Send) -> Result<T, Failed>
    where
        T: Send,
        F: Future<Output = Option<T>> + Send,
    {
        let began = Instant::now();
        loop {
            if let Some(seen) = look().await {
                self.stage.step(what, "yes");
                return Ok(seen);
            }
            if began.elapsed() > limit {
                self.stage.step(what, "not in time");
                let detail = format!("not within {} s: {what}", limit.as_secs());
                self.stage.violation(ClientsAreServed.name(), &detail);
                return Err(Failed);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Looks again and again, until it is so.
    async fn wait_until<F>(&self, what: &str, look: impl Fn() -> F + Send + Sync) -> Result<(), Failed>
    where
        F: Future<Output = bool> + Send,
    {
        let look = || async { look().await.then_some(()) };
        self.wait_for(what, look).await
    }
}
