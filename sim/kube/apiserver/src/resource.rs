//! A resource as the server knows it: names, scope, what it offers, and which rules its objects follow.

use std::sync::Arc;

use bytes::Bytes;

use crate::builtin::{Builtin, Types};
use crate::crd::CustomVersion;
use crate::error::{ApiError, json, qualified};

/// Where the rules of a resource come from.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// A kind of Kubernetes itself.
    Builtin(&'static Builtin, Arc<Types>),
    /// A version of a custom resource.
    Custom(Arc<CustomVersion>),
}

/// One resource in one version.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub list_kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    /// Where its objects are stored: `pods`, `volumes.longhorn.io`; the same for all versions.
    pub key: Arc<str>,
    /// How each of its objects begins: `{"kind":..,"apiVersion":..`.
    pub head: Bytes,
    pub model: Model,
}

/// How a resource's objects count their generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// Not at all.
    None,
    /// At changes outside metadata and, if it is a subresource, outside the status.
    Content,
    /// At changes of labels and annotations too (EndpointSlices).
    Everything,
    /// One, for ever (PriorityClasses).
    Constant,
}

impl Resource {
    pub fn builtin(model: &'static Builtin, types: &Arc<Types>) -> Resource {
        Resource {
            group: model.group.into(),
            version: model.version.into(),
            plural: model.plural.into(),
            singular: model.kind.to_lowercase(),
            kind: model.kind.into(),
            list_kind: format!("{}List", model.kind),
            short_names: model.short_names.iter().map(|name| (*name).to_owned()).collect(),
            categories: model.categories.iter().map(|name| (*name).to_owned()).collect(),
            namespaced: model.namespaced,
            key: Arc::from(qualified(model.plural, model.group)),
            head: head(model.kind, model.group, model.version),
            model: Model::Builtin(model, types.clone()),
        }
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    pub fn custom(&self) -> Option<&Arc<CustomVersion>> {
        match &self.model {
            Model::Custom(version) => Some(version),
            Model::Builtin(..) => None,
        }
    }

    pub fn builtin_model(&self) -> Option<&'static Builtin> {
        match &self.model {
            Model::Custom(_) => None,
            Model::Builtin(model, _) => Some(model),
        }
    }

    /// Whether `/status` exists.
    pub fn has_status(&self) -> bool {
        match &self.model {
            Model::Builtin(model, _) => model.has_subresource("status"),
            Model::Custom(version) => version.status_subresource,
        }
    }

    /// Whether a subresource exists.
    pub fn has_subresource(&self, name: &str) -> bool {
        match &self.model {
            Model::Builtin(model, _) => model.has_subresource(name),
            Model::Custom(version) => match name {
                "status" => version.status_subresource,
                "scale" => version.scale.is_some(),
                _ => false,
            },
        }
    }

    pub fn generation(&self) -> Generation {
        match &self.model {
            Model::Builtin(model, _) => model.generation,
            Model::Custom(_) => Generation::Content,
        }
    }

    /// Whether an update without resourceVersion overwrites whatever is there.
    pub fn allows_unconditional_update(&self) -> bool {
        self.builtin_model().is_some_and(|model| model.unconditional_update)
    }

    /// Whether an update of an absent object creates it.
    pub fn allows_create_on_update(&self) -> bool {
        self.builtin_model().is_some_and(|model| model.create_on_update)
    }

    /// Whether a deletion answers with the object in any case.
    pub fn returns_deleted(&self) -> bool {
        self.builtin_model().is_some_and(|model| model.returns_deleted)
    }

    /// Whether a field can stand in a field selector, beside name and namespace.
    pub fn has_field(&self, path: &str) -> bool {
        match &self.model {
            Model::Builtin(model, _) => model.fields.contains(&path),
            Model::Custom(version) => version.selectable_fields.iter().any(|field| field == path),
        }
    }

    pub fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.group, &self.plural, name)
    }

    pub fn stale(&self, name: &str) -> ApiError {
        ApiError::stale(&self.group, &self.plural, name)
    }

    pub fn invalid(&self, name: &str, causes: Vec<crate::error::Cause>) -> ApiError {
        ApiError::invalid(&self.group, &self.kind, name, causes)
    }

    /// The words for a body that is no object of this kind.
    pub fn cannot_be_handled(&self, why: &str) -> ApiError {
        let (kind, version) = (&self.kind, &self.version);
        ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
    }
}

pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

pub(crate) fn head(kind: &str, group: &str, version: &str) -> Bytes {
    Bytes::from(format!(r#"{{"kind":{},"apiVersion":{}"#, json(kind), json(&api_version(group, version))))
}
