//! What can go wrong, with the texts that controllers match on.
//!
//! The engine binary prints these texts and the manager searches them (longhorn-manager types/types.go): "cannot find"
//! counts as absent, "in progress" as not yet complete, and the engine controller looks for a refused lock
//! (longhorn#13685). So the texts are part of the interface.

/// Result of an operation on a backup store.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation on a backup store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A configuration is absent, or the store did not admit that it is there: a look that fails counts as absent
    /// upstream.
    #[error("cannot find {0} in backupstore")]
    Absent(String),
    /// The backup's configuration has no creation time yet.
    #[error("backup {0} is still in progress")]
    BackupInProgress(String),
    /// The backing image's configuration has no completion time yet.
    #[error("backup backing image {0} is still in progress")]
    BackingImageInProgress(String),
    /// Another operation holds the volume, or waits for it with priority. Engines up to v1.6.2 and v1.7.1 said "failed
    /// lock ..." (reworded by backupstore 326b984), and the engine controller still looks for that.
    #[error("failed to acquire lock {file} when performing backup {operation}, please try again later.")]
    LockRefused {
        /// The lock file of this operation.
        file: String,
        /// `create/restore` or `delete`.
        operation: &'static str,
    },
    /// The store's driver failed; the text tells how.
    #[error("{0}")]
    Driver(String),
    /// The request or what the store holds makes no sense; the text tells why.
    #[error("{0}")]
    Invalid(String),
    /// A failure with what was being done before it.
    #[error("{doing}: {cause}")]
    Doing {
        /// What was being done.
        doing: String,
        /// What went wrong.
        cause: Box<Error>,
    },
}

impl Error {
    /// The innermost cause.
    pub fn root(&self) -> &Error {
        match self {
            Error::Doing { cause, .. } => cause.root(),
            other => other,
        }
    }
}

/// Puts what was being done before a failure's text.
pub(crate) trait Context<T> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::Doing { doing: doing(), cause: Box::new(cause) })
    }
}
