//! Which resources are served at this moment: the built-in kinds, and what definitions have added.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::builtin::{KINDS, Types};
use crate::crd;
use crate::resource::Resource;
use crate::store::Object;

/// A stored definition and the resources that it serves.
#[derive(Debug)]
pub(crate) struct Definition {
    pub uid: String,
    pub generation: i64,
    /// Its resources answer.
    pub established: bool,
    /// Nothing new may be created.
    pub terminating: bool,
    pub resources: Vec<Arc<Resource>>,
}

type Versions = BTreeMap<String, BTreeMap<String, Arc<Resource>>>;

/// The served resources. Replaced as a whole when a definition changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    groups: BTreeMap<String, Versions>,
    definitions: BTreeMap<String, Arc<Definition>>,
}

impl Registry {
    /// The built-in kinds.
    pub fn builtin() -> Registry {
        let mut registry = Registry::default();
        let types = Types::new();
        for kind in KINDS {
            registry.add(Arc::new(Resource::builtin(kind, &types)));
        }
        registry
    }

    fn add(&mut self, resource: Arc<Resource>) {
        let versions = self.groups.entry(resource.group.clone()).or_default();
        versions.entry(resource.version.clone()).or_default().insert(resource.plural.clone(), resource);
    }

    fn remove(&mut self, resource: &Resource) {
        let Some(versions) = self.groups.get_mut(&resource.group) else { return };
        if let Some(resources) = versions.get_mut(&resource.version) {
            resources.remove(&resource.plural);
        }
        versions.retain(|_, resources| !resources.is_empty());
        self.groups.retain(|_, versions| !versions.is_empty());
    }

    /// One resource.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.groups.get(group)?.get(version)?.get(plural)
    }

    /// Whether a group and version belong to Kubernetes itself.
    pub fn is_builtin(&self, group: &str, version: &str) -> bool {
        KINDS.iter().any(|kind| kind.group == group && kind.version == version)
    }

    /// The versions of a group, the preferred one first.
    pub fn versions(&self, group: &str) -> Vec<&str> {
        let mut versions: Vec<&str> =
            self.groups.get(group).into_iter().flat_map(|versions| versions.keys().map(String::as_str)).collect();
        versions.sort_by_key(|version| version_priority(version));
        versions
    }

    /// The groups, core among them as the empty name.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// The resources of one version of a group.
    pub fn resources(&self, group: &str, version: &str) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups.get(group).and_then(|versions| versions.get(version)).into_iter().flat_map(BTreeMap::values)
    }

    /// What is known of a definition.
    pub fn definition(&self, name: &str) -> Option<&Arc<Definition>> {
        self.definitions.get(name)
    }

    /// Takes a definition in, as it is stored now (none: it is gone).
    pub fn define(&mut self, name: &str, stored: Option<&Object>) {
        let before = self.definitions.remove(name);
        for resource in before.iter().flat_map(|definition| &definition.resources) {
            self.remove(resource);
        }
        let Some(stored) = stored else { return };
        let generation = stored.value.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        let resources = match before {
            Some(before) if before.generation == generation && before.uid == stored.uid() => before.resources.clone(),
            _ => crd::resources(&stored.value).into_iter().map(Arc::new).collect(),
        };
        let established = has_condition(&stored.value, "Established");
        for resource in resources.iter().filter(|_| established) {
            self.add(resource.clone());
        }
        let terminating = stored.is_deleting();
        let definition = Definition { uid: stored.uid().to_owned(), generation, established, terminating, resources };
        self.definitions.insert(name.to_owned(), Arc::new(definition));
    }
}

/// Whether a definition has a condition.
pub(crate) fn has_condition(definition: &Value, wanted: &str) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == wanted && condition["status"] == "True")
}

/// How versions are ordered: v2 before v1, v1 before v1beta1, that before v1alpha1, and the rest by name. Upstream: apimachinery's `version/helpers.go`.
fn version_priority(version: &str) -> (u8, std::cmp::Reverse<u64>, std::cmp::Reverse<u64>, String) {
    use std::cmp::Reverse;
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..end].parse().ok()?;
        let (stage, minor) = match &rest[end..] {
            "" => (0, "0"),
            rest if rest.starts_with("beta") => (1, &rest[4..]),
            rest if rest.starts_with("alpha") => (2, &rest[5..]),
            _ => return None,
        };
        Some((stage, Reverse(major), Reverse(minor.parse().ok()?), String::new()))
    };
    parsed().unwrap_or_else(|| (3, Reverse(0), Reverse(0), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_version_is_the_stable_one() {
        let mut versions = ["v1beta1", "foo", "v10", "v1alpha1", "v1", "v1beta2", "v2"];
        versions.sort_by_key(|version| version_priority(version));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }

    #[test]
    fn built_in_kinds_are_found_by_their_path() {
        let registry = Registry::builtin();
        assert_eq!(registry.find("apps", "v1", "daemonsets").expect("served").kind, "DaemonSet");
        assert_eq!(&*registry.find("", "v1", "pods").expect("served").key, "pods");
        assert!(registry.find("", "v1", "volumes").is_none());
    }
}
