//! The DaemonSet controller: one pod on every node that should have one, replaced as the template changes.
//!
//! A pod is created for its node (affinity by metadata.name) and bound by the scheduler. With RollingUpdate, old pods are deleted as long as no more than
//! maxUnavailable nodes lack an available pod; with OnDelete, others delete them. Versions of the template are kept as ControllerRevisions, and the hash of
//! its version is a label of each pod. Not here: maxSurge, adoption of pods without a controller.
//! Source: kubernetes pkg/controller/daemon (daemon_controller.go, update.go, util/daemonset_util.go).

mod manage;
mod nodes;
mod revisions;
mod rolling_update;
mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::workqueue::{ItemExponential, RateLimiter};
use corral_kube_client::{
    Client, Error, Event, EventRecorder, EventSource, Lister, WorkQueue, key_of, object_key, split_key,
};
use host::random::Stream;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::expectations::Expectations;
use super::pods::{controller_of, is_controlled_by};
use super::{Context, start_workers};

/// Source: cmd/kube-controller-manager, ConcurrentDaemonSetSyncs.
const WORKERS: usize = 2;
/// The label that names the version of the template a pod was made from.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
const GENERATION_LABEL: &str = "pod-template-generation";
const BY_CONTROLLER: &str = "by-daemon-set";

struct Controller {
    client: Client,
    sets: Lister<DaemonSet>,
    pods: Lister<Pod>,
    nodes: Lister<Node>,
    revisions: Lister<ControllerRevision>,
    queue: WorkQueue<String>,
    expectations: Expectations,
    events: EventRecorder,
    state: Mutex<State>,
}

struct State {
    /// Waits before a failed pod is replaced: 1 s doubling to 15 min, for each node.
    failed_pods: ItemExponential<String>,
    /// Order of Go's maps.
    random: Stream,
}

/// The pods of a set by the node they are for.
type PodsByNode = BTreeMap<String, Vec<Arc<Pod>>>;

/// Begins the controller.
pub(crate) fn start(context: &Context) -> Result<(), Error> {
    let informers = &context.informers;
    let (sets, pods) = (informers.informer::<DaemonSet>(), informers.informer::<Pod>());
    let (nodes, revisions) = (informers.informer::<Node>(), informers.informer::<ControllerRevision>());
    pods.add_index(BY_CONTROLLER, |pod: &Pod| {
        let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "DaemonSet");
        owner.map(|owner| owner.uid.clone()).into_iter().collect()
    });
    let client = context.client("daemon-set-controller")?;
    let source = EventSource { component: "daemonset-controller".into(), host: String::new() };
    let controller = Arc::new(Controller {
        sets: sets.lister(),
        pods: pods.lister(),
        nodes: nodes.lister(),
        revisions: revisions.lister(),
        queue: WorkQueue::default(),
        expectations: Expectations::default(),
        events: EventRecorder::new(&client, source),
        client,
        state: Mutex::new(State {
            failed_pods: ItemExponential::new(Duration::from_secs(1), Duration::from_secs(900)),
            random: host::random::stream("daemon-set-controller"),
        }),
    });
    let this = controller.clone();
    sets.add_handler(move |event| {
        let key = object_key(&event.object().metadata);
        if let Event::Deleted { .. } = event {
            this.expectations.forget(&key);
        }
        this.queue.add(key);
    });
    let this = controller.clone();
    pods.add_handler(move |event| this.pod_changed(&event));
    let this = controller.clone();
    nodes.add_handler(move |event| this.node_changed(&event));
    let this = controller.clone();
    revisions.add_handler(move |event| this.enqueue_owner(&event.object().metadata));
    let (informers, stop) = (context.informers.clone(), context.stop.clone());
    host::spawn(async move {
        informers.wait_for_cache_sync().await;
        let queue = controller.queue.clone();
        start_workers("daemon-set-controller", WORKERS, &queue, move |key| {
            let controller = controller.clone();
            async move { controller.sync(&key).await }
        });
        stop.stopped().await;
        queue.shut_down();
    });
    Ok(())
}

impl Controller {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The set that controls an object, by its key.
    fn owner_key(&self, metadata: &ObjectMeta) -> Option<String> {
        let owner = controller_of(metadata).filter(|owner| owner.kind == "DaemonSet")?;
        let key = key_of(metadata.namespace.as_deref(), &owner.name);
        // Another set of this name is not meant.
        self.sets.get(&key).filter(|set| set.metadata.uid.as_ref() == Some(&owner.uid)).map(|_| key)
    }

    fn enqueue_owner(&self, metadata: &ObjectMeta) {
        if let Some(key) = self.owner_key(metadata) {
            self.queue.add(key);
        }
    }

    fn pod_changed(&self, event: &Event<Pod>) {
        let metadata = &event.object().metadata;
        let Some(key) = self.owner_key(metadata) else { return };
        match event {
            Event::Added { object, .. } if object.metadata.deletion_timestamp.is_none() => {
                self.expectations.creation_observed(&key);
            }
            Event::Added { .. } | Event::Deleted { .. } => {
                self.expectations.deletion_observed(&key, &object_key(metadata));
            }
            Event::Updated { new, .. } if new.metadata.deletion_timestamp.is_some() => {
                self.expectations.deletion_observed(&key, &object_key(metadata));
            }
            Event::Updated { .. } => {}
        }
        self.queue.add(key);
    }

    /// A node that is new, or differs in what decides about pods, concerns every set.
    fn node_changed(&self, event: &Event<Node>) {
        let concerns = match event {
            Event::Updated { old, new } => old.spec != new.spec || old.metadata.labels != new.metadata.labels,
            Event::Added { .. } | Event::Deleted { .. } => true,
        };
        if concerns {
            for set in self.sets.list() {
                self.queue.add(object_key(&set.metadata));
            }
        }
    }

    async fn sync(&self, key: &str) -> Result<(), Error> {
        let Some(set) = self.sets.get(key) else {
            self.expectations.forget(key);
            return Ok(());
        };
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let hash = self.current_hash(&set).await?;
        if !self.expectations.are_met(key) {
            return self.update_status(key, &set, &hash, false).await;
        }
        let done = self.bring_up_to_date(key, &set, &hash).await;
        let told = self.update_status(key, &set, &hash, true).await;
        done.and(told)
    }

    async fn bring_up_to_date(&self, key: &str, set: &DaemonSet, hash: &str) -> Result<(), Error> {
        self.manage(key, set, hash).await?;
        // Only what the caches show fully is rolled.
        if self.expectations.are_met(key) && strategy(set) == "RollingUpdate" {
            self.rolling_update(key, set, hash).await?;
        }
        self.clean_up_revisions(set).await
    }

    /// The pods that a set controls.
    fn pods_of(&self, set: &DaemonSet) -> Vec<Arc<Pod>> {
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let mut pods = self.pods.by_index(BY_CONTROLLER, &uid);
        pods.retain(|pod| is_controlled_by(&pod.metadata, set.metadata.uid.as_ref()));
        pods
    }

    fn pods_by_node(&self, set: &DaemonSet) -> PodsByNode {
        let mut by_node = PodsByNode::new();
        for pod in self.pods_of(set) {
            by_node.entry(nodes::target_node(&pod)).or_default().push(pod);
        }
        by_node
    }

    fn shuffled<T>(&self, mut items: Vec<T>) -> Vec<T> {
        self.state().random.shuffle(&mut items);
        items
    }

    /// How long the replacement of a failed pod on this node has still to wait, counting this failure.
    fn failure_back_off(&self, key: String) -> Duration {
        self.state().failed_pods.when(&key)
    }
}

fn namespace(set: &DaemonSet) -> &str {
    set.metadata.namespace.as_deref().unwrap_or_default()
}

fn strategy(set: &DaemonSet) -> &str {
    let strategy = set.spec.update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
}

fn minimum_ready_seconds(set: &DaemonSet) -> i32 {
    set.spec.min_ready_seconds.unwrap_or(0)
}

/// Whether a pod was made from the template of this hash.
fn is_of_version(pod: &Pod, hash: &str) -> bool {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).is_some_and(|label| label == hash)
}

/// A node's and a set's own key in the table of failures.
fn failure_key(key: &str, node: &str) -> String {
    let (_, name) = split_key(key);
    format!("{name}/{node}")
}
