//! The fuzz loop: seeds in order, and what they came to in the same order, for any number of workers.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::time::Duration;

use corral_world::{Arm, Catalogue, Recipe};

use crate::guide::Guide;
use crate::job::{Job, Signature};
use crate::pool::{Pool, Ticket, Workers};
use crate::tally::{Ran, Tally};

/// What to fuzz.
#[derive(Clone, Debug)]
pub struct FuzzOptions {
    /// Scenarios, taken in turn for each seed.
    pub scenarios: Vec<String>,
    /// What of the system runs.
    pub arm: Arm,
    /// The seeds.
    pub seeds: Range<u64>,
    /// Which of them.
    pub shard: Shard,
    /// Stop after this much real time.
    pub time: Option<Duration>,
    /// Keep the plans that meet new situations, and try variations of them beside new seeds.
    pub guided: bool,
    /// Runs of an earlier search whose plans met new situations: a guided one begins with them.
    pub corpus: Vec<Ran>,
    /// The worker processes.
    pub workers: Workers,
}

/// One of several equal parts of a range of seeds; no seed is in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    pub index: u64,
    /// How many there are.
    pub of: u64,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 1, of: 1 };

    /// Whether the seed belongs to it.
    pub fn has(self, seed: u64) -> bool {
        seed % self.of == self.index - 1
    }

    /// How many of these seeds belong to it.
    pub fn count(self, seeds: &Range<u64>) -> u64 {
        // Seeds of this shard below a bound.
        let below = |bound: u64| bound / self.of + u64::from(bound % self.of >= self.index);
        below(seeds.end).saturating_sub(below(seeds.start))
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Shard { index, of }),
            _ => Err(format!("{text:?} is no shard; allowed is I/N with I from 1 to N, as in 2/8")),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// Who looks on, and decides.
pub trait Watcher {
    /// Told after each run, in the order of the seeds.
    ///
    /// # Errors
    /// It cannot be noted: the loop ends.
    fn ran(&mut self, ran: &Ran) -> io::Result<()>;

    /// Told of a run of which something is to be looked into, the `new` ones (see [`Tally::add`]); nothing goes on until it returns. The pool is for
    /// whatever it wants to try.
    ///
    /// # Errors
    /// It cannot be kept: the loop ends.
    fn found(&mut self, pool: &mut Pool, ran: &Ran, new: &BTreeSet<Signature>, tally: &Tally) -> io::Result<()>;

    /// Asked all the time; false ends the loop at once.
    fn goes_on(&mut self, tally: &Tally) -> bool;
}

/// Results are taken in the order of the seeds; so many runs for each worker may be ahead of the one that is waited for.
const AHEAD: usize = 8;
/// What is learnt from a run is used so many runs later, whatever the number of workers: a guided search is the same for one and for many. More workers
/// than that have nothing to do.
const GUIDED_AHEAD: usize = 16;

/// Runs the seeds until they, the time or the watcher's patience end, and adds what they come to.
///
/// # Errors
/// A worker cannot be started, or the watcher gave up; what was counted until then is in the tally.
pub fn fuzz(
    catalogue: &dyn Catalogue,
    options: &FuzzOptions,
    watcher: &mut dyn Watcher,
    tally: &mut Tally,
) -> io::Result<()> {
    let mut pool = Pool::start(options.workers.clone());
    #[expect(clippy::disallowed_methods, reason = "a budget in real time")]
    let began = std::time::Instant::now();
    let seeds = options.seeds.clone().filter(|seed| options.shard.has(*seed));
    let mut fresh = seeds.flat_map(|seed| options.scenarios.iter().map(move |name| (name, seed)));
    let mut guide = options.guided.then(|| Guide::new(catalogue, &options.arm, options.seeds.start));
    // What the corpus met is nothing new; the tally is of this search alone.
    let mut met: BTreeSet<u64> = BTreeSet::new();
    for ran in &options.corpus {
        met.extend(&ran.new_situations);
        guide.iter_mut().for_each(|guide| guide.learn(ran));
    }
    let ahead = if options.guided { GUIDED_AHEAD } else { pool.count() * AHEAD };
    let mut under_way: VecDeque<(Ticket, Recipe)> = VecDeque::new();
    loop {
        if !watcher.goes_on(tally) {
            return Ok(());
        }
        let has_time = options.time.is_none_or(|limit| began.elapsed() < limit);
        while has_time && under_way.len() < ahead {
            let Some((scenario, seed)) = fresh.next() else { break };
            let plan = guide.as_mut().and_then(|guide| guide.plan(scenario, seed));
            let recipe = Recipe { scenario: scenario.clone(), arm: options.arm.clone(), seed, plan, fork: None };
            let job = Job { recipe: recipe.clone(), situations: true, keep: None };
            under_way.push_back((pool.submit(job), recipe));
        }
        let Some((ticket, _)) = under_way.front() else { return Ok(()) };
        // What is done when the time is over still counts.
        let wait = if has_time { Duration::from_millis(200) } else { Duration::ZERO };
        let result = match pool.wait(*ticket, wait)? {
            Some(result) => result,
            None if has_time => continue,
            None => return Ok(()),
        };
        let Some((_, recipe)) = under_way.pop_front() else { return Ok(()) };
        let ran = Ran::new(recipe, &result, &met);
        met.extend(&ran.new_situations);
        let new = tally.add(&ran, catalogue);
        if let Some(guide) = &mut guide {
            guide.learn(&ran);
        }
        watcher.ran(&ran)?;
        if !new.is_empty() {
            match watcher.found(&mut pool, &ran, &new, tally) {
                // What was being tried with it is lost, the failure is not.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                done => done?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_the_seeds_out() {
        for of in 1..6 {
            for seed in 0..40 {
                assert_eq!((1..=of).filter(|index| Shard { index: *index, of }.has(seed)).count(), 1);
            }
            for index in 1..=of {
                let shard = Shard { index, of };
                for range in [0..0, 0..1, 3..17, 5..40] {
                    assert_eq!(shard.count(&range), range.filter(|seed| shard.has(*seed)).count() as u64);
                }
            }
        }
        assert!(Shard { index: 1, of: 2 }.count(&(0..u64::MAX)) > 1 << 62, "counted, not walked");
        assert_eq!("2/8".parse(), Ok(Shard { index: 2, of: 8 }));
        for bad in ["0/2", "3/2", "1", "1/0", "a/b", "-1/2"] {
            assert!(bad.parse::<Shard>().unwrap_err().contains("allowed is I/N"), "{bad}");
        }
    }
}
