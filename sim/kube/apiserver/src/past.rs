//! The past of a cluster: what a recorder keeps of every write, and the moment at which a server shows it.
//!
//! A recorder shares the bytes that the store has made anyway, and is off unless [`Options::recorder`](crate::Options::recorder) names one. The
//! store and the server of a past are the usual ones ([`Server::past`](crate::Server::past)): lists end at one revision, watches go on after it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::time::Instant;
use jiff::{SignedDuration, Timestamp};

use crate::error::ApiError;
use crate::store::{Commit, Record, Tell};

/// One write, as a recorder keeps it.
#[derive(Clone, Debug)]
pub struct Version {
    /// When, since the run began.
    pub at: Duration,
    /// When, by the server's wall clock.
    pub time: Timestamp,
    /// The resource: `pods`, `volumes.longhorn.io`.
    pub resource: Arc<str>,
    /// The revision of the write.
    pub revision: u64,
    /// Whether it made, changed or removed the object.
    pub tell: Tell,
    /// The object as it was written; of one that was removed, as it was last.
    pub record: Arc<Record>,
}

/// Keeps every write of the servers that share it.
#[derive(Debug, Default)]
pub struct Recorder {
    versions: Mutex<Vec<Version>>,
}

impl Recorder {
    pub(crate) fn note(&self, commit: &Commit) {
        let tell = match (&commit.old, &commit.new) {
            (None, _) => Tell::Added,
            (_, Some(_)) => Tell::Modified,
            (_, None) => Tell::Deleted,
        };
        let version = Version {
            at: Instant::now().since_start(),
            time: host::wall_clock::now(),
            resource: commit.resource.clone(),
            revision: commit.revision,
            tell,
            record: commit.object().record.clone(),
        };
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).push(version);
    }

    /// What was kept so far; the recorder begins anew.
    pub fn take(&self) -> Past {
        let mut versions = std::mem::take(&mut *self.versions.lock().unwrap_or_else(PoisonError::into_inner));
        // Two threads of the real world may commit in one order and come here in another.
        versions.sort_by_key(|version| version.revision);
        Past { versions }
    }
}

/// All that was written, in the order of revisions.
#[derive(Clone, Debug, Default)]
pub struct Past {
    versions: Vec<Version>,
}

/// Nothing is there yet at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing was written so early")]
pub struct NotYet;

impl Past {
    /// The writes.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The last write at or before a moment.
    fn last_before(&self, at: Duration) -> Option<&Version> {
        self.versions[..self.versions.partition_point(|version| version.at <= at)].last()
    }
}

/// The moment at which the past is shown.
#[derive(Debug)]
pub(crate) struct View {
    /// The newest revision then.
    pub revision: u64,
    now: Timestamp,
    /// When the later revisions were written.
    later: Vec<(u64, Timestamp)>,
}

impl View {
    pub fn new(past: &Past, at: Duration) -> Result<View, NotYet> {
        let last = past.last_before(at).ok_or(NotYet)?;
        let since = SignedDuration::try_from(at - last.at).unwrap_or_default();
        let later = past.versions.iter().filter(|version| version.revision > last.revision);
        Ok(View {
            revision: last.revision,
            now: last.time.checked_add(since).unwrap_or(last.time),
            later: later.map(|version| (version.revision, version.time)).collect(),
        })
    }

    /// The moment that is shown; of what is told after it, when that was written.
    pub fn time_of(&self, revision: u64) -> Timestamp {
        let index = self.later.partition_point(|(later, _)| *later < revision);
        self.later.get(index).filter(|(later, _)| *later == revision).map_or(self.now, |(_, time)| *time)
    }

    /// The answer to who would change it.
    pub fn refusal(&self) -> ApiError {
        let why = format!("this is the cluster as it was at {:.0}: the past cannot be changed", self.now);
        ApiError::new(405, "MethodNotAllowed", why)
    }
}
