//! What a reconcile can fail with, and the questions that upstream's controllers ask of it (apierrors, `types.ErrorIs…`).

use std::fmt;

/// Why a step of the manager failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server, or the way to it.
    #[error(transparent)]
    Api(#[from] corral_kube_client::Error),
    /// The engine binary, with what it wrote: upstream tells the kinds of failure apart by its text.
    #[error("{0}")]
    Engine(String),
    /// A call to an instance manager, in grpc-go's words: its kinds of failure are told apart by its text too.
    #[error("{0}")]
    Rpc(String),
    /// The state of another resource forbids it for now (`types.ErrorInvalidState`); logged quietly.
    #[error("current state prevents this: {0}")]
    InvalidState(String),
    /// Anything else, in words.
    #[error("{0}")]
    Message(String),
    /// Another failure with what was being done.
    #[error("{context}: {source}")]
    Context {
        /// What was being done.
        context: String,
        /// What went wrong.
        source: Box<Error>,
    },
}

/// Shorthand for results of the manager.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure in words.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// What went wrong below all contexts.
    pub fn cause(&self) -> &Error {
        match self {
            Self::Context { source, .. } => source.cause(),
            other => other,
        }
    }

    fn api(&self) -> Option<&corral_kube_client::Error> {
        match self.cause() {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// The object is not there, in the cache or at the server.
    pub fn is_not_found(&self) -> bool {
        self.api().is_some_and(corral_kube_client::Error::is_not_found)
    }

    /// The object was written since it was read.
    pub fn is_conflict(&self) -> bool {
        self.api().is_some_and(corral_kube_client::Error::is_conflict)
    }

    /// An object of this name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.api().is_some_and(corral_kube_client::Error::is_already_exists)
    }

    /// Whether the state of another resource forbids it for now.
    pub fn is_invalid_state(&self) -> bool {
        matches!(self.cause(), Self::InvalidState(_))
    }

    /// The words of the engine binary and of instance managers for what is not there (`types.ErrorIsNotFound`).
    pub fn says_cannot_find(&self) -> bool {
        self.to_string().contains("cannot find")
    }

    /// An instance manager's words for an instance that is there already (`types.ErrorAlreadyExists`).
    pub fn says_already_exists(&self) -> bool {
        self.to_string().contains("already exists")
    }

    /// The words for an instance of v2 that is there but stopped (`types.ErrorIsStopped`).
    pub fn says_is_stopped(&self) -> bool {
        self.to_string().contains("is stopped")
    }

    /// The engine binary's words for an unfinished upload (`types.ErrorIsInProgress`).
    pub fn says_in_progress(&self) -> bool {
        self.to_string().contains("in progress")
    }
}

/// Adds what was being done to a failure.
pub trait Context<T> {
    /// Adds `context`, made only if there is a failure.
    fn context<C: fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context<C: fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|source| Error::Context { context: context().to_string(), source: Box::new(source.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_hides_no_cause() {
        let not_found = corral_kube_client::Error::not_found("longhorn.io", "backups", "b");
        let error = Err::<(), _>(not_found).context(|| "failed to get backup b").unwrap_err();
        assert_eq!(error.to_string(), "failed to get backup b: backups.longhorn.io \"b\" not found");
        assert!(error.is_not_found() && !error.is_conflict() && !error.says_cannot_find());
        let engine =
            Err::<(), _>(Error::Engine("stderr cannot find v in backupstore".into())).context(|| "x").unwrap_err();
        assert!(engine.says_cannot_find() && !engine.is_not_found());
    }
}
