//! A recipe: all that it takes to run something again.

use std::path::Path;

use corral_core::Fork;
use serde::{Deserialize, Serialize};

use crate::arm::Arm;
use crate::plan::Plan;
use crate::text::quoted;

/// A run, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The scenario's name.
    pub scenario: String,
    /// What of the system runs.
    pub arm: Arm,
    /// The seed.
    pub seed: u64,
    /// The plan; without one, the seed is expanded into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// From a time on, another run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,
}

impl Recipe {
    /// Scenario, seed and release, as people say them.
    pub fn title(&self) -> String {
        let Recipe { scenario, seed, arm, .. } = self;
        let fork = self.fork.map_or_else(String::new, |fork| format!(", fork {fork}"));
        format!("{scenario}, seed {seed}, {arm}{fork}")
    }

    /// The command line that does it, for a shell; `plan` is the file that its plan stands in, if that is not the seed's own.
    pub fn command(&self, plan: Option<&Path>) -> String {
        let Recipe { scenario, seed, arm, .. } = self;
        let plan = plan.map_or_else(String::new, |path| format!("--plan {}", quoted(path.display())));
        let fork = self.fork.map_or_else(String::new, |fork| format!("--fork {fork}"));
        let words = [format!("corral run {scenario} --seed {seed}"), arm.options(), plan, fork];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}
