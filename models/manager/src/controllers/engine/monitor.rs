//! The monitor of a running engine: every 5 s it notes what the engine says of itself. It runs on the engine's owner and ends when that
//! changes, when the engine is gone, or when it no longer runs.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use corral_kube_client::{Stop, reads};
use host::time::{Instant, sleep_until};
use longhorn_api::Engine;
use longhorn_api::kinds::instance::InstanceState;

use super::Shared;
use crate::runtime::backoff::Backoff;
use crate::runtime::backups::name;

/// Time between two looks (`EnginePollInterval`).
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// So often a look is repeated at once when another write was faster (`EngineMonitorConflictRetryCount`).
const CONFLICT_RETRIES: usize = 5;
/// Writes of nothing but a new size of the live head: one in 30 s, three at once (`sizeUpdateLimit`, `sizeUpdateBurst`).
const SIZE_WRITE_INTERVAL: Duration = Duration::from_secs(30);
const SIZE_WRITE_BURST: u32 = 3;

/// The monitor of one engine.
pub(super) struct Monitor {
    pub(super) shared: Arc<Shared>,
    engine: String,
    pub(super) expansion_backoff: Backoff,
    /// When the last expansion was begun or seen; older failures are no news.
    pub(super) expansion_seen_at: jiff::Timestamp,
    pub(super) restore_backoff: Backoff,
    /// Whether this monitor's restore is counted.
    pub(super) counts_restore: bool,
    pub(super) size_writes: Tokens,
}

/// Starts the monitor of an engine.
pub(super) fn start(shared: &Arc<Shared>, engine: &Engine) {
    let engine_name = name(&engine.metadata).to_owned();
    let stop = Stop::new();
    {
        let mut monitors = shared.monitors.lock().unwrap_or_else(PoisonError::into_inner);
        if monitors.contains_key(&engine_name) {
            return;
        }
        monitors.insert(engine_name.clone(), stop.clone());
    }
    let seconds = Duration::from_secs;
    let monitor = Monitor {
        shared: shared.clone(),
        engine: engine_name,
        expansion_backoff: Backoff::new(seconds(10), seconds(300)),
        expansion_seen_at: jiff::Timestamp::UNIX_EPOCH,
        restore_backoff: Backoff::new(seconds(10), seconds(3600)),
        counts_restore: false,
        size_writes: Tokens::full(SIZE_WRITE_INTERVAL, SIZE_WRITE_BURST),
    };
    host::spawn(monitor.run(stop));
}

impl Monitor {
    async fn run(mut self, stop: Stop) {
        tracing::info!("Starting monitoring engine {}", self.engine);
        let mut due = Instant::now() + POLL_INTERVAL;
        loop {
            let ticked = tokio::select! { biased;
                () = stop.stopped() => false,
                () = sleep_until(due) => true,
            };
            if !ticked || self.look().await {
                break;
            }
            // A tick that was missed comes at once, further ones are lost.
            due = due + POLL_INTERVAL;
            while Instant::now() >= due + POLL_INTERVAL {
                due = due + POLL_INTERVAL;
            }
        }
        self.count_restore(false);
        tracing::info!("Stopping monitoring engine {}", self.engine);
        self.shared.monitors.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.engine);
    }

    /// One look; says whether it was the last.
    async fn look(&mut self) -> bool {
        let scope = format!("longhorn-engine-monitor {}", self.engine);
        reads::scope(scope, self.look_in_scope()).await
    }

    async fn look_in_scope(&mut self) -> bool {
        for _try in 0..CONFLICT_RETRIES {
            let Some(engine) = self.shared.manager.datastore.engines.find(&self.engine) else {
                tracing::warn!("Stopping monitoring because the engine no longer exists");
                return true;
            };
            if engine.status.owner_id != self.shared.manager.node() {
                tracing::warn!("Stopping monitoring the engine because it has new owner {}", engine.status.owner_id);
                return true;
            }
            let upgrading = engine.status.current_image != engine.spec.image
                || !engine.spec.upgraded_replica_address_map.is_empty();
            if engine.status.current_state != InstanceState::Running || upgrading {
                return false;
            }
            match self.refresh((*engine).clone()).await {
                Ok(()) => return false,
                Err(error) if error.is_conflict() => {}
                Err(error) => {
                    tracing::error!(%error, "failed to update status for engine {}", self.engine);
                    return false;
                }
            }
        }
        false
    }
}

/// A token bucket that is looked into before something is done, and paid from afterwards.
pub(super) struct Tokens {
    interval: Duration,
    burst: u32,
    /// When the bucket will be full.
    full_at: Instant,
}

impl Tokens {
    fn full(interval: Duration, burst: u32) -> Self {
        Self { interval, burst, full_at: Instant::now() }
    }

    /// Whether there is one.
    pub(super) fn is_one_left(&self) -> bool {
        self.full_at - Instant::now() <= self.interval * (self.burst - 1)
    }

    /// Takes one.
    pub(super) fn take(&mut self) {
        self.full_at = self.full_at.max(Instant::now()) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_tokens_go_at_once_and_one_comes_back_in_time() {
        host::real::block_on(async {
            let mut tokens = Tokens::full(Duration::from_millis(40), 3);
            for _token in 0..3 {
                assert!(tokens.is_one_left());
                tokens.take();
            }
            assert!(!tokens.is_one_left());
            host::time::sleep(Duration::from_millis(60)).await;
            assert!(tokens.is_one_left());
        });
    }
}
