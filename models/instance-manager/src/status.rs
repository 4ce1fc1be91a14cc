//! Answers that are errors, with the texts that Go's error values become on the wire.

use longhorn_rpc::rpc_text;
use tonic::{Code, Status};

/// An error of Go's that carries no gRPC status.
pub(crate) fn plain(error: impl ToString) -> Status {
    Status::new(Code::Unknown, error.to_string())
}

/// An answer's error, passed on with a word before it: its code stays, its text becomes a part of the new one
/// (`errors.Wrap` and how grpc-go reads what it wraps).
pub(crate) fn wrapped(status: &Status, why: impl std::fmt::Display) -> Status {
    Status::new(status.code(), format!("{why}: {}", rpc_text(status)))
}

/// An answer's error as the text of an internal one.
pub(crate) fn internal(status: &Status) -> Status {
    Status::internal(rpc_text(status))
}
