//! Subresources with a shape of their own: a pod's binding and eviction, a namespace's finalize, a workload's scale.

use serde_json::{Map, Value, json};

use super::delete::{DeleteOptions, delete_with};
use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, json as as_json};
use crate::meta;
use crate::options::Access;
use crate::patch::Patch;
use crate::resource::Model;
use crate::store::{Object, Raced, Record, Write};

const CREATED: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}"#;

/// Changes the object of the path until nobody interferes; none from `change` leaves it as it is.
async fn modify(
    call: &mut Call,
    change: impl Fn(&Call, &Object) -> Result<Option<Map<String, Value>>, ApiError>,
) -> Result<std::sync::Arc<Object>, ApiError> {
    loop {
        let current = call.current()?;
        let Some(object) = change(call, &current)?.map(Value::Object).filter(|object| *object != current.value) else {
            return Ok(current);
        };
        if call.query.dry_run()? {
            return Ok(current);
        }
        call.inner.storage(Access::Write).await;
        if let Ok(commit) = call.inner.commit(call, &call.key(), Some(current.revision()), Write::Put(object)) {
            return Ok(commit.object().clone());
        }
    }
}

fn map(object: &Object) -> Map<String, Value> {
    object.value.as_object().cloned().expect("stored objects are JSON objects")
}

fn body(call: &Call) -> Result<Value, ApiError> {
    serde_json::from_slice(&call.body).map_err(|error| {
        ApiError::bad_request(format!(
            "couldn't get version/kind; json parse error: {}",
            crate::decode::json_error(&error)
        ))
    })
}

/// POST binding: a pod gets its node, once.
pub(crate) async fn bind(call: &mut Call) -> Result<Answer, ApiError> {
    let binding = body(call)?;
    let node = binding.pointer("/target/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if node.is_empty() {
        let cause = crate::error::Cause::required("target.name", "");
        return Err(ApiError::invalid("", "Binding", &call.name, vec![cause]));
    }
    modify(call, |call, current| {
        let mut pod = map(current);
        let conflict = |why: String| Err(ApiError::conflict("", "pods/binding", &call.name, &why));
        if current.is_deleting() {
            return conflict(format!("pod {} is being deleted, cannot be assigned to a host", call.name));
        }
        let assigned = current.value.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        if !assigned.is_empty() {
            return conflict(format!("pod {} is already assigned to node {}", call.name, as_json(assigned)));
        }
        pod["spec"]["nodeName"] = node.clone().into();
        let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": call.inner.now()});
        let conditions = pod.entry("status").or_insert_with(|| json!({})).as_object_mut();
        if let Some(list) = conditions.and_then(|status| status.entry("conditions").or_insert_with(|| json!([])).as_array_mut()) {
            list.retain(|one| one.get("type") != condition.get("type"));
            list.push(condition);
        }
        bump(call, &mut pod, current);
        Ok(Some(pod))
    })
    .await?;
    Ok(call.finish(Answer::json(201, CREATED)))
}

fn bump(call: &Call, object: &mut Map<String, Value>, current: &Object) {
    let old = current.value.as_object().expect("stored objects are JSON objects");
    if super::content_changed(call, object, old) {
        super::set_number(object, "generation", meta::number(old, "generation").unwrap_or(0) + 1);
    }
}

/// POST eviction: a deletion that disruption budgets may refuse.
pub(crate) async fn evict(call: &mut Call) -> Result<Answer, ApiError> {
    let eviction = body(call)?;
    let pod = call.current()?;
    let labels = pod.value.pointer("/metadata/labels").and_then(Value::as_object);
    let budgets = call.inner.store.objects("poddisruptionbudgets.policy");
    let ready = pod.value.pointer("/status/phase").and_then(Value::as_str).is_some_and(|phase| phase == "Running");
    for budget in budgets.filter(|budget| ready && budget.namespace() == call.namespace) {
        let selector = crate::selector::LabelSelector::from_object(budget.value.pointer("/spec/selector"));
        let allowed = budget.value.pointer("/status/disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0);
        if selector.matches(labels) && allowed < 1 {
            let message = "Cannot evict pod as it would violate the pod's disruption budget.";
            return Err(ApiError::too_many_requests(message, 0));
        }
    }
    let options =
        eviction.get("deleteOptions").filter(|options| options.is_object()).map(|options| options.to_string());
    call.body = options.unwrap_or_default().into();
    let options = DeleteOptions::read(call)?;
    delete_with(call, &options, false).await?;
    Ok(call.finish(Answer::json(201, CREATED)))
}

/// PUT finalize: the namespace controller takes its finalizer away; a namespace without any is gone.
pub(crate) async fn finalize_namespace(call: &mut Call) -> Result<Answer, ApiError> {
    let wanted = body(call)?;
    let finalizers = wanted.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([]));
    let done = finalizers.as_array().is_none_or(Vec::is_empty);
    let version = wanted.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
    loop {
        let current = call.current()?;
        if !version.is_empty() && version != current.revision().to_string() {
            return Err(call.resource.stale(&call.name));
        }
        let mut namespace = map(&current);
        namespace["spec"] = if done { json!({}) } else { json!({ "finalizers": finalizers }) };
        call.inner.storage(Access::Write).await;
        let gone = done && current.is_deleting() && meta::finalizers(&namespace).is_empty();
        let write = if gone { Write::Delete } else { Write::Put(Value::Object(namespace.clone())) };
        match call.inner.commit(call, &call.key(), Some(current.revision()), write) {
            Ok(_) if gone => return call.answer_value(200, &Value::Object(namespace), current.revision()),
            Ok(commit) => return call.answer(200, &commit.object().record),
            Err(Raced) => {}
        }
    }
}

struct ScalePaths {
    spec: Vec<String>,
    status: Vec<String>,
    selector: Option<Vec<String>>,
}

fn scale_paths(call: &Call) -> Result<ScalePaths, ApiError> {
    let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    match &call.resource.model {
        Model::Builtin(..) => {
            Ok(ScalePaths { spec: path("spec.replicas"), status: path("status.replicas"), selector: None })
        }
        Model::Custom(version) => {
            let scale = version.scale.as_ref().ok_or_else(ApiError::no_such_resource)?;
            Ok(ScalePaths { spec: scale.spec.clone(), status: scale.status.clone(), selector: scale.selector.clone() })
        }
    }
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| value.get(step))
}

fn scale_of(call: &Call, object: &Object, paths: &ScalePaths) -> Value {
    let value = &object.value;
    let number = |path: &[String]| at(value, path).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({ "replicas": number(&paths.status) });
    let selector = match &paths.selector {
        Some(path) => at(value, path).and_then(Value::as_str).unwrap_or_default().to_owned(),
        None => {
            let labels = value.pointer("/spec/selector/matchLabels").and_then(Value::as_object).into_iter().flatten();
            labels
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(",")
        }
    };
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(text) = object.meta(field) {
            metadata.insert(field.into(), text.into());
        }
    }
    let _ = call;
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": { "replicas": number(&paths.spec) }, "status": status})
}

/// GET, PUT and PATCH of scale.
pub(crate) async fn scale(call: &mut Call) -> Result<Answer, ApiError> {
    let paths = scale_paths(call)?;
    let current = call.current()?;
    let scale = match call.verb {
        "get" => scale_of(call, &current, &paths),
        _ => {
            let shown = scale_of(call, &current, &paths);
            let wanted = match call.verb {
                "patch" => Patch::decode(&call.resource, call.content_type.as_deref(), &call.body)?.apply(&shown)?,
                _ => body(call)?,
            };
            let version = wanted.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
            if !version.is_empty() && version != current.revision().to_string() {
                return Err(call.resource.stale(&call.name));
            }
            let replicas = wanted.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
            if replicas < 0 {
                let cause =
                    crate::error::Cause::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
                return Err(ApiError::invalid("autoscaling", "Scale", &call.name, vec![cause]));
            }
            let changed = modify(call, |call, current| {
                let mut object = map(current);
                set(&mut object, &paths.spec, replicas.into());
                bump(call, &mut object, current);
                Ok(Some(object))
            })
            .await?;
            scale_of(call, &changed, &paths)
        }
    };
    let record = Record::encode(&scale, &call.key(), 0);
    Ok(call.finish(Answer::json(200, record.bytes)))
}

fn set(object: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => drop(object.insert(last.clone(), value)),
        [first, rest @ ..] => {
            if let Some(inner) = object.entry(first.clone()).or_insert_with(|| json!({})).as_object_mut() {
                set(inner, rest, value);
            }
        }
    }
}
