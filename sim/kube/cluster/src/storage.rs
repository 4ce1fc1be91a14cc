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
    /// The turn of a webhook's call: encoding and TLS on both sides, which are not simulated, cost the processor.
    pub webhook_turn: Duration,
    /// What such a call takes beside it and beside its way over the network.
    pub webhook: Latency,
}

impl Default for StorageLatencies {
    fn default() -> StorageLatencies {
        let microseconds = |floor, mean| Latency::heavy(Duration::from_micros(floor), Duration::from_micros(mean));
        StorageLatencies {
            read_turn: Duration::from_micros(300),
            read: microseconds(400, 300),
            write_turn: Duration::from_millis(1),
            write: microseconds(1200, 700),
            webhook_turn: Duration::from_millis(1),
            webhook: microseconds(500, 1000),
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
        webhook_turn: Duration::ZERO,
        webhook: Latency::ZERO,
    };

    /// The same storage on a slower or faster machine.
    pub fn scaled(self, percent: u32) -> StorageLatencies {
        let turn = |turn: Duration| turn * percent / 100;
        let latency = |latency: Latency| latency.scaled(percent.into(), 100);
        StorageLatencies {
            read_turn: turn(self.read_turn),
            read: latency(self.read),
            write_turn: turn(self.write_turn),
            write: latency(self.write),
            webhook_turn: turn(self.webhook_turn),
            webhook: latency(self.webhook),
        }
    }

    /// The storage of the calling process.
    pub(crate) fn begin(self) -> StorageLatency {
        let state = Mutex::new((Instant::now(), host::random::stream("storage")));
        Arc::new(move |access| {
            let (turn, latency) = match access {
                Access::Read => (self.read_turn, self.read),
                Access::Write => (self.write_turn, self.write),
                Access::Webhook => (self.webhook_turn, self.webhook),
            };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (free, random) = &mut *state;
            let now = Instant::now();
            *free = (*free).max(now) + turn;
            (*free - now) + latency.draw(random)
        })
    }
}
