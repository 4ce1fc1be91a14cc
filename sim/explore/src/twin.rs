//! The passing twin of a failing run: as much the same as can be had, and it passes.

use std::collections::BTreeSet;
use std::io;

use corral_core::Nanos;
use corral_world::{Catalogue, Recipe, SeedFile};

use crate::investigate::Finding;
use crate::job::Job;
use crate::pool::Pool;

/// A run that passes, and in what it differs from the one that fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    /// The run.
    pub recipe: Recipe,
    /// What it is without or with, in words: `without 10740`.
    pub differs: String,
}

impl Twin {
    /// The same run without these defects, with the same tags.
    fn without(recipe: &Recipe, ids: &[String]) -> Twin {
        let mut recipe = recipe.clone();
        recipe.arm.silenced.extend(ids.iter().cloned());
        Twin { recipe, differs: format!("without {}", ids.join(", ")) }
    }
}

/// The twin of a failure: without the defect that it needs, or else without one of its faults, or else its last fork that passes, or else under
/// another seed.
///
/// # Errors
/// A worker cannot be started.
pub fn twin(pool: &mut Pool, finding: &Finding) -> io::Result<Option<Twin>> {
    let recipe = &finding.recipe;
    if let Some(cause) = finding.cause() {
        return Ok(Some(Twin::without(recipe, std::slice::from_ref(&cause.id))));
    }
    let plan = recipe.plan.clone().unwrap_or_default();
    let less_a_fault = (0..plan.faults.len()).map(|index| {
        let mut plan = plan.clone();
        let fault = plan.faults.remove(index);
        let differs = format!("without the fault {} (the {}. of the plan)", fault.fault.name(), index + 1);
        Twin { recipe: Recipe { plan: Some(plan), ..recipe.clone() }, differs }
    });
    let fork = finding.decided.iter().filter_map(|decided| decided.passing.clone()).map(|recipe| {
        let at = recipe.fork.map_or(Nanos::ZERO, |fork| fork.at);
        Twin { recipe, differs: format!("going on by other chance from {at}") }
    });
    let other_seeds = (1..=5).map(|other| {
        let seed = recipe.seed.wrapping_add(other);
        Twin { recipe: Recipe { seed, ..recipe.clone() }, differs: format!("under seed {seed}") }
    });
    let mut candidates = less_a_fault.chain(fork).chain(other_seeds).peekable();
    while candidates.peek().is_some() {
        let batch: Vec<Twin> = candidates.by_ref().take(pool.count()).collect();
        let results = pool.run_all(batch.iter().map(|twin| Job::from(twin.recipe.clone())))?;
        let passes = batch.into_iter().zip(results).find(|(_, result)| result.passes());
        if let Some((twin, _)) = passes {
            return Ok(Some(twin));
        }
    }
    Ok(None)
}

/// The twin that a seed file names: its failing arm without what a passing arm is without.
pub fn twin_of_seed_file(file: &SeedFile, catalogue: &dyn Catalogue) -> Option<Twin> {
    let fails = file.fails.first()?;
    let open = catalogue.open_defects(fails);
    let recipe = file.recipe(fails);
    // The fewer it is without, the more it is the same.
    let lacking = file.passes.iter().filter_map(|arm| {
        let still: BTreeSet<String> = catalogue.open_defects(arm).into_iter().collect();
        let gone: Vec<String> = open.iter().filter(|id| !still.contains(*id)).cloned().collect();
        (!gone.is_empty()).then_some(gone)
    });
    lacking.min_by_key(Vec::len).map(|gone| Twin::without(&recipe, &gone))
}
