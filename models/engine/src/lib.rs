//! The `longhorn` binary of an engine image: the engine and replica processes, and the command line by which the manager
//! looks into and cleans up backup targets (longhorn-manager engineapi/backups.go, backup_backing_image.go and
//! system_backup.go at v1.7.2 and v1.8.0; longhorn-engine main.go and app/cmd; backupstore cmd).
//!
//! [`Controller`] is the engine of a volume, [`task`] what is done to a volume from outside its engine process, and
//! [`Device`] the block device that an attached volume is on its machine.
//!
//! Results of commands go to standard output as JSON indented by tabs. A command that fails writes its error, in one of
//! the two ways upstream has, and ends with status 1; the manager reads both output streams and matches on texts. Commands
//! that nothing here runs (of snapshots, replicas and frontends: the instance manager calls [`task`] instead) are answered
//! as upstream answers a command it does not know.

mod backup;
pub mod controller;
mod flags;
mod frontend;
mod outcome;
mod processes;
mod system_backup;
pub mod task;
mod version;
mod volume_backup;

use host::process::Main;
use longhorn_api::Build;
use longhorn_backupstore::{Backupstore, Behaviour, Context, Credentials};

pub use controller::Controller;
pub use frontend::{BlockDevice, Device, device_path};

use flags::{Flag, Parsed};
use outcome::{Failure, Outcome};

/// What an engine image is built from, and what a scenario changes in it.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The build; the image's tag says which.
    pub build: Build,
    /// How the backup store's operations behave.
    pub behaviour: Behaviour,
}

impl Engine {
    /// The engine of a build, with nothing changed.
    pub fn of(build: Build) -> Self {
        let behaviour = Behaviour::of(&build);
        Self { build, behaviour }
    }
}

/// Flags that stand before the command.
const GLOBAL_FLAGS: [Flag; 6] = [
    Flag::with_value("url"),
    Flag::with_value("volume-name"),
    Flag::with_value("engine-instance-name"),
    Flag::switch("debug"),
    Flag::HELP,
    Flag::switch("version"),
];

/// The binary's main: reads the process's arguments and environment, and gives its exit status.
pub fn main(engine: Engine) -> Main {
    Box::pin(run(engine))
}

async fn run(engine: Engine) -> i32 {
    let arguments = host::process::args();
    let context = Context::new(engine.behaviour.clone()).with_log_on_stderr();
    let mut invocation =
        Invocation { engine, context, volume: String::new(), instance: String::new(), url: String::new() };
    match invocation.run(arguments.get(1..).unwrap_or_default()).await {
        Ok(output) => {
            host::process::print(&output);
            0
        }
        Err(failure) => failure.report(),
    }
}

/// One run of the binary.
struct Invocation {
    engine: Engine,
    context: Context,
    /// The volume and the engine that the caller believes to deal with.
    volume: String,
    instance: String,
    /// The engine's address.
    url: String,
}

/// The address of an engine that is not told.
const DEFAULT_URL: &str = "http://localhost:9501";

/// A random (version 4) UUID.
pub(crate) fn uuid() -> String {
    let mut random = host::random::stream(&format!("uuid/{}", host::wall_clock::now().as_nanosecond()));
    let variant = ["8", "9", "a", "b"][random.below(4) as usize];
    let (first, second, third) = (random.hex(8), random.hex(4), random.hex(3));
    format!("{first}-{second}-4{third}-{variant}{}-{}", random.hex(3), random.hex(12))
}

impl Invocation {
    async fn run(&mut self, arguments: &[String]) -> Outcome {
        let parsed = match Parsed::strict(&GLOBAL_FLAGS, arguments) {
            Ok(parsed) => parsed,
            Err(_) => return Err(Failure::panic("usage error, please check your command")),
        };
        if parsed.has("version") {
            return Ok(format!("longhorn version {}\n", self.engine.build.release()));
        }
        let Some((command, rest)) = parsed.arguments.split_first().filter(|_| !parsed.has("help")) else {
            return Ok(help());
        };
        parsed.value("volume-name").clone_into(&mut self.volume);
        parsed.value("engine-instance-name").clone_into(&mut self.instance);
        parsed.value_or("url", DEFAULT_URL).clone_into(&mut self.url);
        match command.as_str() {
            "controller" => self.controller(rest).await,
            "replica" => self.replica(rest).await,
            "backups" | "backup" => self.backup(rest).await,
            "system-backup" => self.system_backup(rest).await,
            "version" => self.version(rest),
            "help" | "h" => Ok(help()),
            other => Err(Failure::panic(format!("unrecognized command: {other}"))),
        }
    }

    /// Opens the store of this address, with the credentials that the environment has.
    async fn open(&self, address: &str) -> Result<Backupstore, Failure> {
        Ok(Backupstore::open(address, &Credentials::from_environment(), &self.context).await?)
    }
}

fn help() -> String {
    "NAME:\n   longhorn\n\nUSAGE:\n   longhorn [global options] command [command options] [arguments...]\n\nCOMMANDS:\n   \
     controller\n   replica\n   backups, backup\n   system-backup\n   version\n"
        .to_owned()
}
