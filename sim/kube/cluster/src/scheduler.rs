//! The scheduler: binds each pending pod to a node where it may run, the one with the fewest pods first.
//!
//! One pod at a time. A pod that fits nowhere is told so in its PodScheduled condition and waits for a change of a node or the end of a pod, at least
//! its back-off (1 s doubling to 10 s), at most five minutes. What it has bound counts at once, before the watch shows it.
//! Not here: resource requests, preferred affinity, pod affinity, topology spread, priorities and preemption, volumes.
//! Source: kubernetes pkg/scheduler (scheduling_queue.go, schedule_one.go, framework/plugins).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::params::{Patch, PatchParams};
use corral_kube_client::workqueue::ItemExponential;
use corral_kube_client::{
    Api, Client, ClientOptions, Error, Event, EventRecorder, EventSource, EventType, InformerFactory, Lister, Stop,
    WorkQueue, object_key, reads,
};
use host::random::Stream;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use crate::election::Leadership;
use crate::placement::{NO_EXECUTE, NO_SCHEDULE, is_allowed_by_affinity, untolerated};

/// The name that pods ask for.
const NAME: &str = "default-scheduler";
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);
/// A pod that fits nowhere is tried again after this, whatever happens.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

struct Scheduler {
    client: Client,
    pods: Lister<Pod>,
    nodes: Lister<Node>,
    queue: WorkQueue<String>,
    events: EventRecorder,
    state: Mutex<State>,
}

struct State {
    /// Node of each pod that was bound and is not yet seen bound.
    assumed: BTreeMap<String, String>,
    /// Pods that fit nowhere.
    unschedulable: BTreeMap<String, ()>,
    random: Stream,
}

/// The main of a scheduler's process.
pub(crate) async fn main(server: String, leadership: Leadership) -> i32 {
    let options = ClientOptions::limited("kube-scheduler", 50.0, 100);
    let client = match Client::new(&server, options) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "the API server's address is none");
            return 1;
        }
    };
    leadership.lead(&server, "kube-scheduler", |stop| run(client, stop)).await
}

async fn run(client: Client, stop: Stop) {
    let factory = InformerFactory::new(&client, Duration::ZERO);
    let (pods, nodes) = (factory.informer::<Pod>(), factory.informer::<Node>());
    let limiter = ItemExponential::new(FIRST_BACK_OFF, LONGEST_BACK_OFF);
    let source = EventSource { component: NAME.into(), host: String::new() };
    let scheduler = Arc::new(Scheduler {
        pods: pods.lister(),
        nodes: nodes.lister(),
        queue: WorkQueue::new(Box::new(limiter)),
        events: EventRecorder::new(&client, source),
        state: Mutex::new(State {
            assumed: BTreeMap::new(),
            unschedulable: BTreeMap::new(),
            random: host::random::stream("scheduler"),
        }),
        client,
    });
    let (for_pods, for_nodes) = (scheduler.clone(), scheduler.clone());
    pods.add_handler(move |event| for_pods.pod_changed(&event));
    nodes.add_handler(move |event| for_nodes.node_changed(&event));
    factory.start(&stop);
    factory.wait_for_cache_sync().await;
    while let Some(key) = scheduler.queue.get().await {
        reads::scope(format!("scheduler {key}"), scheduler.schedule(&key)).await;
        scheduler.queue.done(&key);
    }
}

impl Scheduler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pod_changed(&self, event: &Event<Pod>) {
        let pod = event.object();
        let key = object_key(&pod.metadata);
        if let Event::Deleted { .. } = event {
            let mut state = self.state();
            state.assumed.remove(&key);
            state.unschedulable.remove(&key);
            drop(state);
            self.queue.forget(&key);
            self.retry_unschedulable();
        } else if is_pending(pod) {
            self.queue.add(key);
        } else {
            self.state().assumed.remove(&key);
        }
    }

    fn node_changed(&self, event: &Event<Node>) {
        let matters = match event {
            Event::Updated { old, new } => old.spec != new.spec || old.metadata.labels != new.metadata.labels,
            Event::Added { .. } | Event::Deleted { .. } => true,
        };
        if matters {
            self.retry_unschedulable();
        }
    }

    /// Something has changed that may make room.
    fn retry_unschedulable(&self) {
        let waiting = std::mem::take(&mut self.state().unschedulable);
        for key in waiting.into_keys() {
            self.queue.add_rate_limited(key);
        }
    }

    async fn schedule(&self, key: &str) {
        let Some(pod) = self.pods.get(key).filter(|pod| is_pending(pod)) else { return };
        if self.state().assumed.contains_key(key) {
            return;
        }
        let result = match self.choose(&pod) {
            Ok(node) => self.bind(key, &pod, &node).await,
            Err(why) => self.tell_unschedulable(key, &pod, &why).await,
        };
        if let Err(error) = result {
            tracing::debug!(%error, key, "cannot schedule");
            self.queue.add_rate_limited(key.to_owned());
        }
    }

    /// The node for a pod, or why there is none.
    fn choose(&self, pod: &Pod) -> Result<String, String> {
        let Some(spec) = &pod.spec else { return Err("the pod has no spec".into()) };
        let nodes = self.nodes.list();
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut fitting = Vec::new();
        for node in &nodes {
            match why_not(spec, node) {
                None => fitting.extend(node.metadata.name.clone()),
                Some(reason) => *reasons.entry(reason).or_default() += 1,
            }
        }
        let counts = self.pods_by_node();
        let count = |node: &String| counts.get(node).copied().unwrap_or(0);
        let Some(fewest) = fitting.iter().map(count).min() else {
            let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            return Err(format!("0/{} nodes are available: {}.", nodes.len(), reasons.join(", ")));
        };
        fitting.retain(|node| count(node) == fewest);
        // Among equals the real one draws too.
        fitting.sort();
        let chosen = self.state().random.pick(&fitting).cloned();
        Ok(chosen.expect("at least one node has the fewest pods"))
    }

    fn pods_by_node(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for pod in self.pods.list() {
            if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|_| !is_finished(&pod))
            {
                *counts.entry(node).or_default() += 1;
            }
        }
        for node in self.state().assumed.values() {
            *counts.entry(node.clone()).or_default() += 1;
        }
        counts
    }

    async fn bind(&self, key: &str, pod: &Pod, node: &str) -> Result<(), Error> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(&self.client, namespace);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        self.state().assumed.insert(key.to_owned(), node.to_owned());
        let bound: Result<Value, Error> = api.create_subresource("binding", name, &binding).await;
        if let Err(error) = bound {
            self.state().assumed.remove(key);
            if error.is_not_found() || error.is_conflict() {
                // It is gone, or somebody else has bound it; the watch will say.
                return Ok(());
            }
            return Err(error);
        }
        self.queue.forget(&key.to_owned());
        let message = format!("Successfully assigned {key} to {node}");
        self.events.event(pod, EventType::Normal, "Scheduled", message);
        Ok(())
    }

    async fn tell_unschedulable(&self, key: &str, pod: &Pod, why: &str) -> Result<(), Error> {
        self.state().unschedulable.insert(key.to_owned(), ());
        self.queue.add_after(key.to_owned(), LONGEST_WAIT);
        let known = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut known = known.filter(|condition| condition.type_ == "PodScheduled");
        if known.any(|condition| condition.status == "False" && condition.message.as_deref() == Some(why)) {
            return Ok(());
        }
        self.events.event(pod, EventType::Warning, "FailedScheduling", why);
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
            "lastTransitionTime": Time(host::wall_clock::now()),
        });
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let api: Api<Pod> = Api::namespaced(&self.client, pod.metadata.namespace.as_deref().unwrap_or_default());
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(|_patched| ())
    }
}

/// Why a pod cannot run on a node, in the words of the real one.
fn why_not(spec: &PodSpec, node: &Node) -> Option<String> {
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        let taint = k8s_openapi::api::core::v1::Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: NO_SCHEDULE.into(),
            ..Default::default()
        };
        let tolerated = spec.tolerations.iter().flatten().any(|one| crate::placement::tolerates(one, &taint));
        if !tolerated {
            return Some("node(s) were unschedulable".into());
        }
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    if let Some(taint) = untolerated(node, tolerations, &[NO_SCHEDULE, NO_EXECUTE]).first() {
        let value = taint.value.as_deref().unwrap_or_default();
        return Some(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key));
    }
    (!is_allowed_by_affinity(spec, node)).then(|| "node(s) didn't match Pod's node affinity/selector".into())
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a pod waits for this scheduler.
fn is_pending(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let unbound = spec.node_name.as_deref().unwrap_or_default().is_empty();
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name == NAME);
    unbound && ours && pod.metadata.deletion_timestamp.is_none() && !is_finished(pod)
}
