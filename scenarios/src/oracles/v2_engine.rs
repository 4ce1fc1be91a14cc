//! **Damage**: the second data engine is switched on, but on some healthy node no instance manager of it runs, or a block disk takes no
//! replicas.
//! **Promise**: Longhorn's setting `v2-data-engine`: on each node a v2 instance manager, and with it the node's block disks (liveness
//! statement "v2 instance manager and block disk usable").
//! **Bound**: the settle phase, which ends only when nothing was written for 65 s or after 15 min.
//!
//! Beside it the hazard of a structural wait cycle: an instance manager that is deleted in the foreground waits for an orphan, the orphan's
//! finalizer for an answer of the instance manager's pod, and no pod is made for what is being deleted.

use corral_world::{Oracle, Stage};
use serde_json::Value;

use super::pods::is_ready;
use super::{WAIT_CYCLE, condition};

/// Every ready node has its v2 instance manager and its block disks.
pub struct V2InstanceManagersAreUsable;

impl Oracle for V2InstanceManagersAreUsable {
    fn name(&self) -> &'static str {
        "v2-instance-managers-are-usable"
    }

    fn about(&self) -> &'static str {
        "with the second data engine on, each ready node has its instance manager and its block disks"
    }

    fn judge(&self, stage: &Stage) {
        report_wait_cycles(stage);
        let store = stage.cluster().store();
        let is_on = store
            .objects("settings.longhorn.io")
            .any(|setting| setting.name() == "v2-data-engine" && setting.value["value"] == "true");
        if !is_on {
            return;
        }
        for node in store.objects("nodes.longhorn.io") {
            let name = node.name();
            if condition(&node.value["status"], "Ready") != Some("True") {
                continue;
            }
            if let Some(why) = missing_manager(stage, name) {
                let signature = format!("node without a usable v2 instance manager: {why}");
                stage.violation_as(self.name(), &signature, &format!("{name}: {why}"));
            }
            for (disk, spec) in node.value["spec"]["disks"].as_object().into_iter().flatten() {
                let status = &node.value["status"]["diskStatus"][disk.as_str()];
                if spec["diskType"] == "block" && condition(status, "Schedulable") != Some("True") {
                    let detail = format!("block disk {disk} of {name} is not schedulable");
                    stage.violation_as(self.name(), "block disk is not schedulable", &detail);
                }
            }
        }
    }
}

/// Why no instance manager of the second data engine is usable on a node.
fn missing_manager(stage: &Stage, node: &str) -> Option<&'static str> {
    let store = stage.cluster().store();
    let of_node = |value: &Value| value["spec"]["nodeID"] == node && value["spec"]["dataEngine"] == "v2";
    let managers: Vec<_> = store.objects("instancemanagers.longhorn.io").filter(|one| of_node(&one.value)).collect();
    if managers.is_empty() {
        return Some("there is none");
    }
    let Some(manager) = managers.iter().find(|manager| !manager.is_deleting()) else {
        return Some("it is being deleted");
    };
    if manager.value["status"]["currentState"] != "running" {
        return Some("it does not run");
    }
    let pod = store.objects("pods").find(|pod| pod.name() == manager.name());
    let usable = pod.is_some_and(|pod| !pod.is_deleting() && is_ready(&pod.value));
    (!usable).then_some("its pod is not ready")
}

fn report_wait_cycles(stage: &Stage) {
    let store = stage.cluster().store();
    for manager in store.objects("instancemanagers.longhorn.io").filter(|manager| manager.is_deleting()) {
        let waits = |orphan: &Value| {
            let owners = orphan["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let mut blocking = owners.filter(|owner| owner["blockOwnerDeletion"] == true);
            blocking.any(|owner| owner["uid"] == manager.value["metadata"]["uid"])
                && orphan["spec"]["parameters"]["InstanceManager"] == manager.name()
        };
        for orphan in store.objects("orphans.longhorn.io").filter(|orphan| orphan.is_deleting() && waits(&orphan.value))
        {
            let detail = format!(
                "InstanceManager {} waits for Orphan {} (blockOwnerDeletion), its finalizer for the pod {0}, which belongs to the InstanceManager",
                manager.name(),
                orphan.name()
            );
            stage.hazard(WAIT_CYCLE, manager.name(), &detail);
        }
    }
}
