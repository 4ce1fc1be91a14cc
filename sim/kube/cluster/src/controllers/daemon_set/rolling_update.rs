//! Deletes pods of an old template, as many as maxUnavailable leaves room for; `manage` then creates the new ones.

use std::sync::Arc;

use corral_kube_client::Error;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::manage::Work;
use super::nodes::verdict;
use super::{Controller, is_of_version, minimum_ready_seconds};
use crate::controllers::pods::is_available;

impl Controller {
    pub(super) async fn rolling_update(&self, key: &str, set: &DaemonSet, hash: &str) -> Result<(), Error> {
        let by_node = self.pods_by_node(set);
        let wanted = self.nodes.list().iter().filter(|node| verdict(set, node).run).count();
        let most_unavailable = maximum_unavailable(set, wanted);
        let now = host::wall_clock::now();
        let mut unavailable = 0;
        let (mut broken, mut candidates) = (Vec::new(), Vec::new());
        for pods in self.shuffled(by_node.into_values().collect()) {
            match old_and_new(&pods, hash) {
                // Nothing there, or too much: creating and deleting is `manage`'s.
                None | Some((None, None) | (Some(_), Some(_))) => unavailable += 1,
                Some((None, Some(new))) => {
                    if !is_available(&new, minimum_ready_seconds(set), now) {
                        unavailable += 1;
                    }
                }
                Some((Some(old), None)) => {
                    if !is_available(&old, minimum_ready_seconds(set), now) {
                        // It serves nobody: replacing it costs nothing.
                        broken.push(old);
                        unavailable += 1;
                    } else if unavailable < most_unavailable {
                        candidates.push(old);
                    }
                }
            }
        }
        candidates.truncate(most_unavailable.saturating_sub(unavailable));
        let delete: Vec<Arc<Pod>> = broken.into_iter().chain(candidates).collect();
        self.carry_out(key, set, hash, Work { create: Vec::new(), delete }).await
    }
}

/// A node's pod of an old template, and that of the current one.
type OldAndNew = (Option<Arc<Pod>>, Option<Arc<Pod>>);

/// The one old and the one new pod among a node's; none if there are several of a sort. What is being deleted does not count.
fn old_and_new(pods: &[Arc<Pod>], hash: &str) -> Option<OldAndNew> {
    let (mut old, mut new) = (None, None);
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let place = if is_of_version(pod, hash) { &mut new } else { &mut old };
        if place.replace(pod.clone()).is_some() {
            return None;
        }
    }
    Some((old, new))
}

/// How many nodes may lack an available pod: a number, or a share of those that should have one, rounded up.
fn maximum_unavailable(set: &DaemonSet, wanted: usize) -> usize {
    let strategy = set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        None => 1,
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(0),
        Some(IntOrString::String(share)) => {
            let percent: usize = share.trim_end_matches('%').parse().unwrap_or(0);
            (percent * wanted).div_ceil(100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(maximum: serde_json::Value) -> DaemonSet {
        serde_json::from_value(json!({"spec": {
            "selector": {}, "template": {},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": maximum}}
        }}))
        .expect("a DaemonSet")
    }

    #[test]
    fn the_room_for_unavailable_pods_is_a_number_or_a_share_rounded_up() {
        assert_eq!(maximum_unavailable(&set(json!(2)), 5), 2);
        assert_eq!(maximum_unavailable(&set(json!("30%")), 5), 2);
        assert_eq!(maximum_unavailable(&set(json!("100%")), 5), 5);
        assert_eq!(maximum_unavailable(&DaemonSet::default(), 5), 1);
    }

    #[test]
    fn pods_are_told_apart_by_their_template() {
        let pod = |name: &str, hash: &str, deleting: bool| -> Arc<Pod> {
            let deletion = deleting.then_some("2026-01-01T00:00:00Z");
            let metadata =
                json!({"name": name, "labels": {"controller-revision-hash": hash}, "deletionTimestamp": deletion});
            Arc::new(serde_json::from_value(json!({"metadata": metadata})).expect("a pod"))
        };
        let names = |pods: &[Arc<Pod>]| {
            let name = |pod: Option<Arc<Pod>>| pod.and_then(|pod| pod.metadata.name.clone());
            old_and_new(pods, "h").map(|(old, new)| (name(old), name(new)))
        };
        assert_eq!(names(&[pod("a", "g", false)]), Some((Some("a".into()), None)));
        assert_eq!(names(&[pod("a", "g", true), pod("b", "h", false)]), Some((None, Some("b".into()))));
        assert_eq!(names(&[pod("a", "h", false), pod("b", "h", false)]), None, "one too many");
    }
}
