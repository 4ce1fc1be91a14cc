//! Running programs as child processes.

use std::io;
use std::time::Duration;

use crate::time::timeout;

/// A program to run, with its arguments and environment.
#[derive(Clone, Debug)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    timeout: Option<Duration>,
}

/// What a program left: status and both output streams.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// Its exit status; 128 plus the signal's number if a signal ended it.
    pub code: i32,
}

impl ExitStatus {
    /// Whether it is zero.
    pub fn success(self) -> bool {
        self.code == 0
    }
}

/// What Linux says of a file that is no program (ENOEXEC).
#[cfg(madsim)]
const EXEC_FORMAT_ERROR: i32 = 8;

/// A running program.
pub struct Child(Backend);

enum Backend {
    #[cfg(madsim)]
    Simulated(std::sync::Arc<corral_core::Process>),
    Real(tokio_real::process::Child),
}

impl Command {
    /// The program at this path.
    pub fn new(program: impl Into<String>) -> Command {
        Command { program: program.into(), arguments: Vec::new(), environment: Vec::new(), timeout: None }
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, arguments: I) -> Command {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable to those it inherits.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Command {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// [`Command::output`] kills a program that runs longer.
    pub fn timeout(mut self, limit: Duration) -> Command {
        self.timeout = Some(limit);
        self
    }

    /// Runs it to its end and collects what it wrote.
    ///
    /// # Errors
    /// No such program; or `TimedOut`, after which it has been killed.
    pub async fn output(&self) -> io::Result<Output> {
        let began = crate::time::Instant::now();
        let child = self.spawn().await?;
        let output = match self.timeout {
            None => child.output().await?,
            Some(limit) => child.output_within(limit).await?,
        };
        crate::journal::record(crate::journal::Event::Executed {
            command: self.to_string().into(),
            code: output.status.code,
            took_ns: began.elapsed().as_nanos() as u64,
        });
        Ok(output)
    }

    /// The same program for the real world's runtime, killed when its handle is dropped.
    pub(crate) fn to_real(&self) -> tokio_real::process::Command {
        let mut command = tokio_real::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts it. It is killed when this process ends.
    ///
    /// # Errors
    /// No such program.
    pub async fn spawn(&self) -> io::Result<Child> {
        #[cfg(madsim)]
        if crate::simulated() {
            return self.spawn_simulated().await.map(|process| Child(Backend::Simulated(process)));
        }
        Ok(Child(Backend::Real(self.to_real().spawn()?)))
    }

    #[cfg(madsim)]
    pub(crate) async fn spawn_simulated(&self) -> io::Result<std::sync::Arc<corral_core::Process>> {
        use crate::process::{Executables, Programs, StartLatency, not_found};
        let world = corral_core::world();
        let Some(parent) = world.current_process() else { return std::future::pending().await };
        let programs = parent.spec.attachments.get::<Programs>();
        let in_image = programs.and_then(|programs| programs.by_path.get(&self.program).cloned());
        let main = match in_image {
            Some(main) => main,
            None => {
                let content = crate::fs::read(&self.program).await.map_err(|_| not_found(&self.program))?;
                let named = Executables::of(&world).named_by(&content);
                named.ok_or_else(|| io::Error::from_raw_os_error(EXEC_FORMAT_ERROR))?
            }
        };
        let latency =
            parent.spec.attachments.get::<StartLatency>().map_or_else(StartLatency::default, |latency| *latency);
        let mut random = crate::random::stream(&format!("exec/{}", world.now().0));
        crate::time::sleep(latency.0.draw(&mut random)).await;
        let mut spec = parent.spec.clone();
        spec.name = format!("{}:{}", parent.spec.name, self.program.rsplit('/').next().unwrap_or_default());
        spec.arguments = std::iter::once(&self.program).chain(&self.arguments).cloned().collect();
        spec.environment.extend(self.environment.iter().cloned());
        spec.attachments = spec.attachments.with(std::sync::Arc::new(corral_core::ChildOf(parent.id)));
        // The future is made inside the new process, so that what it draws and opens from its first line on is its own.
        Ok(world.spawn_process(spec, Box::pin(async move { main().await })))
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

impl Child {
    async fn output_within(self, limit: Duration) -> io::Result<Output> {
        match self.0 {
            #[cfg(madsim)]
            Backend::Simulated(process) => match timeout(limit, process.wait()).await {
                Ok(end) => Ok(collected(&process, end.code())),
                Err(elapsed) => {
                    corral_core::world().signal(&process, corral_core::Signal::Kill);
                    Err(io::Error::new(io::ErrorKind::TimedOut, elapsed))
                }
            },
            // Dropping the future kills the program.
            Backend::Real(child) => match timeout(limit, child.wait_with_output()).await {
                Ok(output) => output.map(from_real),
                Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
            },
        }
    }

    /// Waits for its end and collects what it wrote.
    ///
    /// # Errors
    /// As `wait(2)`.
    pub async fn output(self) -> io::Result<Output> {
        match self.0 {
            #[cfg(madsim)]
            Backend::Simulated(process) => {
                let end = process.wait().await;
                Ok(collected(&process, end.code()))
            }
            Backend::Real(child) => child.wait_with_output().await.map(from_real),
        }
    }

    /// Kills it.
    ///
    /// # Errors
    /// As `kill(2)`.
    pub async fn kill(&mut self) -> io::Result<()> {
        match &mut self.0 {
            #[cfg(madsim)]
            Backend::Simulated(process) => {
                corral_core::world().signal(process, corral_core::Signal::Kill);
                Ok(())
            }
            Backend::Real(child) => child.kill().await,
        }
    }
}

#[cfg(madsim)]
fn collected(process: &corral_core::Process, code: i32) -> Output {
    let (stdout, stderr) = process.output();
    Output { status: ExitStatus { code }, stdout, stderr }
}

fn from_real(output: std::process::Output) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
    Output { status: ExitStatus { code }, stdout: output.stdout, stderr: output.stderr }
}
