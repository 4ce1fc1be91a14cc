//! Label and field selectors.
//!
//! Facts: apimachinery's `labels/selector.go` and `fields/selector.go`, for grammar and error texts.

mod field;
mod label;

pub use field::FieldSelector;
pub use label::LabelSelector;

use serde_json::Value;

/// What a list or a watch is narrowed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The namespace of the path.
    pub namespace: Option<String>,
    /// Labels that are asked for.
    pub labels: LabelSelector,
    /// Fields that are asked for.
    pub fields: FieldSelector,
}

impl Filter {
    /// Whether nothing but the namespace counts.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is meant; the namespace is the caller's business.
    pub fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object.pointer("/metadata/labels").and_then(Value::as_object))
            && self.fields.matches(object)
    }

    /// Whether a storage key lies in the namespace.
    pub fn has_key(&self, key: &str) -> bool {
        match &self.namespace {
            None => true,
            Some(namespace) => key.strip_prefix(namespace.as_str()).is_some_and(|rest| rest.starts_with('/')),
        }
    }
}
