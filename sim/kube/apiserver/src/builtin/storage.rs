//! Volumes, claims, classes and attachments.
//!
//! Facts: kubernetes/pkg/apis/{core,storage}/v1/defaults.go, pkg/registry/{core,storage}; conformance/real.json.

use serde_json::{Map, Value, json};

use super::{Surroundings, at, default, existing, object};
use crate::error::{ApiError, Cause};

/// Defaults of a claim.
pub(super) fn claim_defaults(claim: &mut Map<String, Value>) {
    if let Some(spec) = existing(claim, "spec") {
        default(spec, "volumeMode", "Filesystem");
    }
    if let Some(status) = object(claim, "status") {
        default(status, "phase", "Pending");
    }
}

/// A new claim waits, in the default class unless it names one.
pub(super) fn prepare_claim(claim: &mut Map<String, Value>, surroundings: &dyn Surroundings) -> Result<(), ApiError> {
    claim.insert("status".into(), json!({ "phase": "Pending" }));
    if let Some(spec) = existing(claim, "spec")
        && !spec.contains_key("storageClassName")
        && let Some(class) = surroundings.default_storage_class()
    {
        spec.insert("storageClassName".into(), class.into());
    }
    Ok(())
}

/// Whether a claim is one: after creation only its size and its binding may change.
pub(super) fn validate_claim(claim: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    let spec = |claim: &Map<String, Value>| claim.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
    let new = spec(claim);
    if new.get("accessModes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.accessModes", "at least 1 access mode is required"));
    }
    if at(&new, &["resources", "requests", "storage"]).is_none() {
        causes.push(Cause::required("spec.resources[storage]", ""));
    }
    let Some(old) = old.map(spec) else { return };
    let comparable = |mut spec: Map<String, Value>, keep_name: bool| {
        for field in ["resources", "volumeAttributesClassName"] {
            spec.remove(field);
        }
        if !keep_name {
            spec.remove("volumeName");
            spec.remove("storageClassName");
        }
        spec
    };
    let bound = old.get("volumeName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if comparable(new, bound) != comparable(old, bound) {
        causes.push(Cause::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
}

/// Defaults of a persistent volume.
pub(super) fn volume_defaults(volume: &mut Map<String, Value>) {
    if let Some(spec) = existing(volume, "spec") {
        default(spec, "persistentVolumeReclaimPolicy", "Retain");
        default(spec, "volumeMode", "Filesystem");
        if let Some(path) = existing(spec, "hostPath") {
            default(path, "type", "");
        }
    }
    if let Some(status) = object(volume, "status") {
        default(status, "phase", "Pending");
    }
}

/// A new volume is pending.
pub(super) fn prepare_volume(volume: &mut Map<String, Value>, surroundings: &dyn Surroundings) -> Result<(), ApiError> {
    volume.insert("status".into(), json!({ "phase": "Pending", "lastPhaseTransitionTime": surroundings.now() }));
    Ok(())
}

/// The server notes when the phase changes.
pub(super) fn prepare_volume_update(
    volume: &mut Map<String, Value>,
    old: &Map<String, Value>,
    surroundings: &dyn Surroundings,
) {
    let changed = at(volume, &["status", "phase"]) != at(old, &["status", "phase"]);
    let before = at(old, &["status", "lastPhaseTransitionTime"]).cloned();
    if let Some(status) = existing(volume, "status") {
        if changed {
            status.insert("lastPhaseTransitionTime".into(), surroundings.now().into());
        } else if let Some(before) = before {
            default(status, "lastPhaseTransitionTime", before);
        }
    }
}

const SOURCES: &[&str] = &[
    "csi",
    "hostPath",
    "local",
    "nfs",
    "iscsi",
    "fc",
    "rbd",
    "cephfs",
    "awsElasticBlockStore",
    "gcePersistentDisk",
    "azureDisk",
];

/// Whether a volume is one: where its data lies is for ever.
pub(super) fn validate_volume(volume: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    let source = |volume: &Map<String, Value>| -> Vec<(String, Value)> {
        let spec = volume.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
        spec.into_iter().filter(|(field, _)| SOURCES.contains(&field.as_str())).collect()
    };
    if at(volume, &["spec", "accessModes"]).and_then(Value::as_array).is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.accessModes", ""));
    }
    if at(volume, &["spec", "capacity", "storage"]).is_none() {
        causes.push(Cause::required("spec.capacity", ""));
    }
    let sources = source(volume);
    if sources.is_empty() {
        causes.push(Cause::required("spec", "must specify a volume type"));
    }
    if old.is_some_and(|old| source(old) != sources) {
        causes.push(Cause::forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation",
        ));
    }
}

/// Defaults of a storage class.
pub(super) fn class_defaults(class: &mut Map<String, Value>) {
    default(class, "reclaimPolicy", "Delete");
    default(class, "volumeBindingMode", "Immediate");
}

/// A new attachment is not attached.
pub(super) fn prepare_attachment(attachment: &mut Map<String, Value>, _: &dyn Surroundings) -> Result<(), ApiError> {
    attachment.insert("status".into(), json!({ "attached": false }));
    Ok(())
}

/// Defaults of a CSI driver.
pub(super) fn driver_defaults(driver: &mut Map<String, Value>) {
    let Some(spec) = existing(driver, "spec") else { return };
    default(spec, "attachRequired", true);
    default(spec, "podInfoOnMount", false);
    default(spec, "storageCapacity", false);
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    default(spec, "requiresRepublish", false);
    default(spec, "seLinuxMount", false);
    default(spec, "volumeLifecycleModes", json!(["Persistent"]));
}
