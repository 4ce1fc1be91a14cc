//! The kinds of Kubernetes itself: a table of what they are, and a file each for the rules of those that have some.
//!
//! Facts: kubernetes/pkg/registry (strategies: which kinds return the deleted object, allow unconditional updates or creation by update) and
//! conformance/real.json. A kind that is not here is not served; add a row.

mod clean;
mod columns;
mod configuration;
mod fields;
mod nodes;
mod pods;
mod services;
mod storage;
mod table;
mod workloads;

pub(crate) use clean::clean;
pub(crate) use columns::{Cell, columns};
pub(crate) use fields::{ListMerge, MergeRules, Types};
pub(crate) use pods::grace_seconds;
pub(crate) use table::KINDS;

use serde_json::{Map, Value};

use crate::error::Cause;
use crate::names::NameRule;
use crate::resource::Generation;

/// What the rules of a kind may ask about the rest of the cluster.
pub(crate) trait Surroundings {
    /// The value and name of a priority class, or the global default.
    fn priority(&self, class: Option<&str>) -> Option<Priority>;
    /// An unused cluster address for a service.
    fn cluster_ip(&self) -> String;
    /// An unused node port.
    fn node_port(&self) -> i64;
    /// The default storage class.
    fn default_storage_class(&self) -> Option<String>;
    /// Now, as metadata has it.
    fn now(&self) -> String;
}

/// What a priority class says.
pub(crate) struct Priority {
    pub class: String,
    pub value: i64,
    pub preemption: String,
}

/// Fills in what a new object, or the new state of one, leaves open.
pub(crate) type Defaults = fn(&mut Map<String, Value>);
/// Does what admission and strategy do at a create, with the surroundings in view.
pub(crate) type Prepare = fn(&mut Map<String, Value>, &dyn Surroundings) -> Result<(), crate::error::ApiError>;
/// Carries over, at an update, what the client may not change or need not repeat.
pub(crate) type PrepareUpdate = fn(&mut Map<String, Value>, &Map<String, Value>, &dyn Surroundings);
/// Says what is wrong with an object; the second is the old state at an update.
pub(crate) type Validate = fn(&Map<String, Value>, Option<&Map<String, Value>>, &mut Vec<Cause>);

/// One built-in kind.
#[derive(Debug)]
pub(crate) struct Builtin {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub subresources: &'static [&'static str],
    pub generation: Generation,
    pub returns_deleted: bool,
    pub unconditional_update: bool,
    pub create_on_update: bool,
    /// Deployments and their like: a status update leaves the labels alone.
    pub status_keeps_labels: bool,
    pub name_rule: NameRule,
    /// Fields for selectors.
    pub fields: &'static [&'static str],
    /// Added at a create.
    pub finalizer: Option<&'static str>,
    pub defaults: Defaults,
    pub prepare: Prepare,
    pub prepare_update: PrepareUpdate,
    pub validate: Validate,
}

impl Builtin {
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.contains(&name)
    }
}

// ---- small helpers that the kinds' files share

/// Sets a field that is absent.
fn default(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if !map.contains_key(field) {
        map.insert(field.to_owned(), value.into());
    }
}

/// The object in a field, made if it is absent; none if something else is there.
fn object<'a>(map: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    map.entry(field).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// The object in a field, if there is one.
fn existing<'a>(map: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(field)?.as_object_mut()
}

/// The objects in a list field.
fn each<'a>(map: &'a mut Map<String, Value>, field: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn text<'a>(map: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    map.get(field)?.as_str()
}

fn at<'a>(map: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(map.get(*first)?, |value, step| value.get(step))
}
