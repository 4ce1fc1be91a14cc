//! The corral command: replays recorded races, runs and fuzzes scenarios, serves the simulated cluster's API.

mod apiserver;
mod arguments;
mod bench;
mod crds;
mod explain;
mod failure;
mod find;
mod finding;
mod fuzz;
mod gallery;
mod inspect;
mod journal;
mod lines;
mod list;
mod merge;
mod night;
mod provenance;
mod replay;
mod report;
mod reseed;
mod run;
mod say;
mod shrink;
mod table;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Command, Corral};
use failure::Status;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let corral = match Corral::try_parse() {
        Ok(corral) => corral,
        Err(refused) => {
            // Help and version are answers, everything else is bad usage.
            say::note(refused.print());
            let is_usage = refused.use_stderr() || say::failed();
            return if is_usage { Status::Usage.into() } else { Status::AsExpected.into() };
        }
    };
    let done = match corral.command.unwrap_or_default() {
        Command::Replay(options) => replay::replay(&options),
        Command::Run(options) => run::run(&options),
        Command::Explain(options) => explain::explain(&options),
        Command::Shrink(options) => shrink::shrink(&options),
        Command::Report(options) => report::report(&options),
        Command::Merge(options) => merge::merge(&options),
        Command::Fuzz(options) => fuzz::fuzz(&options),
        Command::Find(options) => find::find(&options),
        Command::Worker => fuzz::work(),
        Command::List { what } => list::list(what),
        Command::Apiserver(options) => apiserver::serve(&options),
        Command::Inspect(options) => inspect::inspect(&options),
        Command::Crds(options) => crds::crds(&options),
        Command::Bench(options) => bench::bench(&options),
    };
    match done {
        Ok(_) if say::failed() => Status::Usage.into(),
        Ok(status) => status.into(),
        Err(refused) => {
            eprintln!("corral: {refused}");
            Status::Usage.into()
        }
    }
}
