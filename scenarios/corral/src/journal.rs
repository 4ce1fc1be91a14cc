//! Journals as files: what `run` writes and `explain`, `report` and `inspect` read.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use corral_core::journal::{JournalFile, file};
use corral_explore::{Keep, Origin};
use corral_world::{Recipe, Verdict};

use crate::failure::Refused;
use crate::provenance::{commit, toolchain};

/// Writes the journal of a run that kept it; `plan` is the file that its plan is from, if that is not the seed's own.
pub fn write(path: &Path, recipe: &Recipe, plan: Option<&Path>, verdict: &Verdict) -> Result<(), Refused> {
    let origin = Origin { commit: commit(), toolchain: toolchain() };
    let header = origin.header(recipe, recipe.command(plan));
    Keep { path: path.to_owned(), header }.write(verdict).map_err(Refused::new)
}

/// Reads a journal.
pub fn read(path: &Path) -> Result<JournalFile, Refused> {
    let input = File::open(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    parse(BufReader::new(input), path)
}

/// The same from what was read of this file.
pub fn parse(input: impl BufRead, path: &Path) -> Result<JournalFile, Refused> {
    file::read(input).map_err(|error| Refused::new(format!("{}: {error}", path.display())))
}
