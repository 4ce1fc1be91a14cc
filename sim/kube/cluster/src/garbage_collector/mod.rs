//! The garbage collector: deletes what has lost its owners, and lets owners go that wait for their dependents.
//!
//! It is an actor beside the API server and sees everything late: through watches of the metadata of every kind, a graph, two queues with 20
//! workers each, and a client that is limited to 40 requests a second after a burst of 30. A kind is watched from the first resync on that
//! finds it, one each 30 s. Its delays are the reason for races, and come from nothing but these rules (facts/kubernetes.md, section 2).
//!
//! Deviation: discovery is asked again only if a CustomResourceDefinition has changed since the last time, because nothing else can change its
//! answer here; the real one asks at each resync. No events are written about references into other namespaces.
//! Source: kubernetes pkg/controller/garbagecollector; cmd/kube-controller-manager/app/core.go for the limits.

mod absent;
mod graph;
mod monitors;
mod node;
mod requests;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::{Client, ClientOptions, Error, Stop, WorkQueue};
use host::random::Stream;
use tokio::sync::mpsc;

use absent::AbsentOwners;
use graph::{Change, Graph};
use monitors::Monitors;
pub use monitors::SharedKinds;
use node::NodeRef;

use crate::discovery::Discovery;

/// On an owner that waits for its dependents.
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// On an owner whose dependents are to be released.
pub const ORPHAN_FINALIZER: &str = "orphan";

/// How a collector works. The defaults are kube-controller-manager's.
#[derive(Clone, Debug)]
pub struct GarbageCollectorOptions {
    /// Workers of each of the two queues.
    pub workers: usize,
    /// Time between two looks for new kinds.
    pub resync_period: Duration,
    /// How long the workers wait for the first fill of all caches before they begin anyway.
    pub initial_sync_timeout: Duration,
    /// Requests a second. The flag's default of 20 is doubled for the collector, because a deletion takes two requests.
    pub queries_per_second: f64,
    /// Requests at once.
    pub burst: u32,
}

impl Default for GarbageCollectorOptions {
    fn default() -> GarbageCollectorOptions {
        GarbageCollectorOptions {
            workers: 20,
            resync_period: Duration::from_secs(30),
            initial_sync_timeout: Duration::from_secs(30),
            queries_per_second: 40.0,
            burst: 30,
        }
    }
}

/// What the tasks of a collector share.
struct Collector {
    client: Client,
    discovery: Mutex<Discovery>,
    graph: Mutex<Graph>,
    absent: Mutex<AbsentOwners>,
    to_delete: WorkQueue<NodeRef>,
    to_orphan: WorkQueue<NodeRef>,
    changes: mpsc::UnboundedSender<Change>,
    random: Mutex<Stream>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a collector against a server until told to stop.
///
/// # Errors
/// The server's address is none.
pub async fn run(server: &str, options: GarbageCollectorOptions, stop: Stop) -> Result<(), Error> {
    run_beside(SharedKinds::default(), server, options, stop).await
}

/// The same, in a process that watches some kinds anyway.
///
/// # Errors
/// The server's address is none.
pub async fn run_beside(
    shared: SharedKinds,
    server: &str,
    options: GarbageCollectorOptions,
    stop: Stop,
) -> Result<(), Error> {
    const USER_AGENT: &str = "kube-controller-manager/generic-garbage-collector";
    let limited = ClientOptions::limited(USER_AGENT, options.queries_per_second, options.burst);
    let (changes, received) = mpsc::unbounded_channel();
    let collector = Arc::new(Collector {
        client: Client::new(server, limited)?,
        discovery: Mutex::default(),
        graph: Mutex::new(Graph::new(host::random::stream("garbage collector graph"))),
        absent: Mutex::default(),
        to_delete: WorkQueue::default(),
        to_orphan: WorkQueue::default(),
        changes,
        random: Mutex::new(host::random::stream("garbage collector")),
    });
    let learning = host::spawn(learn_changes(collector.clone(), received));
    let monitors = Monitors::new(server, &options, shared)?;
    let syncing = host::spawn(monitors.clone().sync_for_ever(collector.clone(), options.resync_period));
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        () = work(&collector, &monitors, &options) => {}
    }
    collector.to_delete.shut_down();
    collector.to_orphan.shut_down();
    monitors.stop();
    learning.abort();
    syncing.abort();
    Ok(())
}

/// Starts the workers once the caches are filled; never completes.
async fn work(collector: &Arc<Collector>, monitors: &Monitors, options: &GarbageCollectorOptions) {
    if host::time::timeout(options.initial_sync_timeout, monitors.wait_for_sync()).await.is_err() {
        tracing::warn!("not all resources could be listed, collecting anyway");
    }
    tracing::info!(objects = lock(&collector.graph).len(), "collecting garbage");
    for _ in 0..options.workers {
        host::spawn(worker::delete_worker(collector.clone()));
        host::spawn(worker::orphan_worker(collector.clone()));
    }
    std::future::pending().await
}

impl Collector {
    /// Has the graph learn a change, after all that it was told before.
    fn learn(&self, change: Change) {
        // The receiver ends only with the collector.
        let _ended = self.changes.send(change);
    }

    fn apply(&self, change: Change) {
        let effects = lock(&self.graph).learn(change);
        for owner in effects.absent {
            lock(&self.absent).insert(owner);
        }
        effects.orphan.into_iter().for_each(|node| self.to_orphan.add(node));
        effects.delete.into_iter().for_each(|node| self.to_delete.add(node));
        effects.delete_later.into_iter().for_each(|node| self.to_delete.add_rate_limited(node));
    }
}

/// The one task that changes the graph.
async fn learn_changes(collector: Arc<Collector>, mut changes: mpsc::UnboundedReceiver<Change>) {
    while let Some(change) = changes.recv().await {
        collector.apply(change);
    }
}
