//! The releases that are modelled. Code asks a release what it does; nothing else in the models knows about versions.
//!
//! Names are upstream's tags, release candidates included, or a branch and a commit (`v1.9.0-dev.00886872c` is longhorn-manager at
//! that commit and every other component as its master was on that day). The test client, longhorn-tests' clean-up code, is a
//! component with releases of its own.
//!
//! Order is by version, not by date: `release.at_least(Release::V1_8_0_RC1)` is the question to ask for a feature. A fix that was
//! ported back (v1.8.2 is younger than v1.9.0-dev.00886872c) does not follow the order: ask [`crate::Build::has`] for those.

use std::fmt;
use std::str::FromStr;

use crate::defects::{Affected, Component, Record};

/// A release of Longhorn: manager, engine, instance manager, backing image manager and their definitions.
#[allow(non_camel_case_types, reason = "the underscores stand for the points of the name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// v1.7.2, 2024-10-18. One backup target; a BackupVolume and a BackupBackingImage are named after their volume and image.
    V1_7_2,
    /// v1.8.0-rc1, 2024-12-19. Many backup targets; random name suffixes; owner references instead of a collection delete.
    V1_8_0_RC1,
    /// v1.8.0-rc2, 2024-12-30.
    V1_8_0_RC2,
    /// v1.8.0, 2025-01-22.
    V1_8_0,
    /// v1.8.1, 2025-03-05.
    V1_8_1,
    /// v1.8.2, 2025-06-08.
    V1_8_2,
    /// longhorn-manager 00886872c, 2025-04-25: on the way to v1.9.0, the last commit before dadf403da. Never tagged.
    V1_9_0_DEV_00886872C,
    /// v1.9.2, 2025-09-23.
    V1_9_2,
}

impl Release {
    /// Name on the command line, in seed files, and in the tags of container images.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_7_2 => "v1.7.2",
            Self::V1_8_0_RC1 => "v1.8.0-rc1",
            Self::V1_8_0_RC2 => "v1.8.0-rc2",
            Self::V1_8_0 => "v1.8.0",
            Self::V1_8_1 => "v1.8.1",
            Self::V1_8_2 => "v1.8.2",
            Self::V1_9_0_DEV_00886872C => "v1.9.0-dev.00886872c",
            Self::V1_9_2 => "v1.9.2",
        }
    }

    /// Whether it is `other` or a later one.
    pub const fn at_least(self, other: Self) -> bool {
        self as u8 >= other as u8
    }

    /// Whether it is earlier than `other`.
    pub const fn before(self, other: Self) -> bool {
        !self.at_least(other)
    }

    /// Whether something that came with `since` and went with `until` is in it; none stands for "always" and "still".
    pub(crate) fn is_between(self, since: Option<Self>, until: Option<Self>) -> bool {
        since.is_none_or(|since| self.at_least(since)) && until.is_none_or(|until| self.before(until))
    }
}

/// A release of the test client, the clean-up code of longhorn-tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientRelease {
    /// Before longhorn-tests 8436ccbda (master, 2025-01-06; a358003d0 on v1.8.x): any answer but success to a delete is an error.
    Strict,
    /// From that commit on: a delete that is answered "not found" is taken as done.
    Tolerant,
}

impl ClientRelease {
    /// Name in lists and in the tag of the client's image.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Tolerant => "tolerant",
        }
    }
}

/// The releases of one thing that is released on its own: Longhorn, or the test client.
pub trait ReleaseLine:
    Copy + Ord + fmt::Debug + fmt::Display + FromStr<Err = UnknownRelease> + Send + Sync + 'static
{
    /// All modelled ones, in order.
    const ALL: &'static [Self];
    /// The one that runs when nobody asks for another.
    const DEFAULT: Self;

    /// Whether the line releases `component`.
    fn includes(component: Component) -> bool;

    /// Whether the release has the defect as it was published.
    fn published_with(self, defect: &Record) -> bool;
}

impl ReleaseLine for Release {
    const ALL: &'static [Self] = &[
        Self::V1_7_2,
        Self::V1_8_0_RC1,
        Self::V1_8_0_RC2,
        Self::V1_8_0,
        Self::V1_8_1,
        Self::V1_8_2,
        Self::V1_9_0_DEV_00886872C,
        Self::V1_9_2,
    ];
    const DEFAULT: Self = Self::V1_9_2;

    fn includes(component: Component) -> bool {
        component != Component::TestClient
    }

    fn published_with(self, defect: &Record) -> bool {
        matches!(defect.affected, Affected::Longhorn(releases) if releases.contains(&self))
    }
}

impl ReleaseLine for ClientRelease {
    const ALL: &'static [Self] = &[Self::Strict, Self::Tolerant];
    const DEFAULT: Self = Self::Tolerant;

    fn includes(component: Component) -> bool {
        component == Component::TestClient
    }

    fn published_with(self, defect: &Record) -> bool {
        matches!(defect.affected, Affected::TestClient(releases) if releases.contains(&self))
    }
}

/// A release name that is not modelled.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown release {name:?}; the nearest known is {nearest} (known: {known})")]
pub struct UnknownRelease {
    /// What was asked for.
    pub name: String,
    /// The known name most like it.
    pub nearest: &'static str,
    known: String,
}

fn parse<R: ReleaseLine>(name: &str, name_of: fn(R) -> &'static str) -> Result<R, UnknownRelease> {
    R::ALL.iter().copied().find(|release| name_of(*release) == name).ok_or_else(|| {
        let names: Vec<_> = R::ALL.iter().copied().map(name_of).collect();
        UnknownRelease { name: name.to_owned(), nearest: nearest(name, &names), known: names.join(", ") }
    })
}

/// The one of `known` that is most like `name`, a common beginning counting for more; the last of several.
pub(crate) fn nearest(name: &str, known: &[&'static str]) -> &'static str {
    let likeness = |candidate: &&'static str| strsim::jaro_winkler(name, candidate);
    known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).expect("every table of names has entries")
}

/// Writes and reads a type as its name, so that a seed file's reader can point at the line of an unknown one.
macro_rules! named_in_data {
    ($($named:ty),*) => { $(
        impl serde::Serialize for $named {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $named {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

pub(crate) use named_in_data;

macro_rules! named {
    ($($line:ty),*) => { $(
        named_in_data!($line);

        impl fmt::Display for $line {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.name())
            }
        }

        impl FromStr for $line {
            type Err = UnknownRelease;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                parse(name, Self::name)
            }
        }

        impl Default for $line {
            fn default() -> Self {
                <Self as ReleaseLine>::DEFAULT
            }
        }
    )* };
}

named!(Release, ClientRelease);
