//! Shrinking: the smallest plan that still shows the same.
//!
//! What is accepted shows every signature that was asked for, whatever else it shows; a run that fails in another way is not accepted. Candidates are
//! tried in a fixed order, under the run's seed and a few others (without a step, every later draw is another), so that the outcome is the same for
//! any number of workers.

mod candidates;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use corral_world::{Catalogue, Plan, Recipe};

use crate::job::{Job, Signature};
use crate::pool::Pool;
use candidates::Candidate;

/// What shrinking may cost.
#[derive(Clone, Copy, Debug)]
pub struct ShrinkBudget {
    /// Runs.
    pub runs: u32,
    /// Real time; a safety net, for where it ends a search its outcome depends on the machine.
    pub time: Duration,
}

impl Default for ShrinkBudget {
    fn default() -> ShrinkBudget {
        ShrinkBudget { runs: 120, time: Duration::from_secs(120) }
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The run, with its plan.
    pub recipe: Recipe,
    /// What was taken away, a line each.
    pub removed: Vec<String>,
    /// Runs that it took.
    pub runs: u32,
    /// Whether nothing is left to try.
    pub is_done: bool,
}

/// Seeds under which a candidate is tried: the one so far, and some after it.
const SEEDS: u64 = 3;

/// Shrinks a run that shows `wanted`.
///
/// # Errors
/// A worker cannot be started.
pub fn shrink(
    pool: &mut Pool,
    catalogue: &dyn Catalogue,
    recipe: &Recipe,
    wanted: &BTreeSet<Signature>,
    budget: ShrinkBudget,
) -> io::Result<Shrunk> {
    #[expect(clippy::disallowed_methods, reason = "a budget in real time")]
    let began = std::time::Instant::now();
    let mut shrunk = Shrunk { recipe: recipe.clone(), removed: Vec::new(), runs: 0, is_done: false };
    // What did not serve is not tried again before everything else was.
    let mut tried = BTreeSet::new();
    let mut has_served = false;
    loop {
        let Some(plan) = shrunk.recipe.plan.clone() else { return Ok(shrunk) };
        let mut attempts = attempts(catalogue, &shrunk.recipe, &plan, &tried);
        // Several at once, judged in order: of those behind the first that serves, nobody learns.
        let batch: Vec<(Candidate, Recipe)> = attempts.by_ref().take(pool.count()).collect();
        drop(attempts);
        if batch.is_empty() {
            if !has_served {
                shrunk.is_done = true;
                return Ok(shrunk);
            }
            (tried, has_served) = (BTreeSet::new(), false);
            continue;
        }
        let results = pool.run_all(batch.iter().map(|(_, recipe)| Job::from(recipe.clone())))?;
        for ((candidate, recipe), result) in batch.into_iter().zip(results) {
            if shrunk.runs >= budget.runs || began.elapsed() >= budget.time {
                return Ok(shrunk);
            }
            shrunk.runs += 1;
            if result.signatures().is_superset(wanted) {
                shrunk.removed.push(candidate.what);
                shrunk.recipe = recipe;
                has_served = true;
                break;
            }
            tried.insert((candidate.what, candidate.nth, recipe.seed));
        }
    }
}

/// Candidates that can be run, each under several seeds.
fn attempts<'a>(
    catalogue: &'a dyn Catalogue,
    recipe: &'a Recipe,
    plan: &Plan,
    tried: &'a BTreeSet<(String, usize, u64)>,
) -> impl Iterator<Item = (Candidate, Recipe)> + 'a {
    let scenario = catalogue.scenario(&recipe.scenario).ok();
    let can_run = move |candidate: &Candidate| {
        scenario
            .as_ref()
            .is_some_and(|scenario| catalogue.check(scenario.as_ref(), &recipe.arm, &candidate.plan).is_ok())
    };
    candidates::of(plan).into_iter().filter(can_run).flat_map(move |candidate| {
        let seeds = (0..SEEDS).map(|other| recipe.seed.wrapping_add(other));
        seeds.filter_map(move |seed| {
            let recipe = Recipe { seed, plan: Some(candidate.plan.clone()), ..recipe.clone() };
            (!tried.contains(&(candidate.what.clone(), candidate.nth, seed))).then(|| (candidate.clone(), recipe))
        })
    })
}
