//! Runs a simulation: a fresh thread, a madsim runtime of our own making, and nothing left behind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId;
use madsim::time::TimeHandle;

use crate::fork::Fork;
use crate::journal::LogEntry;
use crate::journal::{End, Event, Kept};
use crate::logs::Logs;
use crate::nanos::Nanos;
use crate::process::{Attachments, ProcessSpec};
use crate::world::{World, set_world, try_world, world};

/// True time at the start of every run: 2026-01-01T00:00:00Z, in seconds since 1970.
pub const EPOCH_SECONDS: i64 = 1_767_225_600;

/// The address of the process that runs a simulation's body.
pub const BODY_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Keep the full journal, not only its digest.
    pub keep_journal: bool,
    /// Collect the models' logs at this level and above.
    pub logs: Option<tracing::Level>,
    /// From a time on, be another run.
    pub fork: Option<Fork>,
}

impl Options {
    /// This seed; no journal kept, no logs.
    pub fn new(seed: u64) -> Options {
        Options { seed, keep_journal: false, logs: None, fork: None }
    }

    /// With the full journal.
    pub fn keep_journal(mut self) -> Options {
        self.keep_journal = true;
        self
    }

    /// The same up to a time, and from there on another.
    pub fn fork(mut self, fork: Fork) -> Options {
        self.fork = Some(fork);
        self
    }

    /// With the models' logs.
    pub fn logs(mut self, level: tracing::Level) -> Options {
        self.logs = Some(level);
        self
    }
}

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What its body gave, or why it did not.
    pub value: Result<T, Failure>,
    /// The journal's digest: two runs are the same run exactly if theirs are equal.
    pub digest: u128,
    /// Number of events.
    pub events: u64,
    /// When the body ended.
    pub ended_at: Nanos,
    /// The full journal, if asked for.
    pub journal: Option<Kept>,
    /// The logs, if asked for.
    pub logs: Vec<LogEntry>,
}

impl<T> Outcome<T> {
    /// The body's value; panics as the body did.
    ///
    /// # Panics
    /// If the body panicked or could not end.
    #[track_caller]
    pub fn unwrap(self) -> T {
        match self.value {
            Ok(value) => value,
            Err(failure) => panic!("{failure}"),
        }
    }
}

/// Why a body gave no value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The body panicked.
    #[error("{message} ({location})")]
    Panicked {
        /// The message.
        message: String,
        /// File and line.
        location: String,
    },
    /// The simulator itself failed: a panic outside every process, or nothing left that could happen.
    #[error("the simulator failed: {0}")]
    Simulator(String),
}

#[derive(Clone, Debug)]
struct Panic {
    message: String,
    location: String,
}

thread_local! {
    // The last panic on this run's thread; madsim reports panics of tasks without their message.
    static LAST_PANIC: RefCell<Option<Panic>> = const { RefCell::new(None) };
    static BOOT: RefCell<Option<Options>> = const { RefCell::new(None) };
}

/// Records panics inside simulations as events instead of printing them; everything else goes to the hook that was there.
fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let Some(world) = try_world() else { return previous(info) };
            let message = info.payload_as_str().unwrap_or("a panic without a message").to_owned();
            let location = info.location().map_or_else(String::new, ToString::to_string);
            if std::env::var_os("RUST_BACKTRACE").is_some() {
                previous(info);
            }
            // Not `world.record`: outside a task there is no current process to ask for. Whose panic it was, the end of its process says.
            let event = Event::Panicked { message: message.as_str().into(), location: location.as_str().into() };
            world.journal().record(world.now(), 0, 0, event);
            LAST_PANIC.with(|last| *last.borrow_mut() = Some(Panic { message, location }));
        }));
    });
}

/// madsim's view of us: one plug-in that owns network, disks and processes.
struct Plugin {
    world: Arc<World>,
}

impl Simulator for Plugin {
    fn new(_random: &GlobalRng, time: &TimeHandle, _config: &madsim::Config) -> Plugin {
        let options = BOOT.with(|boot| boot.borrow_mut().take()).expect("set by the run");
        let epoch_ns = i128::from(EPOCH_SECONDS) * 1_000_000_000;
        let world = Arc::new(World::new(options.seed, epoch_ns, options.keep_journal, time.clone()));
        set_world(Some(world.clone()));
        Plugin { world }
    }

    fn reset_node(&self, node: NodeId) {
        self.world.node_was_reset(node);
    }
}

/// Runs `body` as the first process of a fresh world, on a fresh thread, until it ends; then tears everything down.
pub fn run<F>(options: Options, body: F) -> Outcome<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    install_panic_hook();
    // The only place that makes threads: one a run.
    let thread = std::thread::Builder::new()
        .name(format!("run-{}", options.seed))
        // Deep async call chains in development builds outgrow the default of 2 MiB.
        .stack_size(16 << 20)
        .spawn(move || run_on_this_thread(options, body))
        .expect("a thread for the run");
    thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

fn run_on_this_thread<F>(options: Options, body: F) -> Outcome<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let logs = Logs::default();
    let _guard = logs.install(options.logs);
    BOOT.with(|boot| *boot.borrow_mut() = Some(options.clone()));
    let runtime = Runtime::with_seed_and_config(options.seed, madsim::Config::default());
    runtime.add_simulator::<Plugin>();
    let world = world();
    if let Some(fork) = options.fork {
        fork.take(&world);
    }

    let pump = world.queue().clone().pump();
    let main = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(supervise(pump, body))));
    let ended_at = world.now();
    let value = match main {
        Ok(value) => value,
        Err(_) => Err(Failure::Simulator(last_panic().map_or_else(
            || "no event is left that could wake anybody".to_owned(),
            |panic| format!("{} ({})", panic.message, panic.location),
        ))),
    };
    let draw = runtime.block_on(async { madsim::rand::random::<u64>() });

    // Tasks that still wait would be leaked by madsim (task, waker and future hold each other): kill every node, then let it drop them.
    runtime.block_on(async {
        for process in world.processes() {
            world.end_process(&process, End::Killed);
        }
        world.queue().close();
        #[expect(clippy::disallowed_methods, reason = "our own queue is closed by now")]
        madsim::time::sleep(Duration::from_millis(2)).await;
    });
    // The last event is a draw of the schedule's generator: two runs whose schedules parted anywhere part here.
    world.journal().record(ended_at, 0, 0, Event::ScheduleDraw { value: draw });
    let outcome = Outcome {
        value,
        digest: world.journal().digest(),
        events: world.journal().events(),
        ended_at,
        journal: world.journal().take_kept(),
        logs: logs.take(),
    };
    world.close();
    set_world(None);
    drop(runtime);
    outcome
}

fn last_panic() -> Option<Panic> {
    LAST_PANIC.with(|last| last.borrow_mut().take())
}

/// The run loop on node 0: the pump, and the body as a process of its own.
async fn supervise<F>(pump: impl Future<Output = ()> + Send + 'static, body: F) -> Result<F::Output, Failure>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let world = world();
    let pump = world.spawn(pump);
    let machine = world.add_machine("corral");
    let spec = ProcessSpec {
        name: "corral".into(),
        machine: machine.id,
        address: BODY_ADDRESS,
        hostname: "corral".into(),
        arguments: vec!["corral".into()],
        environment: BTreeMap::new(),
        attachments: Attachments::default(),
    };
    let result = Arc::new(Mutex::new(None));
    let slot = result.clone();
    let process = world.spawn_process(
        spec,
        Box::pin(async move {
            let value = AssertUnwindSafe(body).catch_unwind().await;
            let failed = value.is_err();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value.map_err(|_| last_panic()));
            i32::from(failed)
        }),
    );
    process.wait().await;
    pump.abort();
    let value = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    match value {
        Some(Ok(value)) => Ok(value),
        Some(Err(panic)) => Err(failure(panic)),
        None => Err(failure(last_panic())),
    }
}

fn failure(panic: Option<Panic>) -> Failure {
    match panic {
        Some(Panic { message, location }) => Failure::Panicked { message, location },
        None => Failure::Simulator("the body's process was killed".to_owned()),
    }
}

/// All processes' nodes, for tests that count what is left.
pub fn tasks_alive() -> usize {
    Handle::current().metrics().num_tasks()
}
