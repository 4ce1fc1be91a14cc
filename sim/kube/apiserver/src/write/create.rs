//! POST: a new object.

use serde_json::{Map, Value};

use crate::admission::{Operation, Review};
use crate::answer::Answer;
use crate::call::Call;
use crate::decode::{self, FieldValidation};
use crate::error::ApiError;
use crate::meta;
use crate::options::Access;
use crate::resource::{Generation, Model};
use crate::store::{Raced, Write, key_of};

/// Creates an object from the request's body.
pub(crate) async fn create(call: &mut Call) -> Result<Answer, ApiError> {
    let dry_run = call.query.dry_run()?;
    call.inner.hold_young(&call.resource).await?;
    let validation = FieldValidation::of(call.query.get("fieldValidation"))?;
    let mut unknown = Vec::new();
    let mut object = decode::object(&call.resource, call.content_type.as_deref(), &call.body, &mut unknown)?;
    decode::shape(&call.resource, &mut object, &mut unknown)?;
    validation.judge(&call.resource, unknown, &mut call.warnings)?;
    take_namespace(call, &mut object)?;
    create_object(call, object, dry_run).await
}

/// Puts the path's namespace into the object, or finds that they differ.
pub(super) fn take_namespace(call: &Call, object: &mut Map<String, Value>) -> Result<(), ApiError> {
    let given = meta::text(object, "namespace");
    if !given.is_empty() && given != call.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    if !call.namespace.is_empty() {
        meta::of_mut(object).insert("namespace".into(), call.namespace.clone().into());
    }
    Ok(())
}

/// The same from a decoded object; also for an update that creates.
pub(super) async fn create_object(
    call: &mut Call,
    mut object: Map<String, Value>,
    dry_run: bool,
) -> Result<Answer, ApiError> {
    meta::wipe_system_fields(&mut object);
    if !meta::text(&object, "resourceVersion").is_empty() {
        return Err(ApiError::without_reason(500, "resourceVersion should not be set on objects to be created"));
    }
    call.inner.check_namespace(&call.resource, &call.namespace, meta::text(&object, "name"))?;
    call.name = meta::text(&object, "name").to_owned();
    let review = |object| Review { operation: Operation::Create, object: Some(object), old: None, dry_run };
    let asked_name = call.name.clone();
    object = call.inner.clone().mutate(call, review(object)).await?.expect("a create keeps its object");
    fill_in(call, &mut object)?;
    // Admission knows the name that was asked for, not the generated one.
    let generated = std::mem::replace(&mut call.name, asked_name);
    super::validate(call, &object, None)?;
    if call.resource.custom().is_some() {
        call.warnings.extend(meta::finalizer_warnings(&object, None));
    }
    object = call.inner.clone().validate(call, review(object)).await?.expect("a create keeps its object");
    call.name = generated;
    store(call, object, dry_run).await
}

async fn store(call: &mut Call, object: Map<String, Value>, dry_run: bool) -> Result<Answer, ApiError> {
    let key = key_of(&call.namespace, &call.name);
    let exists = |call: &Call| {
        let current = call.inner.store.at_key(&call.resource.key, &key)?;
        let resource = &call.resource;
        Some(ApiError::already_exists(&resource.group, &resource.plural, &call.name, current.is_deleting()))
    };
    if dry_run {
        return match exists(call) {
            Some(error) => Err(error),
            None => call.answer_value(201, &Value::Object(object), 0),
        };
    }
    let object = Value::Object(object);
    call.inner.check_size(call, &object)?;
    call.inner.storage(Access::Write).await;
    match call.inner.commit(call, &key, None, Write::Put(object)) {
        Ok(commit) => call.answer(201, &commit.object().record),
        Err(Raced) => Err(exists(call).unwrap_or_else(|| call.resource.stale(&call.name))),
    }
}

/// System fields, the name, and what the kind's strategy adds.
fn fill_in(call: &mut Call, object: &mut Map<String, Value>) -> Result<(), ApiError> {
    let (uid, now) = (call.inner.new_uid(), call.inner.now());
    let metadata = meta::of_mut(object);
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), now.into());
    let prefix = meta::text(object, "generateName").to_owned();
    if meta::text(object, "name").is_empty() && !prefix.is_empty() {
        let name = call.inner.generate_name(&prefix);
        meta::of_mut(object).insert("name".into(), name.into());
    }
    call.name = meta::text(object, "name").to_owned();
    if call.resource.generation() != Generation::None {
        super::set_number(object, "generation", 1);
    }
    match &call.resource.model {
        Model::Custom(version) => {
            if version.status_subresource {
                object.remove("status");
            }
        }
        Model::Builtin(model, _) => {
            // A kubelet registers its node with the status that it has; everybody else begins without one.
            if model.has_subresource("status") && model.plural != "nodes" {
                object.remove("status");
            }
            (model.prepare)(object, &*call.inner)?;
            (model.defaults)(object);
            if let Some(finalizer) = model.finalizer {
                let mut finalizers: Vec<String> = meta::finalizers(object).into_iter().map(str::to_owned).collect();
                if !finalizers.iter().any(|one| one == finalizer) {
                    finalizers.push(finalizer.to_owned());
                }
                meta::set_finalizers(object, finalizers);
            }
        }
    }
    Ok(())
}
