//! Attribution: which of the recorded defects that are open in a release a failure needs.
//!
//! Each of them is silenced in turn. A defect that has no part in the run leaves it the same to the last event. One whose absence ends the failure is
//! tried in forks of the run, with it and without it, from a time before the failure was decided: later, any difference in time could avert it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use corral_core::Nanos;
use corral_core::journal::JournalFile;
use corral_world::{Catalogue, Recipe};

use crate::explain::parting;
use crate::forks::{FORKS, failing};
use crate::investigate::Origin;
use crate::job::{Job, Signature};
use crate::pool::Pool;

/// What a failure is without one of the recorded defects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The defect.
    pub id: String,
    /// What becomes of the run.
    pub part: Part,
}

/// The part a defect has in a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The run is the same without it, to the last event.
    None,
    /// The run is another without it, and fails all the same: there is another cause.
    Another,
    /// Without it the run passes. Of its forks at a time, so many fail:
    Cause {
        /// The time.
        from: Nanos,
        /// Without it.
        without: usize,
        /// With it.
        with: usize,
        /// Of so many; where one fails without it, no more are tried.
        of: usize,
    },
}

/// Forks that fail, so that it says something if none of them does without a defect.
const FAILING: usize = FORKS as usize;
/// Forks among which they are looked for.
const MOST: u32 = 24;

/// Silences each of the defects that are open in the recipe's arm. `own` is the journal of its run, which could still pass at the time `open`; a
/// journal of another is written to `scratch` and taken away again.
///
/// # Errors
/// A worker cannot be started, or a journal not be written.
pub fn attribute(
    pool: &mut Pool,
    catalogue: &dyn Catalogue,
    recipe: &Recipe,
    wanted: &BTreeSet<Signature>,
    own: &JournalFile,
    open: Nanos,
    scratch: &Path,
) -> io::Result<Vec<Attribution>> {
    let ids = catalogue.open_defects(&recipe.arm);
    let silenced: Vec<Recipe> = ids.iter().map(|id| without(recipe, id)).collect();
    let results = pool.run_all(silenced.iter().cloned().map(Job::from))?;
    let mut attributions = Vec::new();
    for ((id, silenced), result) in ids.into_iter().zip(silenced).zip(results) {
        let part = if result.verdict().is_some_and(|verdict| verdict.digest == own.header.digest) {
            Part::None
        } else if !result.signatures().is_disjoint(wanted) {
            Part::Another
        } else {
            let from = open.min(parted(pool, &silenced, own, scratch)?);
            by_forks(pool, recipe, &silenced, from, wanted)?
        };
        attributions.push(Attribution { id, part });
    }
    Ok(attributions)
}

fn without(recipe: &Recipe, id: &str) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.arm.silenced.push(id.to_owned());
    recipe
}

/// When the run without a defect leaves the run with it.
fn parted(pool: &Pool, silenced: &Recipe, own: &JournalFile, scratch: &Path) -> io::Result<Nanos> {
    let journal = pool.journal(silenced, Origin::default().header(silenced, String::new()), scratch)?;
    // It is not there if the run died.
    let _ = std::fs::remove_file(scratch);
    Ok(journal.ok().and_then(|journal| parting(own, &journal)).map_or(Nanos::ZERO, |(at, _)| at))
}

/// Whether a run that passed without a defect did so because of that, or by luck: a run that goes another way may miss a failure by chance.
fn by_forks(
    pool: &mut Pool,
    recipe: &Recipe,
    silenced: &Recipe,
    from: Nanos,
    wanted: &BTreeSet<Signature>,
) -> io::Result<Part> {
    let mut with: Vec<bool> = Vec::new();
    while count(&with) < FAILING && with.len() < MOST as usize {
        let next = with.len() as u32;
        with.extend(failing(pool, recipe, from, next..next + FORKS, wanted)?);
    }
    let mut still: Vec<bool> = Vec::new();
    while count(&still) == 0 && still.len() < with.len() {
        let next = still.len() as u32;
        still.extend(failing(pool, silenced, from, next..next + FORKS, wanted)?);
    }
    Ok(Part::Cause { from, without: count(&still), with: count(&with[..still.len()]), of: still.len() })
}

fn count(failing: &[bool]) -> usize {
    failing.iter().filter(|fails| **fails).count()
}

impl Attribution {
    /// In one line.
    pub fn told(&self) -> String {
        let id = &self.id;
        match self.part {
            Part::None => format!("{id}: has no part in it; without it the run is the same"),
            Part::Another => format!("{id}: also fails without it: a different cause"),
            Part::Cause { from, without, with, of } => format!(
                "{id}: without it this run passes; of {of} runs that are the same up to {from} and go on by other chance, {with} fail with it and {without} without{}",
                match (without, with) {
                    (0, 3..) => "",
                    (0, _) => ": perhaps luck",
                    _ => ": not the only cause",
                }
            ),
        }
    }

    /// Whether the failure needs it, as far as was tried: one run that passes may have been lucky, three others beside it hardly.
    pub fn is_cause(&self) -> bool {
        matches!(self.part, Part::Cause { without: 0, with: 3.., .. })
    }
}
