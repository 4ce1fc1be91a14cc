//! How long it takes to find a recorded failure without help: seeds and processor time, from many starting points.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Which of the failures.
    pub target: usize,
    /// The starting point, from 0; its first seed is this many millions.
    pub start: u64,
    /// Runs done.
    pub seeds: u64,
    /// Processor time of them.
    pub cpu: Duration,
    /// Whether the last of them showed the failure.
    pub found: bool,
}

/// Runs of one scenario under one arm from one starting point: they serve all failures that are looked for there.
struct Walk<'a> {
    scenario: &'a str,
    arm: &'a Arm,
    start: u64,
    seeds: u64,
    cpu: Duration,
    /// What has not been found.
    open: Vec<usize>,
    guidance: Option<Guidance<'a>>,
}

impl Walk<'_> {
    /// Its next run.
    fn next(&mut self, pool: &mut Pool) -> (Ticket, Recipe) {
        let seed = self.start * APART + self.seeds;
        let plan = self.guidance.as_mut().and_then(|guidance| guidance.guide.plan(self.scenario, seed));
        let recipe = Recipe { scenario: self.scenario.to_owned(), arm: self.arm.clone(), seed, plan, fork: None };
        let job = Job { recipe: recipe.clone(), situations: self.guidance.is_some(), keep: None };
        (pool.submit(job), recipe)
    }

    /// Takes a run in; what it shows is open no more.
    fn ran(&mut self, recipe: Recipe, result: &JobResult, files: &[SeedFile]) -> Vec<Search> {
        if let Some(guidance) = &mut self.guidance {
            let ran = Ran::new(recipe, result, &guidance.met);
            guidance.guide.learn(&ran);
            guidance.met.extend(ran.new_situations);
        }
        self.seeds += 1;
        self.cpu += result.cpu();
        let found: Vec<usize> = self.open.extract_if(.., |target| shows(result, &files[*target])).collect();
        found.into_iter().map(|target| self.search(target, true)).collect()
    }

    fn search(&self, target: usize, found: bool) -> Search {
        Search { target, start: self.start, seeds: self.seeds, cpu: self.cpu, found }
    }
}

/// What a guided search knows by now: the plans it keeps, and the situations that it has met.
struct Guidance<'a> {
    guide: Guide<'a>,
    met: BTreeSet<u64>,
}

/// Searches for what each seed file is about, in its scenario and its first failing arm and with none of its plan.
///
/// Files of one scenario and arm share their runs. The searches come in the order of the files and their starting points; the numbers of seeds are the
/// same for any number of workers and whatever else is looked for. `known` searches are not done again; `progress` is called after each of the others.
/// Once the user has had enough, those that are done are returned.
///
/// # Errors
/// A worker cannot be started or does not speak the protocol; or what `progress` returns.
pub fn find(
    catalogue: &dyn Catalogue,
    files: &[SeedFile],
    options: &FindOptions,
    known: &[Search],
    mut progress: impl FnMut(&Search) -> io::Result<()>,
) -> io::Result<Vec<Search>> {
    let mut pool = Pool::start(options.workers.clone());
    let mut places: Vec<((&str, &Arm), Vec<usize>)> = Vec::new();
    for (target, file) in files.iter().enumerate() {
        let Some(arm) = file.fails.first() else { continue };
        let place = (file.scenario.as_str(), arm);
        match places.iter_mut().find(|(other, _)| *other == place) {
            Some((_, targets)) => targets.push(target),
            None => places.push((place, vec![target])),
        }
    }
    let mut done: Vec<Search> = known.to_vec();
    let is_known = |target, start| known.iter().any(|search| (search.target, search.start) == (target, start));
    let walk = |start: u64, (scenario, arm): (_, _), targets: &[usize]| Walk {
        scenario,
        arm,
        start,
        seeds: 0,
        cpu: Duration::ZERO,
        open: targets.iter().copied().filter(|target| !is_known(*target, start)).collect(),
        guidance: options
            .guided
            .then(|| Guidance { guide: Guide::new(catalogue, arm, start * APART), met: BTreeSet::new() }),
    };
    // Starting point by starting point: a measurement that is ended early has some of each failure.
    let mut waiting: VecDeque<Walk<'_>> = (0..options.starts)
        .flat_map(|start| places.iter().map(move |(place, targets)| (start, *place, targets)))
        .map(|(start, place, targets)| walk(start, place, targets))
        .filter(|walk| !walk.open.is_empty())
        .collect();
    let mut under_way: BTreeMap<Ticket, (Walk<'_>, Recipe)> = BTreeMap::new();
    loop {
        while under_way.len() < pool.count()
            && let Some(mut walk) = waiting.pop_front()
        {
            let (ticket, recipe) = walk.next(&mut pool);
            under_way.insert(ticket, (walk, recipe));
        }
        if under_way.is_empty() || options.workers.interrupted.load(Ordering::SeqCst) {
            done.sort_by_key(|search| (search.target, search.start));
            return Ok(done);
        }
        let Some((ticket, result)) = pool.next(Duration::from_secs(1))? else { continue };
        let Some((mut walk, recipe)) = under_way.remove(&ticket) else { continue };
        let mut ended = walk.ran(recipe, &result, files);
        if walk.cpu >= options.cap {
            ended.extend(std::mem::take(&mut walk.open).into_iter().map(|target| walk.search(target, false)));
        }
        for search in ended {
            progress(&search)?;
            done.push(search);
        }
        if !walk.open.is_empty() {
            let (ticket, recipe) = walk.next(&mut pool);
            under_way.insert(ticket, (walk, recipe));
        }
    }
}

fn shows(result: &JobResult, file: &SeedFile) -> bool {
    result.verdict().is_some_and(|verdict| verdict.violations.iter().any(|found| file.expects(found)))
}
