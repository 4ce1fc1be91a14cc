//! Errors of calls as Go prints them: Longhorn passes these texts on, and compares parts of them.

use tonic::{Code, Status};

/// A failed call, as grpc-go words it.
pub fn rpc_text(status: &Status) -> String {
    format!("rpc error: code = {} desc = {}", code_name(status.code()), status.message())
}

/// The names of both libraries differ in two codes (grpc-go, codes/code_string.go).
fn code_name(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_grpc_go() {
        let names = (0..=16).map(|code| code_name(Code::from_i32(code))).collect::<Vec<_>>().join(" ");
        let expected = "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted \
                        FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated";
        assert_eq!(names, expected);
    }
}
