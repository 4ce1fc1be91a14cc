//! How the command ends.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// Exit statuses; scripts and CI rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything was as expected.
    AsExpected = 0,
    /// A violation, or a seed file that did not behave as it says.
    Violation = 1,
    /// Bad usage or bad input; or nowhere to print to.
    Usage = 2,
    /// Two runs of one seed were not the same run.
    NotDeterministic = 3,
    /// A run did not end within its time.
    Stuck = 4,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// Bad input: one line that says what is wrong, where, and what is allowed. Becomes exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// With this line.
    pub fn new(line: impl Display) -> Refused {
        Refused(line.to_string())
    }

    /// A file or folder that cannot be used.
    pub fn path(path: &Path, what: &str, error: impl Display) -> Refused {
        Refused(format!("{}: {what}: {error}", path.display()))
    }
}

impl From<String> for Refused {
    fn from(line: String) -> Refused {
        Refused(line)
    }
}

/// How every sub-command ends.
pub type Done = Result<Status, Refused>;
