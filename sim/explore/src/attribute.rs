//! Attribution: which of the recorded defects that are open in a release a failure needs.
//!
//! Each of them is silenced in turn, under the failure's own seed. A defect that has no part in the run leaves it the same to the last event; one
//! whose absence ends the failure is tried under other seeds too, for a run that went another way may have missed the failure by luck.

use std::collections::BTreeSet;
use std::io;

use corral_world::{Catalogue, Recipe};

use crate::job::{Job, JobResult, Signature};
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
    /// Without it, so many of so many runs that failed fail, the failure's own seed not among them.
    Cause {
        /// Runs that still fail.
        fail: usize,
        /// Runs tried, all of which fail with the defect.
        of: usize,
    },
}

/// Other runs that fail, to try a cause on.
const OTHERS: usize = 4;
/// Seeds among which they are looked for.
const SEEDS: u64 = 16;

/// Silences each of the defects that are open in the recipe's arm.
///
/// # Errors
/// A worker cannot be started.
pub fn attribute(
    pool: &mut Pool,
    catalogue: &dyn Catalogue,
    recipe: &Recipe,
    wanted: &BTreeSet<Signature>,
) -> io::Result<Vec<Attribution>> {
    let shows = |result: &JobResult| !result.signatures().is_disjoint(wanted);
    let with = |seed: u64| Job::from(Recipe { seed, ..recipe.clone() });
    let without = |id: &str, seed: u64| {
        let mut job = with(seed);
        job.recipe.arm.silenced.push(id.to_owned());
        job
    };
    let open = catalogue.open_defects(&recipe.arm);
    let jobs = std::iter::once(with(recipe.seed)).chain(open.iter().map(|id| without(id, recipe.seed)));
    let mut results = pool.run_all(jobs)?.into_iter();
    let digest_of = |result: &JobResult| result.verdict().map(|verdict| verdict.digest.clone());
    let own_digest = results.next().as_ref().and_then(digest_of);
    let mut others: Option<Vec<u64>> = None;
    let mut attributions = Vec::new();
    for (id, result) in open.into_iter().zip(results) {
        let part = if digest_of(&result) == own_digest {
            Part::None
        } else if shows(&result) {
            Part::Another
        } else {
            let others = match &mut others {
                Some(others) => others,
                none => {
                    let seeds: Vec<u64> = (1..=SEEDS).map(|other| recipe.seed.wrapping_add(other)).collect();
                    let results = pool.run_all(seeds.iter().map(|seed| with(*seed)))?;
                    let failing = seeds.into_iter().zip(results).filter(|(_, result)| shows(result));
                    none.insert(failing.map(|(seed, _)| seed).take(OTHERS).collect())
                }
            };
            let results = pool.run_all(others.iter().map(|seed| without(&id, *seed)))?;
            Part::Cause { fail: results.iter().filter(|result| shows(result)).count(), of: others.len() }
        };
        attributions.push(Attribution { id, part });
    }
    Ok(attributions)
}

impl Attribution {
    /// In one line.
    pub fn told(&self) -> String {
        let id = &self.id;
        match self.part {
            Part::None => format!("{id}: has no part in it; without it the run is the same"),
            Part::Another => format!("{id}: also fails without it: a different cause"),
            Part::Cause { of: 0, .. } => {
                format!("{id}: without it this run passes, perhaps by luck: no other seed fails")
            }
            Part::Cause { fail: 0, of } => {
                format!("{id}: without it this run passes, and {of} of {of} others that fail")
            }
            Part::Cause { fail, of } => {
                format!(
                    "{id}: without it this run passes, but {fail} of {of} others fail all the same: not the only cause"
                )
            }
        }
    }

    /// Whether the failure needs it, as far as was tried: one run that passes may have been lucky, two others beside it hardly.
    pub fn is_cause(&self) -> bool {
        matches!(self.part, Part::Cause { fail: 0, of: 2.. })
    }
}
