//! Journals as files: what `run` writes and `report` and `inspect` read.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use corral_core::journal::{Header, file};
use corral_world::{Recipe, Verdict};

use crate::bench::{commit, toolchain};
use crate::failure::Refused;

/// Writes the journal of a run that kept it.
pub fn write(out: File, path: &Path, recipe: &Recipe, plan: Option<&Path>, verdict: &Verdict) -> Result<(), Refused> {
    let Some(journal) = &verdict.journal else { return Ok(()) };
    let header = Header {
        version: Header::VERSION,
        title: recipe.title(),
        reproduce: reproduce(recipe, plan),
        commit: commit(),
        toolchain: toolchain(),
        digest: verdict.digest.clone(),
        ended_at: verdict.simulated,
        run: serde_json::to_value(recipe).map_err(Refused::new)?,
    };
    let written = file::write(BufWriter::new(out), &header, journal, &verdict.logs);
    written.map_err(|error| Refused::path(path, "cannot write the journal", error))
}

/// The command that runs it again; with the file that its plan is from, if it is not the seed's own.
pub fn reproduce(recipe: &Recipe, plan: Option<&Path>) -> String {
    let Recipe { scenario, arm, seed, .. } = recipe;
    let plan = plan.map_or_else(String::new, |path| format!("--plan {}", path.display()));
    let words = [format!("corral run {scenario} --seed {seed}"), arm.options(), plan];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
