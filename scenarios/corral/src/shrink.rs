//! `corral shrink`: the smallest plan that still shows what a seed file is about.

use corral_explore::{Job, Pool, ShrinkBudget};
use corral_scenarios::catalogue;
use corral_world::{Recipe, SeedFile};

use crate::arguments::ShrinkOptions;
use crate::failure::{Done, Refused, Status};
use crate::fuzz::workers;
use crate::reseed::near;
use crate::say::say;

/// Shrinks the plan under the file's first failing arm, and says what it took away; status 1 if the file has faded, or if with the smaller plan another
/// arm no longer does what the file says.
pub fn shrink(options: &ShrinkOptions) -> Done {
    let file = SeedFile::load(&options.file, catalogue()).map_err(Refused::new)?;
    let mut pool = Pool::start(workers(options.jobs)?);
    let recipe = file.recipe(&file.fails[0]);
    let wanted = [file.expect.group()].into();
    let own = pool.run_all([Job::from(recipe.clone())]).map_err(Refused::new)?;
    if !own.iter().all(|result| result.signatures().is_superset(&wanted)) {
        let signature = &file.expect.signature;
        say(format_args!("{}, {}: faded: this arm no longer shows {signature}", options.file.display(), recipe.arm));
        return Ok(Status::Violation);
    }
    let budget = ShrinkBudget { runs: options.runs, ..ShrinkBudget::default() };
    let shrunk = corral_explore::shrink(&mut pool, catalogue(), &recipe, &wanted, budget).map_err(Refused::new)?;
    let right = near(&mut pool, &file, &shrunk.recipe)?;
    let status = if right.is_some() { Status::AsExpected } else { Status::Violation };
    let smaller = |run: Recipe| SeedFile { seed: run.seed, ..file.with_plan(run.plan.unwrap_or_default()) };
    let file = right.unwrap_or_else(|| smaller(shrunk.recipe));
    for line in &shrunk.removed {
        eprintln!("gone: {line}");
    }
    let rest = if shrunk.is_done { "nothing is left to take away" } else { "more may be taken away" };
    eprintln!("{} runs; {rest}", shrunk.runs);
    if status == Status::Violation {
        eprintln!("note: it shows the failure, and is not all else that the file says; `corral replay` tells what not");
    }
    match &options.out {
        Some(out) => {
            std::fs::write(out, file.to_toml()).map_err(|error| {
                // It took a while to find.
                say(file.to_toml().trim_end());
                Refused::path(out, "cannot be written", error)
            })?;
        }
        None => say(file.to_toml().trim_end()),
    }
    Ok(status)
}
