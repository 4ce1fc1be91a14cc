//! Why a run failed, out of its journal: the events of the objects that the violation names, of those that own them or wait for them, and of those
//! that their controllers had read, with who acted on what and how old it was.
//!
//! It knows no oracle and no race. What it prints is chosen by names, owner references and reads, and cut to a number of lines by what tells least.

mod history;
mod lines;
mod objects;

use std::collections::BTreeMap;
use std::sync::Arc;

use corral_core::journal::{Kept, LogEntry};
use corral_world::{Arm, RunOptions, Scenario, SeedFile, Violation};

use history::{History, Object};
use objects::Role;

/// The chain of events behind a violation, in at most this many lines. Of the logs, what names an object of the chain is told, and what a process
/// said last before it failed.
fn explain(
    journal: &Kept,
    logs: &[LogEntry],
    violation: &Violation,
    about: &[String],
    most_lines: usize,
) -> Result<Vec<String>, String> {
    let history = History::of(journal);
    let objects = match about {
        [] => objects::of(&history, violation),
        names => objects::named(&history, &names.join(" ")),
    };
    if objects.is_empty() && !about.is_empty() {
        return Err(format!("the run has no object of the name {}", about.join(" or ")));
    }
    Ok(lines::of(&Run { journal, logs, history: &history, objects: &objects }, violation, most_lines))
}

/// More lines than this would have to be read like a log.
pub const USUAL_LINES: u16 = 56;

/// Runs an arm of a seed file that is to fail, and gives the chain of its violation; none if the arm no longer shows that. The chain tells of the
/// objects that belong to the violation, or of those with the names `about`, if there are any.
///
/// # Errors
/// The arm cannot run, or there is nothing of these names in it; in one line.
pub fn explain_seed_file(
    file: &SeedFile,
    scenario: Arc<dyn Scenario>,
    arm: &Arm,
    about: &[String],
    most_lines: u16,
) -> Result<Option<Vec<String>>, String> {
    let options = RunOptions { keep_journal: true, logs: Some(tracing::Level::WARN), ..RunOptions::default() };
    let verdict = corral_world::run(scenario, arm, file.seed, Some(file.plan()), options)?;
    let violation = verdict.violations.iter().find(|found| file.expects(found));
    let journal = verdict.journal.as_ref().expect("it was asked for");
    violation.map(|violation| explain(journal, &verdict.logs, violation, about, most_lines.into())).transpose()
}

/// A run, and what of it the chain is about.
struct Run<'a> {
    journal: &'a Kept,
    logs: &'a [LogEntry],
    history: &'a History,
    objects: &'a BTreeMap<Object, Role>,
}
