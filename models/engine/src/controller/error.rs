//! What can go wrong in a controller, in the words that others match on.

use longhorn_replica::NO_SPACE;

/// No replica could be used, and at least one could not be reached.
pub(crate) const UNAVAILABLE: &str = "no available backend due to service unavailable";
/// No replica could be used, and all were reached.
pub(crate) const REPLICA_ERROR: &str = "no available backend due to replica error";
/// There is nobody to read from or write to.
pub(crate) const NO_BACKEND: &str = "no backend available";

/// An operation on a volume failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// For this reason.
    #[error("{0}")]
    Failed(String),
    /// The disks of all replicas are full.
    #[error("{NO_SPACE}")]
    NoSpace,
    /// Some replicas failed; what that means is decided by the others.
    #[error("{}", .0.iter().map(|failure| failure.to_string()).collect::<Vec<_>>().join("; "))]
    Replicas(Vec<ReplicaFailure>),
}

/// One replica's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {text}")]
pub struct ReplicaFailure {
    /// The replica.
    pub address: String,
    /// What it said.
    pub text: String,
}

impl From<String> for ControllerError {
    fn from(text: String) -> ControllerError {
        ControllerError::Failed(text)
    }
}

impl From<&str> for ControllerError {
    fn from(text: &str) -> ControllerError {
        ControllerError::Failed(text.to_owned())
    }
}

/// Whether a snapshot of that name is there already: the caller's mistake, and not the replica's.
pub(crate) fn is_existing_snapshot(text: &str) -> bool {
    text.find("snapshot ").is_some_and(|at| text[at..].contains(" is already existing"))
}
