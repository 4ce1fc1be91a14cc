//! What the client needs to know of a kind: where it lives in the API, and how its objects are named.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Anything that can stand behind an [`Api`](crate::Api): a type with metadata that can be read, written and shared.
pub trait Object: Resource + Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<K: Resource + Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Object for K {}

/// Where a kind lives in the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceDescriptor {
    /// API group, empty for the core group.
    pub group: Arc<str>,
    /// Version in the group.
    pub version: Arc<str>,
    /// Kind, in the singular.
    pub kind: Arc<str>,
    /// Name in paths, in the plural.
    pub plural: Arc<str>,
}

impl ResourceDescriptor {
    /// A descriptor by its parts.
    pub fn new(group: &str, version: &str, kind: &str, plural: &str) -> ResourceDescriptor {
        ResourceDescriptor { group: group.into(), version: version.into(), kind: kind.into(), plural: plural.into() }
    }

    /// The descriptor of a type that knows itself.
    pub fn of<K: Resource<DynamicType = ()>>() -> ResourceDescriptor {
        ResourceDescriptor::erase::<K>(&())
    }

    /// The descriptor of a type that needs to be told.
    pub fn erase<K: Resource>(type_information: &K::DynamicType) -> ResourceDescriptor {
        ResourceDescriptor::new(
            &K::group(type_information),
            &K::version(type_information),
            &K::kind(type_information),
            &K::plural(type_information),
        )
    }

    /// `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> Cow<'_, str> {
        if self.group.is_empty() { (&*self.version).into() } else { format!("{}/{}", self.group, self.version).into() }
    }

    /// The path of the collection, in a namespace or across all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let api_version = self.api_version();
        match namespace {
            Some(namespace) => format!("{root}/{api_version}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{api_version}/{}", self.plural),
        }
    }
}

/// The key of an object in caches and queues: `namespace/name`, or the name alone (cache.MetaNamespaceKeyFunc).
pub fn object_key(metadata: &ObjectMeta) -> String {
    key_of(metadata.namespace.as_deref(), metadata.name.as_deref().unwrap_or_default())
}

/// The key of a name in a namespace, if it has one.
pub fn key_of(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

/// Namespace and name of a key (cache.SplitMetaNamespaceKey).
pub fn split_key(key: &str) -> (Option<&str>, &str) {
    match key.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, key),
    }
}

/// A resourceVersion as a number; 0 where it is absent or opaque. Only for the journal and for ages: versions are compared as text.
pub(crate) fn version_number(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::api::storage::v1::VolumeAttachment;

    use super::*;

    #[test]
    fn paths_of_core_and_grouped_kinds() {
        assert_eq!(ResourceDescriptor::of::<Pod>().path(Some("x")), "/api/v1/namespaces/x/pods");
        let attachments = ResourceDescriptor::of::<VolumeAttachment>();
        assert_eq!(attachments.path(None), "/apis/storage.k8s.io/v1/volumeattachments");
    }

    #[test]
    fn keys_split_into_what_they_were_made_of() {
        assert_eq!(split_key(&key_of(Some("ns"), "a")), (Some("ns"), "a"));
        assert_eq!(split_key(&key_of(None, "a")), (None, "a"));
    }
}
