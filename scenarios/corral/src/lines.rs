//! Files that grow by a JSON line at a time: whatever ends the process, all but the line being written is kept.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Refused;

/// A file of lines, open for more of them.
pub struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens a file, made if need be, behind its last whole line. What stands behind that was cut short by whatever ended its writer.
    ///
    /// # Errors
    /// It cannot be written, or holds something else.
    pub fn append(path: &Path) -> io::Result<Lines> {
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if text.get(whole).is_some_and(|first| *first != b'{') {
            return Err(io::Error::other("its last line is no JSON"));
        }
        file.set_len(whole as u64)?;
        Ok(Lines { path: path.to_owned(), file })
    }

    /// Makes a file that must not exist yet.
    ///
    /// # Errors
    /// It exists, or cannot be made.
    pub fn create(path: &Path) -> io::Result<Lines> {
        let file = File::options().append(true).create_new(true).open(path)?;
        Ok(Lines { path: path.to_owned(), file })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// It cannot be written; the message names the file.
    pub fn add(&mut self, item: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(item)?;
        line.push(b'\n');
        let at = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: cannot be written: {error}", self.path.display()))
        };
        self.file.write_all(&line).map_err(at)
    }
}

/// The lines of a file, each of which is `what`. A last line that was cut short by whatever ended its writer is left out.
///
/// # Errors
/// The file cannot be read, or another line of it is something else.
pub fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Result<Vec<T>, Refused> {
    let content = std::fs::read(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    let whole = content.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let item = |(index, line)| {
        let refuse = |error| Refused::new(format!("{}:{}: is no {what}: {error}", path.display(), index + 1));
        serde_json::from_slice(line).map_err(refuse)
    };
    whole.enumerate().map(item).collect()
}
