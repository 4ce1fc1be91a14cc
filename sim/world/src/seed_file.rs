//! Seed files: a recorded failure as data, with the arms that must show it and those that must not.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::arm::Arm;
use crate::oracle::Violation;
use crate::plan::{Plan, PlannedFault, Step};
use crate::recipe::Recipe;
use crate::scenario::Catalogue;
use crate::text::{is_of_key, line_about, line_at};
use crate::verdict::{OWN_FAULT, PANIC, RESTLESS};

/// A seed file, as it stands on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedFile {
    /// Version of the format: 1.
    pub version: u32,
    /// The issue it reproduces, as `owner/repository#number`; empty for a finding without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issue: String,
    /// What goes wrong, in one line.
    pub title: String,
    /// The scenario.
    pub scenario: String,
    /// The seed under which the plan was found.
    #[serde(with = "crate::seed::stored")]
    pub seed: u64,
    /// Where it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// Arms that must show the violation.
    pub fails: Vec<Arm>,
    /// Arms that must not.
    pub passes: Vec<Arm>,
    /// Situations that every arm must reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached: Vec<String>,
    /// What a failing arm shows.
    pub expect: Expectation,
    /// The plan's cluster.
    #[serde(default)]
    pub cluster: toml::Table,
    /// The plan's steps.
    #[serde(default, rename = "step", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// The plan's faults.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<PlannedFault>,
}

/// What a failing arm shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The oracle's name.
    pub oracle: String,
    /// The violation's signature.
    pub signature: String,
    /// Signatures of other violations that are the same damage, seen by this or another oracle; none of them need show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub along: Vec<String>,
}

impl Expectation {
    /// Oracle and signature, as [`Violation::group`] has them.
    pub fn group(&self) -> (String, String) {
        (self.oracle.clone(), self.signature.clone())
    }
}

/// Where a seed was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Commit of Corral.
    pub commit: String,
    /// Version of the Rust toolchain.
    pub toolchain: String,
}

/// A seed file that cannot be used: one line with the file, the place in it, and what is allowed.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {message}", path.display(), line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct SeedFileError {
    path: PathBuf,
    line: Option<usize>,
    message: String,
}

impl SeedFile {
    /// Reads a seed file and checks all that can be checked without running it.
    ///
    /// # Errors
    /// It cannot be read, is no seed file, or names what does not exist.
    pub fn load(path: &Path, catalogue: &dyn Catalogue) -> Result<SeedFile, SeedFileError> {
        let refuse = |message| SeedFileError { path: path.to_owned(), line: None, message };
        let text = std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        SeedFile::parse(&text, path, catalogue)
    }

    /// The same of a text that was read from this file.
    ///
    /// # Errors
    /// It is no seed file, or names what does not exist.
    pub fn parse(text: &str, path: &Path, catalogue: &dyn Catalogue) -> Result<SeedFile, SeedFileError> {
        let refuse = |line, message: String| SeedFileError { path: path.to_owned(), line, message };
        if text.trim().is_empty() {
            return Err(refuse(None, "is empty; a seed file begins with version = 1".into()));
        }
        if text.starts_with('{') {
            return Err(refuse(
                Some(1),
                "is a journal, no seed file; `explain`, `report` and `inspect` take it".into(),
            ));
        }
        let file: SeedFile = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_at(text, span.start));
            refuse(line, error.message().replace('\n', "; "))
        })?;
        let line_with = |needle: &str| {
            let of_key = text.lines().position(|line| is_of_key(line, needle));
            of_key.or_else(|| text.lines().position(|line| line.contains(needle))).map(|index| index + 1)
        };
        file.check(catalogue, &line_with)
            .map_err(|(line, message)| refuse(line_about(text, &message).or(line), message))?;
        Ok(file)
    }

    /// Line (where known) and message of the first thing that is wrong.
    fn check(
        &self,
        catalogue: &dyn Catalogue,
        line_with: &dyn Fn(&str) -> Option<usize>,
    ) -> Result<(), (Option<usize>, String)> {
        if self.version != 1 {
            return Err((line_with("version"), format!("version = {} is unknown; allowed is 1", self.version)));
        }
        for (key, text) in [("title", &self.title), ("signature", &self.expect.signature)] {
            if text.trim().is_empty() {
                return Err((line_with(key), format!("{key} = {text:?} says nothing; allowed is one line of text")));
            }
        }
        let scenario = catalogue.scenario(&self.scenario).map_err(|message| (line_with("scenario"), message))?;
        if self.fails.is_empty() {
            return Err((line_with("fails"), "fails = [] names no arm; allowed is a list of { release = ... }".into()));
        }
        let probes = scenario.probes();
        for name in &self.reached {
            if !probes.iter().any(|probe| probe.name == name) {
                let known: Vec<&str> = probes.iter().map(|probe| probe.name).collect();
                return Err((line_with("reached"), crate::text::unknown_name("probe", name, known.iter().copied())));
            }
        }
        let oracles = scenario.oracles();
        let known: Vec<&str> = oracles.iter().map(|oracle| oracle.name()).chain([PANIC, RESTLESS, OWN_FAULT]).collect();
        if !known.contains(&self.expect.oracle.as_str()) {
            let message = crate::text::unknown_name("oracle", &self.expect.oracle, known.iter().copied());
            return Err((line_with("oracle"), message));
        }
        let plan = self.plan();
        for (key, arms) in [("fails", &self.fails), ("passes", &self.passes)] {
            for arm in arms {
                if arm.release.is_empty() {
                    let message = format!("{key}: an arm names no release; allowed is {{ release = ... }}");
                    return Err((line_with(key), message));
                }
                catalogue.check_given(scenario.as_ref(), arm, &plan).map_err(|message| {
                    // The offending word usually stands in quotes in the message; its line is the best place to point at.
                    let quoted = message.split('"').nth(1).and_then(line_with);
                    (quoted.or_else(|| line_with(key)), message)
                })?;
            }
        }
        Ok(())
    }

    /// Whether this is the violation that it is about.
    pub fn expects(&self, found: &Violation) -> bool {
        (&found.oracle, &found.signature) == (&self.expect.oracle, &self.expect.signature)
    }

    /// Whether this is the same damage as the violation that it is about, seen in another way.
    pub fn goes_along(&self, found: &Violation) -> bool {
        self.expect.along.contains(&found.signature)
    }

    /// The run of one of its arms.
    pub fn recipe(&self, arm: &Arm) -> Recipe {
        Recipe {
            scenario: self.scenario.clone(),
            arm: arm.clone(),
            seed: self.seed,
            plan: Some(self.plan()),
            fork: None,
        }
    }

    /// The plan it stores.
    pub fn plan(&self) -> Plan {
        Plan { cluster: self.cluster.clone(), steps: self.steps.clone(), faults: self.faults.clone() }
    }

    /// The same with another plan.
    #[must_use]
    pub fn with_plan(&self, plan: Plan) -> SeedFile {
        SeedFile { cluster: plan.cluster, steps: plan.steps, faults: plan.faults, ..self.clone() }
    }

    /// As it would stand on disk.
    ///
    /// # Panics
    /// Never: everything in it can be written as TOML.
    pub fn to_toml(&self) -> String {
        crate::plan_text::text(self)
    }
}
