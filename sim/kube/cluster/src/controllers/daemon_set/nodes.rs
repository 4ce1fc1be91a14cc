//! Which nodes should have a pod of a set, and what its pod for a node looks like.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

use super::super::pods::{controller_reference, from_template, node_name};
use super::{GENERATION_LABEL, HASH_LABEL, namespace};
use crate::placement::{NO_EXECUTE, NO_SCHEDULE, is_allowed_by_affinity, untolerated};

/// What a node is to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// A pod is to be there.
    pub run: bool,
    /// A pod that is there may stay.
    pub stay: bool,
}

/// Whether a node should have a pod of this set.
pub(super) fn verdict(set: &DaemonSet, node: &Node) -> Verdict {
    let no = Verdict { run: false, stay: false };
    let Some(spec) = template_spec(set) else { return no };
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let fixed = spec.node_name.as_deref().filter(|fixed| !fixed.is_empty());
    if fixed.is_some_and(|fixed| fixed != name) || !is_allowed_by_affinity(&spec, node) {
        return no;
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    if untolerated(node, tolerations, &[NO_SCHEDULE, NO_EXECUTE]).is_empty() {
        return Verdict { run: true, stay: true };
    }
    Verdict { run: false, stay: untolerated(node, tolerations, &[NO_EXECUTE]).is_empty() }
}

/// The template's spec with the tolerations that every pod of a DaemonSet gets.
fn template_spec(set: &DaemonSet) -> Option<PodSpec> {
    let mut spec = set.spec.template.spec.clone()?;
    let mut added = vec![
        ("node.kubernetes.io/not-ready", NO_EXECUTE),
        ("node.kubernetes.io/unreachable", NO_EXECUTE),
        ("node.kubernetes.io/disk-pressure", NO_SCHEDULE),
        ("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
        ("node.kubernetes.io/pid-pressure", NO_SCHEDULE),
        ("node.kubernetes.io/unschedulable", NO_SCHEDULE),
    ];
    if spec.host_network == Some(true) {
        added.push(("node.kubernetes.io/network-unavailable", NO_SCHEDULE));
    }
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in added {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    Some(spec)
}

/// The pod of a set for a node.
pub(super) fn pod_for(set: &DaemonSet, node: &str, hash: &str) -> Option<Pod> {
    let owner = controller_reference("apps/v1", "DaemonSet", &set.metadata);
    let prefix = format!("{}-", set.metadata.name.as_deref().unwrap_or_default());
    let mut pod = from_template(&set.spec.template, namespace(set), &prefix, owner);
    let labels = pod.metadata.labels.get_or_insert_with(BTreeMap::new);
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    let generation =
        set.metadata.annotations.as_ref().and_then(|all| all.get("deprecated.daemonset.template.generation"));
    if let Some(generation) = generation {
        labels.insert(GENERATION_LABEL.to_owned(), generation.clone());
    }
    pod.spec = template_spec(set);
    pin(pod.spec.as_mut()?, node);
    Some(pod)
}

/// Replaces the required node affinity by the name of the node; the terms' other conditions were checked when the node was chosen.
fn pin(spec: &mut PodSpec, node: &str) {
    let by_name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![by_name]), ..NodeSelectorTerm::default() };
    let affinity = spec.affinity.get_or_insert_with(Affinity::default);
    let node_affinity = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    node_affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a pod runs on, or is meant for.
pub(super) fn target_node(pod: &Pod) -> String {
    let bound = node_name(pod);
    if !bound.is_empty() {
        return bound.to_owned();
    }
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.into_iter().flat_map(|selector| &selector.node_selector_terms);
    let mut fields = terms.flat_map(|term| term.match_fields.iter().flatten());
    let values = fields.find(|field| field.key == "metadata.name").and_then(|field| field.values.clone());
    values.and_then(|values| values.into_iter().next()).unwrap_or_default()
}
