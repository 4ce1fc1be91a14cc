//! Everything that changes objects. The order of steps is the real server's, because races live in it: decode, mutating admission, strategy,
//! schema, validating admission, then the transaction.
//!
//! Facts: apiserver's `registry/generic/registry/store.go`, `registry/rest/{create,update,delete}.go`, `endpoints/handlers`.

mod collection;
mod create;
mod delete;
mod subresource;
mod update;

pub(crate) use collection::delete_collection;
pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use subresource::{bind, evict, finalize_namespace, scale};
pub(crate) use update::{patch, put};

use serde_json::{Map, Value};

use crate::call::Call;
use crate::error::{ApiError, Cause};
use crate::meta;
use crate::resource::{Generation, Model};

/// Says what is wrong with an object, or nothing.
fn validate(call: &Call, object: &Map<String, Value>, old: Option<&Map<String, Value>>) -> Result<(), ApiError> {
    let resource = &call.resource;
    let mut causes: Vec<Cause> = Vec::new();
    if let Some(old) = old {
        meta::validate_update(object, old, &mut causes);
        if resource.custom().is_some() {
            // The generic registry and the strategy of custom resources both look.
            causes.extend(causes.clone());
        }
    }
    meta::validate(resource, object, &mut causes);
    match &resource.model {
        Model::Custom(version) => version.schema.validate_root(object, &mut causes),
        Model::Builtin(model, _) => (model.validate)(object, old, &mut causes),
    }
    if resource.group == "admissionregistration.k8s.io" {
        call.inner.validate_webhook_urls(object, &mut causes);
    }
    if causes.is_empty() { Ok(()) } else { Err(resource.invalid(meta::text(object, "name"), causes)) }
}

/// Whether two objects differ in what counts for their generation.
fn content_changed(call: &Call, object: &Map<String, Value>, old: &Map<String, Value>) -> bool {
    let generation = call.resource.generation();
    let has_status = call.resource.has_status();
    let counts = |field: &str| match field {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => !has_status,
        _ => true,
    };
    let fields = |map: &Map<String, Value>| map.keys().filter(|field| counts(field)).count();
    let same = fields(object) == fields(old)
        && object.iter().filter(|(field, _)| counts(field)).all(|(field, value)| old.get(field) == Some(value));
    let labels = |map: &Map<String, Value>, field: &str| meta::of(map).get(field).cloned();
    match generation {
        Generation::None | Generation::Constant => false,
        Generation::Content => !same,
        Generation::Everything => {
            !same || ["labels", "annotations"].iter().any(|field| labels(object, field) != labels(old, field))
        }
    }
}

/// Sets a number of the metadata.
fn set_number(object: &mut Map<String, Value>, field: &str, number: i64) {
    meta::of_mut(object).insert(field.to_owned(), number.into());
}
