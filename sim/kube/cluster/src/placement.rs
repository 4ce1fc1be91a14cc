//! Where a pod may run: node selectors, required node affinity, taints and tolerations. Shared by the scheduler and the DaemonSet controller.
//!
//! Source: component-helpers/scheduling/corev1 (nodeaffinity, helpers.go).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// A taint that keeps new pods away, and those already there if they do not tolerate it.
pub const NO_EXECUTE: &str = "NoExecute";
/// A taint that keeps new pods away.
pub const NO_SCHEDULE: &str = "NoSchedule";

/// Whether the pod's node selector and required affinity allow this node.
pub fn is_allowed_by_affinity(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key).is_some_and(|label| label == value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|selector| matches_selector(selector, node, &labels))
}

fn matches_selector(selector: &NodeSelector, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    selector.node_selector_terms.iter().any(|term| matches_term(term, node, labels))
}

fn matches_term(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        // An empty term selects nothing.
        return false;
    }
    expressions.iter().all(|requirement| meets(requirement, labels.get(&requirement.key).map(String::as_str)))
        && fields.iter().all(|requirement| {
            // The only field there is.
            requirement.key == "metadata.name" && meets(requirement, node.metadata.name.as_deref())
        })
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = || number(values.first().map(String::as_str));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.iter().any(|one| one == value)),
        "NotIn" => value.is_none_or(|value| values.iter().all(|one| one != value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound()).is_some_and(|(value, bound)| value > bound),
        "Lt" => number(value).zip(bound()).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "Exists" => true,
        "" | "Equal" => text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

/// The node's taints of these effects that none of the tolerations covers.
pub fn untolerated<'a>(node: &'a Node, tolerations: &[Toleration], effects: &[&str]) -> Vec<&'a Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let of_effect = taints.filter(|taint| effects.contains(&taint.effect.as_str()));
    of_effect.filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}},
            "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}, {"key": "s", "effect": "NoSchedule"}]}
        }))
        .expect("a node")
    }

    fn allowed(spec: serde_json::Value) -> bool {
        is_allowed_by_affinity(&serde_json::from_value(spec).expect("a pod's spec"), &node())
    }

    fn with_term(term: serde_json::Value) -> serde_json::Value {
        let required = json!({"nodeSelectorTerms": [term]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        json!({"containers": [], "affinity": affinity})
    }

    #[test]
    fn selectors_and_affinity_choose_nodes() {
        assert!(allowed(json!({"containers": [], "nodeSelector": {"zone": "a"}})));
        assert!(!allowed(json!({"containers": [], "nodeSelector": {"zone": "b"}})));
        let by_name = |name| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        assert!(allowed(with_term(by_name("n1"))));
        assert!(!allowed(with_term(by_name("n2"))));
        let expression = |key, operator, values| {
            with_term(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        assert!(allowed(expression("cores", "Gt", json!(["4"]))));
        assert!(!allowed(expression("cores", "Lt", json!(["8"]))));
        assert!(allowed(expression("absent", "NotIn", json!(["x"]))));
        assert!(!allowed(with_term(json!({}))), "an empty term selects nothing");
    }

    #[test]
    fn tolerations_cover_taints_by_key_value_and_effect() {
        let node = node();
        let toleration = |value| serde_json::from_value::<Toleration>(value).expect("a toleration");
        let open = |tolerations: &[Toleration]| {
            let open = untolerated(&node, tolerations, &[NO_EXECUTE, NO_SCHEDULE]);
            open.into_iter().map(|taint| taint.key.clone()).collect::<Vec<_>>()
        };
        assert_eq!(open(&[]), ["k", "s"]);
        assert_eq!(open(&[toleration(json!({"operator": "Exists"}))]), Vec::<String>::new());
        assert_eq!(open(&[toleration(json!({"key": "k", "value": "v"}))]), ["s"]);
        assert_eq!(open(&[toleration(json!({"key": "k", "value": "w"}))]), ["k", "s"]);
        assert_eq!(open(&[toleration(json!({"key": "s", "operator": "Exists", "effect": "NoSchedule"}))]), ["k"]);
    }
}
