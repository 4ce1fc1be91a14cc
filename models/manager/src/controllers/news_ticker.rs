//! When a monitor lists what its pod has: it looks at a flag each second, and lists when the pod's stream has said that something changed, or
//! after 60 seconds (`InstanceManagerMonitor`, `BackingImageManagerMonitor`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corral_kube_client::Stop;
use host::time::sleep;

use crate::engine::news::News;
use crate::runtime::Ticker;

/// `MinPollCount` times `PollInterval`.
const TICK: Duration = Duration::from_secs(1);
/// Ticks after which the pod is listed though it said nothing.
const MOST_TICKS: u32 = 60;
/// Errors of the stream after which the monitor ends.
const MOST_ERRORS: u32 = 10;

/// Which errors of a stream count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// All of them.
    All,
    /// Those that follow each other.
    InARow,
}

/// Beats when a monitor is to list, first after a second.
pub(super) struct NewsTicker {
    heard: Arc<Heard>,
    ticker: Ticker,
    stop: Stop,
}

/// What the reader of the stream tells the monitor.
struct Heard {
    /// Something changed.
    news: AtomicBool,
    /// There will be no more news.
    ended: AtomicBool,
}

impl NewsTicker {
    /// Begins to read the stream, until it is stopped.
    pub(super) fn new(news: News, counted: Counted, stop: &Stop) -> Self {
        let heard = Arc::new(Heard { news: AtomicBool::new(true), ended: AtomicBool::new(false) });
        let (reader, stopped) = (heard.clone(), stop.clone());
        host::spawn(async move {
            tokio::select! { biased;
                () = stopped.stopped() => {}
                () = reader.read(news, counted) => {}
            }
        });
        Self { heard, ticker: Ticker::new(TICK), stop: stop.clone() }
    }

    /// The next beat; false when the monitor is stopped or its stream has failed too often.
    pub(super) async fn tick(&mut self) -> bool {
        let mut ticks = 0;
        loop {
            tokio::select! { biased;
                () = self.stop.stopped() => return false,
                () = self.ticker.tick() => {}
            }
            if self.heard.ended.load(Ordering::Relaxed) {
                return false;
            }
            ticks += 1;
            if ticks == MOST_TICKS || self.heard.news.load(Ordering::Relaxed) {
                self.heard.news.store(false, Ordering::Relaxed);
                return true;
            }
        }
    }
}

impl Heard {
    async fn read(&self, mut news: News, counted: Counted) {
        let mut errors = 0;
        while errors < MOST_ERRORS {
            match news.next().await {
                Ok(()) => {
                    self.news.store(true, Ordering::Relaxed);
                    if counted == Counted::InARow {
                        errors = 0;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "Failed to receive next item in watch");
                    errors += 1;
                    sleep(TICK).await;
                }
            }
        }
        self.ended.store(true, Ordering::Relaxed);
    }
}
