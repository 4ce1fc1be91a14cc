//! What the command says on standard output.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints a line. That the reader has seen enough (`corral list defects | head -1`) is no failure of ours.
pub fn say(line: impl Display) {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => eprintln!("corral: cannot print: {error}"),
        _ => {}
    }
}
