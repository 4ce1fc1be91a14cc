//! The real world's ground: a tokio runtime, the kernel's clock and entropy. Used by `corral apiserver`, and by tests that run in both worlds.

use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::time::Duration;

/// Runs a future on a real, multi-threaded tokio runtime until it ends.
///
/// # Panics
/// If the operating system gives no threads or no event queue.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio_real::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime needs threads and an event queue")
        .block_on(future)
}

/// Completes when the user presses Ctrl-C.
pub async fn interrupted() -> std::io::Result<()> {
    tokio_real::signal::ctrl_c().await
}

fn origin() -> tokio_real::time::Instant {
    // The real world's clock outlives every run, and no simulation ever asks for it.
    static ORIGIN: OnceLock<tokio_real::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(tokio_real::time::Instant::now)
}

pub(crate) fn uptime() -> Duration {
    origin().elapsed()
}

pub(crate) fn instant(uptime: Duration) -> tokio_real::time::Instant {
    // tokio's own "far future" for what cannot be represented.
    origin().checked_add(uptime).unwrap_or_else(|| origin() + Duration::from_secs(86_400 * 365 * 30))
}

pub(crate) fn entropy() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
