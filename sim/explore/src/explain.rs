//! Why a run failed, out of its journal: the events of the objects that the violation names, of those that own them or wait for them, and of those
//! that their controllers had read, with who acted on what and how old it was; and where the run parts from its passing twin.
//!
//! It knows no oracle and no race. What it prints is chosen by names, owner references and reads, and cut to a number of lines by what tells least.

mod divergence;
mod history;
mod lines;
mod objects;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use corral_core::journal::{Event, Header, JournalFile};
use corral_world::{Catalogue, Recipe, RunOptions, SeedFile, Violation};
use serde::Deserialize;

pub use divergence::{Divergence, parting};

use crate::investigate::Origin;
use crate::job::Signature;
use crate::twin::twin_of_seed_file;
use history::{History, Object};
use objects::Role;

/// More lines than this would have to be read like a log.
pub const USUAL_LINES: u16 = 40;

/// How a run came to its violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The violation.
    pub violation: Violation,
    /// Where it parts from its passing twin; empty if there is none.
    pub divergence: Divergence,
    /// The chain of events; the violation is in the last line, or the last but one.
    pub chain: Vec<String>,
}

impl Explanation {
    /// All its lines.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.divergence.lines.iter().chain(&self.chain)
    }
}

/// The violations that a journal tells of, in order.
pub fn violations(journal: &JournalFile) -> Vec<Violation> {
    let violation = |record: &corral_core::journal::Record<'_>| match &record.event {
        Event::Violation { oracle, signature, detail } => Some(Violation {
            oracle: oracle.to_string(),
            signature: signature.to_string(),
            detail: detail.to_string(),
            at: record.at,
        }),
        _ => None,
    };
    journal.records.iter().filter_map(violation).collect()
}

/// The violation of a run that is worth explaining: the first of those that are wanted, unless it says less than another.
pub fn first_violation(
    journal: &JournalFile,
    catalogue: &dyn Catalogue,
    is_wanted: impl Fn(&Violation) -> bool,
) -> Option<Violation> {
    let scenario = Recipe::deserialize(&journal.header.run).map(|recipe| recipe.scenario).unwrap_or_default();
    let symptomatic = symptomatic(catalogue, &scenario);
    let is_symptom = |found: &Violation| symptomatic.contains(&*found.oracle);
    violations(journal).into_iter().filter(is_wanted).min_by_key(is_symptom)
}

/// What a run shows beside what is wanted of it.
pub(crate) fn beside(journal: &JournalFile, wanted: &BTreeSet<Signature>) -> BTreeSet<Signature> {
    violations(journal).iter().map(Violation::group).filter(|group| !wanted.contains(group)).collect()
}

/// The oracles of a scenario that see what other damage brings about.
pub(crate) fn symptomatic(catalogue: &dyn Catalogue, scenario: &str) -> BTreeSet<&'static str> {
    let oracles = catalogue.scenario(scenario).map(|scenario| scenario.oracles()).unwrap_or_default();
    oracles.iter().filter(|oracle| oracle.sees_symptoms()).map(|oracle| oracle.name()).collect()
}

/// The chain of events behind a violation, after the place where the run parts from its twin (which is told with in what it differs), in at most
/// this many lines. It tells of the objects that belong to the violation, or of those with the names `about`, if there are any. Of the logs, what
/// names an object of the chain is told, and what a process said last before it failed.
///
/// # Errors
/// There is nothing of these names in the run; in one line.
pub fn explain(
    journal: &JournalFile,
    violation: &Violation,
    twin: Option<(&JournalFile, &str)>,
    about: &[String],
    most_lines: u16,
) -> Result<Explanation, String> {
    let divergence = twin.map_or_else(Divergence::default, |(twin, differs)| divergence::told(journal, twin, differs));
    let history = History::of(journal);
    let objects = match about {
        [] => objects::of(&history, violation),
        names => objects::named(&history, &names.join(" ")),
    };
    if objects.is_empty() && !about.is_empty() {
        return Err(format!("the run has no object of the name {}", about.join(" or ")));
    }
    let room = usize::from(most_lines).saturating_sub(divergence.lines.len());
    let chain = lines::of(&Run { journal, history: &history, objects: &objects }, violation, room);
    Ok(Explanation { violation: violation.clone(), divergence, chain })
}

/// Runs the first failing arm of a seed file, and its twin, and explains its violation, with the run; none if the arm no longer shows that.
///
/// # Errors
/// The arm cannot run, or there is nothing of these names in it; in one line.
pub fn explain_seed_file(
    file: &SeedFile,
    catalogue: &dyn Catalogue,
    about: &[String],
    most_lines: u16,
) -> Result<Option<(JournalFile, Explanation)>, String> {
    let arm = file.fails.first().ok_or("no arm of it fails, there is nothing to explain")?;
    let journal = journal_of(&file.recipe(arm), catalogue)?;
    let Some(violation) = violations(&journal).into_iter().find(|found| file.expects(found)) else { return Ok(None) };
    let twin = match twin_of_seed_file(file, catalogue) {
        Some(twin) => Some((journal_of(&twin.recipe, catalogue)?, twin.differs)),
        None => None,
    };
    let twin = twin.as_ref().filter(|(twin, _)| !violations(twin).iter().any(|found| file.expects(found)));
    let twin = twin.map(|(twin, differs)| (twin, differs.as_str()));
    let explained = explain(&journal, &violation, twin, about, most_lines)?;
    Ok(Some((journal, explained)))
}

/// Does a run in this process, for its journal.
fn journal_of(recipe: &Recipe, catalogue: &dyn Catalogue) -> Result<JournalFile, String> {
    let scenario = catalogue.scenario(&recipe.scenario)?;
    let options =
        RunOptions { keep_journal: true, logs: Some(tracing::Level::WARN), fork: recipe.fork, ..RunOptions::default() };
    let verdict = corral_world::run(scenario, &recipe.arm, recipe.seed, recipe.plan.clone(), options)?;
    let header = Origin::default().header(recipe, String::new());
    let header = Header { digest: verdict.digest, ended_at: verdict.simulated, ..header };
    Ok(JournalFile::of(header, &verdict.journal.expect("it was asked for"), verdict.logs))
}

/// A run, and what of it the chain is about.
struct Run<'a> {
    journal: &'a JournalFile,
    history: &'a History,
    objects: &'a BTreeMap<Object, Role>,
}
