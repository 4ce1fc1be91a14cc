//! The node lifecycle controller: calls nodes unknown whose kubelet has gone silent, and taints them.
//!
//! Each 5 s every node is looked at. A node whose lease and status have not changed for 50 s becomes Ready=Unknown, its pods not ready; then it gets the
//! taint `unreachable:NoExecute` (or `not-ready`), one node each 10 s, and [`super::taint_eviction`] does the rest. If no node at all is ready, the fault is
//! taken to be on this side: all taints go and none is added. With more than half of at least four nodes gone, none is added either.
//! Taints that keep new pods away (NoSchedule) follow a node's conditions at once.
//! Source: kubernetes pkg/controller/nodelifecycle; the 50 s (40 s before v1.32) and 5 s are kube-controller-manager's defaults.

mod health;
mod taints;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::token_bucket::TokenBucket;
use corral_kube_client::{
    Api, Client, Error, Event, EventRecorder, EventSource, EventType, Lister, WorkQueue, object_key, reads,
};
use host::time::Instant;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};

use self::health::{Health, ReadyStatus, ready_status};
use super::pods::{condition, node_name};
use super::{Context, start_workers};

/// How the controller judges. The defaults are kube-controller-manager's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLifecycleOptions {
    /// Between two looks at all nodes.
    pub monitor_period: Duration,
    /// Silence after which a node is unknown.
    pub monitor_grace: Duration,
    /// The same for a node that has never said anything.
    pub startup_grace: Duration,
    /// Between two nodes that get a NoExecute taint.
    pub eviction_interval: Duration,
}

impl Default for NodeLifecycleOptions {
    fn default() -> NodeLifecycleOptions {
        NodeLifecycleOptions {
            monitor_period: Duration::from_secs(5),
            monitor_grace: Duration::from_secs(50),
            startup_grace: Duration::from_secs(60),
            eviction_interval: Duration::from_secs(10),
        }
    }
}

/// A share of nodes, in percent, from which a partial loss is more than a loss of single nodes.
const UNHEALTHY_PERCENT: usize = 55;
/// Workers that taint by condition.
const WORKERS: usize = 8;
const BY_NODE: &str = "by-node";
/// How often the queue of nodes to be tainted is looked at while it is not empty.
const TAINTING_PERIOD: Duration = Duration::from_millis(100);

/// How much of the cluster is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disruption {
    Normal,
    Partial,
    Full,
}

struct Controller {
    options: NodeLifecycleOptions,
    client: Client,
    nodes: Lister<Node>,
    leases: Lister<Lease>,
    pods: Lister<Pod>,
    events: EventRecorder,
    state: Mutex<State>,
}

struct State {
    health: BTreeMap<String, Health>,
    disruption: Disruption,
    /// Nodes to get a NoExecute taint, in order.
    to_taint: Vec<String>,
    limit: TokenBucket,
    /// Nodes whose pods could not all be marked.
    pods_to_mark: BTreeSet<String>,
}

/// Begins the controller.
pub(crate) fn start(context: &Context, options: NodeLifecycleOptions) -> Result<(), Error> {
    let informers = &context.informers;
    let (nodes, leases, pods) =
        (informers.informer::<Node>(), informers.informer::<Lease>(), informers.informer::<Pod>());
    pods.add_index(BY_NODE, |pod: &Pod| {
        let node = node_name(pod);
        if node.is_empty() { Vec::new() } else { vec![node.to_owned()] }
    });
    let client = context.client("node-controller")?;
    let source = EventSource { component: "node-controller".into(), host: String::new() };
    let controller = Arc::new(Controller {
        nodes: nodes.lister(),
        leases: leases.lister(),
        pods: pods.lister(),
        events: EventRecorder::new(&client, source),
        client,
        state: Mutex::new(State {
            health: BTreeMap::new(),
            disruption: Disruption::Normal,
            to_taint: Vec::new(),
            limit: TokenBucket::new(options.eviction_interval, 1),
            pods_to_mark: BTreeSet::new(),
        }),
        options,
    });
    let by_condition: WorkQueue<String> = WorkQueue::default();
    let queue = by_condition.clone();
    nodes.add_handler(move |event| match &event {
        Event::Deleted { .. } => {}
        _ => queue.add(object_key(&event.object().metadata)),
    });
    let unready_pods: WorkQueue<String> = WorkQueue::default();
    let queue = unready_pods.clone();
    pods.add_handler(move |event| {
        // A pod that is bound to a node that is not ready cannot be ready.
        let newly_bound = match &event {
            Event::Added { object, .. } => !node_name(object).is_empty(),
            Event::Updated { old, new } => node_name(old) != node_name(new),
            Event::Deleted { .. } => false,
        };
        if newly_bound {
            queue.add(object_key(&event.object().metadata));
        }
    });
    let (informers, stop) = (context.informers.clone(), context.stop.clone());
    host::spawn(async move {
        informers.wait_for_cache_sync().await;
        let this = controller.clone();
        start_workers("node-lifecycle taints", WORKERS, &by_condition, move |name| {
            let this = this.clone();
            async move { this.taint_by_condition(&name).await }
        });
        let this = controller.clone();
        start_workers("node-lifecycle pods", 4, &unready_pods, move |key| {
            let this = this.clone();
            async move { this.check_new_pod(&key).await }
        });
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = controller.monitor_for_ever() => {}
        }
        by_condition.shut_down();
        unready_pods.shut_down();
    });
    Ok(())
}

impl Controller {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn monitor_for_ever(&self) {
        let mut next = Instant::now();
        loop {
            let nodes = self.nodes.list();
            let mut names: BTreeMap<String, Arc<Node>> = BTreeMap::new();
            for node in nodes {
                names.insert(node.metadata.name.clone().unwrap_or_default(), node);
            }
            self.state().health.retain(|name, _| names.contains_key(name));
            let mut verdicts = Vec::new();
            for (name, node) in &names {
                let verdict = reads::scope(format!("node-lifecycle {name}"), self.look_at(name, node)).await;
                verdicts.push(verdict);
            }
            self.judge_the_whole(&names, &verdicts).await;
            next = next + self.options.monitor_period;
            while self.taint_next().await {
                if host::time::timeout(next - Instant::now(), host::time::sleep(TAINTING_PERIOD)).await.is_err() {
                    break;
                }
            }
            host::time::sleep_until(next).await;
        }
    }

    /// Looks at one node, and says how its kubelet is.
    async fn look_at(&self, name: &str, node: &Node) -> ReadyStatus {
        let observed = ready_status(node);
        let is_silent = {
            let lease = self.leases.get(&format!("{}/{name}", crate::NODE_LEASE_NAMESPACE));
            let mut state = self.state();
            let health = state.health.entry(name.to_owned()).or_insert_with(|| Health::new(node, lease.as_deref()));
            health.observe(node, lease.as_deref());
            let has_spoken = observed != ReadyStatus::Never;
            let grace = if has_spoken { self.options.monitor_grace } else { self.options.startup_grace };
            health.silence() > grace
        };
        let mut current = observed;
        if is_silent && observed != ReadyStatus::Unknown {
            match self.mark_unknown(node).await {
                Ok(()) => current = ReadyStatus::Unknown,
                Err(error) => tracing::warn!(%error, name, "cannot mark a node as unknown"),
            }
        }
        if let Err(error) = self.follow(name, node, observed, current).await {
            tracing::debug!(%error, name, "cannot follow a node's health");
        }
        current
    }

    async fn mark_unknown(&self, node: &Node) -> Result<(), Error> {
        let api: Api<Node> = Api::all(&self.client);
        match api.update_status(&health::unknown(node)).await {
            Err(error) if error.is_conflict() => {
                let fresh = api.get(node.metadata.name.as_deref().unwrap_or_default()).await?;
                api.update_status(&health::unknown(&fresh)).await.map(|_updated| ())
            }
            done => done.map(|_updated| ()),
        }
    }

    /// Taints and pods follow what the node was observed to be; pods at the moment it stops being ready.
    async fn follow(&self, name: &str, node: &Node, observed: ReadyStatus, current: ReadyStatus) -> Result<(), Error> {
        match observed {
            ReadyStatus::Ready => self.untaint(name, node).await?,
            ReadyStatus::NotReady | ReadyStatus::Unknown => self.queue_for_taint(name, node, observed).await?,
            ReadyStatus::Never => {}
        }
        let just_lost = current != ReadyStatus::Ready && observed == ReadyStatus::Ready;
        if just_lost {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.events.event(node, EventType::Normal, "NodeNotReady", message);
        }
        let again = self.state().pods_to_mark.remove(name) && observed != ReadyStatus::Ready;
        if just_lost || again {
            self.mark_pods(name).await?;
        }
        Ok(())
    }

    async fn mark_pods(&self, node: &str) -> Result<(), Error> {
        for pod in self.pods.by_index(BY_NODE, node) {
            if let Err(error) = self.mark_pod(&pod).await {
                self.state().pods_to_mark.insert(node.to_owned());
                return Err(error);
            }
        }
        Ok(())
    }

    async fn mark_pod(&self, pod: &Pod) -> Result<(), Error> {
        if condition(pod, "Ready").is_none_or(|condition| condition.status != "True") {
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(&self.client, pod.metadata.namespace.as_deref().unwrap_or_default());
        match api.update_status(&health::unready(pod)).await {
            // Gone, or changed by somebody who knows more.
            Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
            Err(_meanwhile) => return Ok(()),
            Ok(_updated) => {}
        }
        self.events.event(pod, EventType::Warning, "NodeNotReady", "Node is not ready");
        Ok(())
    }

    async fn check_new_pod(&self, key: &str) -> Result<(), Error> {
        let Some(pod) = self.pods.get(key) else { return Ok(()) };
        let Some(node) = self.nodes.get(node_name(&pod)) else { return Ok(()) };
        match ready_status(&node) {
            ReadyStatus::NotReady | ReadyStatus::Unknown => self.mark_pod(&pod).await,
            ReadyStatus::Ready | ReadyStatus::Never => Ok(()),
        }
    }

    /// Decides from all nodes together whether taints are added at all.
    async fn judge_the_whole(&self, nodes: &BTreeMap<String, Arc<Node>>, verdicts: &[ReadyStatus]) {
        let new = disruption(verdicts);
        let old = std::mem::replace(&mut self.state().disruption, new);
        match (old, new) {
            (Disruption::Full, Disruption::Full) => {}
            (_, Disruption::Full) => {
                tracing::warn!("no node is ready: evictions stop");
                self.state().to_taint.clear();
                for (name, node) in nodes {
                    if let Err(error) = self.untaint(name, node).await {
                        tracing::warn!(%error, name, "cannot remove a node's taints");
                    }
                }
            }
            (Disruption::Full, _) => {
                // What was silent may have been this side's fault: all get their time again.
                self.state().health.values_mut().for_each(Health::begin_anew);
            }
            _ => {}
        }
    }
}

fn disruption(verdicts: &[ReadyStatus]) -> Disruption {
    let ready = verdicts.iter().filter(|verdict| **verdict == ReadyStatus::Ready).count();
    let lost = verdicts.len() - ready;
    match () {
        () if ready == 0 && lost > 0 => Disruption::Full,
        () if lost > 2 && lost * 100 >= verdicts.len() * UNHEALTHY_PERCENT => Disruption::Partial,
        () => Disruption::Normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_of_everything_is_not_taken_for_the_loss_of_nodes() {
        use ReadyStatus::{Ready, Unknown};
        assert_eq!(disruption(&[]), Disruption::Normal);
        assert_eq!(disruption(&[Unknown, Ready, Ready]), Disruption::Normal);
        assert_eq!(disruption(&[Unknown, Unknown, Ready]), Disruption::Normal, "two are single nodes still");
        assert_eq!(disruption(&[Unknown, Unknown, Unknown, Ready]), Disruption::Partial);
        assert_eq!(disruption(&[Unknown, Unknown]), Disruption::Full);
    }
}
