//! How a command ends: with its output, or with an error that is reported in one of two ways.
//!
//! Most commands panic with their error, and main catches it: a line in the log, the bare text on standard output. The
//! others log a fatal line that names the command, and print nothing.

use std::fmt::Display;

use longhorn_backupstore::{Error, Level, Log};

/// What a command prints, or why it failed.
pub(crate) type Outcome = Result<String, Failure>;

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    error: String,
    /// What a fatal log line says of the command.
    fatal: Option<&'static str>,
    /// What was printed before the failure was reported.
    printed: String,
    /// The process's status.
    status: i32,
}

impl Failure {
    /// A failure that main catches.
    pub fn panic(error: impl Display) -> Self {
        Self { error: error.to_string(), fatal: None, printed: String::new(), status: 1 }
    }

    /// A command line that the parser refused.
    pub fn usage(error: impl Display) -> Self {
        let printed = format!("Incorrect Usage: {error}\n\n");
        Self { error: error.to_string(), fatal: Some("Error when executing command"), printed, status: 1 }
    }

    /// The same failure of a command that reports it by a fatal log line.
    pub fn fatal(mut self, message: &'static str) -> Self {
        self.fatal.get_or_insert(message);
        self
    }

    /// The same failure, with something printed before it is reported.
    pub fn printing(mut self, printed: String) -> Self {
        self.printed = printed;
        self
    }

    /// The same failure, with another status.
    pub fn with_status(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    /// Reports it, and gives the exit status.
    pub fn report(self) -> i32 {
        let log = Log::default();
        match self.fatal {
            None => {
                log.write(Level::Error, &self.error, &[]);
                host::process::print(&format!("{}\n", self.error));
            }
            Some(message) => {
                host::process::print(&self.printed);
                log.write(Level::Fatal, message, &[("error", &self.error)]);
            }
        }
        self.status
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::panic(error)
    }
}

/// A result as the binary prints it.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    longhorn_backupstore::json::to_indented(value) + "\n"
}

/// The error for an argument that is not there.
pub(crate) fn missing(what: &str) -> Failure {
    Failure::panic(format!("cannot find valid required parameter: {what}"))
}
