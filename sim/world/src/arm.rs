//! An arm: which release of the system runs, with what changed in it. A seed file names the arms that must fail and those that must pass.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::quoted;

/// What of the system under test runs. Its words are the catalogue's (see [`crate::Catalogue`]); empty means the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// The release an upgrade starts from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The release.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// Recorded defects taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cured: Vec<String>,
    /// Recorded defects taken away, but images' tags say nothing of it: the run is the same up to where that makes a difference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silenced: Vec<String>,
    /// Recorded defects added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defect: Vec<String>,
    /// Scenario parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

impl Arm {
    /// The command-line options that name this arm, for a shell.
    pub fn options(&self) -> String {
        let mut options = Vec::new();
        if !self.from.is_empty() {
            options.push(format!("--from {}", self.from));
        }
        if !self.release.is_empty() {
            options.push(format!("--release {}", self.release));
        }
        options.extend(self.defect.iter().map(|id| format!("--defect {id}")));
        options.extend(self.cured.iter().map(|id| format!("--cured {id}")));
        options.extend(self.silenced.iter().map(|id| format!("--silenced {id}")));
        options.extend(self.set.iter().map(|(key, value)| format!("--set {}", quoted(format_args!("{key}={value}")))));
        options.join(" ")
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.from.is_empty() {
            write!(f, "{} to ", self.from)?;
        }
        write!(f, "{}", if self.release.is_empty() { "default release" } else { &self.release })?;
        for id in &self.defect {
            write!(f, " + {id}")?;
        }
        for id in &self.cured {
            write!(f, " - {id}")?;
        }
        for id in &self.silenced {
            write!(f, " - {id} (silenced)")?;
        }
        self.set.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}
