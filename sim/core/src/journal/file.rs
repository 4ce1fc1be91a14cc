//! A journal as a file: JSON, one object a line, for people, scripts and reports.
//!
//! The first line is a [`Header`] (`{"run": ...}`), all others are events with what they changed (`{"event": ...}`) and log lines (`{"log": ...}`),
//! in the order of their times. The digest in the header is of the events alone.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{Change, Kept, Record, digest_of};
use crate::nanos::Nanos;

/// What run a journal is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format: 1.
    pub version: u32,
    /// Scenario, seed and release, as people say them.
    pub title: String,
    /// The command that runs it again.
    pub reproduce: String,
    /// Commit of Corral that made it.
    pub commit: String,
    /// Version of the Rust toolchain.
    pub toolchain: String,
    /// The run's digest, 32 hexadecimal digits.
    pub digest: String,
    /// When the run ended.
    pub ended_at: Nanos,
    /// All that it takes to run it again; what is in it is for whoever wrote it to say.
    pub run: serde_json::Value,
}

impl Header {
    /// The version of the format that is written and read.
    pub const VERSION: u32 = 2;
}

/// One line of the models' logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When.
    pub at: Nanos,
    /// The process that wrote it; 0 for none.
    pub process: u32,
    /// The process's name.
    pub name: String,
    /// Its level: ERROR, WARN, INFO, DEBUG or TRACE.
    pub level: String,
    /// Message and fields.
    pub text: String,
}

/// A journal read back from its file.
#[derive(Clone, Debug)]
pub struct JournalFile {
    /// What run it is of.
    pub header: Header,
    /// Its events, in order.
    pub records: Vec<Record<'static>>,
    /// What each write changed, by the event's sequence.
    pub changes: BTreeMap<u64, Vec<Change>>,
    /// What the models logged, in order.
    pub logs: Vec<LogEntry>,
}

impl JournalFile {
    /// What a run kept, as if it had been written and read.
    pub fn of(header: Header, journal: &Kept, logs: Vec<LogEntry>) -> JournalFile {
        let records: Vec<_> = journal.iter().collect();
        let of = |record: &Record<'_>| (record.sequence, journal.changes(record.sequence).to_vec());
        let changes = records.iter().map(of).filter(|(_, changes)| !changes.is_empty()).collect();
        JournalFile { header, records, changes, logs }
    }

    /// What the event of this sequence changed, if it is a write.
    pub fn changes(&self, sequence: u64) -> &[Change] {
        self.changes.get(&sequence).map_or(&[], Vec::as_slice)
    }
}

/// A line that is no journal's: one line with its number and what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum JournalFileError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Lines of it are missing, or are not what was written.
    #[error("was cut off or changed: its events have digest {found}, its first line says {told}")]
    Altered {
        /// The digest in its header.
        told: String,
        /// The digest of its events.
        found: String,
    },
    /// A line of it is not what it should be.
    #[error("line {line}: {message}")]
    Malformed {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    Run(Header),
    Event {
        #[serde(flatten)]
        record: Record<'a>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<Change>,
    },
    Log(LogEntry),
}

/// Writes a journal with its log lines.
///
/// # Errors
/// It cannot be written.
pub fn write(mut out: impl Write, header: &Header, journal: &Kept, logs: &[LogEntry]) -> std::io::Result<()> {
    let mut line = |line: &Line<'_>| {
        serde_json::to_writer(&mut out, line)?;
        out.write_all(b"\n")
    };
    line(&Line::Run(header.clone()))?;
    let mut logs = logs.iter().peekable();
    for record in journal.iter() {
        while let Some(log) = logs.next_if(|log| log.at < record.at) {
            line(&Line::Log(log.clone()))?;
        }
        let changes = journal.changes(record.sequence).to_vec();
        line(&Line::Event { record, changes })?;
    }
    logs.try_for_each(|log| line(&Line::Log(log.clone())))?;
    out.flush()
}

/// Reads a journal.
///
/// # Errors
/// It cannot be read, is no journal of this version, or its events are not those of its run.
pub fn read(input: impl BufRead) -> Result<JournalFile, JournalFileError> {
    let mut header = None;
    let (mut records, mut changes, mut logs) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (index, text) in input.lines().enumerate() {
        let malformed = |message: String| JournalFileError::Malformed { line: index + 1, message };
        let no_journal = |_| malformed("is no journal's; `corral run --journal FILE` writes one".to_owned());
        let text = text.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => no_journal(()),
            _ => error.into(),
        })?;
        let line: Line<'_> = serde_json::from_str(&text).map_err(|error| match (&header, version_of(&text)) {
            (None, Some(other)) if other != Header::VERSION => malformed(unknown_version(other)),
            (None, _) => no_journal(()),
            (Some(_), _) => malformed(format!("is no event of a journal: {error}")),
        })?;
        match (line, &header) {
            (Line::Run(found), None) if found.version != Header::VERSION => {
                return Err(malformed(unknown_version(found.version)));
            }
            (Line::Run(found), None) => header = Some(found),
            (Line::Run(_), Some(_)) => return Err(malformed("a second run begins; a file holds one".to_owned())),
            (_, None) => return Err(no_journal(())),
            (Line::Event { record, changes: of }, Some(_)) => {
                if !of.is_empty() {
                    changes.insert(record.sequence, of);
                }
                records.push(record);
            }
            (Line::Log(log), Some(_)) => logs.push(log),
        }
    }
    let header =
        header.ok_or_else(|| JournalFileError::Malformed { line: 1, message: "the file is empty".to_owned() })?;
    let found = format!("{:032x}", digest_of(&records));
    if found != header.digest {
        return Err(JournalFileError::Altered { told: header.digest, found });
    }
    Ok(JournalFile { header, records, changes, logs })
}

/// The bytes of a journal, under another header.
pub fn with_header(journal: &[u8], header: &Header) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Line::Run(header.clone()))?;
    let rest = journal.iter().position(|byte| *byte == b'\n').unwrap_or(journal.len());
    bytes.extend_from_slice(&journal[rest..]);
    Ok(bytes)
}

fn unknown_version(version: u32) -> String {
    format!("version {version} is unknown; allowed is {}", Header::VERSION)
}

/// The version in a first line, whatever else stands there.
fn version_of(text: &str) -> Option<u32> {
    let line: serde_json::Value = serde_json::from_str(text).ok()?;
    line["run"]["version"].as_u64()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Journal};
    use super::*;

    fn header(digest: u128) -> Header {
        Header {
            version: Header::VERSION,
            title: "a run".into(),
            reproduce: "corral run".into(),
            commit: "abc".into(),
            toolchain: "1".into(),
            digest: format!("{digest:032x}"),
            ended_at: Nanos(7),
            run: serde_json::json!({ "seed": 1 }),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let journal = Journal::new(true);
        let first = journal.record(Nanos(1), 3, 0, Event::Note { text: "with \"quotes\" and\nlines".into() });
        journal.note_changes(first, || vec![Change { field: "status.state".into(), value: "Ready".into() }]);
        journal.record(Nanos(5), 0, first, Event::Phase { name: "heal".into() });
        let kept = journal.take_kept().unwrap();
        let log = LogEntry { at: Nanos(3), process: 3, name: "p".into(), level: "WARN".into(), text: "t".into() };
        let mut bytes = Vec::new();
        write(&mut bytes, &header(kept.digest()), &kept, std::slice::from_ref(&log)).unwrap();
        let file = read(bytes.as_slice()).unwrap();
        assert_eq!(file.header, header(kept.digest()));
        assert_eq!(file.records, kept.iter().collect::<Vec<_>>());
        assert_eq!(file.changes[&first], kept.changes(first));
        assert_eq!(file.logs, [log]);
        let order: Vec<&str> = std::str::from_utf8(&bytes).unwrap().lines().map(|line| &line[2..5]).collect();
        assert_eq!(order, ["run", "eve", "log", "eve"]);
        // Without its last line, without one in between, and with another time.
        let text = std::str::from_utf8(&bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for altered in [lines[..3].join("\n"), [&lines[..1], &lines[2..]].concat().join("\n"), text.replace(":5", ":6")]
        {
            let refused = read(altered.as_bytes()).unwrap_err().to_string();
            assert!(refused.starts_with("was cut off or changed"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_journal_is_refused_by_its_line() {
        let mut good = Vec::new();
        write(&mut good, &header(0), &Kept::default(), &[]).unwrap();
        let good = String::from_utf8(good).unwrap();
        let refused = |text: &[u8]| read(text).unwrap_err().to_string();
        assert_eq!(refused(b""), "line 1: the file is empty");
        assert!(refused(b"\xff\xfe").starts_with("line 1: is no journal's"));
        assert!(refused(b"{\"log\": 3}").starts_with("line 1: is no journal's"));
        assert!(refused(format!("{good}nothing").as_bytes()).starts_with("line 2: is no event of a journal: "));
        assert!(refused(format!("{good}{good}").as_bytes()).contains("a second run"));
        for earlier in [good.replace("\"version\":2", "\"version\":1"), "{\"run\":{\"version\":1}}".to_owned()] {
            assert_eq!(refused(earlier.as_bytes()), "line 1: version 1 is unknown; allowed is 2");
        }
    }
}
