//! The operations' log.
//!
//! It is more than something to read. The manager searches everything a failed engine binary wrote, its log on standard
//! error included, for "cannot find" and takes that for "the thing is gone" (longhorn-manager types/types.go,
//! engineapi/backups.go). A warning about a lock that vanished can so turn a refused deletion into a success. Hence the
//! engine binary writes these lines as upstream's logger (logrus) writes them, but for the fields that name a line of
//! source.

use std::fmt::Display;

/// Where log lines go: always to the traces of the run, and if asked to the process's standard error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log {
    on_stderr: bool,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As a matter of course.
    Info,
    /// Something failed and the operation goes on.
    Warning,
    /// The operation failed.
    Error,
    /// The process ends because of it.
    Fatal,
}

impl Log {
    pub(crate) fn on_stderr() -> Self {
        Self { on_stderr: true }
    }

    pub(crate) fn info(self, message: impl FnOnce() -> String) {
        if self.on_stderr {
            self.write(Level::Info, &message(), &[]);
        } else {
            tracing::info!("{}", LazyText(std::cell::Cell::new(Some(message))));
        }
    }

    /// A failure that does not end the operation.
    pub(crate) fn warn(self, message: &str, error: &dyn Display) {
        tracing::warn!(%error, "{message}");
        if self.on_stderr {
            self.write(Level::Warning, message, &[("error", error), ("pkg", &"backupstore")]);
        }
    }

    /// Writes a line to standard error whatever else is asked for.
    pub fn write(self, level: Level, message: &str, fields: &[(&str, &dyn Display)]) {
        host::process::print_error(&line(host::wall_clock::now(), level, message, fields));
    }
}

/// A message that is made only if somebody listens.
struct LazyText<F>(std::cell::Cell<Option<F>>);

impl<F: FnOnce() -> String> Display for LazyText<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.take().map_or(Ok(()), |message| formatter.write_str(&message()))
    }
}

fn line(time: jiff::Timestamp, level: Level, message: &str, fields: &[(&str, &dyn Display)]) -> String {
    let level = match level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
        Level::Fatal => "fatal",
    };
    let mut line = format!("time=\"{}\" level={level} msg={}", time.strftime("%Y-%m-%dT%H:%M:%SZ"), quoted(message));
    for (name, value) in fields {
        line += &format!(" {name}={}", quoted(&value.to_string()));
    }
    line.push('\n');
    line
}

/// logrus quotes what is empty or holds more than plain characters.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/' | '@' | '^' | '+');
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_those_of_the_real_logger() {
        let error = "cannot find x in backupstore";
        let text = line(
            "2026-11-20T17:29:28.5Z".parse().unwrap(),
            Level::Warning,
            "Failed to load \"it\"",
            &[("error", &error), ("pkg", &"backupstore")],
        );
        assert_eq!(
            text,
            "time=\"2026-11-20T17:29:28Z\" level=warning msg=\"Failed to load \\\"it\\\"\" error=\"cannot find x in backupstore\" pkg=backupstore\n"
        );
    }
}
