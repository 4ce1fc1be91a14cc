//! Objects whose kind is known only at run time: whole ones, and ones read for their metadata alone.
//!
//! kube-core has both, but decodes them through serde's flatten, which is slower than decoding the full type (feasibility measurements, section 5).

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::{DynamicResourceScope, Resource};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::resource::ResourceDescriptor;

/// An object of any kind: typed metadata, everything else as JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicObject {
    /// `group/version`; empty in items of a list of core kinds.
    pub api_version: String,
    /// Kind; empty in items of a list of core kinds.
    pub kind: String,
    /// Metadata.
    pub metadata: ObjectMeta,
    /// All other top-level fields.
    pub fields: Map<String, Value>,
}

impl DynamicObject {
    /// A new object of a kind.
    pub fn new(resource: &ResourceDescriptor, metadata: ObjectMeta) -> DynamicObject {
        DynamicObject {
            api_version: resource.api_version().into_owned(),
            kind: resource.kind.to_string(),
            metadata,
            fields: Map::new(),
        }
    }
}

/// An object of any kind, of which only kind and metadata are kept. Never write one back: it would empty the object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataObject {
    /// `group/version`; empty in items of a list of core kinds.
    pub api_version: String,
    /// Kind; empty in items of a list of core kinds.
    pub kind: String,
    /// Metadata.
    pub metadata: ObjectMeta,
}

macro_rules! described_at_run_time {
    ($type:ty) => {
        impl Resource for $type {
            type DynamicType = ResourceDescriptor;
            type Scope = DynamicResourceScope;

            fn kind(resource: &ResourceDescriptor) -> Cow<'_, str> {
                (&*resource.kind).into()
            }

            fn group(resource: &ResourceDescriptor) -> Cow<'_, str> {
                (&*resource.group).into()
            }

            fn version(resource: &ResourceDescriptor) -> Cow<'_, str> {
                (&*resource.version).into()
            }

            fn plural(resource: &ResourceDescriptor) -> Cow<'_, str> {
                (&*resource.plural).into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

described_at_run_time!(DynamicObject);
described_at_run_time!(MetadataObject);

impl Serialize for DynamicObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.api_version.is_empty() {
            map.serialize_entry("apiVersion", &self.api_version)?;
        }
        if !self.kind.is_empty() {
            map.serialize_entry("kind", &self.kind)?;
        }
        map.serialize_entry("metadata", &self.metadata)?;
        for (key, value) in &self.fields {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for MetadataObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("apiVersion", &self.api_version)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("metadata", &self.metadata)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for DynamicObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = DynamicObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Kubernetes object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DynamicObject, A::Error> {
                let mut object = DynamicObject::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "apiVersion" => object.api_version = map.next_value()?,
                        "kind" => object.kind = map.next_value()?,
                        "metadata" => object.metadata = map.next_value()?,
                        _ => {
                            object.fields.insert(key, map.next_value()?);
                        }
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for MetadataObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = MetadataObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Kubernetes object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetadataObject, A::Error> {
                let mut object = MetadataObject::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "apiVersion" => object.api_version = map.next_value()?,
                        "kind" => object.kind = map.next_value()?,
                        "metadata" => object.metadata = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dynamic_object_keeps_every_field() {
        let value = json!({
            "apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "finalizers": ["x"]},
            "spec": {"n": 1}, "status": null
        });
        let object: DynamicObject = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(object.metadata.name.as_deref(), Some("a"));
        assert_eq!(serde_json::to_value(&object).unwrap(), value);
        let metadata: MetadataObject = serde_json::from_value(value).unwrap();
        assert_eq!(metadata.metadata, object.metadata);
    }
}
