//! What may still come of a run at a time: its forks. Each of them is the same run up to then, and goes on by other chance.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use corral_core::journal::JournalFile;
use corral_core::{Fork, Nanos};
use corral_world::Recipe;

use crate::explain::beside;
use crate::job::{Job, JobResult, Signature};
use crate::pool::Pool;

/// A failing run.
#[derive(Clone, Copy, Debug)]
pub struct Failing<'a> {
    /// The run.
    pub recipe: &'a Recipe,
    /// What of it a run must show to fail in the same way.
    pub wanted: &'a BTreeSet<Signature>,
    /// Its journal.
    pub journal: &'a JournalFile,
}

/// Forks that are tried at a time before it is taken for lost.
pub const FORKS: u32 = 4;
/// Times that are tried: the run's beginning, and then halves; `2^(TIMES - 1)` times of events are told apart.
const TIMES: u32 = 10;

/// When a failure was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The last fork that was found to pass; none if not even one from the run's beginning does: then the plan decides it.
    pub passing: Option<Recipe>,
    /// The first time at which none of the forks that were tried passes; none if there was no time to find one.
    pub lost_at: Option<Nanos>,
    /// When the failure was seen: by then it was decided.
    pub seen_at: Nanos,
}

impl Decided {
    /// The last time that was found from which it could still pass, if there is one.
    pub fn open_at(&self) -> Option<Nanos> {
        self.passing.as_ref()?.fork.map(|fork| fork.at)
    }

    /// Between what times it was decided, if there is a first of them.
    pub fn span(&self) -> Option<(Nanos, Nanos)> {
        Some((self.open_at()?, self.lost_at.unwrap_or(self.seen_at)))
    }

    /// In one line.
    pub fn told(&self) -> String {
        match (self.open_at(), self.lost_at) {
            (Some(open), Some(lost)) => format!(
                "decided after {open}: a run that is the same up to then passes, of {FORKS} that are the same up to {lost} none does"
            ),
            (Some(open), None) => {
                format!("decided after {open}, up to which a run that passes is the same, and before {}", self.seen_at)
            }
            (None, Some(_)) => format!("decided by the plan: of {FORKS} runs of it by other chance none passes"),
            (None, None) => format!("decided before {}; since when was not tried", self.seen_at),
        }
    }
}

/// What becomes of a run's forks at a time.
pub(crate) fn forks(pool: &mut Pool, recipe: &Recipe, at: Nanos, numbers: Range<u32>) -> io::Result<Vec<JobResult>> {
    pool.run_all(numbers.map(|number| Job::from(forked(recipe, at, number))))
}

fn forked(recipe: &Recipe, at: Nanos, number: u32) -> Recipe {
    Recipe { fork: Some(Fork { at, number }), ..recipe.clone() }
}

/// Searches for the time after which nothing that is left to chance averts a failure: a fork passes if it shows nothing but what the run shows beside
/// it. Before that time the share of forks that pass is taken to shrink, so that halving finds it. It is found less exactly where `has_time` ends it early.
///
/// # Errors
/// A worker cannot be started.
pub fn decided(
    pool: &mut Pool,
    &Failing { recipe, wanted, journal }: &Failing<'_>,
    seen_at: Nanos,
    has_time: &dyn Fn() -> bool,
) -> io::Result<Decided> {
    let along = beside(journal, wanted);
    let mut times: Vec<Nanos> = journal.records.iter().map(|record| record.at).collect();
    times.retain(|at| *at <= seen_at);
    times.dedup();
    let mut decided = Decided { passing: None, lost_at: None, seen_at };
    // All before `open` can still pass, none from `lost` on.
    let (mut open, mut lost) = (0, times.len().saturating_sub(1));
    let mut next = 0;
    for _ in 0..TIMES {
        let Some(at) = times.get(next).copied().filter(|_| next < lost && (next == 0 || has_time())) else { break };
        let mut passing = None;
        for from in (0..FORKS).step_by(pool.count()) {
            let numbers = from..FORKS.min(from + pool.count() as u32);
            let results = forks(pool, recipe, at, numbers)?;
            let passes = results.iter().position(|result| result.passes_but_for(&along));
            passing = passes.map(|index| forked(recipe, at, from + index as u32));
            if passing.is_some() {
                break;
            }
        }
        match passing {
            Some(fork) => (open, decided.passing) = (next, Some(fork)),
            None => (lost, decided.lost_at) = (next, Some(at)),
        }
        next = open + (lost - open) / 2;
        if next == open {
            break;
        }
    }
    Ok(decided)
}
