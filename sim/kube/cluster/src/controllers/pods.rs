//! What controllers ask of pods: who controls them, whether they are ready, and how a template becomes one.
//!
//! Source: kubernetes pkg/api/v1/pod/util.go, pkg/controller/controller_utils.go.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The reference to the object that controls this one.
pub(crate) fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether the object is controlled by the one of this uid.
pub(crate) fn is_controlled_by(metadata: &ObjectMeta, uid: Option<&String>) -> bool {
    controller_of(metadata).is_some_and(|owner| Some(&owner.uid) == uid)
}

/// A reference of a controller to be put on what it creates.
pub(crate) fn controller_reference(api_version: &str, kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Whether the pod's Ready condition is true.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Whether the pod has been ready for so long.
pub(crate) fn is_available(pod: &Pod, minimum_ready_seconds: i32, now: jiff::Timestamp) -> bool {
    let Some(ready) = condition(pod, "Ready").filter(|condition| condition.status == "True") else { return false };
    if minimum_ready_seconds <= 0 {
        return true;
    }
    let needed = Duration::from_secs(minimum_ready_seconds as u64);
    ready
        .last_transition_time
        .as_ref()
        .is_some_and(|since| now.duration_since(since.0).unsigned_abs() >= needed && since.0 <= now)
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the pod has run to its end.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub(crate) fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// A pod from a template, to be named by the server.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    name_prefix: &str,
    owner: OwnerReference,
) -> Pod {
    let metadata = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(name_prefix.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// A short hash of a template, in the letters that Kubernetes uses for them. Not the real one's number: that depends on Go's memory layout.
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = serde_json::to_vec(template).expect("a template is plain data");
    let mut hash = corral_core::journal::content_hash(&text);
    if let Some(collisions) = collisions {
        hash = corral_core::journal::content_hash(&[hash.to_le_bytes(), i64::from(collisions).to_le_bytes()].concat());
    }
    let number = (hash as u32).to_string();
    number.bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_of_templates_tell_templates_apart() {
        let template = |image: &str| -> PodTemplateSpec {
            serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": image}]}}))
                .expect("a template")
        };
        let hash = template_hash(&template("a:1"), None);
        assert_eq!(hash, template_hash(&template("a:1"), None));
        assert_ne!(hash, template_hash(&template("a:2"), None));
        assert_ne!(hash, template_hash(&template("a:1"), Some(1)));
        assert!(hash.bytes().all(|letter| b"bcdfghjklmnpqrstvwxz2456789".contains(&letter)), "{hash}");
    }
}
