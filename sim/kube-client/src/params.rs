//! What a request may carry besides the object: kube-core's parameters, with patches of our own that know JSON patch.

use serde::Serialize;

pub use kube_core::params::{
    DeleteParams, GetParams, ListParams, PatchParams, PostParams, Preconditions, PropagationPolicy, VersionMatch,
    WatchParams,
};

/// A change to an object, in one of the formats of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch<T: Serialize> {
    /// RFC 6902: a list of operations.
    Json(T),
    /// RFC 7386: the fields to be set; null removes one.
    Merge(T),
    /// Kubernetes' own: lists are merged by their keys. For built-in kinds only.
    Strategic(T),
    /// Server-side apply; needs a field manager.
    Apply(T),
}

impl<T: Serialize> Patch<T> {
    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            Patch::Json(_) => "application/json-patch+json",
            Patch::Merge(_) => "application/merge-patch+json",
            Patch::Strategic(_) => "application/strategic-merge-patch+json",
            Patch::Apply(_) => "application/apply-patch+yaml",
        }
    }

    pub(crate) fn body(&self) -> &T {
        match self {
            Patch::Json(body) | Patch::Merge(body) | Patch::Strategic(body) | Patch::Apply(body) => body,
        }
    }
}
