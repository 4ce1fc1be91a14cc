//! Deployments, daemon sets, stateful sets, replica sets, jobs, cron jobs, disruption budgets, autoscalers.
//!
//! Facts: kubernetes/pkg/apis/{apps,batch,autoscaling}/v1/defaults.go, pkg/registry/{apps,batch}; conformance/real.json.

use serde_json::{Map, Value, json};

use super::{Surroundings, at, default, existing, object, pods, text};
use crate::error::{ApiError, Cause, json as as_json};
use crate::selector::LabelSelector;

fn template(spec: &mut Map<String, Value>) {
    if let Some(spec) = existing(spec, "template").and_then(|template| existing(template, "spec")) {
        pods::spec_defaults(spec);
    }
}

fn status(workload: &mut Map<String, Value>, counters: &[&str]) {
    if let Some(status) = object(workload, "status") {
        for counter in counters {
            default(status, counter, 0);
        }
    }
}

/// Defaults of a pod template object.
pub(super) fn pod_template_defaults(object: &mut Map<String, Value>) {
    template(object);
}

/// Defaults of a deployment.
pub(super) fn deployment_defaults(deployment: &mut Map<String, Value>) {
    if let Some(spec) = existing(deployment, "spec") {
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "progressDeadlineSeconds", 600);
        if let Some(strategy) = object(spec, "strategy") {
            default(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == Some("RollingUpdate")
                && let Some(rolling) = object(strategy, "rollingUpdate")
            {
                default(rolling, "maxUnavailable", "25%");
                default(rolling, "maxSurge", "25%");
            }
        }
        template(spec);
    }
    object(deployment, "status");
}

/// Defaults of a daemon set.
pub(super) fn daemon_set_defaults(set: &mut Map<String, Value>) {
    if let Some(spec) = existing(set, "spec") {
        default(spec, "revisionHistoryLimit", 10);
        if let Some(strategy) = object(spec, "updateStrategy") {
            default(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == Some("RollingUpdate")
                && let Some(rolling) = object(strategy, "rollingUpdate")
            {
                default(rolling, "maxUnavailable", 1);
                default(rolling, "maxSurge", 0);
            }
        }
        template(spec);
    }
    status(set, &["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"]);
}

/// Defaults of a stateful set.
pub(super) fn stateful_set_defaults(set: &mut Map<String, Value>) {
    if let Some(spec) = existing(set, "spec") {
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "podManagementPolicy", "OrderedReady");
        default(spec, "persistentVolumeClaimRetentionPolicy", json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
        if let Some(strategy) = object(spec, "updateStrategy") {
            default(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == Some("RollingUpdate")
                && let Some(rolling) = object(strategy, "rollingUpdate")
            {
                default(rolling, "partition", 0);
            }
        }
        template(spec);
    }
    status(set, &["replicas", "availableReplicas"]);
}

/// Defaults of a replica set.
pub(super) fn replica_set_defaults(set: &mut Map<String, Value>) {
    if let Some(spec) = existing(set, "spec") {
        default(spec, "replicas", 1);
        template(spec);
    }
    status(set, &["replicas"]);
}

/// Defaults of a replication controller.
pub(super) fn replication_controller_defaults(controller: &mut Map<String, Value>) {
    if let Some(spec) = existing(controller, "spec") {
        default(spec, "replicas", 1);
        let labels = at(spec, &["template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels {
            default(spec, "selector", labels);
        }
        template(spec);
    }
    status(controller, &["replicas"]);
}

/// Defaults of a job.
pub(super) fn job_defaults(job: &mut Map<String, Value>) {
    if let Some(spec) = existing(job, "spec") {
        job_spec_defaults(spec);
        default(spec, "completionMode", "NonIndexed");
        default(spec, "suspend", false);
        default(spec, "manualSelector", false);
        let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        default(spec, "podReplacementPolicy", replacement);
    }
    object(job, "status");
}

fn job_spec_defaults(spec: &mut Map<String, Value>) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    default(spec, "backoffLimit", 6);
    template(spec);
}

/// A new job selects its pods by its own uid.
pub(super) fn prepare_job(job: &mut Map<String, Value>, _: &dyn Surroundings) -> Result<(), ApiError> {
    job.insert("status".into(), json!({}));
    let metadata = |field| at(job, &["metadata", field]).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (uid, name) = (metadata("uid"), metadata("name"));
    let Some(spec) = existing(job, "spec").filter(|spec| spec.get("manualSelector") != Some(&Value::Bool(true))) else {
        return Ok(());
    };
    if let Some(selector) = object(spec, "selector").and_then(|selector| object(selector, "matchLabels")) {
        selector.insert("batch.kubernetes.io/controller-uid".into(), uid.clone().into());
    }
    let metadata = existing(spec, "template").and_then(|template| object(template, "metadata"));
    if let Some(labels) = metadata.and_then(|metadata| object(metadata, "labels")) {
        for key in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
            labels.insert(key.into(), uid.clone().into());
        }
        for key in ["job-name", "batch.kubernetes.io/job-name"] {
            labels.insert(key.into(), name.clone().into());
        }
    }
    Ok(())
}

/// Whether a job is one: its template and selector are for ever.
pub(super) fn validate_job(job: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    let spec = at(job, &["spec", "template", "spec"]).and_then(Value::as_object);
    pods::validate_containers("spec.template.spec", spec, causes);
    let restart = spec.and_then(|spec| text(spec, "restartPolicy")).unwrap_or_default();
    if !matches!(restart, "Never" | "OnFailure") {
        let valid = ["OnFailure", "Never"].map(as_json);
        causes.push(Cause::not_supported("spec.template.spec.restartPolicy", as_json(restart), &valid));
    }
    for field in ["template", "selector", "completionMode"] {
        let path = ["spec", field];
        if old.is_some_and(|old| at(old, &path) != at(job, &path))
            && at(job, &["spec", "suspend"]) != Some(&Value::Bool(true))
        {
            let value = at(job, &path).map(as_json).unwrap_or_default();
            causes.push(Cause::invalid(format!("spec.{field}"), value, "field is immutable"));
        }
    }
}

/// Defaults of a cron job.
pub(super) fn cron_job_defaults(job: &mut Map<String, Value>) {
    if let Some(spec) = existing(job, "spec") {
        default(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
        if let Some(spec) = existing(spec, "jobTemplate").and_then(|template| existing(template, "spec")) {
            template(spec);
        }
    }
    object(job, "status");
}

/// A new disruption budget has counted nothing.
pub(super) fn prepare_budget(budget: &mut Map<String, Value>, _: &dyn Surroundings) -> Result<(), ApiError> {
    let counters = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    budget.insert("status".into(), counters);
    Ok(())
}

/// Defaults of an autoscaler.
pub(super) fn autoscaler_defaults(scaler: &mut Map<String, Value>) {
    if let Some(spec) = existing(scaler, "spec") {
        default(spec, "minReplicas", 1);
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        default(spec, "metrics", json!([cpu]));
    }
    if let Some(status) = object(scaler, "status") {
        default(status, "desiredReplicas", 0);
        default(status, "currentMetrics", Value::Null);
    }
}

/// Whether a workload is one: it selects the pods of its own template, for ever the same.
pub(super) fn validate(workload: &Map<String, Value>, old: Option<&Map<String, Value>>, causes: &mut Vec<Cause>) {
    if text(workload, "kind") == Some("CronJob") {
        if at(workload, &["spec", "schedule"]).and_then(Value::as_str).is_none_or(str::is_empty) {
            causes.push(Cause::required("spec.schedule", ""));
        }
        return;
    }
    let template = at(workload, &["spec", "template"]);
    let selector = at(workload, &["spec", "selector"]);
    if text(workload, "kind") != Some("ReplicationController") {
        let empty = |selector: &Value| selector.as_object().is_none_or(Map::is_empty);
        if selector.is_none_or(empty) {
            causes.push(Cause::required("spec.selector", ""));
        }
        let labels = template.and_then(|template| template.pointer("/metadata/labels"));
        if !LabelSelector::from_object(selector).matches(labels.and_then(Value::as_object)) {
            let shown = labels.map_or_else(|| "null".into(), as_json);
            causes.push(Cause::invalid(
                "spec.template.metadata.labels",
                shown,
                "`selector` does not match template `labels`",
            ));
        }
    }
    let spec = template.and_then(|template| template.get("spec")).and_then(Value::as_object);
    pods::validate_containers("spec.template.spec", spec, causes);
    if old.is_some_and(|old| at(old, &["spec", "selector"]) != selector)
        && text(workload, "kind") != Some("ReplicationController")
    {
        let shown = selector.map_or_else(|| "null".into(), as_json);
        causes.push(Cause::invalid("spec.selector", shown, "field is immutable"));
    }
}
