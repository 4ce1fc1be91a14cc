//! The fields of a kind, declared once: the Rust type, its JSON form, and the schema an API server gets come from one declaration.
//!
//! ```text
//! record! {
//!     /// What is asked of a backup.
//!     pub struct BackupSpec {
//!         /// The snapshot to upload.
//!         pub snapshot_name: String = "snapshotName",
//!         /// Which target it goes to.
//!         pub target: String = "backupTargetName".since(Release::V1_8_0_RC1).nullable(),
//!     }
//! }
//! ```
//!
//! After the JSON name stand the options of [`Field`], as calls. Fields that only releases before v1.9.2 had, and that no code
//! reads, stand in a block `earlier { ... }` in the same form: they are in those releases' definitions, but not in the type.

use crate::go;
use crate::releases::Release;

/// What a value is, as a structural schema knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `string`
    Text,
    /// `boolean`
    Boolean,
    /// `integer`, with a format where Go names the width.
    Integer(Option<&'static str>),
    /// `string` with the format `int64`: see [`go::QuotedInteger`].
    QuotedInteger,
    /// `string` with the format `date-time`; Go's zero time is `null`.
    Time,
    /// `string`: see [`go::Duration`].
    Duration,
    /// `array`
    List(&'static Type),
    /// `object` with any keys
    Map(&'static Type),
    /// `object` with known fields
    Record(&'static [Field]),
}

/// A Rust type that stands for a [`Type`].
pub trait Described {
    /// Its description.
    const TYPE: Type;

    /// Whether Go's `omitempty` leaves it out. A map or list without entries is empty even if it was made.
    fn is_empty(&self) -> bool
    where
        Self: Default + PartialEq,
    {
        *self == Self::default()
    }
}

/// One field of a [`Type::Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// What it holds.
    pub value: Type,
    /// What an API server fills in where it is absent.
    pub default: Option<&'static str>,
    /// An API server refuses an object without it.
    pub required: bool,
    /// Not written when it is empty (Go's `omitempty`).
    pub omitted_when_empty: bool,
    /// Least length of a text.
    pub least_length: Option<u32>,
    /// The only values an API server takes; none means any.
    pub choices: &'static [&'static str],
    /// One of `choices` that came with a later release.
    pub later_choice: Option<(&'static str, Release)>,
    nullable_since: Option<Release>,
    since: Option<Release>,
    until: Option<Release>,
}

impl Field {
    /// A field that all known releases have and that takes any value of its type.
    pub const fn new(name: &'static str, value: Type) -> Self {
        Self {
            name,
            value,
            default: None,
            required: false,
            omitted_when_empty: false,
            least_length: None,
            choices: &[],
            later_choice: None,
            nullable_since: None,
            since: None,
            until: None,
        }
    }

    /// `null` is stored. Where it is not, an API server drops it.
    pub const fn nullable(self) -> Self {
        self.nullable_since(Release::V1_7_2)
    }

    /// `null` is stored by releases from this one on.
    pub const fn nullable_since(mut self, release: Release) -> Self {
        self.nullable_since = Some(release);
        self
    }

    /// What an API server fills in where it is absent.
    pub const fn defaults_to(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// An object without it is refused.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Not written when it is empty.
    pub const fn omit_empty(mut self) -> Self {
        self.omitted_when_empty = true;
        self
    }

    /// Only these values are taken.
    pub const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// One of the choices came with `release`.
    pub const fn choice_since(mut self, choice: &'static str, release: Release) -> Self {
        self.later_choice = Some((choice, release));
        self
    }

    /// A text of at least `length` characters.
    pub const fn at_least_long(mut self, length: u32) -> Self {
        self.least_length = Some(length);
        self
    }

    /// Go's `int`: an integer whose width the schema leaves open.
    pub const fn any_width(mut self) -> Self {
        self.value = Type::Integer(None);
        self
    }

    /// The first known release that has the field.
    pub const fn since(mut self, release: Release) -> Self {
        self.since = Some(release);
        self
    }

    /// The first known release that no longer has the field.
    pub const fn until(mut self, release: Release) -> Self {
        self.until = Some(release);
        self
    }

    /// Whether `release` has the field.
    pub fn is_in(&self, release: Release) -> bool {
        release.is_between(self.since, self.until)
    }

    /// Whether `release` stores a `null`.
    pub fn is_nullable_in(&self, release: Release) -> bool {
        self.nullable_since.is_some_and(|since| release.at_least(since))
    }

    /// The values `release` takes.
    pub fn choices_in(&self, release: Release) -> impl Iterator<Item = &'static str> {
        let later = self.later_choice.filter(|(_, since)| !release.at_least(*since)).map(|(choice, _)| choice);
        self.choices.iter().copied().filter(move |choice| Some(*choice) != later)
    }
}

impl Described for String {
    const TYPE: Type = Type::Text;
}

impl Described for bool {
    const TYPE: Type = Type::Boolean;
}

impl Described for i64 {
    const TYPE: Type = Type::Integer(Some("int64"));
}

impl Described for i32 {
    const TYPE: Type = Type::Integer(Some("int32"));
}

impl Described for go::QuotedInteger {
    const TYPE: Type = Type::QuotedInteger;
}

impl Described for go::Duration {
    const TYPE: Type = Type::Duration;
}

impl Described for Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    const TYPE: Type = Type::Time;
}

impl<T: Described + 'static> Described for go::List<T> {
    const TYPE: Type = Type::List(&T::TYPE);

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<V: Described + 'static> Described for go::Map<V> {
    const TYPE: Type = Type::Map(&V::TYPE);

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Declares a structure and its fields; see the head of this file.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                pub $field:ident: $type:ty = $json:literal $(.$option:ident($($argument:expr),*))*,
            )*
        }
        $(earlier {
            $(
                $earlier_field:ident: $earlier_type:ty = $earlier_json:literal
                $(.$earlier_option:ident($($earlier_argument:expr),*))*,
            )*
        })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(rename = $json, deserialize_with = "crate::go::null_as_default")]
                pub $field: $type,
            )*
        }

        impl $name {
            /// The fields, of all known releases.
            pub const FIELDS: &'static [$crate::schema::Field] = &[
                $(
                    $crate::schema::Field::new($json, <$type as $crate::schema::Described>::TYPE)
                        $(.$option($($argument),*))*,
                )*
                $($(
                    $crate::schema::Field::new($earlier_json, <$earlier_type as $crate::schema::Described>::TYPE)
                        $(.$earlier_option($($earlier_argument),*))*,
                )*)?
            ];
        }

        impl $crate::schema::Described for $name {
            const TYPE: $crate::schema::Type = $crate::schema::Type::Record($name::FIELDS);
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let mut record = serializer.serialize_struct(stringify!($name), Self::FIELDS.len())?;
                $(
                    let omittable = const {
                        $crate::schema::Field::new($json, <$type as $crate::schema::Described>::TYPE)
                            $(.$option($($argument),*))*
                            .omitted_when_empty
                    };
                    if omittable && <$type as $crate::schema::Described>::is_empty(&self.$field) {
                        record.skip_field($json)?;
                    } else {
                        record.serialize_field($json, &self.$field)?;
                    }
                )*
                record.end()
            }
        }
    };
}

pub(crate) use record;
