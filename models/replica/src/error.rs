//! What can go wrong with a replica, in the words that others match on (pkg/types/error.go).

use std::io;

use serde::Serialize;

/// Result of an operation on a replica.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation on a replica failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It makes no sense now, or for this replica.
    #[error("{0}")]
    Refused(String),
    /// A file operation failed.
    #[error("{operation} {path}: {}", reason_text(reason))]
    File {
        /// What was tried, as the kernel calls it.
        operation: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        reason: Reason,
    },
    /// A metadata file is not what it should be.
    #[error("invalid metadata file {path}: {reason}")]
    Metadata {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A read went past the volume's end.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// Several steps were taken, one failed, and those before it were taken back.
    #[error("{0}")]
    RolledBack(#[from] RolledBack),
}

/// Why a file operation failed: the kernel's number if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The kernel's number.
    Errno(i32),
    /// Another reason.
    Text(String),
}

const ENOENT: i32 = 2;
const ENOSPC: i32 = 28;

/// The text of a full disk.
pub const NO_SPACE: &str = "no space left on device";

/// A failure's text as Go has it: like the C library's, beginning with a small letter.
fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::Text(text) => text.clone(),
        Reason::Errno(number) => {
            let text = io::Error::from_raw_os_error(*number).to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let mut characters = text.chars();
            characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
        }
    }
}

/// The text of a failed system call, in Go's words.
pub fn go_text(error: &io::Error) -> String {
    reason_text(&Reason::of(error))
}

impl Reason {
    fn of(error: &io::Error) -> Reason {
        error.raw_os_error().map_or_else(|| Reason::Text(error.to_string()), Reason::Errno)
    }
}

impl Error {
    /// A refusal.
    pub fn refused(text: impl Into<String>) -> Error {
        Error::Refused(text.into())
    }

    /// A failed file operation.
    pub fn file(operation: &'static str, path: &str, error: &io::Error) -> Error {
        Error::File { operation, path: path.to_owned(), reason: Reason::of(error) }
    }

    /// Whether a file is missing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::File { reason: Reason::Errno(ENOENT), .. })
    }

    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::File { reason: Reason::Errno(ENOSPC), .. })
    }
}

/// An operation in several steps that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RolledBack {
    /// How far the operation could be taken back.
    pub code: Code,
    /// Why it failed.
    pub message: String,
    /// Why it could not be taken back.
    #[serde(rename = "rollbackMessage")]
    pub rollback_message: String,
}

/// How far a failed operation could be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Code {
    /// Nobody knows.
    ResultUnknown,
    /// It was not tried.
    FunctionFailedWithoutRollback,
    /// Everything is as it was before.
    FunctionFailedRollbackSucceeded,
    /// That failed too.
    FunctionFailedRollbackFailed,
}

impl std::error::Error for RolledBack {}

impl std::fmt::Display for RolledBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: code = {:?}, message = {}", self.code, self.message)?;
        if !self.rollback_message.is_empty() {
            write!(f, ", rollbackMessage: {}", self.rollback_message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_as_in_go() {
        let full = Error::file("write", "/r/volume-head-000.img", &io::Error::from_raw_os_error(ENOSPC));
        assert_eq!(full.to_string(), "write /r/volume-head-000.img: no space left on device");
        assert!(full.is_no_space());
        let io = io::Error::from_raw_os_error(5);
        assert_eq!(go_text(&io), "input/output error");
    }
}
