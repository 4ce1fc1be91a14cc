//! How long it takes to find a recorded failure without help: seeds and processor time, from many starting points.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use corral_world::{Arm, SeedFile};

use crate::job::{Job, JobResult, Outcome};
use crate::pool::{Limits, Pool};

/// Starting points are so many seeds apart: more than a search ever takes.
const APART: u64 = 1_000_000;

/// How to search.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// Starting points for each failure.
    pub starts: u64,
    /// Processor time after which a search is given up.
    pub cap: Duration,
    /// Worker processes.
    pub jobs: usize,
    /// What each may use.
    pub limits: Limits,
    /// The program to start as a worker, and its arguments.
    pub worker: (PathBuf, Vec<String>),
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
    let (program, arguments) = options.worker.clone();
    let pool = Pool::start(program, arguments, options.jobs, options.limits);
    let targets: Vec<(&SeedFile, &Arm)> =
        files.iter().filter_map(|file| file.fails.first().map(|arm| (file, arm))).collect();
    let begin = |target, nth: u64| Search { target, start: nth * APART, seeds: 0, cpu: Duration::ZERO, found: false };
    let mut waiting: VecDeque<Search> =
        (0..targets.len()).flat_map(|target| (0..options.starts).map(move |nth| begin(target, nth))).collect();
    let job_of = |search: &Search| {
        let (file, arm) = targets[search.target];
        Job { scenario: file.scenario.clone(), arm: arm.clone(), seed: search.start + search.seeds }
    };
    let (mut under_way, mut done): (Vec<Search>, Vec<Search>) = (Vec::new(), Vec::new());
    loop {
        while under_way.len() < options.jobs.max(1)
            && let Some(search) = waiting.pop_front()
        {
            pool.submit(job_of(&search));
            under_way.push(search);
        }
        if under_way.is_empty() {
            done.sort_by_key(|search| (search.target, search.start));
            return Ok(done);
        }
        let Some(result) = pool.next(Duration::from_secs(1))? else { continue };
        // Two searches may wait for equal jobs; then their results are equal too.
        let Some(index) = under_way.iter().position(|search| job_of(search) == result.job) else { continue };
        let search = &mut under_way[index];
        search.seeds += 1;
        search.cpu += result.cpu();
        search.found = shows(&result, targets[search.target].0);
        if search.found || search.cpu >= options.cap {
            progress(search);
            done.push(under_way.swap_remove(index));
        } else {
            pool.submit(job_of(search));
        }
    }
}

fn shows(result: &JobResult, file: &SeedFile) -> bool {
    matches!(&result.outcome, Outcome::Judged(verdict) if verdict.violations.iter().any(|found| file.expects(found)))
}
