//! The recorded flows, played again: a client does to the whole simulated Longhorn what the recording's client did to the real one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_apiserver::{Commit, Store, WebhookScheme};
use corral_cluster::{ClusterSpec, WorkerSpec};
use corral_core::journal::Kept;
use corral_core::world;
use corral_kube_client::{Api, Client, ClientOptions, DeleteParams, ListParams};
use corral_object_store::BucketStore;
use corral_scenarios::clients::pod::{self, ClientWork};
use corral_scenarios::install::{create, install};
use corral_scenarios::{images, store};
use corral_world::{Arm, Ground, Oracle, Plan, Play, RunOptions, Scenario, Stage, run};
use host::time::{Instant, sleep};
use http::{Method, Request};
use k8s_openapi::api::core::v1::Pod;
use longhorn_api::kinds::backup::BackupState;
use longhorn_api::kinds::system_backup::SystemBackupState;
use longhorn_api::{
    Backup, BackupVolume, Build, CustomResource, DEFAULT_NAMESPACE, InstanceManager, Node, Release, Snapshot,
    SystemBackup, Volume,
};
use longhorn_engine::{BlockDevice, Device};
use serde_json::{Value, json};

use super::trace::{Recorder, Write, writes};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(300);
/// Between two looks of the client, as in the recording.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Until what a flow has set off is over.
const AFTERMATH: Duration = Duration::from_secs(20);
/// From the deletion of a pod until the recording's kubelet saw it.
const KUBELET_INTERVAL: Duration = Duration::from_millis(180);
/// From the end of the wait for a snapshot to the request for its backup, in the recording.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(400);
/// What the recording's client wrote before each snapshot.
const WRITTEN_BYTES: usize = 3 << 20;

/// What was committed in each flow.
type Flows = Arc<Mutex<BTreeMap<&'static str, Vec<Commit>>>>;

/// A run: the commits of each flow, and the journal that says whose they are.
pub struct Played {
    flows: BTreeMap<&'static str, Vec<Commit>>,
    journal: Kept,
}

impl Played {
    /// The writes of a flow.
    pub fn writes(&self, flow: &str) -> Vec<Write> {
        let commits = self.flows.get(flow).unwrap_or_else(|| panic!("{flow} was not played"));
        let kinds: Vec<&str> = commits.iter().filter_map(|commit| commit.object().value["kind"].as_str()).collect();
        writes(commits, &self.journal, &kinds)
    }
}

/// The flows of the first recording, in its order.
pub fn first(seed: u64) -> Played {
    play(seed, |session| Box::pin(session.first()))
}

/// The flow of a system backup, which was recorded in a cluster of its own.
pub fn system_backup(seed: u64) -> Played {
    play(seed, |session| Box::pin(session.system_backup()))
}

type Part = fn(Session) -> Play;

fn play(seed: u64, part: Part) -> Played {
    let flows = Flows::default();
    let scenario = Arc::new(Recorded { part, flows: flows.clone() });
    let options = RunOptions { keep_journal: true, ..RunOptions::default() };
    let verdict = run(scenario, &Arm::default(), seed, None, options).expect("a plan of ours");
    assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
    let flows = std::mem::take(&mut *flows.lock().expect("nobody panicked"));
    Played { flows, journal: verdict.journal.expect("it was asked for") }
}

struct Recorded {
    part: Part,
    flows: Flows,
}

impl Scenario for Recorded {
    fn name(&self) -> &'static str {
        "recorded"
    }
    fn about(&self) -> &'static str {
        "plays recorded flows again"
    }
    fn expand(&self, _seed: u64, _arm: &Arm) -> Result<Plan, String> {
        Ok(Plan::default())
    }
    fn check(&self, _plan: &Plan) -> Result<(), String> {
        Ok(())
    }
    fn ground(&self, _plan: &Plan, _arm: &Arm) -> Ground {
        let world = world();
        let buckets = BucketStore::new();
        buckets.create_bucket(store::BUCKET);
        let images = images::longhorn(&world, &Default::default(), None, None)
            .with(pod::REPOSITORY, world.extension(ClientWork::default).image())
            .with(store::REPOSITORY, store::image(buckets.clone()));
        let mut cluster = ClusterSpec::workers(0).images(images);
        cluster.workers = vec![WorkerSpec::named(pod::MACHINE)];
        cluster.api_server.webhook_scheme = WebhookScheme::Http;
        Ground { cluster, stores: vec![buckets] }
    }
    fn machines(&self, _plan: &Plan) -> Vec<String> {
        vec![pod::MACHINE.to_owned()]
    }
    fn oracles(&self) -> Vec<Box<dyn Oracle>> {
        Vec::new()
    }
    fn play(&self, stage: Arc<Stage>) -> Play {
        let (part, flows) = (self.part, self.flows.clone());
        Box::pin(async move {
            let outside = Client::new(&stage.cluster().api_address(), ClientOptions::unlimited("kubectl")).unwrap();
            let recorder = Recorder::new(stage.cluster().store());
            for object in store::manifests() {
                create(&outside, object).await.unwrap();
            }
            install(&outside, &Build::published(Release::V1_9_2)).await.unwrap();
            create(&outside, store::secret()).await.unwrap();
            let session = Session {
                store: stage.cluster().store().clone(),
                address: stage.cluster().api_address(),
                client: Client::new(&stage.cluster().api_address(), ClientOptions::unlimited(pod::CLIENT)).unwrap(),
                flows: flows.clone(),
            };
            let work = async move {
                session.until_ready().await;
                flows.lock().unwrap().insert("install", recorder.commits());
                drop(recorder);
                part(session).await;
            };
            let done = stage.world().extension(ClientWork::default).hand_over(work);
            create(&outside, pod::manifest("v1.9.2")).await.unwrap();
            done.await.expect("the client ends");
        })
    }
}

/// The client.
struct Session {
    store: Arc<Store>,
    address: String,
    client: Client,
    flows: Flows,
}

impl Session {
    async fn first(self) {
        self.record("idle", sleep(Duration::from_secs(96))).await;
        self.record("volume", self.volume()).await;
        self.record("backup-target", self.backup_target()).await;
        self.write(0).await;
        self.record("backup-error", self.backup_error()).await;
        self.write(1).await;
        self.record("backup", self.back_up(&[7])).await;
        self.record("backup5", self.back_up(&[2, 3, 4, 5, 6])).await;
        self.record("idle-attached", sleep(Duration::from_secs(180))).await;
        self.detach("bv").await;
        sleep(AFTERMATH).await;
        self.record("instance-manager-delete", self.delete_instance_manager()).await;
        // Before the engine's monitor has looked for the first time.
        self.attach("bv", false).await;
        self.record("instance-manager-delete-attached", self.delete_instance_manager()).await;
    }

    async fn system_backup(self) {
        self.backup_target().await;
        self.until_healthy("bv").await;
        sleep(AFTERMATH).await;
        self.write(0).await;
        self.record("systembackup", async {
            let mut wanted = SystemBackup::default();
            wanted.metadata.name = Some("sb1".into());
            wanted.spec.volume_backup_policy = serde_json::from_value("always".into()).unwrap();
            let backups: Api<SystemBackup> = self.api();
            backups.create(&wanted).await.unwrap();
            let is_ready = || async { backups.get("sb1").await.unwrap().status.state == SystemBackupState::Ready };
            self.until("the system backup is ready", is_ready).await;
            sleep(Duration::from_secs(6)).await;
            backups.delete("sb1", &DeleteParams::default()).await.unwrap();
            self.until("it is gone", || async { backups.get_opt("sb1").await.unwrap().is_none() }).await;
            sleep(Duration::from_secs(2)).await;
        })
        .await;
    }

    /// Plays a flow, and keeps what was committed meanwhile.
    async fn record(&self, flow: &'static str, play: impl Future<Output = ()>) {
        let recorder = Recorder::new(&self.store);
        play.await;
        self.flows.lock().unwrap().insert(flow, recorder.commits());
    }

    fn api<K: CustomResource>(&self) -> Api<K> {
        Api::namespaced(&self.client, DEFAULT_NAMESPACE)
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, look: impl Fn() -> F) {
        let began = Instant::now();
        while !look().await {
            assert!(began.elapsed() < LIMIT, "never: {what} ({})", self.address);
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn until_ready(&self) {
        let (nodes, managers): (Api<Node>, Api<InstanceManager>) = (self.api(), self.api());
        self.until("the disk is ready and the instance manager runs", || async {
            // Right after the installation the kinds may not be served yet.
            let Ok(found) = nodes.list(&ListParams::default()).await else { return false };
            let Ok(running) = managers.list(&ListParams::default()).await else { return false };
            let disks = found.items.iter().flat_map(|node| node.status.disk_status.values());
            disks.count() == 1 && running.items.iter().any(|manager| manager.status.current_state.as_str() == "running")
        })
        .await;
        sleep(Duration::from_secs(40)).await;
    }

    async fn request(&self, method: Method, path: &str, body: Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://longhorn-backend.{DEFAULT_NAMESPACE}.svc:9500/v1/{path}"))
            .header(http::header::CONTENT_TYPE, "application/json");
        let request = request.body(host::http::full(body.to_string())).unwrap();
        let response = host::http::Client::new().send(request).await.unwrap();
        let status = response.status();
        let answer = host::http::collect(response.into_body(), 1 << 20).await.unwrap();
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&answer));
    }

    async fn create_volume(&self, name: &str) {
        let body = json!({
            "name": name, "size": (64 << 20).to_string(), "numberOfReplicas": 1, "frontend": "blockdev",
            "accessMode": "rwo", "dataEngine": "v1"
        });
        self.request(Method::POST, "volumes", body).await;
        self.until_state(name, "detached").await;
    }

    async fn attach(&self, name: &str, disable_frontend: bool) {
        let body = json!({ "hostId": pod::MACHINE, "disableFrontend": disable_frontend, "attachmentID": "" });
        self.request(Method::POST, &format!("volumes/{name}?action=attach"), body).await;
        self.until_state(name, "attached").await;
    }

    async fn detach(&self, name: &str) {
        let body = json!({ "attachmentID": "" });
        self.request(Method::POST, &format!("volumes/{name}?action=detach"), body).await;
        self.until_state(name, "detached").await;
    }

    async fn until_state(&self, name: &str, state: &str) {
        let volumes: Api<Volume> = self.api();
        let is_so = || async { volumes.get(name).await.is_ok_and(|volume| volume.status.state.as_str() == state) };
        self.until(&format!("{name} is {state}"), is_so).await;
    }

    async fn until_healthy(&self, name: &str) {
        let volumes: Api<Volume> = self.api();
        let is_so = || async { volumes.get(name).await.unwrap().status.robustness.as_str() == "healthy" };
        self.until(&format!("{name} is healthy"), is_so).await;
    }

    async fn volume(&self) {
        self.create_volume("v1").await;
        sleep(Duration::from_secs(4)).await;
        self.attach("v1", true).await;
        sleep(Duration::from_secs(60)).await;
        self.detach("v1").await;
        sleep(Duration::from_secs(3)).await;
        self.request(Method::DELETE, "volumes/v1", Value::Null).await;
        let volumes: Api<Volume> = self.api();
        self.until("v1 is gone", || async { volumes.get_opt("v1").await.unwrap().is_none() }).await;
        sleep(AFTERMATH).await;
    }

    async fn backup_target(&self) {
        store::set_backup_target(&self.client, Release::V1_9_2, store::POLL_INTERVAL).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        self.create_volume("bv").await;
        self.attach("bv", false).await;
    }

    async fn write(&self, place: u64) {
        let device = Device::open("bv").await.unwrap();
        for part in 0..3 {
            let data = vec![1 + place as u8; WRITTEN_BYTES / 3];
            device.write_at((place * 3 + part) * (WRITTEN_BYTES as u64 / 3), data.into()).await.unwrap();
        }
    }

    async fn snapshot(&self, name: &str) {
        let wanted = json!({
            "apiVersion": "longhorn.io/v1beta2", "kind": "Snapshot",
            "metadata": { "name": name, "namespace": DEFAULT_NAMESPACE },
            "spec": { "volume": "bv", "createSnapshot": true }
        });
        create(&self.client, wanted).await.unwrap();
        let snapshots: Api<Snapshot> = self.api();
        self.until("the snapshot can be used", || async { snapshots.get(name).await.unwrap().status.ready_to_use })
            .await;
        sleep(BETWEEN_REQUESTS).await;
    }

    async fn backup(&self, name: &str, snapshot: &str, labels: Value) -> BackupState {
        let mut wanted = json!({
            "apiVersion": "longhorn.io/v1beta2", "kind": "Backup",
            "metadata": { "name": name, "namespace": DEFAULT_NAMESPACE, "labels": { "backup-volume": "bv" } },
            "spec": { "snapshotName": snapshot }
        });
        if !labels.is_null() {
            wanted["spec"]["labels"] = labels;
        }
        create(&self.client, wanted).await.unwrap();
        let backups: Api<Backup> = self.api();
        let state = || async { backups.get(name).await.unwrap().status.state };
        let is_over = || async { matches!(state().await, BackupState::Completed | BackupState::Error) };
        self.until(&format!("{name} has ended"), is_over).await;
        state().await
    }

    async fn backup_error(&self) {
        self.snapshot("snap-1").await;
        self.until_healthy("bv").await;
        let state = self.backup("backup-1", "snap-1", json!({ "KubernetesStatus": "" })).await;
        assert_eq!(state, BackupState::Error);
        sleep(Duration::from_secs(45)).await;
        let backups: Api<Backup> = self.api();
        backups.delete("backup-1", &DeleteParams::default()).await.unwrap();
        self.until("it is gone", || async { backups.get_opt("backup-1").await.unwrap().is_none() }).await;
        sleep(Duration::from_secs(2)).await;
    }

    /// One backup after the other, then the volume's backups are deleted.
    async fn back_up(&self, numbers: &[u64]) {
        for number in numbers {
            if *number != 7 {
                self.write(*number).await;
            }
            self.snapshot(&format!("snap-{number}")).await;
            let state = self.backup(&format!("backup-{number}"), &format!("snap-{number}"), Value::Null).await;
            assert_eq!(state, BackupState::Completed);
            self.until_known(&format!("backup-{number}")).await;
        }
        sleep(Duration::from_secs(6)).await;
        self.delete_backup_volume().await;
    }

    /// The volume says what its last backup is.
    async fn until_known(&self, backup: &str) {
        let volumes: Api<Volume> = self.api();
        self.until("the volume knows its backup", || async {
            volumes.get("bv").await.unwrap().status.last_backup == backup
        })
        .await;
    }

    async fn delete_backup_volume(&self) {
        let volumes: Api<BackupVolume> = self.api();
        let known = volumes.list(&ListParams::default()).await.unwrap();
        let name = known.items[0].metadata.name.clone().unwrap();
        self.request(Method::DELETE, &format!("backupvolumes/{name}"), Value::Null).await;
        let backups: Api<Backup> = self.api();
        let all_gone = || async { backups.list(&ListParams::default()).await.unwrap().items.is_empty() };
        self.until("the backups are gone", all_gone).await;
        sleep(AFTERMATH).await;
    }

    async fn delete_instance_manager(&self) {
        let managers: Api<InstanceManager> = self.api();
        let first = managers.list(&ListParams::default()).await.unwrap().items.remove(0);
        let name = first.metadata.name.clone().unwrap();
        managers.delete(&name, &DeleteParams::foreground()).await.unwrap();
        sleep(KUBELET_INTERVAL).await;
        // The recording's kubelet killed what ran in the pod at once, and said so.
        let kubelet = Client::new(&self.address, ClientOptions::unlimited("fake-kubelet")).unwrap();
        let pods: Api<Pod> = Api::namespaced(&kubelet, DEFAULT_NAMESPACE);
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
        self.until("another one of the same name runs", || async {
            let found = managers.get_opt(&name).await.unwrap();
            found.is_some_and(|found| {
                found.metadata.uid != first.metadata.uid && found.status.current_state.as_str() == "running"
            })
        })
        .await;
        sleep(AFTERMATH).await;
    }
}
