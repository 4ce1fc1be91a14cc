//! `corral inspect`: a run's cluster as it was at a moment, for kubectl in the real world.
//!
//! A journal holds no whole objects. So the run is done again, which must give the same digest, and the objects are taken on the way.

use std::path::Path;
use std::time::Duration;

use corral_apiserver::Server;
use corral_core::Nanos;
use corral_core::journal::{Event, Header, JournalFile, Record};
use corral_scenarios::catalogue;
use corral_world::{Recipe, RunOptions, Verdict};
use serde::Deserialize;

use crate::apiserver::listen;
use crate::arguments::InspectOptions;
use crate::failure::{Done, Refused, Status};
use crate::journal;
use crate::provenance::commit;
use crate::say::say;

/// Times are printed in whole microseconds: all that was written in one is there when its time is asked for.
const REST_OF_A_MICROSECOND: Duration = Duration::from_nanos(999);

/// Serves until Ctrl-C.
pub fn inspect(options: &InspectOptions) -> Done {
    let JournalFile { header, records, .. } = journal::read(&options.journal)?;
    let is_write = |record: &&Record<'_>| matches!(record.event, Event::ApiWrite { .. });
    let (first, end) = (records.iter().find(is_write).map_or(Nanos::ZERO, |record| record.at), header.ended_at);
    drop(records);
    let is_there = |at: &Nanos| *at + REST_OF_A_MICROSECOND >= first && *at <= end;
    if let Some(at) = options.at.map(|at| Nanos::ZERO + at).filter(|at| !is_there(at)) {
        return Err(Refused::new(format!(
            "--at {at}: allowed is from {first}, the first write, to {end}, the run's end"
        )));
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
            .map_err(|error| Refused::new(format!("--at {}: {error}", Nanos::ZERO + at)))?;
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

/// Does the run again and keeps the objects.
fn run_again(path: &Path, header: &Header) -> Result<Verdict, Refused> {
    let not_ours = |error: String| Refused::path(path, "line 1: its run cannot be done again", error);
    let recipe = Recipe::deserialize(&header.run).map_err(|error| not_ours(error.to_string()))?;
    let Recipe { scenario, arm, seed, plan, fork } = recipe;
    let scenario = catalogue().scenario(&scenario).map_err(not_ours)?;
    let checked = catalogue().check(scenario.as_ref(), &arm, &plan.clone().unwrap_or_default());
    checked.map_err(not_ours)?;
    let options = RunOptions { keep_objects: true, fork, ..RunOptions::default() };
    let _watchdog = corral_explore::watchdog(corral_explore::Limits::default().run_time, &header.title);
    corral_world::run(scenario, &arm, seed, plan, options).map_err(not_ours)
}
