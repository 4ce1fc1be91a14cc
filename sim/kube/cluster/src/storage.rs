//! How long the API server's storage takes: each access has its turn at a server that does one thing at a time, and then a latency of its own.
//!
//! The turns are the processor of kube-apiserver and etcd's serial apply; the latencies are round trips and the log's fsync. The numbers are chosen so that
//! the garbage collector takes as long as it was measured to on an idle server (facts/kubernetes.md, section 2), where nothing else explains them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_apiserver::{Access, StorageLatency};
use corral_core::Latency;
use host::time::Instant;

/// What the storage takes for reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageLatencies {
    /// The turn of a read.
    pub read_turn: Duration,
    /// What a read takes beside it.
    pub read: Latency,
    /// The turn of a write.
    pub write_turn: Duration,
    /// What a write takes beside it.
    pub write: Latency,
}

impl Default for StorageLatencies {
    fn default() -> StorageLatencies {
        let microseconds = |floor, mean| Latency::heavy(Duration::from_micros(floor), Duration::from_micros(mean));
        StorageLatencies {
            read_turn: Duration::from_micros(250),
            read: microseconds(300, 250),
            write_turn: Duration::from_micros(900),
            write: microseconds(900, 600),
        }
    }
}

impl StorageLatencies {
    /// No time at all.
    pub const ZERO: StorageLatencies = StorageLatencies {
        read_turn: Duration::ZERO,
        read: Latency::ZERO,
        write_turn: Duration::ZERO,
        write: Latency::ZERO,
    };

    /// The storage of the calling process.
    pub(crate) fn begin(self) -> StorageLatency {
        let state = Mutex::new((Instant::now(), host::random::stream("storage")));
        Arc::new(move |access| {
            let (turn, latency) = match access {
                Access::Read => (self.read_turn, self.read),
                Access::Write => (self.write_turn, self.write),
            };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (free, random) = &mut *state;
            let now = Instant::now();
            *free = (*free).max(now) + turn;
            (*free - now) + latency.draw(random)
        })
    }
}
