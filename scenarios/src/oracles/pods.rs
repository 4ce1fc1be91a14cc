//! **Damage**: a component of Longhorn does not work, because its container ends again and again, or never becomes ready.
//! **Promise**: Kubernetes restarts what ended, with longer and longer pauses; when nothing is in its way any more it stays (liveness statement "no
//! component restarts after quiescence").
//! **Bound**: the settle phase, up to 15 min; a container in the longest pause of the kubelet (5 min) is not ready either.

use corral_world::{Oracle, Stage};
use longhorn_api::DEFAULT_NAMESPACE;
use serde_json::Value;

use super::condition;

/// Every pod of Longhorn's that is to run is ready.
pub struct SystemPodsAreReady;

impl Oracle for SystemPodsAreReady {
    fn name(&self) -> &'static str {
        "system-pods-are-ready"
    }

    fn about(&self) -> &'static str {
        "every pod of Longhorn's that is to run is ready"
    }

    fn judge(&self, stage: &Stage) {
        let store = stage.cluster().store();
        let pods = store.objects("pods").filter(|pod| pod.meta("namespace") == Some(DEFAULT_NAMESPACE));
        // One that is deleting for ever is another oracle's matter.
        for pod in pods.filter(|pod| !pod.is_deleting()) {
            let phase = pod.value["status"]["phase"].as_str().unwrap_or_default();
            if is_ready(&pod.value) || ["Succeeded", "Failed"].contains(&phase) {
                continue;
            }
            let labels = &pod.value["metadata"]["labels"];
            let component = ["longhorn.io/component", "app"].iter().find_map(|label| labels[*label].as_str());
            let signature = format!("a pod of {} is not ready", component.unwrap_or("no component"));
            let detail =
                format!("{} is {phase} and not ready, started again {} times", pod.name(), restarts(&pod.value));
            stage.violation_as(self.name(), &signature, &detail);
        }
    }
}

/// How often the containers of a pod were started again.
pub(super) fn restarts(pod: &Value) -> i64 {
    let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    containers.filter_map(|status| status["restartCount"].as_i64()).sum()
}

/// Whether Kubernetes has found a pod to be ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    condition(&pod["status"], "Ready") == Some("True")
}
