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

/// A search one of whose runs is being done.
struct UnderWay<'a> {
    search: Search,
    recipe: Recipe,
    guidance: Option<Guidance<'a>>,
}

impl<'a> UnderWay<'a> {
    /// Its next run.
    fn start(
        pool: &mut Pool,
        (file, arm): (&SeedFile, &Arm),
        search: Search,
        mut guidance: Option<Guidance<'a>>,
    ) -> (Ticket, UnderWay<'a>) {
        let seed = search.start + search.seeds;
        let plan = guidance.as_mut().and_then(|guidance| guidance.guide.plan(&file.scenario, seed));
        let recipe = Recipe { scenario: file.scenario.clone(), arm: arm.clone(), seed, plan, fork: None };
        let job = Job { recipe: recipe.clone(), situations: guidance.is_some(), keep: None };
        (pool.submit(job), UnderWay { search, recipe, guidance })
    }
}

/// What a guided search knows by now: the plans it keeps, and the situations that it has met.
struct Guidance<'a> {
    guide: Guide<'a>,
    met: BTreeSet<u64>,
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
    let mut under_way: BTreeMap<Ticket, UnderWay<'_>> = BTreeMap::new();
    let mut done: Vec<Search> = Vec::new();
    loop {
        while under_way.len() < pool.count()
            && let Some(search) = waiting.pop_front()
        {
            let arm = targets[search.target].1;
            let guide = options.guided.then(|| Guide::new(catalogue, arm, search.start));
            let guidance = guide.map(|guide| Guidance { guide, met: BTreeSet::new() });
            under_way.extend([UnderWay::start(&mut pool, targets[search.target], search, guidance)]);
        }
        if under_way.is_empty() {
            done.sort_by_key(|search| (search.target, search.start));
            return Ok(done);
        }
        let Some((ticket, result)) = pool.next(Duration::from_secs(1))? else { continue };
        let Some(UnderWay { mut search, recipe, mut guidance }) = under_way.remove(&ticket) else { continue };
        if let Some(guidance) = &mut guidance {
            let ran = Ran::new(recipe, &result, &guidance.met);
            guidance.guide.learn(&ran);
            guidance.met.extend(ran.new_situations);
        }
        search.seeds += 1;
        search.cpu += result.cpu();
        search.found = shows(&result, targets[search.target].0);
        if search.found || search.cpu >= options.cap {
            progress(&search);
            done.push(search);
        } else {
            under_way.extend([UnderWay::start(&mut pool, targets[search.target], search, guidance)]);
        }
    }
}

fn shows(result: &JobResult, file: &SeedFile) -> bool {
    result.verdict().is_some_and(|verdict| verdict.violations.iter().any(|found| file.expects(found)))
}
