//! The `longhorn` binary of an engine image: its command line, so far as the manager runs it to look into and clean up
//! backup targets (longhorn-manager engineapi/backups.go, backup_backing_image.go and system_backup.go at v1.7.2 and
//! v1.8.0; longhorn-engine main.go and app/cmd; backupstore cmd).
//!
//! Results go to standard output as JSON indented by tabs. A command that fails writes its error, in one of the two
//! ways upstream has, and ends with status 1; the manager reads both output streams and matches on texts. Commands that
//! need an engine process or a replica (`backup create`, `restore`, `status`, snapshots, volumes) are not here yet and
//! are answered as upstream answers a command it does not know.

mod backup;
mod flags;
mod outcome;
mod system_backup;
mod version;

use longhorn_api::Build;
use longhorn_backupstore::{Backupstore, Behaviour, Context, Credentials};

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
pub async fn main(engine: Engine) -> i32 {
    let arguments = host::process::args();
    let context = Context::new(engine.behaviour.clone()).with_log_on_stderr();
    let invocation = Invocation { engine, context };
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
}

impl Invocation {
    async fn run(&self, arguments: &[String]) -> Outcome {
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
        match command.as_str() {
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
     backups, backup\n   system-backup\n   version\n"
        .to_owned()
}
