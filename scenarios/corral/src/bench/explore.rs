//! What is done with runs and failures: by several workers, for a page, until a plan is small.

use corral_core::journal::JournalFile;
use corral_explore::{Job, Origin, Pool, ShrinkBudget, USUAL_LINES, Workers, explain, first_violation, shrink};
use corral_reports::Page;
use corral_scenarios::catalogue;
use corral_world::{Arm, Recipe, RunOptions, SeedFile};

use super::{Figure, Scale, timed};
use crate::fuzz::workers;
use crate::replay::{load, name_of};

fn system_backup(seed: u64) -> Recipe {
    let arm = Arm { release: "v1.9.2".into(), ..Arm::default() };
    Recipe { scenario: "system-backup".into(), arm, seed, plan: None, fork: None }
}

/// The same seeds by one worker and by two.
pub fn jobs(scale: Scale) -> Vec<Figure> {
    let seeds = scale.of(200);
    let took_by = |count: usize| {
        let workers = Workers { count, ..workers(None).expect("this program") };
        let mut pool = Pool::start(workers);
        let run = |pool: &mut Pool, seeds: std::ops::Range<u64>| {
            pool.run_all(seeds.map(|seed| Job::from(system_backup(seed)))).expect("workers that start")
        };
        // So that starting them is not measured.
        run(&mut pool, 0..count as u64);
        timed(|| run(&mut pool, 0..seeds)).0.as_secs_f64()
    };
    let (one, two) = (took_by(1), took_by(2));
    vec![Figure::at_least("two workers against one", one / two, "times as fast", 1.8)]
}

/// A run with its journal kept, and the page of it with the chain behind its violation.
pub fn page(_scale: Scale) -> Vec<Figure> {
    let Some(file) = seed_file("10740") else { return Vec::new() };
    let recipe = file.recipe(&file.fails[0]);
    let scenario = catalogue().scenario(&recipe.scenario).expect("it is there");
    let run = |options: RunOptions| {
        corral_world::run(scenario.clone(), &recipe.arm, recipe.seed, recipe.plan.clone(), options).expect("its plan")
    };
    let took = |options: RunOptions| {
        let mut times: Vec<f64> = (0..5).map(|_| timed(|| run(options.clone())).0.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        times[2]
    };
    let keeping = RunOptions { keep_journal: true, ..RunOptions::default() };
    let (plain, kept) = (took(RunOptions::default()), took(keeping.clone()));
    let verdict = run(keeping);
    let header = Origin::default().header(&recipe, recipe.command(None));
    let minutes = verdict.simulated.as_duration().as_secs_f64() / 60.0;
    let journal = JournalFile::of(header, &verdict.journal.expect("it was asked for"), verdict.logs);
    let (page_took, page) = timed(|| {
        let violation = first_violation(&journal, catalogue(), |_| true).expect("it fails");
        let told = explain(&journal, &violation, None, &[], USUAL_LINES).expect("no name was asked for");
        Page {
            run: &journal,
            twin: None,
            divergence: &told.divergence.lines,
            chain: &told.chain,
            parted_at: None,
            decided: None,
        }
        .html()
    });
    let events = journal.records.len();
    vec![
        Figure::reported("keeping a run's journal", (kept / plain - 1.0) * 100.0, "% of the run's time"),
        Figure::at_most(
            &format!("page of {minutes:.0} simulated minutes, {events} events"),
            page_took.as_secs_f64(),
            "s",
            2.0,
        ),
        Figure::at_most("its size", page.len() as f64 / f64::from(1 << 20), "MiB", 5.0),
    ]
}

/// The stored plan of 10740 until nothing is left to take away, or the budget ends.
pub fn shrinking(_scale: Scale) -> Vec<Figure> {
    let Some(file) = seed_file("10740") else { return Vec::new() };
    let mut pool = Pool::start(workers(None).expect("this program"));
    let wanted = [file.expect.group()].into();
    let recipe = file.recipe(&file.fails[0]);
    let (took, shrunk) = timed(|| shrink(&mut pool, catalogue(), &recipe, &wanted, ShrinkBudget::default()));
    let runs = shrunk.expect("workers that start").runs;
    vec![Figure::at_most(&format!("shrinking 10740, {runs} runs"), took.as_secs_f64(), "s", 60.0)]
}

/// A stored seed; nothing outside a checkout.
fn seed_file(name: &str) -> Option<SeedFile> {
    load(&[]).ok()?.into_iter().find(|(path, _)| name_of(path).contains(name)).map(|(_, file)| file)
}
