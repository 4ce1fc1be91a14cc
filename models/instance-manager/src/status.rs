//! Answers that are errors, with the texts that Go's error values become on the wire.

use tonic::{Code, Status};

/// An error of Go's that carries no gRPC status.
pub(crate) fn plain(error: impl ToString) -> Status {
    Status::new(Code::Unknown, error.to_string())
}

/// An answer's error as Go prints it.
pub(crate) fn said(status: &Status) -> String {
    format!("rpc error: code = {} desc = {}", code_name(status.code()), status.message())
}

/// An answer's error, passed on with a word before it: its code stays, its text becomes a part of the new one
/// (`errors.Wrap` and how grpc-go reads what it wraps).
pub(crate) fn wrapped(status: &Status, why: impl std::fmt::Display) -> Status {
    Status::new(status.code(), format!("{why}: {}", said(status)))
}

/// An answer's error as the text of an internal one.
pub(crate) fn internal(status: &Status) -> Status {
    Status::internal(said(status))
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
