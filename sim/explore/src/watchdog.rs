//! A watchdog in real time, for runs in this process.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Exit status of a run that does not end.
const STUCK: i32 = 4;

/// Ends the process with status 4 unless it is dropped in time.
#[must_use]
pub struct Watchdog {
    _alive: Sender<()>,
}

/// Starts a watchdog of a run of this title.
pub fn watchdog(limit: Duration, title: &str) -> Watchdog {
    let (alive, dead) = channel::<()>();
    let title = title.to_owned();
    #[expect(clippy::disallowed_methods, reason = "real time, and the run's own thread may spin")]
    std::thread::spawn(move || {
        if dead.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("corral: stuck: {title}: did not end within {} s of real time", limit.as_secs());
            std::process::exit(STUCK);
        }
    });
    Watchdog { _alive: alive }
}
