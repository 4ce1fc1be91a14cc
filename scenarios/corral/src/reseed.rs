//! `corral replay --reseed`: another seed, or another plan, for a seed file that has faded.

use std::path::Path;
use std::time::Duration;

use corral_explore::{Job, Pool, ShrinkBudget};
use corral_scenarios::catalogue;
use corral_world::text::brief;
use corral_world::{Plan, Recipe, SeedFile};

use crate::failure::Refused;
use crate::fuzz::workers;
use crate::say::say;

/// Seeds under which the stored plan is tried.
const SEEDS_OF_PLAN: u64 = 100;
/// Seeds that are searched without it.
const SEEDS_AT_LARGE: u64 = 500;

/// Searches, and proposes what it finds as a patch; false if it finds nothing. `took` is how long a run of it takes.
pub fn reseed(path: &Path, file: &SeedFile, jobs: usize, took: Duration) -> Result<bool, Refused> {
    let mut pool = Pool::start(workers(Some(jobs))?);
    let up_to = |seeds: u64| brief(took * u32::try_from(seeds / jobs as u64).unwrap_or(u32::MAX));
    let time = up_to(SEEDS_OF_PLAN);
    say(format_args!("{}: searching {SEEDS_OF_PLAN} seeds for the stored plan, some {time} ...", path.display()));
    let others = (0..SEEDS_OF_PLAN).map(|other| file.seed.wrapping_add(1 + other));
    let mut found = search(&mut pool, file, others.map(|seed| (seed, Some(file.plan()))))?;
    if found.is_none() {
        say(format_args!(
            "{}: the plan shows it no more; searching {SEEDS_AT_LARGE} seeds without it, some {} ...",
            path.display(),
            up_to(SEEDS_AT_LARGE)
        ));
        found = search(&mut pool, file, (0..SEEDS_AT_LARGE).map(|seed| (seed, None)))?;
        if let Some(at_large) = &mut found {
            smaller(&mut pool, at_large)?;
        }
    }
    let Some(found) = found else {
        say(format_args!("{}: nothing found", path.display()));
        return Ok(false);
    };
    let old = std::fs::read_to_string(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    let new = if found.plan() == file.plan() { with_seed(&old, found.seed) } else { found.to_toml() };
    let name = path.display().to_string();
    let patch = similar::TextDiff::from_lines(&old, &new);
    say(format_args!("proposed (take it with `patch -p0`):"));
    say(patch.unified_diff().header(&name, &name).to_string().trim_end());
    Ok(true)
}

/// The file's text with another seed and nothing else changed: comments stay.
fn with_seed(text: &str, seed: u64) -> String {
    let is_seed = |line: &str| line.split('=').next().is_some_and(|key| key.trim() == "seed");
    let line = |line: &str| match line.split_once('=') {
        Some((key, _)) if is_seed(line) => format!("{key}= {seed}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The first of these seeds and plans under which every arm does what the file says.
fn search(
    pool: &mut Pool,
    file: &SeedFile,
    candidates: impl Iterator<Item = (u64, Option<Plan>)>,
) -> Result<Option<SeedFile>, Refused> {
    let scenario = catalogue().scenario(&file.scenario)?;
    let mut candidates = candidates.peekable();
    while candidates.peek().is_some() {
        let mut batch = Vec::new();
        for (seed, plan) in candidates.by_ref().take(pool.count()) {
            let plan = plan.map_or_else(|| scenario.expand(seed, &file.fails[0]), Ok)?;
            batch.push(SeedFile { seed, ..file.with_plan(plan) });
        }
        // Most candidates are out with the first arm.
        let first = pool.run_all(batch.iter().map(|file| Job::from(file.recipe(&file.fails[0]))));
        for (candidate, result) in batch.into_iter().zip(first.map_err(Refused::new)?) {
            let shows = |verdict: &corral_world::Verdict| verdict.violations.iter().any(|found| file.expects(found));
            if !result.verdict().is_some_and(shows) {
                continue;
            }
            let arms = candidate.fails.iter().chain(&candidate.passes);
            let all = pool.run_all(arms.map(|arm| Job::from(candidate.recipe(arm)))).map_err(Refused::new)?;
            let is_right = all.iter().enumerate().all(|(index, result)| {
                result.verdict().is_some_and(|verdict| {
                    crate::replay::is_as_expected(&candidate, index < candidate.fails.len(), verdict)
                })
            });
            if is_right {
                return Ok(Some(candidate));
            }
        }
    }
    Ok(None)
}

/// Shrinks a plan that was found at large, as far as its first arm goes; the others are as right as they were, or it stays as it was.
fn smaller(pool: &mut Pool, file: &mut SeedFile) -> Result<(), Refused> {
    let recipe = file.recipe(&file.fails[0]);
    let wanted = [file.expect.group()].into();
    let shrunk = corral_explore::shrink(pool, catalogue(), &recipe, &wanted, ShrinkBudget::default());
    if let Some(right) = near(pool, file, &shrunk.map_err(Refused::new)?.recipe)? {
        *file = right;
    }
    Ok(())
}

/// The file with the plan of this run, under its seed or one of the next, if under one of them every arm does what the file says.
pub fn near(pool: &mut Pool, file: &SeedFile, run: &Recipe) -> Result<Option<SeedFile>, Refused> {
    let seeds = (0..10).map(|other| (run.seed.wrapping_add(other), run.plan.clone()));
    search(pool, file, seeds)
}
