//! Attribution: which of the recorded defects that are open in a release a failure needs.
//!
//! Each of them is silenced in turn. A defect that has no part in the run leaves it the same to the last event. One whose absence ends the failure is
//! tried in forks of the run, with it and without it, from a time before the failure was decided: later, any difference in time could avert it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use corral_core::Nanos;
use corral_core::journal::JournalFile;
use corral_world::{Catalogue, Recipe};

use crate::explain::{beside, parting};
use crate::forks::{FORKS, Failing, forks};
use crate::investigate::Origin;
use crate::job::{Job, Signature};
use crate::pool::Pool;

/// What a failure is without one of the recorded defects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The defect.
    pub id: String,
    /// What becomes of the run.
    pub part: Part,
}

/// The part a defect has in a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The run is the same without it, to the last event.
    None,
    /// The run is another without it, and fails in the same way.
    Same,
    /// The run is another without it, and fails in another way.
    Otherwise,
    /// Without it the run does not fail, but for what came along with the failure. Of its forks at a time, so many fail:
    Passes {
        /// The time.
        from: Nanos,
        /// With it.
        with: Share,
        /// Without it; none were tried where too few fail with it.
        without: Share,
    },
}

/// So many of so many forks fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Forks that fail.
    pub failing: usize,
    /// Forks that were tried.
    pub of: usize,
}

impl Share {
    fn of(failing: &[bool]) -> Share {
        Share { failing: failing.iter().filter(|fails| **fails).count(), of: failing.len() }
    }
}

/// Forks that fail, so that it says something if none of them does without a defect.
const FAILING: usize = FORKS as usize;
/// As many as that, if no more are found.
const ENOUGH: usize = FAILING - 1;
/// Forks among which they are looked for.
const MOST: usize = 24;
/// Where none of so many fails, no more are tried.
const HOPELESS: usize = 12;

/// Silences each of the defects that are open in the run's arm. The run could still pass at the time `open`; a journal of another is written to
/// `scratch` and taken away again. No forks are tried once `has_time` is false.
///
/// # Errors
/// A worker cannot be started, or a journal not be written.
pub fn attribute(
    pool: &mut Pool,
    catalogue: &dyn Catalogue,
    &Failing { recipe, wanted, journal: own }: &Failing<'_>,
    open: Nanos,
    scratch: &Path,
    has_time: &dyn Fn() -> bool,
) -> io::Result<Vec<Attribution>> {
    let ids = catalogue.open_defects(&recipe.arm);
    let silenced: Vec<Recipe> = ids.iter().map(|id| without(recipe, id)).collect();
    let results = pool.run_all(silenced.iter().cloned().map(Job::from))?;
    let mut attributions = Vec::new();
    let mut forks = Forks { recipe, wanted, along: beside(own, wanted), with: BTreeMap::new(), has_time };
    for ((id, silenced), result) in ids.into_iter().zip(silenced).zip(results) {
        let part = if result.verdict().is_some_and(|verdict| verdict.digest == own.header.digest) {
            Part::None
        } else if !result.signatures().is_disjoint(wanted) {
            Part::Same
        } else if !result.passes_but_for(&forks.along) {
            Part::Otherwise
        } else {
            let from = open.min(parted(pool, &silenced, own, scratch)?);
            forks.without(pool, &silenced, from)?
        };
        attributions.push(Attribution { id, part });
    }
    Ok(attributions)
}

fn without(recipe: &Recipe, id: &str) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.arm.silenced.push(id.to_owned());
    recipe
}

/// When the run without a defect leaves the run with it.
fn parted(pool: &Pool, silenced: &Recipe, own: &JournalFile, scratch: &Path) -> io::Result<Nanos> {
    let journal = pool.journal(silenced, Origin::default().header(silenced, String::new()), scratch)?;
    // It is not there if the run died.
    let _ = std::fs::remove_file(scratch);
    Ok(journal.ok().and_then(|journal| parting(own, &journal)).map_or(Nanos::ZERO, |(at, _)| at))
}

/// Whether runs that pass without a defect do so because of that, or by luck: a run that goes another way may miss a failure by chance.
struct Forks<'a> {
    recipe: &'a Recipe,
    wanted: &'a BTreeSet<Signature>,
    /// What the run shows beside it.
    along: BTreeSet<Signature>,
    /// Forks of the run itself, by their time.
    with: BTreeMap<Nanos, Vec<bool>>,
    has_time: &'a dyn Fn() -> bool,
}

impl Forks<'_> {
    fn without(&mut self, pool: &mut Pool, silenced: &Recipe, from: Nanos) -> io::Result<Part> {
        let with = self.with.entry(from).or_default();
        let is_wanted = |with: &[bool]| {
            let share = Share::of(with);
            let hopeless = share.failing == 0 && share.of >= HOPELESS;
            share.failing < FAILING && share.of < MOST && !hopeless
        };
        while is_wanted(with) && (self.has_time)() {
            let next = with.len() as u32;
            let results = forks(pool, self.recipe, from, next..next + FORKS)?;
            with.extend(results.iter().map(|result| !result.signatures().is_disjoint(self.wanted)));
        }
        let mut still: Vec<bool> = Vec::new();
        let says_something = Share::of(with).failing >= ENOUGH;
        while says_something && Share::of(&still).failing == 0 && still.len() < with.len() && (self.has_time)() {
            let next = still.len() as u32;
            let results = forks(pool, silenced, from, next..next + FORKS)?;
            // In whatever way: the same damage may look otherwise then. What came along before is another matter.
            still.extend(results.iter().map(|result| !result.passes_but_for(&self.along)));
        }
        Ok(Part::Passes { from, with: Share::of(with), without: Share::of(&still) })
    }
}

impl Attribution {
    /// In one line.
    pub fn told(&self) -> String {
        let id = &self.id;
        match self.part {
            Part::None => format!("{id}: has no part in it; without it the run is the same"),
            Part::Same => format!("{id}: not needed; the run fails without it too"),
            Part::Otherwise => format!("{id}: without it the run fails in another way"),
            Part::Passes { with: Share { of: 0, .. }, .. } => {
                format!("{id}: without it this run passes; there was no time to try whether by luck")
            }
            Part::Passes { from, with, without } => {
                let same = format!("of those that are the same up to {from} and go on by other chance");
                let with_it = format!("{} of {} fail with it", with.failing, with.of);
                let begun = format!("{id}: without it this run passes; {same}, {with_it}");
                match without {
                    Share { of: 0, .. } => format!("{begun}: perhaps luck"),
                    Share { failing: 0, of } => format!("{begun} and 0 of {of} without"),
                    Share { failing, of } => format!("{begun} and {failing} of {of} without: not the only cause"),
                }
            }
        }
    }

    /// Whether the failure needs it, as far as was tried: one run that passes may have been lucky, three others beside it hardly.
    pub fn is_cause(&self) -> bool {
        let Part::Passes { with, without, .. } = self.part else { return false };
        with.failing >= ENOUGH && without == Share { failing: 0, of: with.of }
    }
}
