//! PUT and PATCH, of an object and of its status: read, change, compare-and-swap, again if somebody was faster.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{content_changed, create};
use crate::admission::{Operation, Review};
use crate::answer::Answer;
use crate::call::Call;
use crate::decode::{self, FieldValidation};
use crate::error::ApiError;
use crate::meta;
use crate::options::Access;
use crate::patch::Patch;
use crate::resource::Model;
use crate::store::{Object, Raced, Write};

/// What a client wants an object to become.
enum Change {
    /// This, given up after one attempt if it names the version that it replaces: a second one could only find a newer version.
    Whole {
        object: Map<String, Value>,
        versioned: bool,
    },
    Patched(Patch),
}

/// Replaces an object or its status.
pub(crate) async fn put(call: &mut Call) -> Result<Answer, ApiError> {
    let validation = FieldValidation::of(call.query.get("fieldValidation"))?;
    let mut unknown = Vec::new();
    let mut object = decode::object(&call.resource, call.content_type.as_deref(), &call.body, &mut unknown)?;
    decode::shape(&call.resource, &mut object, &mut unknown)?;
    validation.judge(&call.resource, unknown, &mut call.warnings)?;
    create::take_namespace(call, &mut object)?;
    let name = meta::text(&object, "name");
    if name != call.name {
        let url = &call.name;
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({url})"
        )));
    }
    let versioned = !meta::text(&object, "resourceVersion").is_empty();
    change(call, Change::Whole { object, versioned }).await
}

/// Patches an object or its status.
pub(crate) async fn patch(call: &mut Call) -> Result<Answer, ApiError> {
    let patch = Patch::decode(&call.resource, call.content_type.as_deref(), &call.body)?;
    change(call, Change::Patched(patch)).await
}

async fn change(call: &mut Call, mut change: Change) -> Result<Answer, ApiError> {
    let dry_run = call.query.dry_run()?;
    loop {
        let Some(current) = call.inner.store.at_key(&call.resource.key, &call.key()) else {
            return match change {
                Change::Whole { object, .. }
                    if call.subresource.is_empty() && call.resource.allows_create_on_update() && !object.is_empty() =>
                {
                    create::create_object(call, object, dry_run).await
                }
                _ => Err(call.resource.not_found(&call.name)),
            };
        };
        let object = candidate(call, &mut change, &current)?;
        if let Some(answer) = attempt(call, object, &current, dry_run).await? {
            return Ok(answer);
        }
        if matches!(change, Change::Whole { versioned: true, .. }) {
            return Err(match call.inner.store.at_key(&call.resource.key, &call.key()) {
                Some(_) => call.resource.stale(&call.name),
                None => call.resource.not_found(&call.name),
            });
        }
    }
}

/// What the object would become, as the client has it.
fn candidate(call: &mut Call, change: &mut Change, current: &Object) -> Result<Map<String, Value>, ApiError> {
    match change {
        Change::Whole { object, versioned } => {
            let uid = meta::text(object, "uid");
            if !uid.is_empty() && uid != current.uid() {
                let (key, found) = (call.key(), current.uid());
                let registry = if call.resource.group.is_empty() {
                    call.resource.plural.clone()
                } else {
                    format!("{}/{}", call.resource.group, call.resource.plural)
                };
                return Err(ApiError::conflict(
                    &call.resource.group,
                    &call.resource.plural,
                    &call.name,
                    &format!(
                        "StorageError: invalid object, Code: 4, Key: /registry/{registry}/{key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
                    ),
                ));
            }
            Ok(if *versioned { std::mem::take(object) } else { object.clone() })
        }
        Change::Patched(patch) => {
            let validation = FieldValidation::of(call.query.get("fieldValidation"))?;
            let Value::Object(mut object) = patch.apply(&current.value)? else { return Err(ApiError::patch_failed()) };
            let mut unknown = Vec::new();
            meta::clean(&call.resource, &mut object, &mut unknown)?;
            for field in ["apiVersion", "kind"] {
                object.insert(field.into(), current.value[field].clone());
            }
            decode::shape(&call.resource, &mut object, &mut unknown)?;
            validation.judge(&call.resource, unknown, &mut call.warnings)?;
            Ok(object)
        }
    }
}

/// One attempt; none if somebody else wrote first.
async fn attempt(
    call: &mut Call,
    mut object: Map<String, Value>,
    current: &Arc<Object>,
    dry_run: bool,
) -> Result<Option<Answer>, ApiError> {
    let old = current.value.as_object().expect("stored objects are JSON objects");
    let review =
        |object| Review { operation: Operation::Update, object: Some(object), old: Some(current.clone()), dry_run };
    object = call.inner.clone().mutate(call, review(object)).await?.expect("an update keeps its object");
    check_version(call, &object, current)?;
    apply_strategy(call, &mut object, old);
    validate(call, &object, old)?;
    if call.resource.custom().is_some() {
        call.warnings.extend(meta::finalizer_warnings(&object, Some(old)));
    }
    object = call.inner.clone().validate(call, review(object)).await?.expect("an update keeps its object");
    if dry_run {
        return call.answer_value(200, &Value::Object(object), current.revision()).map(Some);
    }
    let key = call.key();
    if ends_deletion(call, &object, old) {
        call.inner.storage(Access::Write).await;
        return match call.inner.commit(call, &key, Some(current.revision()), Write::Delete) {
            // The answer is the new state, which nobody ever stores, under the old version.
            Ok(_) => call.answer_value(200, &Value::Object(object), current.revision()).map(Some),
            Err(Raced) => Ok(None),
        };
    }
    let object = Value::Object(object);
    call.inner.check_size(call, &object)?;
    if object == current.value {
        return call.answer(200, &current.record).map(Some);
    }
    call.inner.storage(Access::Write).await;
    match call.inner.commit(call, &key, Some(current.revision()), Write::Put(object)) {
        Ok(commit) => call.answer(200, &commit.object().record).map(Some),
        Err(Raced) => Ok(None),
    }
}

/// The version that the client has seen is the current one, or it need not be.
fn check_version(call: &Call, object: &Map<String, Value>, current: &Object) -> Result<(), ApiError> {
    let given = meta::text(object, "resourceVersion");
    let version: u64 = match given {
        "" => 0,
        text => text.parse().map_err(|_| {
            let shown = crate::error::json(text);
            ApiError::without_reason(500, format!("strconv.ParseUint: parsing {shown}: invalid syntax"))
        })?,
    };
    let resource = &call.resource;
    if version == 0 && !resource.allows_unconditional_update() {
        let cause = crate::error::Cause::invalid("metadata.resourceVersion", 0, "must be specified for an update");
        return Err(ApiError::invalid(&resource.group, &resource.plural, &call.name, vec![cause]));
    }
    if version != 0 && version != current.revision() {
        return Err(resource.stale(&call.name));
    }
    Ok(())
}

/// What an update of this kind, or of its status, may touch; and its generation.
fn apply_strategy(call: &Call, object: &mut Map<String, Value>, old: &Map<String, Value>) {
    meta::carry_over(object, old);
    let version = meta::of(old).get("resourceVersion").cloned().unwrap_or_default();
    meta::of_mut(object).insert("resourceVersion".into(), version);
    match (call.subresource.as_str(), &call.resource.model) {
        ("status", Model::Custom(_)) => keep_all_but_status(object, old),
        ("status", Model::Builtin(model, _)) => {
            let metadata = object.remove("metadata").expect("a decoded object has metadata");
            keep_all_but_status(object, old);
            object.insert("metadata".into(), metadata);
            if model.status_keeps_labels {
                restore(meta::of_mut(object), meta::of(old), "labels");
            }
            if model.plural == "pods" {
                restore(meta::of_mut(object), meta::of(old), "ownerReferences");
            }
            (model.prepare_update)(object, old, &*call.inner);
        }
        (_, model) => {
            if call.resource.has_status() {
                restore(object, old, "status");
            }
            if let Model::Builtin(model, _) = model {
                (model.prepare_update)(object, old, &*call.inner);
                (model.defaults)(object);
            }
        }
    }
    if content_changed(call, object, old) {
        super::set_number(object, "generation", meta::number(old, "generation").unwrap_or(0) + 1);
    }
}

fn restore(object: &mut Map<String, Value>, old: &Map<String, Value>, field: &str) {
    match old.get(field) {
        Some(value) => drop(object.insert(field.to_owned(), value.clone())),
        None => drop(object.remove(field)),
    }
}

fn keep_all_but_status(object: &mut Map<String, Value>, old: &Map<String, Value>) {
    let status = object.remove("status");
    *object = old.clone();
    match status {
        Some(status) => drop(object.insert("status".into(), status)),
        None => drop(object.remove("status")),
    }
}

/// Validation, with what was wrong before and has not been touched forgiven.
fn validate(call: &Call, object: &Map<String, Value>, old: &Map<String, Value>) -> Result<(), ApiError> {
    let Err(error) = super::validate(call, object, Some(old)) else { return Ok(()) };
    let Err(before) = super::validate(call, old, Some(old)) else { return Err(error) };
    let known = before.details.map(|details| details.causes).unwrap_or_default();
    let all = error.details.map(|details| details.causes).unwrap_or_default();
    let new: Vec<_> = all.into_iter().filter(|cause| !known.contains(cause)).collect();
    if new.is_empty() { Ok(()) } else { Err(call.resource.invalid(&call.name, new)) }
}

/// Whether this write takes the last thing away that a deletion waits for.
fn ends_deletion(call: &Call, object: &Map<String, Value>, old: &Map<String, Value>) -> bool {
    let waits_for_controller = call.resource.key.as_ref() == "namespaces"
        && object
            .get("spec")
            .and_then(|spec| spec.get("finalizers"))
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
    meta::finalizers(object).is_empty()
        && meta::of(old).contains_key("deletionTimestamp")
        && meta::number(old, "deletionGracePeriodSeconds").unwrap_or(0) == 0
        && !waits_for_controller
}
