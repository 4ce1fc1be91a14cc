//! The summary of a night of runs: `summary.json`, which the index, JUnit and whoever wants to count things read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a fuzz run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Night {
    /// Version of the format: 1.
    pub version: u32,
    /// What was run, in one line for people.
    pub title: String,
    /// Commit of Corral, hexadecimal.
    pub commit: String,
    /// Version of the Rust toolchain.
    pub toolchain: String,
    /// The machine that made the runs, or with `corral report` the one that renders: processor and number of cores.
    pub machine: String,
    /// What was tested: release, cures, defects, parameters, as people say them.
    pub arm: String,
    /// The seeds, as they were asked for: `0..1000`, `0..1000 shard 1/2`; where time was the limit, `runs` says how far it came.
    pub seeds: Vec<String>,
    /// The scenarios that were run, by name.
    pub scenarios: Vec<String>,
    /// Number of runs.
    pub runs: u64,
    /// Number of runs with at least one violation.
    pub failed: u64,
    /// Simulated time of all runs together, in seconds.
    pub simulated_seconds: f64,
    /// Real time that it took, in seconds.
    pub real_seconds: f64,
    /// Number of journal events of all runs together.
    pub events: u64,
    /// Number of distinct situations that were reached.
    pub coverage: u64,
    /// What was found, each group of equal failures once.
    pub findings: Vec<Finding>,
}

impl Night {
    /// The version of the format that is written and read.
    pub const VERSION: u32 = 1;

    /// The JSON schema of `summary.json`.
    pub fn schema() -> String {
        let schema = schemars::schema_for!(Night);
        serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
    }

    /// The findings: those of which is told how they came about, then those that came with others; of each, what the most runs showed first.
    pub(crate) fn sorted(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by(|one, other| {
            let key = |finding: &Finding| (finding.chain.is_empty(), std::cmp::Reverse(finding.runs), finding.at_ns);
            key(one).cmp(&key(other)).then_with(|| one.signature.cmp(&other.signature))
        });
        findings
    }
}

/// A group of equal failures, told by one run of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The oracle that found it: the damage in kebab-case.
    pub oracle: String,
    /// What groups equal failures.
    pub signature: String,
    /// What is damaged, as the oracle says it of the run that is told here.
    pub detail: String,
    /// Scenario of that run.
    pub scenario: String,
    /// Seed of that run.
    pub seed: u64,
    /// What was tested in that run: release, cures, defects, parameters.
    pub arm: String,
    /// When the damage was found, in simulated nanoseconds since that run began.
    pub at_ns: u64,
    /// How many runs showed it.
    pub runs: u64,
    /// The first runs that showed it: scenario and seed, as people say them.
    pub examples: Vec<String>,
    /// One or two sentences: what is wrong, since when, why.
    pub story: String,
    /// What shrinking could remove without losing the failure, a line each.
    pub removed: Vec<String>,
    /// What makes it go away and what does not (cures, releases, parameters), a line each.
    pub attribution: Vec<String>,
    /// Where it parts from the nearest run that passes, a line each.
    pub divergence: Vec<String>,
    /// The chain of events behind it, a line each, with its simulated time in front.
    pub chain: Vec<String>,
    /// Lines of shell that show it again.
    pub reproduce: Vec<String>,
    /// What was looked into together with it: the other violations that came new with that run.
    #[serde(default)]
    pub also: Vec<Also>,
    /// Between what times it was decided, in simulated nanoseconds since that run began, if that was searched for and found.
    #[serde(default)]
    pub decided_ns: Option<(u64, u64)>,
    /// Whether that run, done again alone, was the same; if not, the simulator has failed.
    #[serde(default = "yes")]
    pub is_deterministic: bool,
    /// Files that tell more.
    pub files: Files,
}

fn yes() -> bool {
    true
}

/// Another violation of the run that a finding tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Also {
    /// The oracle that found it.
    pub oracle: String,
    /// What groups equal failures.
    pub signature: String,
}

/// Files of a finding: names relative to where `summary.json` lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The seed file: replays it. Empty if there is none.
    pub seed: String,
    /// The journal of the run. Empty if there is none.
    pub journal: String,
    /// The page of the run. Empty if there is none.
    pub report: String,
    /// The journal of the twin that passes, if there is one.
    #[serde(default)]
    pub twin: Option<String>,
}
