//! Watchdogs for runs that do not end: of this process, and of a worker.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Exit status of a run that does not end.
const STUCK: i32 = 4;

/// How often a watchdog looks.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// What a process may take from now on: so much processor time, since a busy machine makes no run stuck, and, since what waits for ever uses none, ten
/// times as much of real time.
pub(crate) struct Allowance {
    process: u32,
    limit: Duration,
    /// What the process had used when that was last looked at.
    seen: Duration,
    /// Processor time that was used since the beginning.
    pub(crate) used: Duration,
    /// Real time that has passed.
    pub(crate) waited: Duration,
}

impl Allowance {
    pub(crate) fn new(process: u32, limit: Duration) -> Allowance {
        let seen = processor_time(process);
        Allowance { process, limit, seen, used: Duration::ZERO, waited: Duration::ZERO }
    }

    /// Notes what was used while a watchdog slept: a part of what the process has used, if so many runs go on in it.
    pub(crate) fn note(&mut self, runs: u32) {
        let seen = processor_time(self.process);
        self.used += seen.saturating_sub(self.seen) / runs.max(1);
        self.seen = seen;
        self.waited += LOOK;
    }

    pub(crate) fn is_left(&self) -> bool {
        self.waited < self.limit * 10 && self.used < self.limit
    }
}

/// Runs of this process that are watched.
static WATCHED: AtomicU32 = AtomicU32::new(0);

/// What a process has used of the processors; nothing if that cannot be read.
fn processor_time(process: u32) -> Duration {
    // Linux counts for programs in ticks of this length, whatever its own are.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Its name, in parentheses, may hold anything. Behind it, the 12th and 13th are the ticks in user and in kernel mode.
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// Ends the process with status 4 unless it is dropped in time.
#[must_use]
pub struct Watchdog {
    _alive: Sender<()>,
}

/// Starts a watchdog of a run of this title, which may take so much processor time, or ten times as much of real time.
pub fn watchdog(limit: Duration, title: &str) -> Watchdog {
    let (alive, dead) = channel::<()>();
    let title = title.to_owned();
    #[expect(clippy::disallowed_methods, reason = "real time, and the run's own thread may spin")]
    std::thread::spawn(move || {
        let mut allowance = Allowance::new(std::process::id(), limit);
        while allowance.is_left() {
            if dead.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            allowance.note(WATCHED.load(Ordering::Relaxed));
        }
        let (used, waited) = (allowance.used.as_secs(), allowance.waited.as_secs());
        eprintln!("corral: stuck: {title}: did not end within {used} s of processor time, {waited} s of real time");
        std::process::exit(STUCK);
    });
    WATCHED.fetch_add(1, Ordering::Relaxed);
    Watchdog { _alive: alive }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        WATCHED.fetch_sub(1, Ordering::Relaxed);
    }
}
