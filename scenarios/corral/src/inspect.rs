//! `corral inspect`: a run's cluster as it was at a moment, for kubectl in the real world.
//!
//! A journal holds no whole objects. So the run is done again, which must give the same digest, and the objects are taken on the way.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use corral_apiserver::Server;
use corral_core::Nanos;
use corral_core::journal::{Event, Header, file};
use corral_scenarios::catalogue;
use corral_world::{Recipe, RunOptions, Verdict};

use crate::apiserver::listen;
use crate::arguments::InspectOptions;
use crate::bench::commit;
use crate::failure::{Done, Refused, Status};
use crate::say::say;

/// Times are printed in whole microseconds: all that was written in one is there when its time is asked for.
const REST_OF_A_MICROSECOND: Duration = Duration::from_nanos(999);

/// Serves until Ctrl-C.
pub fn inspect(options: &InspectOptions) -> Done {
    let (header, first_write) = read(&options.journal)?;
    if let Some(at) = options.at {
        check(at, first_write, header.ended_at)?;
    }
    host::real::block_on(async {
        // First, because the run takes its time.
        let (listener, bound) = listen(&options.server).await?;
        let verdict = run_again(&options.journal, &header)?;
        if verdict.digest != header.digest {
            eprintln!(
                "corral: {}: made by commit {}, digest {}; this is commit {}, and the run done again has digest {}: another run, whose past is not the journal's",
                options.journal.display(),
                header.commit,
                header.digest,
                commit(),
                verdict.digest
            );
            return Ok(Status::NotDeterministic);
        }
        let at = options.at.unwrap_or_else(|| default_instant(&verdict).as_duration());
        let past = verdict.objects.unwrap_or_default();
        let server = Server::past(&past, at + REST_OF_A_MICROSECOND)
            .map_err(|error| Refused::path(&options.journal, "cannot be shown", error))?;
        drop(past);
        let (title, revision) = (&header.title, server.store().revision());
        host::spawn(async move { server.serve(listener).await });
        say(format_args!(
            "serving the cluster of {title}, as it was at {} (revision {revision}), on http://{bound}; try: kubectl --server http://{bound} get volumes.longhorn.io -A -o wide",
            Nanos::ZERO + at
        ));
        host::real::interrupted().await.map_err(Refused::new)?;
        Ok(Status::AsExpected)
    })
}

/// Where a reader looks first: at the damage, or at what it came to.
fn default_instant(verdict: &Verdict) -> Nanos {
    verdict.violations.first().map_or(verdict.simulated, |violation| violation.at)
}

/// What run it is of, and when its API server wrote for the first time.
fn read(path: &Path) -> Result<(Header, Nanos), Refused> {
    let input = File::open(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    let journal =
        file::read(BufReader::new(input)).map_err(|error| Refused::new(format!("{}: {error}", path.display())))?;
    let mut writes = journal.records.iter().filter(|record| matches!(record.event, Event::ApiWrite { .. }));
    let Some(first) = writes.next() else {
        return Err(Refused::new(format!(
            "{}: nothing was written in this run, there is nothing to show",
            path.display()
        )));
    };
    Ok((journal.header, first.at))
}

fn check(at: Duration, first: Nanos, end: Nanos) -> Result<(), Refused> {
    let asked = Nanos::ZERO + at;
    let range = Nanos::ZERO + first.as_duration().saturating_sub(REST_OF_A_MICROSECOND)..=end;
    if range.contains(&asked) {
        return Ok(());
    }
    let line =
        format!("--at {asked}: allowed is from {first}, when the first object was written, to {end}, the run's end");
    Err(Refused::new(line))
}

/// Does the run again and keeps the objects.
fn run_again(path: &Path, header: &Header) -> Result<Verdict, Refused> {
    let no_recipe = |error| Refused::path(path, "line 1: what it says of its run is not ours", error);
    let recipe: Recipe = serde_json::from_value(header.run.clone()).map_err(no_recipe)?;
    let Recipe { scenario, arm, seed, plan } = recipe;
    let scenario = catalogue().scenario(&scenario)?;
    catalogue().check(scenario.as_ref(), &arm, &plan.clone().unwrap_or_default())?;
    let options = RunOptions { keep_objects: true, ..RunOptions::default() };
    let _watchdog = corral_explore::watchdog(corral_explore::Limits::default().run_time);
    Ok(corral_world::run(scenario, &arm, seed, plan, options)?)
}
