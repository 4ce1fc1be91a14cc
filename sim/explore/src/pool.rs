//! Worker processes: started when needed, killed when they overrun their time, replaced when they die or have grown too large.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::job::{Job, JobResult, Outcome};

/// What a worker may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Real time for one run.
    pub run_time: Duration,
    /// Memory of a worker, in bytes; a worker above it is replaced after its run.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { run_time: Duration::from_secs(120), memory_bytes: 2 << 30 }
    }
}

/// A number of workers that take jobs from one queue.
pub struct Pool {
    jobs: Option<Sender<Job>>,
    results: Receiver<std::io::Result<JobResult>>,
}

impl Pool {
    /// Starts `count` workers, each a process running `program` with `arguments`.
    pub fn start(program: PathBuf, arguments: Vec<String>, count: usize, limits: Limits) -> Pool {
        let (job_sender, job_receiver) = channel();
        let queue = std::sync::Arc::new(std::sync::Mutex::new(job_receiver));
        let (result_sender, results) = channel();
        for _ in 0..count.max(1) {
            let keeper = Keeper {
                program: program.clone(),
                arguments: arguments.clone(),
                limits,
                queue: queue.clone(),
                results: result_sender.clone(),
            };
            #[expect(clippy::disallowed_methods, reason = "the parent of worker processes lives in the real world")]
            std::thread::spawn(move || keeper.keep());
        }
        Pool { jobs: Some(job_sender), results }
    }

    /// Gives a job to whichever worker is free first.
    pub fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    /// The next result, or none within this time.
    ///
    /// # Errors
    /// A worker cannot be started.
    pub fn next(&self, wait: Duration) -> std::io::Result<Option<JobResult>> {
        match self.results.recv_timeout(wait) {
            Ok(result) => result.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(std::io::Error::other("all workers are gone")),
        }
    }
}

/// Keeps one worker process going.
struct Keeper {
    program: PathBuf,
    arguments: Vec<String>,
    limits: Limits,
    queue: std::sync::Arc<std::sync::Mutex<Receiver<Job>>>,
    results: Sender<std::io::Result<JobResult>>,
}

/// A running worker and the lines it writes, read by a thread so that waiting for them can time out.
struct Worker {
    process: Child,
    lines: Receiver<String>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Keeper {
    fn keep(self) {
        let mut worker = None;
        loop {
            let job = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            let running = match worker.take() {
                Some(running) => Ok(running),
                None => self.start(),
            };
            let answer = running.map(|mut running| {
                let outcome = self.run(&mut running, &job);
                if matches!(outcome, Ok(ref result) if resident_bytes(running.process.id()) < self.limits.memory_bytes && matches!(result.outcome, Outcome::Judged(_))) {
                    worker = Some(running);
                }
                outcome
            });
            let failed = answer.is_err();
            if self.results.send(answer.and_then(|outcome| outcome)).is_err() || failed {
                return;
            }
        }
    }

    fn start(&self) -> std::io::Result<Worker> {
        let mut process = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let (sender, lines) = channel();
        #[expect(clippy::disallowed_methods, reason = "the parent of worker processes lives in the real world")]
        std::thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
            // The worker ended: its last words tell why.
            let words = stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines()).map_while(Result::ok);
            let _ = sender.send(format!("!{}", words.last().unwrap_or_default()));
        });
        Ok(Worker { process, lines })
    }

    fn run(&self, worker: &mut Worker, job: &Job) -> std::io::Result<JobResult> {
        let limit_us = self.limits.run_time.as_micros() as u64;
        let ended = |outcome| JobResult { job: job.clone(), outcome, took_us: limit_us, cpu_us: limit_us };
        let line = format!("{}\n", serde_json::to_string(job)?);
        if let Some(stdin) = &mut worker.process.stdin
            && let Err(error) = stdin.write_all(line.as_bytes())
        {
            return Ok(ended(Outcome::Died(error.to_string())));
        }
        match worker.lines.recv_timeout(self.limits.run_time) {
            Ok(line) => match line.strip_prefix('!') {
                Some(words) => Ok(ended(Outcome::Died(words.to_owned()))),
                None => Ok(serde_json::from_str(&line)?),
            },
            Err(RecvTimeoutError::Timeout) => Ok(ended(Outcome::Stuck)),
            Err(RecvTimeoutError::Disconnected) => Ok(ended(Outcome::Died("no last words".into()))),
        }
    }
}

/// Resident memory of a process, in bytes; 0 if it cannot be read.
fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: u64 = status.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
