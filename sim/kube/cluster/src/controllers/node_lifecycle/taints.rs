//! The taints that follow a node's health.

use corral_kube_client::params::{Patch, PatchParams};
use corral_kube_client::{Api, Error};
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::health::{ReadyStatus, ready_status};
use super::{Controller, Disruption};
use crate::placement::{NO_EXECUTE, NO_SCHEDULE};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that keep new pods away while they are true.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// A taint by key and effect: what makes two taints the same.
type Mark = (&'static str, &'static str);

fn has(node: &Node, (key, effect): Mark) -> bool {
    taints(node).any(|taint| taint.key == key && taint.effect == effect)
}

fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// The NoExecute taint of a state, and the one that it excludes.
fn eviction_marks(status: ReadyStatus) -> Option<(Mark, Mark)> {
    let (not_ready, unreachable) = ((NOT_READY, NO_EXECUTE), (UNREACHABLE, NO_EXECUTE));
    match status {
        ReadyStatus::NotReady => Some((not_ready, unreachable)),
        ReadyStatus::Unknown => Some((unreachable, not_ready)),
        ReadyStatus::Ready | ReadyStatus::Never => None,
    }
}

impl Controller {
    /// A node that is ready has no NoExecute taint of this controller.
    pub(super) async fn untaint(&self, name: &str, node: &Node) -> Result<(), Error> {
        self.state().to_taint.retain(|queued| queued != name);
        let marks = [(UNREACHABLE, NO_EXECUTE), (NOT_READY, NO_EXECUTE)];
        if marks.iter().any(|mark| has(node, *mark)) {
            self.swap(name, &[], &marks).await?;
        }
        Ok(())
    }

    /// A node that has the other taint gets its right one at once; a new one takes its turn.
    pub(super) async fn queue_for_taint(&self, name: &str, node: &Node, status: ReadyStatus) -> Result<(), Error> {
        let Some((mark, other)) = eviction_marks(status) else { return Ok(()) };
        if has(node, other) {
            return self.swap(name, &[mark], &[other]).await;
        }
        let mut state = self.state();
        if !has(node, mark)
            && state.disruption != Disruption::Full
            && !state.to_taint.iter().any(|queued| queued == name)
        {
            state.to_taint.push(name.to_owned());
        }
        Ok(())
    }

    /// Taints the next node, if one waits and the limit allows; whether one still waits.
    pub(super) async fn taint_next(&self) -> bool {
        let name = {
            let mut state = self.state();
            if state.to_taint.is_empty() || state.disruption != Disruption::Normal {
                return false;
            }
            if !state.limit.try_take() {
                return true;
            }
            state.to_taint.remove(0)
        };
        let status = self.nodes.get(&name).map(|node| ready_status(&node));
        if let Some((mark, other)) = status.and_then(eviction_marks)
            && let Err(error) = self.swap(&name, &[mark], &[other]).await
        {
            tracing::warn!(%error, name, "cannot taint a node");
            self.state().to_taint.push(name);
        }
        !self.state().to_taint.is_empty()
    }

    /// NoSchedule taints are what the conditions say, and nothing else.
    pub(super) async fn taint_by_condition(&self, name: &str) -> Result<(), Error> {
        let Some(node) = self.nodes.get(name) else { return Ok(()) };
        let condition_is = |kind: &str, status: &str| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.filter(|condition| condition.type_ == kind).any(|condition| condition.status == status)
        };
        let unschedulable = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
        let mut facts = vec![
            (NOT_READY, condition_is("Ready", "False")),
            (UNREACHABLE, condition_is("Ready", "Unknown")),
            (UNSCHEDULABLE, unschedulable),
        ];
        facts.extend(PRESSURES.iter().map(|(kind, key)| (*key, condition_is(kind, "True"))));
        let says_something = node.status.as_ref().is_some_and(|status| status.conditions.is_some());
        let wrong = |wanted: bool| -> Vec<Mark> {
            let mut wrong = Vec::new();
            for (key, is) in &facts {
                let mark = (*key, NO_SCHEDULE);
                if *is == wanted && has(&node, mark) != wanted {
                    wrong.push(mark);
                }
            }
            wrong
        };
        let (add, remove) = (wrong(true), wrong(false));
        if (add.is_empty() && remove.is_empty()) || !says_something {
            return Ok(());
        }
        self.swap(name, &add, &remove).await
    }

    /// Adds and removes taints of a node in one write.
    async fn swap(&self, name: &str, add: &[Mark], remove: &[Mark]) -> Result<(), Error> {
        let api: Api<Node> = Api::all(&self.client);
        let node = api.get(name).await?;
        let is = |taint: &Taint, marks: &[Mark]| {
            marks.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect)
        };
        let mut new: Vec<Taint> = taints(&node).filter(|taint| !is(taint, remove)).cloned().collect();
        for (key, effect) in add {
            if !has(&node, (key, effect)) {
                let time_added = Some(Time(host::wall_clock::now()));
                new.push(Taint { key: (*key).into(), effect: (*effect).into(), time_added, value: None });
            }
        }
        if taints(&node).eq(&new) {
            return Ok(());
        }
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": new}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_patched| ())
    }
}
