//! A small cluster with Longhorn in it: an API server, one worker, an object store with backups, and Longhorn's images as the tests need them.

#![allow(dead_code, reason = "each test file uses some of it")]

pub mod fill;
pub mod manifest;
pub mod trace;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corral_cluster::{Cluster, ClusterSpec, Image, Images};
use corral_core::journal::Kept;
use corral_core::{Attachments, Latency, Options, ProcessSpec, run, world};
use corral_kube_client::{Api, Client, ClientOptions, ListParams, Object, Patch, PatchParams};
use corral_object_store::BucketStore;
use host::process::program;
use host::time::{Instant, sleep};
use http::{Method, Request};
use k8s_openapi::api::core::v1::Pod;
use longhorn_api::{Backup, BackupTarget, BackupVolume, Build, CustomResource, EngineImage, Node, Release, Setting};
use longhorn_engine::Engine;
use longhorn_manager::LonghornManager;
use longhorn_manager::engine::execute;
use serde_json::{Value, json};

/// Longhorn's namespace.
pub const NAMESPACE: &str = longhorn_api::DEFAULT_NAMESPACE;
/// Where backups are.
pub const TARGET: &str = "s3://backupbucket@us-east-1/";
/// The bucket in it.
pub const BUCKET: &str = "backupbucket";
const STORE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), 9000);

/// A cluster with Longhorn.
pub struct Longhorn {
    pub cluster: Cluster,
    pub client: Client,
    pub build: Build,
    /// What the object store holds.
    pub buckets: Arc<BucketStore>,
}

/// The address of the store, for whoever reads the Secret.
pub fn endpoint() -> String {
    format!("http://{STORE}")
}

/// Runs a body with this seed; if it fails, the end of the models' logs tells how it came to that.
#[track_caller]
pub fn play<F>(seed: u64, body: F) -> (F::Output, Option<Kept>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    const LINES: usize = 200;
    let outcome = run(Options::new(seed).keep_journal().logs(tracing::Level::INFO), body);
    match outcome.value {
        Ok(value) => (value, outcome.journal),
        Err(failure) => {
            let lines = &outcome.logs[outcome.logs.len().saturating_sub(LINES)..];
            lines.iter().for_each(|line| println!("{line:?}"));
            panic!("seed {seed}: {failure}");
        }
    }
}

impl Longhorn {
    /// Boots a cluster of one worker, installs this build, and waits until its manager is ready and has its engine image.
    pub async fn boot(tag: &str) -> Longhorn {
        Self::boot_workers(tag, 1).await
    }

    /// The same with more workers.
    pub async fn boot_workers(tag: &str, workers: usize) -> Longhorn {
        Self::boot_builds(&[tag], workers).await
    }

    /// The same with the images of further builds, which are not installed.
    pub async fn boot_builds(tags: &[&str], workers: usize) -> Longhorn {
        let builds: Vec<Build> = tags.iter().map(|tag| Build::parse_tag(tag).expect("a tag of ours")).collect();
        let build = builds[0].clone();
        let buckets = start_store();
        let mut spec = ClusterSpec::workers(workers).images(images(&builds));
        spec.api_server.webhook_scheme = corral_apiserver::WebhookScheme::Http;
        let cluster = Cluster::boot(spec).await;
        let client = Client::new(&cluster.api_address(), ClientOptions::unlimited("test-client")).expect("an address");
        manifest::install(&client, &build).await;
        let longhorn = Longhorn { cluster, client, build, buckets };
        let patience = Patience::new("the node is ready and has its engine image", 300);
        while !longhorn.is_ready(workers).await {
            patience.wait().await;
        }
        longhorn
    }

    /// Objects of a kind.
    pub fn api<K: CustomResource + Object<DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(&self.client, NAMESPACE)
    }

    /// All objects of a kind.
    pub async fn list<K: CustomResource + Object<DynamicType = ()>>(&self) -> Vec<K> {
        // Right after the installation the kind may not be served yet.
        self.api::<K>().list(&ListParams::default()).await.map_or_else(|_| Vec::new(), |list| list.items)
    }

    /// Points Longhorn at the store, and waits until so many backups are there and read.
    pub async fn pull(&self, backups: usize) {
        self.set_target().await;
        let patience = Patience::new("all backups are pulled", 120);
        while !self.has_pulled(backups).await {
            patience.wait().await;
        }
    }

    /// Points Longhorn at the store, as users of this release do, and asks for a synchronisation.
    pub async fn set_target(&self) {
        if self.build.release().at_least(Release::V1_8_0_RC1) {
            let spec =
                json!({"spec": {"backupTargetURL": TARGET, "credentialSecret": "s3-secret", "pollInterval": "5m0s"}});
            let targets = self.api::<BackupTarget>();
            targets.patch("default", &PatchParams::default(), &Patch::Merge(spec)).await.expect("a valid target");
            self.request_sync().await;
        } else {
            let settings = self.api::<Setting>();
            for (name, value) in [("backup-target-credential-secret", "s3-secret"), ("backup-target", TARGET)] {
                let value = Patch::Merge(json!({"value": value}));
                settings.patch(name, &PatchParams::default(), &value).await.expect("a valid setting");
            }
        }
    }

    /// Asks for a synchronisation of the default target.
    pub async fn request_sync(&self) {
        let now = host::wall_clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let request = Patch::Merge(json!({"spec": {"syncRequestedAt": now}}));
        self.api::<BackupTarget>().patch("default", &PatchParams::default(), &request).await.expect("a request");
    }

    /// How many backups the store holds.
    pub fn stored_backups(&self) -> usize {
        let objects = self.buckets.objects(BUCKET, "");
        objects.iter().filter(|object| object.key.contains("/backups/backup_")).count()
    }

    /// Sends a request to the Longhorn API of a manager, and gives status and body.
    pub async fn request(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let address = self.manager_addresses().await.remove(0);
        self.request_under(&format!("{address}:9500"), &address, method, path, body).await
    }

    /// The same to the manager at this address, under another host's name.
    pub async fn request_under(
        &self,
        host: &str,
        address: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("http://{address}:9500{path}"));
        let request =
            request.header(http::header::HOST, host).body(host::http::full(body.to_string())).expect("a request");
        let response = host::http::Client::new().send(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = host::http::collect(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The addresses of the managers' pods.
    pub async fn manager_addresses(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(&self.client, NAMESPACE);
        let managers = pods.list(&ListParams::default().labels("app=longhorn-manager")).await.expect("pods");
        managers.items.into_iter().filter_map(|pod| pod.status?.pod_ip).collect()
    }

    /// Whether so many nodes are ready and have the engine image.
    async fn is_ready(&self, workers: usize) -> bool {
        let nodes: Vec<Node> = self.list().await;
        let images: Vec<EngineImage> = self.list().await;
        let ready = nodes.iter().filter(|node| node.status.conditions.condition("Ready").status.as_str() == "True");
        let has_all = |image: &EngineImage| {
            let deployed = image.status.node_deployment_map.values().filter(|deployed| **deployed).count();
            image.status.state.as_str() == "deployed" && deployed == workers
        };
        ready.count() == workers && images.iter().any(has_all)
    }

    /// Whether so many backups, and all volumes, have read the store.
    pub async fn has_pulled(&self, backups: usize) -> bool {
        let pulled: Vec<Backup> = self.list().await;
        let volumes: Vec<BackupVolume> = self.list().await;
        let complete = pulled.iter().filter(|backup| backup.status.state.as_str() == "Completed").count();
        let known = volumes.iter().all(|volume| !volume.status.last_backup_name.is_empty());
        complete == backups && !volumes.is_empty() && known
    }
}

/// Waits for what must come.
pub struct Patience {
    what: &'static str,
    until: Instant,
}

impl Patience {
    /// For so long.
    pub fn new(what: &'static str, seconds: u64) -> Patience {
        Patience { what, until: Instant::now() + Duration::from_secs(seconds) }
    }

    /// A moment between two looks.
    pub async fn wait(&self) {
        assert!(Instant::now() < self.until, "never: {}", self.what);
        sleep(Duration::from_millis(50)).await;
    }
}

/// Starts the object store on a machine of its own.
fn start_store() -> Arc<BucketStore> {
    let buckets = BucketStore::new();
    buckets.create_bucket(BUCKET);
    let machine = world().add_machine("store");
    let spec = ProcessSpec {
        name: "object-store".into(),
        machine: machine.id,
        address: Ipv4Addr::new(10, 9, 0, 1),
        hostname: "store".into(),
        arguments: vec!["object-store".into()],
        environment: Default::default(),
        attachments: Attachments::default(),
    };
    let served = buckets.clone();
    let serve = async move {
        corral_object_store::serve(served, STORE).await.expect("a free port");
        0
    };
    world().spawn_process(spec, Box::pin(serve));
    buckets
}

/// Longhorn's images: the manager, whose machine has the engine's binary, and the engine image, whose container puts it there.
fn images(builds: &[Build]) -> Images {
    let engine = |tag: &str| engine_program(Build::parse_tag(tag).expect("a tag of ours"));
    let engine_of = |build: &Build| {
        let build = build.clone();
        move |_: &str| engine_program(build.clone())
    };
    let quick = |image: Image| image.pull_latency(Latency::fixed(Duration::from_millis(500)));
    let manager = |tag: &str| {
        let build = Build::parse_tag(tag).expect("a tag of ours");
        program(move || longhorn_manager::main(LonghornManager::of(build.clone())))
    };
    let manager = Image::new("/usr/local/sbin/longhorn-manager", manager);
    let manager = builds.iter().fold(manager, |manager, build| {
        manager.program(&execute::binary_path(&manifest::engine_image(build)), engine_of(build))
    });
    let shell = |_: &str| program(shell);
    let engine_image =
        Image::new("/usr/local/bin/longhorn", engine).program("/bin/bash", shell).program("/bin/sh", shell);
    Images::new()
        .with("longhornio/longhorn-manager", quick(manager))
        .with("longhornio/longhorn-engine", quick(engine_image))
}

fn engine_program(build: Build) -> host::process::Program {
    let engine = Engine::of(build);
    program(move || longhorn_engine::main(engine.clone()))
}

/// What the shell of an engine image is asked for: to copy the binary to the host and take it away at the end, and whether it is there.
async fn shell() -> i32 {
    const COPY: &str = "/data/longhorn";
    let script = host::process::args().last().cloned().unwrap_or_default();
    if !script.contains("cp -p") {
        return i32::from(host::fs::metadata(COPY).await.is_err());
    }
    if host::fs::write(COPY, b"the engine's binary").await.is_err() {
        return 1;
    }
    host::process::terminated().await;
    i32::from(host::fs::remove_file(COPY).await.is_err())
}
