//! `corral explain`: the chain of events behind the violation that a seed file is about.

use corral_scenarios::catalogue;
use corral_world::{RunOptions, SeedFile};

use crate::arguments::ExplainOptions;
use crate::failure::{Done, Refused, Status};
use crate::say::say;

/// Runs the file's first failing arm and prints how it came to the violation; status 1 if it does not come to it.
pub fn explain(options: &ExplainOptions) -> Done {
    let file = SeedFile::load(&options.file, catalogue()).map_err(Refused::new)?;
    let refuse =
        || Refused::new(format!("{}: no arm of it fails, there is nothing to explain", options.file.display()));
    let arm = file.fails.first().ok_or_else(refuse)?;
    let scenario = catalogue().scenario(&file.scenario)?;
    let _watchdog = corral_explore::watchdog(corral_explore::Limits::default().run_time);
    let run_options = RunOptions { keep_journal: true, logs: Some(tracing::Level::WARN) };
    let verdict = corral_world::run(scenario, arm, file.seed, Some(file.plan()), run_options)?;
    let Some(violation) = verdict.violations.iter().find(|found| file.expects(found)) else {
        say(format_args!(
            "{}, {arm}: faded: this arm no longer shows {}",
            options.file.display(),
            file.expect.signature
        ));
        return Ok(Status::Violation);
    };
    let journal = verdict.journal.as_ref().expect("it was asked for");
    say(format_args!("{}, seed {}, {arm}", file.scenario, file.seed));
    corral_explore::explain(journal, &verdict.logs, violation, options.lines.into()).iter().for_each(say);
    Ok(Status::AsExpected)
}
