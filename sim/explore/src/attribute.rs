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
    /// Without it the run passes. Under other seeds so many fail:
    Cause {
        /// Without it.
        without: usize,
        /// With it.
        with: usize,
        /// Of so many; where one fails without it, no more are tried.
        of: usize,
    },
}

/// Other runs that fail, so that it says something if none of them does without a defect.
const FAILING: usize = 4;
/// Seeds among which they are looked for.
const SEEDS: u64 = 48;
/// Seeds tried at once.
const BATCH: usize = 8;

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
    let with_seed = |seed: u64| Job::from(Recipe { seed, ..recipe.clone() });
    let without = |id: &str, seed: u64| {
        let mut job = with_seed(seed);
        job.recipe.arm.silenced.push(id.to_owned());
        job
    };
    let open = catalogue.open_defects(&recipe.arm);
    let jobs = std::iter::once(with_seed(recipe.seed)).chain(open.iter().map(|id| without(id, recipe.seed)));
    let mut results = pool.run_all(jobs)?.into_iter();
    let digest_of = |result: &JobResult| result.verdict().map(|verdict| verdict.digest.clone());
    let own_digest = results.next().as_ref().and_then(digest_of);
    let seeds: Vec<u64> = (1..=SEEDS).map(|other| recipe.seed.wrapping_add(other)).collect();
    // Whether each of the first seeds fails; as many as it takes.
    let mut with: Vec<bool> = Vec::new();
    let mut attributions = Vec::new();
    for (id, result) in open.into_iter().zip(results) {
        let part = if digest_of(&result) == own_digest {
            Part::None
        } else if shows(&result) {
            Part::Another
        } else {
            for batch in seeds.chunks(BATCH).skip(with.len() / BATCH) {
                if count(&with) >= FAILING {
                    break;
                }
                let results = pool.run_all(batch.iter().map(|seed| with_seed(*seed)))?;
                with.extend(results.iter().map(shows));
            }
            let mut still: Vec<bool> = Vec::new();
            for batch in seeds[..with.len()].chunks(BATCH) {
                if count(&still) > 0 {
                    break;
                }
                let results = pool.run_all(batch.iter().map(|seed| without(&id, *seed)))?;
                still.extend(results.iter().map(shows));
            }
            Part::Cause { without: count(&still), with: count(&with[..still.len()]), of: still.len() }
        };
        attributions.push(Attribution { id, part });
    }
    Ok(attributions)
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
            Part::Cause { without: 0, with: 0, .. } => {
                format!("{id}: without it this run passes, perhaps by luck: no other seed fails with it either")
            }
            Part::Cause { without, with, of } => format!(
                "{id}: without it this run passes; of {of} other seeds {without} fail without it, {with} with it{}",
                if without > 0 { ": not the only cause" } else { "" }
            ),
        }
    }

    /// Whether the failure needs it, as far as was tried: one run that passes may have been lucky, three others beside it hardly.
    pub fn is_cause(&self) -> bool {
        matches!(self.part, Part::Cause { without: 0, with: 3.., .. })
    }
}
