//! `corral explain`: where a failing run parts from its passing twin, and the chain of events behind its violation.

use std::path::Path;

use corral_core::journal::JournalFile;
use corral_explore::{Failing, Job, Pool, decided, explain_seed_file, first_violation};
use corral_scenarios::catalogue;
use corral_world::{Recipe, SeedFile, Violation};
use serde::Deserialize;

use crate::arguments::ExplainOptions;
use crate::failure::{Done, Refused, Status};
use crate::fuzz::workers;
use crate::journal;
use crate::say::say;

/// Lines above what is told of a seed file: its title, and the run.
const FILE_HEADING: u16 = 2;
/// Lines above what is told of a journal: its title.
const JOURNAL_HEADING: u16 = 1;

/// Explains a seed file's first failing arm, or a journal's first violation; status 1 if there is none.
pub fn explain(options: &ExplainOptions) -> Done {
    // Once: it may be a pipe.
    let path = &options.file;
    let content = std::fs::read(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    if is_journal(path, &content) {
        return explain_journal(options, &content);
    }
    if let Some(twin) = &options.twin {
        let twin = twin.display();
        return Err(Refused::new(format!("--twin {twin}: a seed file names its own twin; allowed beside a journal")));
    }
    let text = String::from_utf8(content).map_err(|error| Refused::path(path, "cannot be read", error))?;
    let file = SeedFile::parse(&text, path, catalogue()).map_err(Refused::new)?;
    let watchdog = corral_explore::watchdog(corral_explore::Limits::default().run_time * 2, &file.title);
    let arm = &file.fails[0];
    let lines = options.lines - FILE_HEADING;
    let Some((run, explained)) = explain_seed_file(&file, catalogue(), &options.about, lines)? else {
        let signature = &file.expect.signature;
        say(format_args!("{}, {arm}: faded: this arm no longer shows {signature}", options.file.display()));
        return Ok(Status::Violation);
    };
    say(&file.title);
    say(format_args!("{}, seed {}, {arm}", file.scenario, file.seed));
    explained.lines().for_each(say);
    drop(watchdog);
    tell_when(options, &run, &explained.violation)
}

/// Whether it is to be read as a journal: no seed file begins with a brace. By its name even if it holds something else, which is told of then.
fn is_journal(path: &Path, content: &[u8]) -> bool {
    path.extension().is_some_and(|ending| ending == "jsonl") || content.starts_with(b"{")
}

fn explain_journal(options: &ExplainOptions, content: &[u8]) -> Done {
    let run = journal::parse(content, &options.file)?;
    let twin = options.twin.as_deref().map(journal::read).transpose()?;
    let Some(violation) = first_violation(&run, catalogue(), |_| true) else {
        say(format_args!(
            "{}: {}: no violation, there is nothing to explain",
            options.file.display(),
            run.header.title
        ));
        return Ok(Status::Violation);
    };
    let differs = twin.as_ref().map(|twin| format!("({})", twin.header.title)).unwrap_or_default();
    let twin = twin.as_ref().map(|twin| (twin, differs.as_str()));
    let lines = options.lines - JOURNAL_HEADING;
    let explained = corral_explore::explain(&run, &violation, twin, &options.about, lines)?;
    say(&run.header.title);
    explained.lines().for_each(say);
    tell_when(options, &run, &violation)
}

/// Searches for when it was decided, if that is asked for.
fn tell_when(options: &ExplainOptions, run: &JournalFile, violation: &Violation) -> Done {
    if options.decided {
        let recipe = Recipe::deserialize(&run.header.run)
            .map_err(|error| Refused::path(&options.file, "does not say of which run it is", error))?;
        let refused = |why: &str| Err(Refused::new(format!("{}: --decided: {why}", options.file.display())));
        if recipe.fork.is_some() {
            return refused("it is a fork; allowed is a run that is none");
        }
        let mut pool = Pool::start(workers(None)?);
        let again = pool.run_alone(&Job::from(recipe.clone())).map_err(Refused::new)?;
        if again.verdict().is_none_or(|verdict| verdict.digest != run.header.digest) {
            return refused("this corral makes another run of it; its forks would tell nothing");
        }
        let wanted = [violation.group()].into();
        let failing = Failing { recipe: &recipe, wanted: &wanted, journal: run };
        let decided = decided(&mut pool, &failing, violation.at, &|| true).map_err(Refused::new)?;
        say(format_args!("It was {}.", decided.told()));
    }
    Ok(Status::AsExpected)
}
