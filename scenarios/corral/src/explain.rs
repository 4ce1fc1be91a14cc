//! `corral explain`: the chain of events behind the violation that a seed file is about.

use corral_scenarios::catalogue;
use corral_world::SeedFile;

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
    let Some(chain) = corral_explore::explain_seed_file(&file, scenario, arm, &options.about, options.lines)? else {
        say(format_args!(
            "{}, {arm}: faded: this arm no longer shows {}",
            options.file.display(),
            file.expect.signature
        ));
        return Ok(Status::Violation);
    };
    say(format_args!("{}, seed {}, {arm}", file.scenario, file.seed));
    chain.iter().for_each(say);
    Ok(Status::AsExpected)
}
