//! The fuzz loop: seeds in order, failures grouped by signature.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use corral_world::Arm;
use serde::Serialize;

use crate::job::{Job, JobResult, Outcome};
use crate::pool::{Limits, Pool};

/// What to fuzz.
#[derive(Clone, Debug)]
pub struct FuzzOptions {
    /// Scenarios, taken in turn for each seed.
    pub scenarios: Vec<String>,
    /// What of the system runs.
    pub arm: Arm,
    /// The seeds.
    pub seeds: Range<u64>,
    /// Stop after this much real time.
    pub time: Option<Duration>,
    /// Worker processes.
    pub jobs: usize,
    /// What each may use.
    pub limits: Limits,
    /// The program to start as a worker, and its arguments.
    pub worker: (PathBuf, Vec<String>),
}

/// Where the loop stands, for whoever shows progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Runs done.
    pub done: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Simulated time, all runs together.
    pub simulated: Duration,
}

/// Equal failures.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The oracle.
    pub oracle: String,
    /// The signature.
    pub signature: String,
    /// Scenario and seed of each run that failed so, in order.
    pub seeds: Vec<(String, u64)>,
}

/// What a fuzz run found. The same for any number of workers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Runs done.
    pub runs: u64,
    /// Failures by signature, the most frequent first.
    pub groups: Vec<Group>,
    /// Simulated time, all runs together, in seconds.
    pub simulated_seconds: u64,
    /// Events, all runs together.
    pub events: u64,
    /// Real time of each run in microseconds, ascending.
    #[serde(skip)]
    pub run_times_us: Vec<u64>,
    /// Digest of each run, by scenario and seed.
    #[serde(skip)]
    pub digests: BTreeMap<(String, u64), String>,
    /// Whether a run never ended or took its worker with it.
    pub stuck: bool,
}

/// A fuzz loop under way.
struct Fuzz {
    results: BTreeMap<(u64, usize), JobResult>,
}

/// Runs the seeds; `progress` is called after each run and says whether to go on.
///
/// # Errors
/// A worker cannot be started or does not speak the protocol.
pub fn fuzz(options: &FuzzOptions, mut progress: impl FnMut(Progress) -> bool) -> std::io::Result<Summary> {
    let (program, arguments) = options.worker.clone();
    let pool = Pool::start(program, arguments, options.jobs, options.limits);
    #[expect(clippy::disallowed_methods, reason = "a budget in real time")]
    let began = std::time::Instant::now();
    let scenarios = options.scenarios.len();
    let mut jobs = options.seeds.clone().flat_map(|seed| (0..scenarios).map(move |scenario| (seed, scenario)));
    let mut loop_state = Fuzz { results: BTreeMap::new() };
    let (mut under_way, mut state, mut stop) = (0_usize, Progress::default(), false);
    loop {
        stop |= options.time.is_some_and(|limit| began.elapsed() >= limit);
        while !stop && under_way < options.jobs.max(1) * 2 {
            let Some((seed, scenario)) = jobs.next() else { break };
            pool.submit(Job { scenario: options.scenarios[scenario].clone(), arm: options.arm.clone(), seed });
            under_way += 1;
        }
        if under_way == 0 {
            return Ok(loop_state.summary());
        }
        if let Some(result) = pool.next(Duration::from_millis(200))? {
            under_way -= 1;
            state.done += 1;
            state.failed += u64::from(!result.signatures().is_empty());
            if let Outcome::Judged(verdict) = &result.outcome {
                state.simulated += verdict.simulated.as_duration();
            }
            let scenario = options.scenarios.iter().position(|name| *name == result.job.scenario).unwrap_or(0);
            loop_state.results.insert((result.job.seed, scenario), result);
        }
        stop |= !progress(state);
    }
}

impl Fuzz {
    fn summary(self) -> Summary {
        let mut groups: BTreeMap<(String, String), Vec<(String, u64)>> = BTreeMap::new();
        let mut summary = Summary {
            runs: self.results.len() as u64,
            groups: Vec::new(),
            simulated_seconds: 0,
            events: 0,
            run_times_us: Vec::new(),
            digests: BTreeMap::new(),
            stuck: false,
        };
        for result in self.results.into_values() {
            let run = (result.job.scenario.clone(), result.job.seed);
            for signature in result.signatures() {
                groups.entry(signature).or_default().push(run.clone());
            }
            summary.run_times_us.push(result.took_us);
            match result.outcome {
                Outcome::Judged(verdict) => {
                    summary.simulated_seconds += verdict.simulated.as_duration().as_secs();
                    summary.events += verdict.events;
                    summary.digests.insert(run, verdict.digest);
                }
                Outcome::Stuck | Outcome::Died(_) => summary.stuck = true,
            }
        }
        summary.run_times_us.sort_unstable();
        summary.groups =
            groups.into_iter().map(|((oracle, signature), seeds)| Group { oracle, signature, seeds }).collect();
        summary.groups.sort_by_key(|group| std::cmp::Reverse(group.seeds.len()));
        summary
    }
}
