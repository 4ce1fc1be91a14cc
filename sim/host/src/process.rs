//! The process itself (arguments, environment, signals, output), and the programs it runs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use crate::child::{Child, Command, ExitStatus, Output};
pub use crate::daemon::{Daemon, Signal};

/// A program's main: what an image or an executable file is in the simulated world. It runs as a process of its own, reads its arguments and
/// environment through this module, and gives an exit status.
pub type Program = Arc<dyn Fn() -> Main + Send + Sync>;

/// A main that was called. It is boxed by the crate that wrote it, and compiled there: a future is compiled wherever it is first polled or
/// boxed, so mains would be compiled again by all who only start them.
pub type Main = Pin<Box<dyn Future<Output = i32> + Send>>;

/// Wraps an async main as a program.
pub fn program<F, Fut>(main: F) -> Program
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = i32> + Send + 'static,
{
    Arc::new(move || Box::pin(main()))
}

/// The executables that a process finds: path to program. Hung on a process as an attachment by whoever starts its container, and inherited by
/// what it runs.
#[derive(Clone, Default)]
pub struct Programs {
    /// By absolute path.
    pub by_path: BTreeMap<String, Program>,
}

/// Programs that files name: a file whose content is [`executable_file`] of a name runs the program registered under it. This is how a binary that
/// one container copied to its host is run by another, and how it is missing when nobody copied it. One table a run.
#[cfg(madsim)]
#[derive(Default)]
pub struct Executables {
    by_name: std::sync::Mutex<BTreeMap<String, Program>>,
}

#[cfg(madsim)]
impl Executables {
    /// The run's table.
    pub fn of(world: &corral_core::World) -> Arc<Executables> {
        world.extension(Executables::default)
    }

    /// Registers a program.
    pub fn insert(&self, name: &str, program: Program) {
        self.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name.to_owned(), program);
    }

    /// The program that a file's content names.
    pub(crate) fn named_by(&self, content: &[u8]) -> Option<Program> {
        let name = std::str::from_utf8(content).ok()?.strip_prefix(EXECUTABLE_MARK)?.trim_end();
        self.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(name).cloned()
    }
}

const EXECUTABLE_MARK: &str = "#!corral ";

/// The content of an executable file that runs the program registered under this name.
pub fn executable_file(name: &str) -> Vec<u8> {
    format!("{EXECUTABLE_MARK}{name}\n").into_bytes()
}

/// Who is at an address, for people: the first process there (a pod's first container); the address itself where that is not known.
pub fn name_at(address: std::net::IpAddr) -> String {
    #[cfg(madsim)]
    if let (Some(world), std::net::IpAddr::V4(address)) = (corral_core::try_world(), address)
        && let Some(process) = world.processes_at(address).first()
    {
        return process.spec.name.clone();
    }
    address.to_string()
}

/// Arguments, the program's name first.
pub fn args() -> Vec<String> {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        return world.current_process().map(|process| process.spec.arguments.clone()).unwrap_or_default();
    }
    std::env::args().collect()
}

/// An environment variable.
pub fn env_var(name: &str) -> Option<String> {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        return world.current_process()?.spec.environment.get(name).cloned();
    }
    #[expect(clippy::disallowed_methods, reason = "this is the real world's arm")]
    std::env::var(name).ok()
}

/// The host's name: the pod's in the simulated world.
pub fn hostname() -> String {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        return world.current_process().map(|process| process.spec.hostname.clone()).unwrap_or_default();
    }
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Resolves when the process is asked to stop (SIGTERM or SIGINT). A process that never waits for it is ended by the request itself.
pub async fn terminated() {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        match world.current_process() {
            Some(process) => return process.terminated().await,
            None => return std::future::pending().await,
        }
    }
    use tokio_real::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio_real::select! { biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Ends the process with this status; never completes.
pub async fn exit(code: i32) -> ! {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        if let Some(process) = world.current_process() {
            world.end_process(&process, corral_core::journal::End::Exited(code));
        }
        loop {
            std::future::pending::<()>().await;
        }
    }
    std::process::exit(code)
}

/// Writes to the process's standard output.
pub fn print(text: &str) {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        if let Some(process) = world.current_process() {
            process.print(text.as_bytes());
        }
        return;
    }
    print!("{text}");
}

/// Writes to the process's standard error.
pub fn print_error(text: &str) {
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        if let Some(process) = world.current_process() {
            process.print_error(text.as_bytes());
        }
        return;
    }
    eprint!("{text}");
}

/// How long the kernel needs to start a program (fork, exec, dynamic linking): paid by each [`Command`] in the simulated world. Hung on a process as
/// an attachment; without one, a few milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct StartLatency(pub corral_core::Latency);

impl Default for StartLatency {
    fn default() -> StartLatency {
        StartLatency(corral_core::Latency::heavy(Duration::from_millis(3), Duration::from_millis(4)))
    }
}

/// What a program that is not there gives.
#[cfg(madsim)]
pub(crate) fn not_found(program: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::NotFound, format!("{program}: no such file or directory"))
}
