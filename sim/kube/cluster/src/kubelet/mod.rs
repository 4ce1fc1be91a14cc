//! The kubelet of a machine, and the container runtime beside it.
//!
//! It runs as a process of the machine and talks to the API server over the network like everybody else. Containers are processes of their own,
//! begun through the runtime, which lives on when the kubelet dies: a new kubelet adopts what runs. It registers its node, renews the node's lease
//! each 10 s, reports the node's status when it changes and each 5 min, and gives each pod a worker. Containers are listed once a second in the
//! real one; here that grid decides when a change is seen, and nothing ticks.
//!
//! Not here: static pods, resource management and eviction under pressure, lifecycle hooks, sidecar and ephemeral containers, grpc probes, volumes
//! that need attaching, image and log clean-up. Source: kubernetes pkg/kubelet.

mod addresses;
mod backoff;
mod environment;
mod node;
mod probes;
pub(crate) mod runtime;
mod status;
mod status_manager;
mod sync;
pub(crate) mod volumes;
mod worker;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_core::Latency;
use corral_kube_client::{Api, Client, ClientOptions, Event, InformerOptions, SharedInformer, Stop, Synced};
use host::random::Stream;
use host::time::Instant;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use crate::images::Images;
use backoff::Backoffs;
use runtime::Runtime;
use status_manager::StatusManager;
use volumes::{MachineDisks, pod_directory};
use worker::{Mailbox, Worker};

/// Between two listings of the containers.
const LISTING_PERIOD: Duration = Duration::from_secs(1);

/// A request about lease or node status ends after this.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a kubelet's machine takes for things.
#[derive(Clone, Copy, Debug)]
pub struct KubeletLatencies {
    /// To have a pod's volumes mounted.
    pub mount: Latency,
    /// To have them unmounted after its containers have ended.
    pub unmount: Latency,
    /// To make a sandbox with its network.
    pub sandbox_start: Latency,
    /// To take the network away after the containers have ended.
    pub sandbox_stop: Latency,
    /// To ask the registry about an image.
    pub registry: Latency,
    /// From the kubelet's start to its first request.
    pub start: Latency,
}

impl Default for KubeletLatencies {
    fn default() -> KubeletLatencies {
        let milliseconds = |floor, mean| Latency::heavy(Duration::from_millis(floor), Duration::from_millis(mean));
        KubeletLatencies {
            mount: milliseconds(100, 150),
            unmount: milliseconds(100, 200),
            sandbox_start: milliseconds(150, 200),
            sandbox_stop: milliseconds(30, 50),
            registry: milliseconds(150, 300),
            start: milliseconds(300, 300),
        }
    }
}

/// What a kubelet is started with.
#[derive(Clone)]
pub(crate) struct KubeletConfig {
    /// Name of the node.
    pub node: String,
    /// The machine's address.
    pub address: Ipv4Addr,
    /// `host:port` of the API server.
    pub server: String,
    /// Where pods find it.
    pub api_service: (Ipv4Addr, u16),
    /// Labels of the node beside the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Memory in huge pages of 2 MiB, in MiB.
    pub huge_pages_mib: u32,
    pub images: Images,
    pub disks: MachineDisks,
    pub latencies: KubeletLatencies,
}

/// A running kubelet.
pub(crate) struct Kubelet {
    config: KubeletConfig,
    client: Client,
    /// For lease and node status: a request that hangs must not keep the next one back.
    heartbeat: Client,
    runtime: Arc<Runtime>,
    status: StatusManager,
    backoffs: Mutex<Backoffs>,
    pull_turn: tokio::sync::Mutex<()>,
    /// A point of the grid on which containers are listed.
    listings: Instant,
    random: Mutex<Stream>,
}

/// The main of a kubelet's process.
pub(crate) async fn main(config: KubeletConfig, runtime: Arc<Runtime>) -> i32 {
    let mut random = host::random::stream("kubelet");
    host::time::sleep(config.latencies.start.draw(&mut random)).await;
    let user_agent = format!("kubelet/{}", config.node);
    let client = Client::new(&config.server, ClientOptions::limited(&user_agent, 50.0, 100));
    let heartbeat = ClientOptions {
        timeout: Some(HEARTBEAT_TIMEOUT),
        ..ClientOptions::unlimited(format!("{user_agent}/heartbeat"))
    };
    let (Ok(client), Ok(heartbeat)) = (client, Client::new(&config.server, heartbeat)) else {
        tracing::error!(server = config.server, "the API server's address is none");
        return 1;
    };
    let kubelet = Arc::new(Kubelet {
        status: StatusManager::new(&client),
        listings: Instant::now() + random.duration(Duration::ZERO, LISTING_PERIOD),
        config,
        client,
        heartbeat,
        runtime,
        backoffs: Mutex::default(),
        pull_turn: tokio::sync::Mutex::new(()),
        random: Mutex::new(random),
    });
    host::spawn(node::keep_lease(kubelet.clone()));
    host::spawn(node::keep_status(kubelet.clone()));
    host::spawn(kubelet.status.clone().run());
    kubelet.serve_pods().await
}

type Workers = BTreeMap<String, Arc<Mailbox>>;

impl Kubelet {
    fn backoffs(&self) -> MutexGuard<'_, Backoffs> {
        self.backoffs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> MutexGuard<'_, Stream> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes as long as this says.
    async fn pause(&self, latency: Latency) {
        let pause = latency.draw(&mut self.random());
        if !pause.is_zero() {
            host::time::sleep(pause).await;
        }
    }

    /// The period, or up to half as much more.
    fn jittered(&self, period: Duration) -> Duration {
        period + self.random().duration(Duration::ZERO, period / 2)
    }

    /// Completes at the first listing of containers after `since`.
    async fn listing_after(&self, since: Instant) {
        let at = tick_after(self.listings, LISTING_PERIOD, since);
        if at > Instant::now() {
            host::time::sleep_until(at).await;
        }
    }

    /// How long until the first tick of the grid after this wait.
    fn until_tick_after(&self, wait: Duration) -> Duration {
        tick_after(self.listings, LISTING_PERIOD, Instant::now() + wait) - Instant::now()
    }

    async fn forget_pod(&self, uid: &str) {
        self.runtime.remove_pod(uid);
        self.status.forget(uid);
        self.backoffs().forget(&format!("{uid}/"));
        for directory in [pod_directory(uid), format!("/var/lib/containers/{uid}")] {
            match host::fs::remove_dir_all(&directory).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, directory, "cannot remove a pod's directory");
                }
                _gone => {}
            }
        }
    }

    /// Gives every pod of this node a worker; never completes.
    async fn serve_pods(self: Arc<Self>) -> i32 {
        let (sender, mut events) = mpsc::unbounded_channel();
        let of_this_node = InformerOptions {
            field_selector: Some(format!("spec.nodeName={}", self.config.node)),
            ..InformerOptions::default()
        };
        let pods: SharedInformer<Pod> = SharedInformer::new(Api::all(&self.client), of_this_node);
        let registration = pods.add_handler(move |event| drop(sender.send(event)));
        pods.start(&Stop::new());
        let mut workers = Workers::new();
        let mut cleaned_up = false;
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.pod_changed(&mut workers, event),
                    None => return 1,
                },
                () = self.runtime_changed() => self.wake_workers(&workers),
                () = all_seen(&registration), if !cleaned_up => {
                    cleaned_up = true;
                    self.end_strangers(&workers);
                }
            }
        }
    }

    /// Completes at the first listing that shows a change.
    async fn runtime_changed(&self) {
        self.runtime.changed().await;
        self.listing_after(Instant::now()).await;
    }

    fn wake_workers(&self, workers: &Workers) {
        for uid in self.runtime.take_changed() {
            if let Some(mailbox) = workers.get(&uid) {
                mailbox.changed.notify_one();
            }
        }
    }

    fn pod_changed(self: &Arc<Self>, workers: &mut Workers, event: Event<Pod>) {
        let pod = event.object().clone();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Event::Deleted { .. } = event {
            if let Some(mailbox) = workers.remove(&uid) {
                mailbox.remove(pod);
            }
            return;
        }
        if let Event::Updated { old, .. } = &event
            && old.metadata.uid != pod.metadata.uid
        {
            // Another pod of the same name: the deletion of the old one was not seen by itself.
            if let Some(mailbox) = old.metadata.uid.as_ref().and_then(|old| workers.remove(old)) {
                mailbox.remove(old.clone());
            }
        }
        self.status.observe(&pod);
        match workers.get(&uid) {
            Some(mailbox) => {
                if is_news(&mailbox.pod(), &pod) {
                    mailbox.update(pod);
                }
            }
            None => {
                let mailbox = Arc::new(Mailbox::new(pod));
                workers.insert(uid, mailbox.clone());
                host::spawn(Worker::new(self.clone(), mailbox).run());
            }
        }
    }

    /// Ends what runs here and belongs to no pod of the API: its pod was removed while this kubelet was not looking.
    fn end_strangers(self: &Arc<Self>, workers: &Workers) {
        for pod in self.runtime.pods() {
            if workers.contains_key(&pod.uid) {
                continue;
            }
            let kubelet = self.clone();
            host::spawn(async move {
                tracing::info!(name = pod.name, "ending the containers of a pod that is gone");
                for container in pod.running() {
                    kubelet.runtime.stop_container(container, Duration::from_secs(1)).await;
                }
                kubelet.forget_pod(&pod.uid).await;
            });
        }
    }
}

/// Whether a worker has to look at a new version of its pod: its status is its own doing.
fn is_news(known: &Pod, new: &Pod) -> bool {
    known.spec != new.spec
        || known.metadata.labels != new.metadata.labels
        || known.metadata.annotations != new.metadata.annotations
        || known.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || known.metadata.deletion_grace_period_seconds != new.metadata.deletion_grace_period_seconds
}

async fn all_seen(registration: &impl Synced) {
    // As the kubelet's own housekeeping looks.
    while !registration.has_synced() {
        host::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The first point of a grid at or after `since`.
fn tick_after(origin: Instant, period: Duration, since: Instant) -> Instant {
    if since <= origin {
        return origin;
    }
    let periods = (since - origin).as_nanos().div_ceil(period.as_nanos());
    origin + period * u32::try_from(periods).unwrap_or(u32::MAX)
}
