//! Who acted on what, how old: the reads of a reconcile, attached to its next API write or remote call.
//!
//! A reconcile runs inside [`scope`]. Every look into an informer's cache and every GET or LIST inside it is noted (kind, name, resourceVersion,
//! when that version arrived); the next write or call takes the notes with it into the journal. Outside a scope nothing is noted.
//! Names are shared with the caches, so that a note is a few words and no copy.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use corral_core::journal::{self, Event};
use host::time::Instant;

/// More than this between two writes is a scan of everything; the oldest notes go first.
const MAXIMUM_NOTES: usize = 256;

tokio::task_local! {
    static SCOPE: RefCell<Scope>;
}

struct Scope {
    within: Arc<str>,
    notes: Vec<Note>,
}

/// One read, as it was noted.
#[derive(Clone, Debug)]
pub struct Note {
    /// Kind of the object.
    pub kind: Arc<str>,
    /// Namespace and name; a list of a collection ends in `*`.
    pub name: Arc<str>,
    /// The resourceVersion that was seen; 0 for "absent".
    pub resource_version: u64,
    /// When that version reached this process.
    pub arrived: Instant,
    /// True if it came from an informer's cache, false if from the server.
    pub cached: bool,
}

/// The notes of a scope since they were last taken.
#[derive(Debug, Default)]
pub struct Taken {
    within: Arc<str>,
    notes: Vec<Note>,
}

impl Taken {
    /// The reconcile or step the notes are of; empty outside a scope.
    pub fn within(&self) -> &str {
        &self.within
    }

    /// The reads, oldest first.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    pub(crate) fn for_journal<'a>(&'a self) -> Vec<journal::Read<'a>> {
        let now = Instant::now();
        let read = |note: &'a Note| journal::Read {
            kind: (&*note.kind).into(),
            name: (&*note.name).into(),
            resource_version: note.resource_version,
            age_ns: (now - note.arrived).as_nanos().try_into().unwrap_or(u64::MAX),
            cached: note.cached,
        };
        self.notes.iter().map(read).collect()
    }
}

/// Runs a reconcile or step under a name of its own, e.g. `backup-controller longhorn-system/backup-1`.
pub async fn scope<F: Future>(within: impl Into<Arc<str>>, future: F) -> F::Output {
    SCOPE.scope(RefCell::new(Scope { within: within.into(), notes: Vec::new() }), future).await
}

/// Notes a read, if a scope is open.
pub fn note(read: impl FnOnce() -> Note) {
    // The closure: outside a scope nothing is cloned. An error means just that.
    let _outside = SCOPE.try_with(|scope| {
        let mut scope = scope.borrow_mut();
        if scope.notes.len() == MAXIMUM_NOTES {
            scope.notes.remove(0);
        }
        scope.notes.push(read());
    });
}

/// Takes the notes since the last write or call; the next one starts anew.
pub fn take() -> Taken {
    SCOPE
        .try_with(|scope| {
            let mut scope = scope.borrow_mut();
            Taken { within: scope.within.clone(), notes: std::mem::take(&mut scope.notes) }
        })
        .unwrap_or_default()
}

/// Records a remote call that has ended, with the reads its caller acted on: take them with [`take`] before the call.
pub fn record_call(taken: &Taken, method: &str, peer: &str, outcome: &str, took: Duration) {
    host::journal::record(Event::Call {
        method: method.into(),
        peer: peer.into(),
        outcome: outcome.into(),
        took_ns: took.as_nanos().try_into().unwrap_or(u64::MAX),
        within: taken.within().into(),
        reads: taken.for_journal(),
    });
}
