//! **Damage**: an object that was deleted never goes; its name is taken, what it stands for cannot be made again.
//! **Promise**: Kubernetes' deletion: finalizers are removed by their owners, dependents by the collector (liveness statement "nothing is deleting for
//! ever").
//! **Bound**: the settle phase, which ends only when nothing was written for 65 s (twice the informers' resync) or after 15 min.

use corral_world::{Oracle, Stage};
use serde_json::Value;

/// Every deleting object goes.
pub struct NothingIsDeletingForEver;

impl Oracle for NothingIsDeletingForEver {
    fn name(&self) -> &'static str {
        "nothing-is-deleting-for-ever"
    }

    fn about(&self) -> &'static str {
        "what is deleted goes"
    }

    fn judge(&self, stage: &Stage) {
        let store = stage.cluster().store();
        for resource in store.resources() {
            for object in store.objects(&resource).filter(|object| object.is_deleting()) {
                let finalizers: Vec<&str> = object.value["metadata"]["finalizers"]
                    .as_array()
                    .map(|list| list.iter().filter_map(Value::as_str).collect())
                    .unwrap_or_default();
                let kind = object.value["kind"].as_str().unwrap_or(&resource);
                let waits_for = finalizers.join(", ");
                let signature = format!("{kind} stays deleting, finalizers: {waits_for}");
                let since = object.meta("deletionTimestamp").unwrap_or_default();
                let detail = format!("{kind} {} is deleting since {since}, finalizers: {waits_for}", object.name());
                stage.violation_as(self.name(), &signature, &detail);
            }
        }
    }
}
