//! How long it takes to find a recorded failure without help: seeds and processor time, from many starting points.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use corral_world::{Arm, Catalogue, Recipe, SeedFile};

use crate::guide::Guide;
use crate::job::{Job, JobResult};
use crate::pool::{Pool, Ticket, Workers};
use crate::tally::Ran;

/// Starting points are so many seeds apart: more than a search ever takes.
const APART: u64 = 1_000_000;

/// How to search.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// Starting points for each failure.
    pub starts: u64,
    /// Processor time after which a search is given up.
    pub cap: Duration,
    /// Whether plans that meet new situations are kept and varied.
    pub guided: bool,
    /// The worker processes.
    pub workers: Workers,
}

/// The search for a failure from one starting point, which takes seeds in order.
#[derive(Clone, Debug)]
pub struct Search {
    /// Which of the failures.
    pub target: usize,
    /// The first seed.
    pub start: u64,
    /// Runs done.
    pub seeds: u64,
    /// Processor time of them.
    pub cpu: Duration,
    /// Whether the last of them showed the failure.
    pub found: bool,
}

/// Searches for what each seed file is about, in its scenario and its first failing arm and with none of its plan. The searches come in the order
/// of the files and their starting points; the numbers of seeds are the same for any number of workers. `progress` is called after each search.
///
/// # Errors
/// A worker cannot be started or does not speak the protocol.
pub fn find(
    catalogue: &dyn Catalogue,
    files: &[SeedFile],
    options: &FindOptions,
    mut progress: impl FnMut(&Search),
) -> std::io::Result<Vec<Search>> {
    let mut pool = Pool::start(options.workers.clone());
    let targets: Vec<(&SeedFile, &Arm)> =
        files.iter().filter_map(|file| file.fails.first().map(|arm| (file, arm))).collect();
    let begin = |target, nth: u64| Search { target, start: nth * APART, seeds: 0, cpu: Duration::ZERO, found: false };
    let mut waiting: VecDeque<Search> =
        (0..targets.len()).flat_map(|target| (0..options.starts).map(move |nth| begin(target, nth))).collect();
    let job_of = |search: &Search, guide: &mut Option<Guide<'_>>| {
        let (file, arm) = targets[search.target];
        let seed = search.start + search.seeds;
        let plan = guide.as_mut().and_then(|guide| guide.plan(&file.scenario, seed));
        let recipe = Recipe { scenario: file.scenario.clone(), arm: arm.clone(), seed, plan };
        Job { recipe, situations: options.guided, keep: None }
    };
    // What a search knows by now, if it is guided: the situations met, and the plans kept.
    let mut under_way: BTreeMap<Ticket, (Search, Recipe, BTreeSet<u64>, Option<Guide<'_>>)> = BTreeMap::new();
    let mut done: Vec<Search> = Vec::new();
    loop {
        while under_way.len() < pool.count()
            && let Some(search) = waiting.pop_front()
        {
            let arm = targets[search.target].1;
            let mut guide = options.guided.then(|| Guide::new(catalogue, arm, search.start));
            let job = job_of(&search, &mut guide);
            let recipe = job.recipe.clone();
            under_way.insert(pool.submit(job), (search, recipe, BTreeSet::new(), guide));
        }
        if under_way.is_empty() {
            done.sort_by_key(|search| (search.target, search.start));
            return Ok(done);
        }
        let Some((ticket, result)) = pool.next(Duration::from_secs(1))? else { continue };
        let Some((mut search, recipe, mut met, mut guide)) = under_way.remove(&ticket) else { continue };
        if let Some(guide) = &mut guide {
            let ran = Ran::new(recipe, &result, &met);
            guide.learn(&ran);
            met.extend(ran.new_situations);
        }
        search.seeds += 1;
        search.cpu += result.cpu();
        search.found = shows(&result, targets[search.target].0);
        if search.found || search.cpu >= options.cap {
            progress(&search);
            done.push(search);
        } else {
            let job = job_of(&search, &mut guide);
            let recipe = job.recipe.clone();
            under_way.insert(pool.submit(job), (search, recipe, met, guide));
        }
    }
}

fn shows(result: &JobResult, file: &SeedFile) -> bool {
    result.verdict().is_some_and(|verdict| verdict.violations.iter().any(|found| file.expects(found)))
}
