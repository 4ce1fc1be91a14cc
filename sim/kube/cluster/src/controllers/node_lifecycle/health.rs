//! How long a node's kubelet has been silent, and what is written when that is too long.

use std::time::Duration;

use host::time::Instant;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// What a node's Ready condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadyStatus {
    Ready,
    NotReady,
    Unknown,
    /// The kubelet has not said anything yet.
    Never,
}

fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == "Ready")
}

pub(super) fn ready_status(node: &Node) -> ReadyStatus {
    match ready_condition(node).map(|condition| condition.status.as_str()) {
        None => ReadyStatus::Never,
        Some("True") => ReadyStatus::Ready,
        Some("False") => ReadyStatus::NotReady,
        Some(_) => ReadyStatus::Unknown,
    }
}

/// When a node was last heard of: the controller's own clock counts, whatever the kubelet's says.
#[derive(Debug)]
pub(super) struct Health {
    heard: Instant,
    heartbeat: Option<Time>,
    renewed: Option<MicroTime>,
}

impl Health {
    pub fn new(node: &Node, lease: Option<&Lease>) -> Health {
        Health { heard: Instant::now(), heartbeat: heartbeat(node), renewed: renewed(lease) }
    }

    /// Takes note of a newer status or lease.
    pub fn observe(&mut self, node: &Node, lease: Option<&Lease>) {
        let (heartbeat, renewed) = (heartbeat(node), renewed(lease));
        let newer_lease = match (&self.renewed, &renewed) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new.0 > old.0,
        };
        if heartbeat != self.heartbeat || newer_lease {
            self.heard = Instant::now();
        }
        self.heartbeat = heartbeat;
        if newer_lease {
            self.renewed = renewed;
        }
    }

    pub fn silence(&self) -> Duration {
        self.heard.elapsed()
    }

    pub fn begin_anew(&mut self) {
        self.heard = Instant::now();
    }
}

fn heartbeat(node: &Node) -> Option<Time> {
    ready_condition(node).and_then(|condition| condition.last_heartbeat_time.clone())
}

fn renewed(lease: Option<&Lease>) -> Option<MicroTime> {
    lease?.spec.as_ref()?.renew_time.clone()
}

/// The node with all that its kubelet reports turned unknown.
pub(super) fn unknown(node: &Node) -> Node {
    let mut node = node.clone();
    let now = Time(host::wall_clock::now());
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(now.clone());
            }
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.clone(),
                last_transition_time: Some(now.clone()),
            }),
        }
    }
    node
}

/// The pod, not ready.
pub(super) fn unready(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    let conditions = pod.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
    for condition in conditions.filter(|condition| condition.type_ == "Ready") {
        condition.status = "False".to_owned();
        condition.last_transition_time = Some(Time(host::wall_clock::now()));
    }
    pod
}
