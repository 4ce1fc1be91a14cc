//! What the operations of one process share: how this release behaves, where names come from, and where its log goes.

use std::sync::{Arc, Mutex};

use host::random::Stream;

use crate::log::Log;
use crate::release::Behaviour;

/// Shared by all operations of a process. Make one when the process starts and clone it: a second one would draw the
/// same names again.
#[derive(Clone)]
pub struct Context {
    /// How this release behaves.
    pub behaviour: Arc<Behaviour>,
    /// Where the log goes.
    pub log: Log,
    names: Arc<Mutex<Stream>>,
}

impl Context {
    /// A context whose log is for people only.
    pub fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour: Arc::new(behaviour),
            log: Log::default(),
            names: Arc::new(Mutex::new(host::random::stream("backupstore-names"))),
        }
    }

    /// The same context, which also writes its log to the process's standard error, as the engine binary does.
    pub fn with_log_on_stderr(mut self) -> Self {
        self.log = Log::on_stderr();
        self
    }

    /// `<prefix>-<16 hex>`: the head of a random (version 4) UUID without its dashes, hence the fixed digit.
    pub fn name(&self, prefix: &str) -> String {
        let mut names = self.names.lock().expect("nothing panics while it draws");
        format!("{prefix}-{}4{}", names.hex(12), names.hex(3))
    }

    /// Puts things into an order that means nothing, where upstream walks a Go map.
    pub(crate) fn shuffle<T>(&self, things: &mut [T]) {
        self.names.lock().expect("nothing panics while it draws").shuffle(things);
    }

    /// A random stream of its own for a part of this process.
    pub(crate) fn stream(&self, prefix: &str) -> Stream {
        host::random::stream(&self.name(prefix))
    }
}
