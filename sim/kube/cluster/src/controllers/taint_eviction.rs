//! Deletes pods from nodes with a NoExecute taint: at once if they do not tolerate it, or when their toleration's time is over.
//!
//! Admission gives every pod 300 s for nodes that are not ready or unreachable. A taint that goes takes the appointment with it.
//! Source: kubernetes pkg/controller/tainteviction/taint_eviction.go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corral_kube_client::params::{DeleteParams, Patch, PatchParams};
use corral_kube_client::{
    Api, Client, Error, Event, EventRecorder, EventSource, EventType, Lister, WorkQueue, object_key,
};
use host::time::Instant;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::pods::node_name;
use super::{Context, start_workers};
use crate::placement::{NO_EXECUTE, tolerates};

const WORKERS: usize = 8;
const BY_NODE: &str = "by-node-of-taint";

struct Controller {
    client: Client,
    nodes: Lister<Node>,
    pods: Lister<Pod>,
    /// Pods to be deleted when their time has come.
    evictions: WorkQueue<String>,
    appointments: Mutex<BTreeMap<String, Appointment>>,
    events: EventRecorder,
}

/// When a pod is to go.
#[derive(Clone, Debug)]
struct Appointment {
    uid: Option<String>,
    made: Instant,
    due: Instant,
}

/// Begins the controller.
pub(crate) fn start(context: &Context) -> Result<(), Error> {
    let (nodes, pods) = (context.informers.informer::<Node>(), context.informers.informer::<Pod>());
    pods.add_index(BY_NODE, |pod: &Pod| {
        let node = node_name(pod);
        if node.is_empty() { Vec::new() } else { vec![node.to_owned()] }
    });
    let client = context.client("taint-eviction-controller")?;
    let source = EventSource { component: "taint-eviction-controller".into(), host: String::new() };
    let controller = Arc::new(Controller {
        nodes: nodes.lister(),
        pods: pods.lister(),
        evictions: WorkQueue::default(),
        appointments: Mutex::default(),
        events: EventRecorder::new(&client, source),
        client,
    });
    let this = controller.clone();
    nodes.add_handler(move |event| this.node_changed(&event));
    let this = controller.clone();
    pods.add_handler(move |event| this.pod_changed(&event));
    let (informers, stop) = (context.informers.clone(), context.stop.clone());
    host::spawn(async move {
        informers.wait_for_cache_sync().await;
        let queue = controller.evictions.clone();
        start_workers("taint-eviction", WORKERS, &queue, move |key| {
            let controller = controller.clone();
            async move { controller.evict(&key).await }
        });
        stop.stopped().await;
        queue.shut_down();
    });
    Ok(())
}

impl Controller {
    fn appointments(&self) -> MutexGuard<'_, BTreeMap<String, Appointment>> {
        self.appointments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node_changed(&self, event: &Event<Node>) {
        let evicting = |node: &Node| evicting_taints(node).cloned().collect::<Vec<Taint>>();
        let (name, taints) = match event {
            Event::Updated { old, new } if evicting(old) == evicting(new) => return,
            Event::Deleted { object, .. } => (object.metadata.name.clone(), Vec::new()),
            _ => (event.object().metadata.name.clone(), evicting(event.object())),
        };
        for pod in self.pods.by_index(BY_NODE, &name.unwrap_or_default()) {
            self.judge(&pod, &taints);
        }
    }

    fn pod_changed(&self, event: &Event<Pod>) {
        let pod = event.object();
        if let Event::Deleted { .. } = event {
            self.appointments().remove(&object_key(&pod.metadata));
            return;
        }
        if let Event::Updated { old, new } = event
            && node_name(old) == node_name(new)
            && tolerations(old) == tolerations(new)
            && old.metadata.uid == new.metadata.uid
        {
            return;
        }
        if let Some(node) = self.nodes.get(node_name(pod)) {
            let taints: Vec<Taint> = evicting_taints(&node).cloned().collect();
            self.judge(pod, &taints);
        }
    }

    /// Makes, keeps or cancels a pod's appointment.
    fn judge(&self, pod: &Pod, taints: &[Taint]) {
        let key = object_key(&pod.metadata);
        let Some(patience) = patience(taints, tolerations(pod)) else {
            self.appointments().remove(&key);
            return;
        };
        let now = Instant::now();
        let mut appointments = self.appointments();
        let known = appointments.get(&key).filter(|known| known.uid == pod.metadata.uid);
        // A second taint does not start the clock again.
        let made = known.map_or(now, |known| known.made);
        let due = made + patience;
        if known.is_some_and(|known| known.due <= due) {
            return;
        }
        appointments.insert(key.clone(), Appointment { uid: pod.metadata.uid.clone(), made, due });
        drop(appointments);
        self.evictions.add_after(key, due - now);
    }

    async fn evict(&self, key: &str) -> Result<(), Error> {
        let due = self.appointments().get(key).cloned();
        let Some(appointment) = due.filter(|appointment| appointment.due <= Instant::now()) else { return Ok(()) };
        let Some(pod) = self.pods.get(key).filter(|pod| pod.metadata.uid == appointment.uid) else { return Ok(()) };
        self.events.event(&*pod, EventType::Normal, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
        match self.delete(&pod).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _deleted_or_gone => {}
        }
        self.appointments().remove(key);
        Ok(())
    }

    async fn delete(&self, pod: &Pod) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(&self.client, pod.metadata.namespace.as_deref().unwrap_or_default());
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": Time(host::wall_clock::now()),
        });
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        api.delete(name, &DeleteParams::default()).await.map(|_deleted| ())
    }
}

fn evicting_taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter(|taint| taint.effect == NO_EXECUTE)
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
}

/// How long a pod may stay under these taints: none if for ever, zero if not at all.
fn patience(taints: &[Taint], tolerations: &[Toleration]) -> Option<Duration> {
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let covering: Vec<&Toleration> = tolerations.iter().filter(|one| tolerates(one, taint)).collect();
        if covering.is_empty() {
            return Some(Duration::ZERO);
        }
        for seconds in covering.iter().filter_map(|toleration| toleration.toleration_seconds) {
            let patience = Duration::from_secs(seconds.max(0) as u64);
            shortest = Some(shortest.map_or(patience, |shortest| shortest.min(patience)));
        }
    }
    shortest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str) -> Taint {
        Taint { key: key.to_owned(), effect: NO_EXECUTE.to_owned(), ..Taint::default() }
    }

    fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            toleration_seconds: seconds,
            ..Toleration::default()
        }
    }

    #[test]
    fn the_least_patient_toleration_decides() {
        let seconds =
            |taints: &[Taint], tolerations: &[Toleration]| patience(taints, tolerations).map(|it| it.as_secs());
        assert_eq!(seconds(&[], &[]), None);
        assert_eq!(seconds(&[taint("a")], &[]), Some(0));
        assert_eq!(seconds(&[taint("a")], &[toleration("a", None)]), None);
        assert_eq!(seconds(&[taint("a")], &[toleration("a", Some(300))]), Some(300));
        let both = [toleration("a", Some(300)), toleration("b", Some(60))];
        assert_eq!(seconds(&[taint("a"), taint("b")], &both), Some(60));
        assert_eq!(seconds(&[taint("a"), taint("c")], &both), Some(0));
    }
}
