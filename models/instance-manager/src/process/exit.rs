//! What Go's `os/exec` says of how a program was found, started and ended: the manager shows these texts, and looks for some of them.

use std::io;

use host::process::ExitStatus;

/// The error of a program's end; none if it ended well.
pub(super) fn error_of(status: ExitStatus) -> Option<String> {
    let signal = |name: &str| Some(format!("signal: {name}"));
    match status.code {
        0 => None,
        129 => signal("hangup"),
        130 => signal("interrupt"),
        137 => signal("killed"),
        143 => signal("terminated"),
        code => Some(format!("exit status {code}")),
    }
}

/// The error of a program that cannot be started.
pub(super) fn error_of_start(binary: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return match binary.contains('/') {
            true => format!("exec: {binary:?}: stat {binary}: no such file or directory"),
            false => format!("exec: {binary:?}: executable file not found in $PATH"),
        };
    }
    /// ENOEXEC.
    const NOT_EXECUTABLE: i32 = 8;
    match error.raw_os_error() {
        Some(NOT_EXECUTABLE) => format!("fork/exec {binary}: exec format error"),
        _ => format!("fork/exec {binary}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_named_as_go_names_them() {
        let said = |code| error_of(ExitStatus { code });
        assert_eq!(said(0), None);
        assert_eq!(said(61).as_deref(), Some("exit status 61"));
        assert_eq!(said(137).as_deref(), Some("signal: killed"));
    }
}
