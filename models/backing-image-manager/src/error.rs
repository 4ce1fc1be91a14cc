//! What can go wrong with a file, a transfer or a request. The texts reach status fields, so they say what upstream's say.

use std::io;

use http::StatusCode;

/// The result of this crate's operations.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A request, a state or a file that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The operating system refused.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// A server answered something else than success.
    #[error("resp.StatusCode({}) != http.StatusOK(200), response body content: {body}", status.as_u16())]
    Answer {
        /// Its status.
        status: StatusCode,
        /// What it said.
        body: String,
    },
    /// A server did not answer.
    #[error(transparent)]
    Http(#[from] host::http::Error),
    /// A server did not answer in time.
    #[error("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Timeout,
    /// The work was called off, or no byte came for too long.
    #[error("context cancelled during the copy")]
    Cancelled,
    /// The backup store.
    #[error(transparent)]
    Store(#[from] longhorn_backupstore::Error),
    /// The same, with what failed because of it.
    #[error("{what}: {error}")]
    Because {
        /// What failed.
        what: String,
        /// Why.
        error: Box<Error>,
    },
}

impl Error {
    /// A refusal.
    pub fn invalid(text: impl Into<String>) -> Error {
        Error::Invalid(text.into())
    }

    /// Whether a server answered that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Answer { status: StatusCode::NOT_FOUND, .. })
    }
}

/// Says what was being done.
pub(crate) trait Context<T> {
    /// The same result, whose error begins with this.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Io { what: what(), error })
    }
}

impl<T> Context<T> for Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Because { what: what(), error: Box::new(error) })
    }
}
