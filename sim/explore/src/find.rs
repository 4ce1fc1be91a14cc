//! How long it takes to find a recorded failure without help: seeds and processor time, from many starting points.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corral_world::{Arm, Recipe, SeedFile};

use crate::job::{Job, JobResult};
use crate::pool::{Pool, Ticket, Workers};

/// Starting points are so many seeds apart: more than a search ever takes.
const APART: u64 = 1_000_000;

/// How to search.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// Starting points for each failure.
    pub starts: u64,
    /// Processor time after which a search is given up.
    pub cap: Duration,
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
    let job_of = |search: &Search| {
        let (file, arm) = targets[search.target];
        let seed = search.start + search.seeds;
        Job::from(Recipe { scenario: file.scenario.clone(), arm: arm.clone(), seed, plan: None })
    };
    let mut under_way: BTreeMap<Ticket, Search> = BTreeMap::new();
    let mut done: Vec<Search> = Vec::new();
    loop {
        while under_way.len() < pool.count()
            && let Some(search) = waiting.pop_front()
        {
            under_way.insert(pool.submit(job_of(&search)), search);
        }
        if under_way.is_empty() {
            done.sort_by_key(|search| (search.target, search.start));
            return Ok(done);
        }
        let Some((ticket, result)) = pool.next(Duration::from_secs(1))? else { continue };
        let Some(mut search) = under_way.remove(&ticket) else { continue };
        search.seeds += 1;
        search.cpu += result.cpu();
        search.found = shows(&result, targets[search.target].0);
        if search.found || search.cpu >= options.cap {
            progress(&search);
            done.push(search);
        } else {
            under_way.insert(pool.submit(job_of(&search)), search);
        }
    }
}

fn shows(result: &JobResult, file: &SeedFile) -> bool {
    result.verdict().is_some_and(|verdict| verdict.violations.iter().any(|found| file.expects(found)))
}
