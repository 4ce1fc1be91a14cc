//! Programs that run beside their parent: watched, signalled, and killed when the parent ends.

use std::io;

use crate::process::{Command, ExitStatus};

/// A signal for a [`Daemon`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: asks it to stop.
    Interrupt,
    /// SIGHUP: ends a program that does not listen for it.
    HangUp,
    /// SIGKILL.
    Kill,
}

/// A running program with a handle that many may hold.
#[derive(Clone)]
pub struct Daemon(Backend);

#[derive(Clone)]
enum Backend {
    #[cfg(madsim)]
    Simulated(std::sync::Arc<corral_core::Process>),
    Real(real::Daemon),
}

impl Command {
    /// Starts it as a daemon.
    ///
    /// # Errors
    /// No such program.
    pub async fn spawn_daemon(&self) -> io::Result<Daemon> {
        #[cfg(madsim)]
        if crate::simulated() {
            return self.spawn_simulated().await.map(|process| Daemon(Backend::Simulated(process)));
        }
        real::Daemon::start(self.to_real()).map(|daemon| Daemon(Backend::Real(daemon)))
    }
}

impl Daemon {
    /// Waits for its end.
    pub async fn wait(&self) -> ExitStatus {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(process) => ExitStatus { code: process.wait().await.code() },
            Backend::Real(daemon) => daemon.wait().await,
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(process) => process.is_alive(),
            Backend::Real(daemon) => daemon.status().is_none(),
        }
    }

    /// Sends a signal; nothing happens to a program that has ended.
    pub fn signal(&self, signal: Signal) {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(process) => {
                let signal = match signal {
                    Signal::Interrupt => corral_core::Signal::Interrupt,
                    Signal::HangUp => corral_core::Signal::HangUp,
                    Signal::Kill => corral_core::Signal::Kill,
                };
                corral_core::world().signal(process, signal);
            }
            Backend::Real(daemon) => daemon.signal(signal),
        }
    }

    /// What it wrote so far: its standard output, then its standard error.
    pub fn written(&self) -> Vec<u8> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(process) => {
                let (mut written, errors) = process.output();
                written.extend(errors);
                written
            }
            Backend::Real(daemon) => daemon.written(),
        }
    }
}

/// The real world's arm: a task owns the child, so that every holder of the handle can wait for it.
mod real {
    use std::io;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use rustix::process::{Pid, Signal as UnixSignal, kill_process};
    use tokio_real::io::AsyncReadExt;

    use super::Signal;
    use crate::process::ExitStatus;

    #[derive(Clone)]
    pub struct Daemon(Arc<Shared>);

    struct Shared {
        id: Option<Pid>,
        state: Mutex<State>,
        ended: tokio::sync::Notify,
    }

    #[derive(Default)]
    struct State {
        status: Option<ExitStatus>,
        output: Vec<u8>,
        errors: Vec<u8>,
    }

    impl Daemon {
        pub fn start(mut command: tokio_real::process::Command) -> io::Result<Daemon> {
            let mut child = command.spawn()?;
            let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            let shared = Arc::new(Shared { id, state: Mutex::default(), ended: tokio::sync::Notify::new() });
            if let Some(stream) = child.stdout.take() {
                tokio_real::spawn(collect(shared.clone(), stream, |state| &mut state.output));
            }
            if let Some(stream) = child.stderr.take() {
                tokio_real::spawn(collect(shared.clone(), stream, |state| &mut state.errors));
            }
            let watched = shared.clone();
            tokio_real::spawn(async move {
                let code = match child.wait().await {
                    Ok(status) => {
                        use std::os::unix::process::ExitStatusExt;
                        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
                    }
                    Err(_) => -1,
                };
                watched.state().status = Some(ExitStatus { code });
                watched.ended.notify_waiters();
            });
            Ok(Daemon(shared))
        }

        pub fn status(&self) -> Option<ExitStatus> {
            self.0.state().status
        }

        pub async fn wait(&self) -> ExitStatus {
            loop {
                // Listens before it looks, so that an end in between is not missed.
                let mut ended = std::pin::pin!(self.0.ended.notified());
                ended.as_mut().enable();
                if let Some(status) = self.status() {
                    return status;
                }
                ended.await;
            }
        }

        pub fn signal(&self, signal: Signal) {
            let signal = match signal {
                Signal::Interrupt => UnixSignal::INT,
                Signal::HangUp => UnixSignal::HUP,
                Signal::Kill => UnixSignal::KILL,
            };
            // Its number is its own until it has been waited for, which is noted a moment later: good enough outside the simulation.
            let state = self.0.state();
            if let (None, Some(id)) = (state.status, self.0.id) {
                // It may have ended in between, which is as good.
                let _ = kill_process(id, signal);
            }
        }

        pub fn written(&self) -> Vec<u8> {
            let state = self.0.state();
            [state.output.as_slice(), state.errors.as_slice()].concat()
        }
    }

    impl Shared {
        fn state(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    async fn collect(
        shared: Arc<Shared>,
        mut stream: impl tokio_real::io::AsyncRead + Unpin,
        of: fn(&mut State) -> &mut Vec<u8>,
    ) {
        let mut chunk = vec![0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            of(&mut shared.state()).extend_from_slice(&chunk[..count]);
        }
    }
}
