//! What every Longhorn kind has in common: its names, its columns, a status that is there from the start.

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::releases::Release;
use crate::schema::Field;

/// A kind, as its definition in the API server describes it.
#[derive(Debug)]
pub struct Definition {
    /// `Backup`
    pub kind: &'static str,
    /// `backups`
    pub plural: &'static str,
    /// `lhb`, for kubectl
    pub short_name: &'static str,
    /// What `kubectl get` prints beside the name.
    pub columns: &'static [Column],
    /// The fields beside `apiVersion`, `kind` and `metadata`.
    pub fields: &'static [Field],
}

impl Definition {
    /// `backup`
    pub fn singular(&self) -> String {
        self.kind.to_ascii_lowercase()
    }

    /// Name of the definition's object: `backups.longhorn.io`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.plural, crate::GROUP)
    }
}

/// An additional printer column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Head of the column.
    pub name: &'static str,
    /// `string`, `boolean`, `integer` or `date`
    pub column_type: &'static str,
    /// Where the value stands.
    pub json_path: &'static str,
    since: Option<Release>,
    until: Option<Release>,
}

impl Column {
    /// The creation time, printed as an age.
    pub const AGE: Self = Self::new("Age", "date", ".metadata.creationTimestamp");

    /// A column that all known releases have.
    pub const fn new(name: &'static str, column_type: &'static str, json_path: &'static str) -> Self {
        Self { name, column_type, json_path, since: None, until: None }
    }

    /// A column of type `string`.
    pub const fn text(name: &'static str, json_path: &'static str) -> Self {
        Self::new(name, "string", json_path)
    }

    /// The first known release that has the column.
    pub const fn since(mut self, release: Release) -> Self {
        self.since = Some(release);
        self
    }

    /// The first known release that no longer has the column.
    pub const fn until(mut self, release: Release) -> Self {
        self.until = Some(release);
        self
    }

    /// Whether `release` has the column.
    pub fn is_in(&self, release: Release) -> bool {
        release.is_between(self.since, self.until)
    }
}

/// A Longhorn kind, for code that serves them all.
pub trait CustomResource:
    kube_core::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Default
    + PartialEq
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// What the controllers observed. Written through the status subresource only.
    type Status: Clone + Debug + Default + PartialEq + Serialize + Send + Sync + 'static;

    /// The kind's names, columns and fields.
    const DEFINITION: &'static Definition;

    /// The status.
    fn status(&self) -> &Self::Status;

    /// The status, to change it.
    fn status_mut(&mut self) -> &mut Self::Status;
}

/// Refuses an object that says it is of another kind. One that does not say is taken: items of some lists do not.
pub(crate) fn check_type(
    kind: &str,
    found_version: Option<Cow<'_, str>>,
    found_kind: Option<Cow<'_, str>>,
) -> serde_json::Result<()> {
    let version_fits = found_version.as_deref().is_none_or(|found| found == crate::API_VERSION);
    let kind_fits = found_kind.as_deref().is_none_or(|found| found == kind);
    if version_fits && kind_fits {
        return Ok(());
    }
    let found = format!("{} {}", found_version.unwrap_or_default(), found_kind.unwrap_or_default());
    Err(serde::de::Error::custom(format_args!("expected {} {kind}, found {}", crate::API_VERSION, found.trim())))
}

/// Declares a kind: `pub struct Backup: BackupStatus { fields beside metadata and status } "Backup" ("backups", "lhb") [columns]`.
macro_rules! custom_resource {
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $status:ty {
            $(
                $(#[$field_meta:meta])*
                pub $field:ident: $type:ty = $json:literal $(.$option:ident($($argument:expr),*))*,
            )*
        }
        $kind:literal ($plural:literal, $short:literal) [ $($column:expr,)* ]
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            /// Name, labels, owners, finalizers: what every Kubernetes object has.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            $( $(#[$field_meta])* pub $field: $type, )*
            /// What the controllers observed. Written through the status subresource only.
            pub status: $status,
        }

        impl $crate::resource::CustomResource for $name {
            type Status = $status;

            const DEFINITION: &'static $crate::resource::Definition = &$crate::resource::Definition {
                kind: $kind,
                plural: $plural,
                short_name: $short,
                columns: &[$($column,)*],
                fields: &[
                    $(
                        $crate::schema::Field::new($json, <$type as $crate::schema::Described>::TYPE)
                            $(.$option($($argument),*))*,
                    )*
                    $crate::schema::Field::new("status", <$status as $crate::schema::Described>::TYPE),
                ],
            };

            fn status(&self) -> &$status {
                &self.status
            }

            fn status_mut(&mut self) -> &mut $status {
                &mut self.status
            }
        }

        impl kube_core::Resource for $name {
            type DynamicType = ();
            type Scope = k8s_openapi::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $crate::GROUP.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $crate::VERSION.into()
            }

            fn api_version((): &()) -> std::borrow::Cow<'_, str> {
                $crate::API_VERSION.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let own_fields = <Self as $crate::resource::CustomResource>::DEFINITION.fields.len();
                let mut object = serializer.serialize_struct($kind, 3 + own_fields)?;
                object.serialize_field("apiVersion", $crate::API_VERSION)?;
                object.serialize_field("kind", $kind)?;
                object.serialize_field("metadata", &self.metadata)?;
                $( object.serialize_field($json, &self.$field)?; )*
                object.serialize_field("status", &self.status)?;
                object.end()
            }
        }

        impl $name {
            /// Reads JSON. Not generic: so each kind's decoder is compiled in this crate alone, and not in every crate that reads it.
            fn from_json(json: &str) -> serde_json::Result<Self> {
                #[derive(Default, serde::Deserialize)]
                #[serde(default)]
                struct Wire<'a> {
                    #[serde(rename = "apiVersion", borrow)]
                    api_version: Option<std::borrow::Cow<'a, str>>,
                    #[serde(borrow)]
                    kind: Option<std::borrow::Cow<'a, str>>,
                    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
                    $(
                        #[serde(rename = $json, deserialize_with = "crate::go::null_as_default")]
                        $field: $type,
                    )*
                    #[serde(deserialize_with = "crate::go::null_as_default")]
                    status: $status,
                }

                let wire: Wire<'_> = serde_json::from_str(json)?;
                $crate::resource::check_type($kind, wire.api_version, wire.kind)?;
                Ok(Self { metadata: wire.metadata, $( $field: wire.$field, )* status: wire.status })
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let json = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
                Self::from_json(json.get()).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use custom_resource;
