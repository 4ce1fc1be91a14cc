//! The models' logs (`tracing`), collected for one run on request. For people only: never hashed, never part of the digest.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::{Interest, NoSubscriber};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::journal::LogEntry;
use crate::world::try_world;

/// Collects log lines of one run.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    lines: Arc<Mutex<Vec<LogEntry>>>,
}

impl Logs {
    /// Makes this the thread's subscriber; without a level, one that wants nothing.
    pub(crate) fn install(&self, level: Option<Level>) -> tracing::subscriber::DefaultGuard {
        // With two subscribers and more, tracing notes what a call site is worth under a lock; with one, it may overlook another thread's that comes then.
        static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
        ANOTHER.get_or_init(|| Dispatch::new(NoSubscriber::default()));
        match level {
            Some(level) => {
                let layer = Collector { logs: self.clone(), level };
                tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
            }
            None => tracing::subscriber::set_default(NoSubscriber::default()),
        }
    }

    pub(crate) fn take(&self) -> Vec<LogEntry> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Collector {
    logs: Logs,
    level: Level,
}

impl Collector {
    /// madsim opens a span at every poll, h2 at every frame: only events of models are wanted.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let foreign = ["madsim", "h2", "hyper", "tokio", "mio", "tower"];
        let target = metadata.target().split("::").next().unwrap_or_default();
        !metadata.is_span() && !foreign.contains(&target) && *metadata.level() <= self.level
    }
}

impl<S: Subscriber> Layer<S> for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    // Asked where what was registered does not hold: while another thread registers the same call site, and where another subscriber of this program
    // wants it. What madsim says while it makes a node must not come through: this would ask for the processes of the world that makes it.
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let Some(world) = try_world() else { return };
        let mut text = Text(String::new());
        event.record(&mut text);
        let process = world.current_process();
        let line = LogEntry {
            at: world.now(),
            process: process.as_ref().map_or(0, |process| process.id.0),
            name: process.map_or_else(String::new, |process| process.spec.name.clone()),
            level: event.metadata().level().to_string(),
            text: text.0,
        };
        self.logs.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let separator = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.0, "{separator}{value:?}"),
            name => write!(self.0, "{separator}{name}={value:?}"),
        };
    }
}
