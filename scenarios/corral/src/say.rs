//! What the command says on standard output.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something could not be printed. The command goes on: what it writes into files is worth having.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line. That the reader has seen enough (`corral list defects | head -1`) is no failure of ours.
pub fn say(line: impl Display) {
    note(writeln!(io::stdout().lock(), "{line}"));
}

/// Tells of the first thing that could not be printed; [`failed`] remembers it.
pub fn note(printed: io::Result<()>) {
    if let Err(error) = printed
        && error.kind() != ErrorKind::BrokenPipe
        && !FAILED.swap(true, Ordering::Relaxed)
    {
        // It may be closed as well.
        let _ = writeln!(io::stderr(), "corral: cannot print: {error}");
    }
}

/// Whether something could not be printed.
pub fn failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}
