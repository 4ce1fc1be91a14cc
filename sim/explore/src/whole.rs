//! Files that are written as a whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file beside its name and then moves it there. A link stays one. What is no plain file, a pipe or a device, is written to as it is.
///
/// # Errors
/// It cannot be written.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let written = |mut out: BufWriter<File>| {
        fill(&mut out)?;
        out.flush()
    };
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return written(BufWriter::new(File::options().write(true).open(path)?));
    }
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut beside = target.clone().into_os_string();
    beside.push(".part");
    File::create(&beside).map(BufWriter::new).and_then(written).and_then(|()| std::fs::rename(&beside, &target))
}
