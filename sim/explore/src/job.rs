//! One run as a line of JSON to a worker, and its result as a line back.

use std::io::{BufRead, Write};
use std::time::Duration;

use corral_world::{Arm, Catalogue, RunOptions, Verdict, run};
use serde::{Deserialize, Serialize};

/// A run to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The scenario's name.
    pub scenario: String,
    /// What of the system runs.
    pub arm: Arm,
    /// The seed.
    pub seed: u64,
}

/// What became of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobResult {
    /// The job.
    pub job: Job,
    /// Its end.
    pub outcome: Outcome,
    /// Real time it took, in microseconds.
    pub took_us: u64,
    /// Processor time it took, in microseconds.
    pub cpu_us: u64,
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

impl JobResult {
    /// Oracle and signature of everything wrong with it; a stuck or dead worker has a signature too.
    pub fn signatures(&self) -> Vec<(String, String)> {
        let own = |signature: &str| vec![(corral_world::OWN_FAULT.to_owned(), signature.to_owned())];
        match &self.outcome {
            Outcome::Judged(verdict) => {
                verdict.violations.iter().map(|found| (found.oracle.clone(), found.signature.clone())).collect()
            }
            Outcome::Stuck => own("the run does not end: the watchdog stopped it"),
            Outcome::Died(words) => own(&format!("the worker died: {}", corral_world::text::normalised(words))),
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
/// The parent is gone, or sent what is no job.
pub fn serve(catalogue: &dyn Catalogue, input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    for line in input.lines() {
        let job: Job = serde_json::from_str(&line?)?;
        let scenario = catalogue.scenario(&job.scenario).map_err(std::io::Error::other)?;
        let before = processor_time();
        let verdict = run(scenario, &job.arm, job.seed, None, RunOptions::default()).map_err(std::io::Error::other)?;
        let took_us = verdict.took.as_micros() as u64;
        let cpu_us = (processor_time() - before).as_micros() as u64;
        let result = JobResult { job, outcome: Outcome::Judged(Box::new(verdict)), took_us, cpu_us };
        serde_json::to_writer(&mut output, &result)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

/// What this process has used of the processors.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
