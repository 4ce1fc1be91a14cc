//! Worker processes: started when needed, killed when they overrun their time or their memory, replaced when they die.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use corral_core::journal::{Header, JournalFile, file};
use corral_world::Recipe;

use crate::job::{Job, JobResult, Keep, Outcome};
use crate::watchdog::{Allowance, LOOK};

/// What a worker may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processor time for one run; of real time, ten times as much.
    pub run_time: Duration,
    /// Memory of a worker, in bytes; one that has more after a run is replaced, one that takes twice as much during a run dies of it.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { run_time: Duration::from_secs(120), memory_bytes: 2 << 30 }
    }
}

/// How workers are started, and how many.
#[derive(Clone, Debug)]
pub struct Workers {
    /// The program, and its arguments.
    pub program: (PathBuf, Vec<String>),
    /// How many at once.
    pub count: usize,
    /// What each may use.
    pub limits: Limits,
    /// Once this is true, whoever waits for results is told that it was interrupted.
    pub interrupted: Arc<AtomicBool>,
}

/// A number of workers that take jobs from one queue.
pub struct Pool {
    keeper: Keeper,
    jobs: Sender<(Ticket, Job)>,
    results: Receiver<std::io::Result<(Ticket, JobResult)>>,
    /// Results that nobody has asked for yet.
    ready: BTreeMap<Ticket, JobResult>,
    last: Ticket,
    count: usize,
    interrupted: Arc<AtomicBool>,
}

/// Stands for a job that was given to a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Pool {
    /// Gets ready to start workers; they start with the first jobs.
    pub fn start(workers: Workers) -> Pool {
        let (jobs, job_receiver) = channel();
        let queue = Arc::new(Mutex::new(job_receiver));
        let (result_sender, results) = channel();
        let Workers { program, count, limits, interrupted } = workers;
        let (keeper, count) = (Keeper { program, limits }, count.max(1));
        for _ in 0..count {
            let (keeper, queue, results) = (keeper.clone(), queue.clone(), result_sender.clone());
            #[expect(clippy::disallowed_methods, reason = "the parent of worker processes lives in the real world")]
            std::thread::spawn(move || keeper.keep(&queue, &results));
        }
        Pool { keeper, jobs, results, ready: BTreeMap::new(), last: Ticket(0), count, interrupted }
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Gives a job to whichever worker is free first.
    pub fn submit(&mut self, job: Job) -> Ticket {
        self.last.0 += 1;
        // That the workers are gone is told to whoever waits for the result.
        let _ = self.jobs.send((self.last, job));
        self.last
    }

    /// The result of this job; none if another's comes first, or none within this time.
    ///
    /// # Errors
    /// A worker cannot be started.
    pub fn wait(&mut self, ticket: Ticket, wait: Duration) -> std::io::Result<Option<JobResult>> {
        if !self.ready.contains_key(&ticket) {
            self.gather(wait)?;
        }
        Ok(self.ready.remove(&ticket))
    }

    /// The result of whichever job is done first, or none within this time.
    ///
    /// # Errors
    /// A worker cannot be started.
    pub fn next(&mut self, wait: Duration) -> std::io::Result<Option<(Ticket, JobResult)>> {
        if self.ready.is_empty() {
            self.gather(wait)?;
        }
        Ok(self.ready.pop_first())
    }

    /// Does these jobs, and gives their results in their order.
    ///
    /// # Errors
    /// A worker cannot be started; of the kind `Interrupted`, if the user has had enough.
    pub fn run_all(&mut self, jobs: impl IntoIterator<Item = Job>) -> std::io::Result<Vec<JobResult>> {
        let tickets: Vec<Ticket> = jobs.into_iter().map(|job| self.submit(job)).collect();
        tickets.into_iter().map(|ticket| self.result(ticket)).collect()
    }

    fn result(&mut self, ticket: Ticket) -> std::io::Result<JobResult> {
        loop {
            self.heed()?;
            if let Some(result) = self.wait(ticket, LOOK)? {
                return Ok(result);
            }
        }
    }

    /// An error once the user has had enough.
    fn heed(&self) -> std::io::Result<()> {
        if self.interrupted.load(Ordering::SeqCst) { Err(std::io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// Does a job in a fresh process.
    ///
    /// # Errors
    /// The worker cannot be started; of the kind `Interrupted`, if the user has had enough.
    pub fn run_alone(&self, job: &Job) -> std::io::Result<JobResult> {
        self.keeper.run(&mut self.keeper.start()?, job, || self.heed())
    }

    /// Does a run in a fresh process for its journal, which is written to a file under this header; or why there is none.
    ///
    /// # Errors
    /// The worker cannot be started, or the file not be written; of the kind `Interrupted`, if the user has had enough.
    pub fn journal(
        &self,
        recipe: &Recipe,
        header: Header,
        path: &Path,
    ) -> std::io::Result<Result<JournalFile, String>> {
        let keep = Some(Keep { path: path.to_owned(), header });
        // What an earlier run left there is not this one's.
        let _ = std::fs::remove_file(path);
        let result = self.run_alone(&Job { recipe: recipe.clone(), situations: false, keep })?;
        if let Some(why) = result.unwritten {
            return Err(std::io::Error::other(why));
        }
        if result.verdict().is_none() {
            let (_, why) = result.signatures().pop_first().unwrap_or_default();
            return Ok(Err(format!("{}: has no journal: {why}", recipe.title())));
        }
        let read = File::open(path).map_err(Into::into).and_then(|input| file::read(BufReader::new(input)));
        Ok(read.map_err(|error| format!("{}: {error}", path.display())))
    }

    /// Takes in what is done, after waiting so long for the first.
    fn gather(&mut self, wait: Duration) -> std::io::Result<()> {
        let first = match self.results.recv_timeout(wait) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err(std::io::Error::other("all workers are gone")),
        };
        for result in std::iter::once(first).chain(self.results.try_iter()) {
            let (ticket, result) = result?;
            self.ready.insert(ticket, result);
        }
        Ok(())
    }
}

/// Keeps one worker process going.
#[derive(Clone)]
struct Keeper {
    program: (PathBuf, Vec<String>),
    limits: Limits,
}

/// A running worker and the lines it writes, read by a thread so that waiting for them can time out.
struct Worker {
    process: Child,
    lines: Receiver<String>,
    last_words: Arc<Mutex<String>>,
    /// Reads them.
    listener: Option<JoinHandle<()>>,
}

impl Worker {
    /// Gives it a job; false if it has ended.
    fn takes(&mut self, job: &str) -> bool {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.process.stdin.as_mut().is_some_and(|stdin| stdin.write_all(job.as_bytes()).is_ok())
    }

    /// What it said last in its job, once it has ended.
    fn last_words(&mut self) -> String {
        let _ = self.process.wait();
        self.listener.take().map(JoinHandle::join);
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Keeper {
    fn keep(self, queue: &Mutex<Receiver<(Ticket, Job)>>, results: &Sender<std::io::Result<(Ticket, JobResult)>>) {
        let mut worker = None;
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((ticket, job)) = job else { return };
            let running = match worker.take() {
                Some(running) => Ok(running),
                None => self.start(),
            };
            let answer = running.and_then(|mut running| {
                // Whoever waits for the result heeds the user; an error here would be told to whoever asks for any other.
                let result = self.run(&mut running, &job, || Ok(()))?;
                let is_judged = matches!(result.outcome, Outcome::Judged(_));
                if is_judged && resident_bytes(running.process.id()) < self.limits.memory_bytes {
                    worker = Some(running);
                }
                Ok((ticket, result))
            });
            let failed = answer.is_err();
            if results.send(answer).is_err() || failed {
                return;
            }
        }
    }

    fn start(&self) -> std::io::Result<Worker> {
        let (program, arguments) = &self.program;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is for the parent, which ends in its own time; workers end with their input.
            .process_group(0)
            .spawn()?;
        let (sender, lines) = channel();
        read_lines(process.stdout.take(), move |line| sender.send(line).is_ok());
        let last_words = Arc::new(Mutex::new(String::new()));
        let words = last_words.clone();
        let listener = read_lines(process.stderr.take(), move |line| {
            // A panic's own words stand before the advice, and before what madsim says of its task.
            if !["note:", "context:"].iter().any(|other| line.starts_with(other)) {
                *words.lock().unwrap_or_else(PoisonError::into_inner) = line;
            }
            true
        });
        Ok(Worker { process, lines, last_words, listener: Some(listener) })
    }

    /// Does a job, unless `heed`, which is asked all the time, ends it with an error.
    fn run(
        &self,
        worker: &mut Worker,
        job: &Job,
        heed: impl Fn() -> std::io::Result<()>,
    ) -> std::io::Result<JobResult> {
        let line = format!("{}\n", serde_json::to_string(job)?);
        if !worker.takes(&line) {
            // Whatever ended it between two runs has nothing to do with this one.
            *worker = self.start()?;
            if !worker.takes(&line) {
                let nothing = Allowance::new(worker.process.id(), self.limits.run_time);
                return Ok(ended(Outcome::Died(worker.last_words()), &nothing));
            }
        }
        let mut allowance = Allowance::new(worker.process.id(), self.limits.run_time);
        while allowance.is_left() {
            heed()?;
            match worker.lines.recv_timeout(LOOK) {
                Ok(line) => {
                    // A line that is cut short is the last of a worker that dies.
                    return Ok(serde_json::from_str(&line).unwrap_or_else(|_| {
                        let _ = worker.process.kill();
                        ended(Outcome::Died(worker.last_words()), &allowance)
                    }));
                }
                Err(RecvTimeoutError::Timeout) => allowance.note(1),
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(ended(Outcome::Died(worker.last_words()), &allowance));
                }
            }
            // Between two runs it may still hold what the last one left; within one, twice as much is a leak.
            if resident_bytes(worker.process.id()) > 2 * self.limits.memory_bytes {
                let words = format!("it used more than {} MiB", (2 * self.limits.memory_bytes) >> 20);
                return Ok(ended(Outcome::Died(words), &allowance));
            }
        }
        Ok(ended(Outcome::Stuck, &allowance))
    }
}

fn ended(outcome: Outcome, after: &Allowance) -> JobResult {
    let (took_us, cpu_us) = (after.waited.as_micros() as u64, after.used.as_micros() as u64);
    JobResult { outcome, took_us, cpu_us, unwritten: None }
}

/// Reads lines on a thread of its own, until they end or are not wanted any more.
fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    mut take: impl FnMut(String) -> bool + Send + 'static,
) -> JoinHandle<()> {
    #[expect(clippy::disallowed_methods, reason = "the parent of worker processes lives in the real world")]
    std::thread::spawn(move || {
        for line in pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(Result::ok) {
            if !take(line) {
                return;
            }
        }
    })
}

/// Resident memory of a process, in bytes; 0 if it cannot be read.
fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: u64 = status.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
