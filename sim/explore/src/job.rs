//! One run as a line of JSON to a worker, and its result as a line back.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use corral_core::journal::{Header, file};
use corral_world::{Catalogue, OWN_FAULT, Recipe, RunOptions, Verdict, Violation, run};
use serde::{Deserialize, Serialize};

use crate::pool::Limits;
use crate::watchdog::watchdog;
use crate::whole::write_whole;

/// A run to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The run.
    pub recipe: Recipe,
    /// Whether to note which situations it meets.
    #[serde(default)]
    pub situations: bool,
    /// Where to write its journal, if anywhere.
    #[serde(default)]
    pub keep: Option<Keep>,
}

/// Where a journal goes, and what is written above it; digest and end are the run's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keep {
    /// The file.
    pub path: PathBuf,
    /// Its first line.
    pub header: Header,
}

/// What became of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobResult {
    /// Its end.
    pub outcome: Outcome,
    /// Real time it took, in microseconds.
    pub took_us: u64,
    /// Processor time it took, in microseconds.
    pub cpu_us: u64,
    /// Why its journal could not be written, in one line.
    #[serde(default)]
    pub unwritten: Option<String>,
}

/// How a job ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It was judged.
    Judged(Box<Verdict>),
    /// It took longer than the watchdog allows.
    Stuck,
    /// Its worker died: the last words it said.
    Died(String),
}

/// The signature of a run that the watchdog ended.
pub(crate) const STUCK: &str = "the run does not end: the watchdog stopped it";

/// Oracle and signature: what groups equal failures.
pub type Signature = (String, String);

impl From<Recipe> for Job {
    fn from(recipe: Recipe) -> Job {
        Job { recipe, situations: false, keep: None }
    }
}

impl JobResult {
    /// Oracle and signature of everything wrong with it; a stuck or dead worker has a signature too.
    pub fn signatures(&self) -> BTreeSet<Signature> {
        let own = |signature: &str| [(OWN_FAULT.to_owned(), signature.to_owned())].into();
        match &self.outcome {
            Outcome::Judged(verdict) => verdict.violations.iter().map(Violation::group).collect(),
            Outcome::Stuck => own(STUCK),
            Outcome::Died(words) => own(&format!("the worker died: {}", corral_world::text::normalised(words))),
        }
    }

    /// Whether it came to its end and nothing is wrong with it.
    pub fn passes(&self) -> bool {
        self.passes_but_for(&BTreeSet::new())
    }

    /// Whether it came to its end and nothing but this is wrong with it.
    pub fn passes_but_for(&self, along: &BTreeSet<Signature>) -> bool {
        self.verdict().is_some() && self.signatures().is_subset(along)
    }

    /// The verdict, if there is one.
    pub fn verdict(&self) -> Option<&Verdict> {
        match &self.outcome {
            Outcome::Judged(verdict) => Some(verdict),
            Outcome::Stuck | Outcome::Died(_) => None,
        }
    }

    /// Processor time it took.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(self.cpu_us)
    }
}

/// The worker's loop: reads jobs from `input`, one a line, and writes results to `output`, until the input ends.
///
/// # Errors
/// The parent is gone, or sent what is no job, or one that cannot be run: its scenario is unknown, or refuses its arm or its plan.
pub fn serve(catalogue: &dyn Catalogue, input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    for line in input.lines() {
        let job: Job = serde_json::from_str(&line?)?;
        // The parent kills a worker that overruns its time; this one is for a parent that was killed itself.
        let _watchdog = watchdog(2 * Limits::default().run_time, &job.recipe.title());
        serde_json::to_writer(&mut output, &done(catalogue, job)?)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn done(catalogue: &dyn Catalogue, job: Job) -> std::io::Result<JobResult> {
    let Recipe { scenario, arm, seed, plan, fork } = job.recipe;
    let scenario = catalogue.scenario(&scenario).map_err(std::io::Error::other)?;
    let before = processor_time();
    let logs = job.keep.is_some().then_some(tracing::Level::WARN);
    let options =
        RunOptions { keep_journal: job.keep.is_some(), logs, situations: job.situations, fork, ..Default::default() };
    let verdict = run(scenario, &arm, seed, plan, options).map_err(std::io::Error::other)?;
    let took_us = verdict.took.as_micros() as u64;
    let cpu_us = (processor_time() - before).as_micros() as u64;
    let unwritten = job.keep.and_then(|keep| keep.write(&verdict).err());
    Ok(JobResult { outcome: Outcome::Judged(Box::new(verdict)), took_us, cpu_us, unwritten })
}

impl Keep {
    /// Writes a run's journal as a whole or not at all, if the run kept it.
    ///
    /// # Errors
    /// It cannot be written; in one line.
    pub fn write(mut self, verdict: &Verdict) -> Result<(), String> {
        let Some(journal) = &verdict.journal else { return Ok(()) };
        self.header.digest.clone_from(&verdict.digest);
        self.header.ended_at = verdict.simulated;
        let written = write_whole(&self.path, |out| file::write(out, &self.header, journal, &verdict.logs));
        written.map_err(|error| format!("{}: cannot write the journal: {error}", self.path.display()))
    }
}

/// What this process has used of the processors.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
