//! One process: from its start to its end (`pkg/process/process.go`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::process::{Command, Daemon, Signal};
use host::time::{Instant, sleep};
use longhorn_rpc::process_manager as wire;
use tokio::sync::Notify;

use super::{WAIT_COUNT, WAIT_INTERVAL, exit, probe, state};

/// What passes between the end of a program and its parent's knowing: the kernel takes it down, and the runtime is told. Enough that whoever
/// looks in the very instant of a kill finds it still there.
const REAPING: Duration = Duration::from_millis(1);

/// Bytes of a log that are read.
const MOST_LOG: usize = 8 << 10;

/// A process that was asked for.
pub(super) struct Process {
    pub name: String,
    pub binary: String,
    pub uuid: String,
    port_count: i32,
    port_arguments: Vec<String>,
    /// With the arguments that say its ports.
    arguments: Vec<String>,
    /// First and last; both zero if it has none.
    pub ports: (i32, i32),
    state: Mutex<State>,
    /// Told when the program ends: its health is not asked for any more.
    ended: Notify,
}

struct State {
    word: &'static str,
    error: String,
    conditions: BTreeMap<String, bool>,
    stop_began: Option<Instant>,
    daemon: Option<Daemon>,
    /// What earlier processes of the same name wrote, as their log file has it.
    log_before: Vec<u8>,
}

/// Who is told of a change.
pub(super) type Updates = Arc<dyn Fn(&Process) + Send + Sync>;

impl Process {
    /// A process that has not been started.
    pub fn new(spec: wire::ProcessSpec, uuid: String, ports: (i32, i32), log_before: Vec<u8>) -> Arc<Self> {
        let said_ports = spec.port_args.iter().zip(ports.0..).map(|(argument, port)| format!("{argument}{port}"));
        let split: Vec<String> =
            said_ports.flat_map(|said| said.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
        Arc::new(Self {
            name: spec.name,
            binary: spec.binary,
            uuid,
            port_count: spec.port_count,
            port_arguments: spec.port_args,
            arguments: spec.args.into_iter().chain(split).collect(),
            ports,
            state: Mutex::new(State {
                word: state::STARTING,
                error: String::new(),
                conditions: BTreeMap::new(),
                stop_began: None,
                daemon: None,
                log_before,
            }),
            ended: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its state, in a word.
    pub fn word(&self) -> &'static str {
        self.state().word
    }

    /// Whether it has ended.
    pub fn is_stopped(&self) -> bool {
        matches!(self.word(), state::STOPPED | state::ERROR)
    }

    /// Starts the program. What it does from here on is told to `updates`.
    ///
    /// # Errors
    /// The program cannot be started; the process is in error.
    pub async fn start(self: &Arc<Self>, updates: &Updates) -> Result<(), String> {
        let started = Command::new(&self.binary).args(&self.arguments).spawn_daemon().await;
        let daemon = started.map_err(|error| {
            let error = exit::error_of_start(&self.binary, &error);
            let mut state = self.state();
            (state.word, state.error) = (state::ERROR, error.clone());
            error
        })?;
        self.state().daemon = Some(daemon.clone());
        host::spawn(self.clone().watch_end(daemon, updates.clone()));
        host::spawn(self.clone().watch_health(updates.clone()));
        Ok(())
    }

    async fn watch_end(self: Arc<Self>, daemon: Daemon, updates: Updates) {
        let status = daemon.wait().await;
        sleep(REAPING).await;
        {
            let mut state = self.state();
            match exit::error_of(status) {
                Some(error) => (state.word, state.error) = (state::ERROR, error),
                None => state.word = state::STOPPED,
            }
        }
        self.ended.notify_one();
        updates(&self);
    }

    async fn watch_health(self: Arc<Self>, updates: Updates) {
        // Without a port nobody can be asked.
        if self.ports.0 == 0 || self.comes_to_serve().await {
            // Whatever it was: a process that is being stopped is running once more.
            self.state().word = state::RUNNING;
            updates(&self);
        } else if !self.is_stopped() {
            self.stop(Signal::Interrupt, &updates);
        }
    }

    async fn comes_to_serve(&self) -> bool {
        let mut ticks = Ticks::new(WAIT_INTERVAL);
        for _ in 0..WAIT_COUNT {
            tokio::select! {
                biased;
                () = self.ended.notified() => return false,
                () = ticks.tick() => {}
            }
            if probe::serves(self.ports.0).await {
                return true;
            }
        }
        false
    }

    /// Asks the program to stop, and kills it if it has not after a minute. Asked again after that minute, it kills at once.
    pub fn stop(self: &Arc<Self>, signal: Signal, updates: &Updates) {
        let first = {
            let mut state = self.state();
            let first = !matches!(state.word, state::STOPPING | state::STOPPED | state::ERROR);
            let overdue = |began: Instant| began.elapsed() > WAIT_INTERVAL * WAIT_COUNT;
            if first {
                state.word = state::STOPPING;
                state.stop_began = Some(Instant::now());
            } else if !state.stop_began.is_some_and(overdue) {
                return;
            }
            first
        };
        updates(self);
        let process = self.clone();
        host::spawn(async move { process.see_it_stop(first.then_some(signal)).await });
    }

    async fn see_it_stop(self: Arc<Self>, signal: Option<Signal>) {
        let daemon = self.state().daemon.clone();
        let Some(daemon) = daemon.filter(Daemon::is_running) else {
            let mut state = self.state();
            if !matches!(state.word, state::STOPPED | state::ERROR) {
                state.word = state::STOPPED;
            }
            return;
        };
        if let Some(signal) = signal {
            daemon.signal(signal);
            if self.stops_in_time().await {
                return;
            }
        }
        daemon.signal(Signal::Kill);
    }

    /// Waits a minute for its end.
    pub async fn stops_in_time(&self) -> bool {
        for _ in 0..WAIT_COUNT {
            if self.is_stopped() {
                return true;
            }
            sleep(WAIT_INTERVAL).await;
        }
        false
    }

    /// Sets a condition if it is running; false if it is not.
    pub fn set_condition(&self, condition: &str, holds: bool) -> bool {
        let mut state = self.state();
        if state.word != state::RUNNING {
            return false;
        }
        state.conditions.insert(condition.to_owned(), holds);
        true
    }

    /// What processes of this name have written, this one last: the end of it. (Upstream's file grows without a bound, and all of it is read each time
    /// that a process of that name has crashed. A run in which one crashes again and again would hardly come to its end.)
    pub fn log(&self) -> Vec<u8> {
        let state = self.state();
        let mut log = state.log_before.clone();
        log.extend(state.daemon.as_ref().map(Daemon::written).unwrap_or_default());
        if log.len() > MOST_LOG {
            let cut = log.len() - MOST_LOG;
            let line = log[cut..].iter().position(|byte| *byte == b'\n').map_or(cut, |end| cut + end + 1);
            log.drain(..line);
        }
        log
    }

    /// The process as an answer.
    pub fn to_response(&self, says_uuid: bool) -> wire::ProcessResponse {
        let state = self.state();
        wire::ProcessResponse {
            spec: Some(wire::ProcessSpec {
                name: self.name.clone(),
                binary: self.binary.clone(),
                args: self.arguments.clone(),
                port_count: self.port_count,
                port_args: self.port_arguments.clone(),
            }),
            status: Some(wire::ProcessStatus {
                state: state.word.to_owned(),
                error_msg: state.error.clone(),
                port_start: self.ports.0,
                port_end: self.ports.1,
                conditions: state.conditions.clone(),
                uuid: if says_uuid { self.uuid.clone() } else { String::new() },
            }),
            deleted: false,
        }
    }
}

/// Go's ticker: a tick that nobody takes is dropped, and the next one keeps its place in the row.
struct Ticks {
    period: Duration,
    next: Instant,
}

impl Ticks {
    fn new(period: Duration) -> Self {
        Self { period, next: Instant::now() + period }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.next {
            // One tick waits in the channel; those behind it were dropped.
            let missed = (now - self.next).as_nanos() / self.period.as_nanos();
            self.next = self.next + self.period * u32::try_from(missed + 1).unwrap_or(u32::MAX);
            return;
        }
        host::time::sleep_until(self.next).await;
        self.next = self.next + self.period;
    }
}
