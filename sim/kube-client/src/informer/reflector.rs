//! Keeps a cache in step with the server: LIST, then WATCH from where the list ended, and again from the start when the watch cannot go on.
//!
//! The cache is behind the server by the way of an event, and by much more while a connection is dead but not known to be, while a back-off runs, or
//! while the server is not reached; nothing tells a reader of the cache. After a 410 everything is listed again, and what vanished meanwhile is
//! reported as deleted with its last known state.
//! Source: client-go tools/cache/reflector.go, tools/pager/pager.go, tools/cache/delta_fifo.go (Replace).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use host::random::Stream;
use host::time::Instant;
use kube_core::params::{ListParams, WatchParams};

use super::shared::Shared;
use crate::api::List;
use crate::backoff::BackoffManager;
use crate::error::{Error, Result};
use crate::resource::Object;
use crate::sync::lock;
use crate::watch::{Watch, WatchEvent};

/// Source: client-go tools/pager/pager.go.
const PAGE_SIZE: u32 = 500;
/// Watches end after a random time between this and twice this.
const MINIMUM_WATCH_TIMEOUT: Duration = Duration::from_secs(300);
/// A server that has not ended a watch so long after its time-out is gone. client-go learns it sooner, from HTTP/2's pings (30 s of silence, 15 s for
/// the answer), which HTTP/1.1 does not have; keep-alive of the connection, where it is set, does the same.
const WATCH_GRACE: Duration = Duration::from_secs(45);
/// A watch that ends sooner and says nothing counts as an error.
const VERY_SHORT_WATCH: Duration = Duration::from_secs(1);

/// How an opened watch came to its end.
enum Ended {
    /// Open the next one from where it ended.
    Resume,
    /// Wait, then open the next one from where it ended.
    BackOff,
    /// Wait, then list everything again.
    Relist,
}

/// The task of an informer that talks to the server.
pub(super) struct Reflector<K> {
    shared: Arc<Shared<K>>,
    backoff: BackoffManager,
    random: Stream,
    /// The server no longer has the cache's version, or has not yet come to it: ask for the newest.
    version_unavailable: bool,
    /// The server pages although any version was asked for: its watch cache is off.
    paginated: bool,
}

impl<K: Object> Reflector<K> {
    pub(super) fn new(shared: Arc<Shared<K>>) -> Reflector<K> {
        let client = shared.api.client();
        let kind = &shared.api.resource().kind;
        Reflector {
            backoff: BackoffManager::for_reflector(client.random(&format!("backoff {kind}"))),
            random: client.random(&format!("reflector {kind}")),
            shared,
            version_unavailable: false,
            paginated: false,
        }
    }

    /// Lists and watches for ever.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            if let Err(error) = self.list_and_watch().await {
                tracing::warn!(kind = %self.shared.api.resource().kind, %error, "failed to list and watch");
            }
            host::time::sleep(self.backoff.next_wait()).await;
        }
    }

    async fn list_and_watch(&mut self) -> Result<()> {
        self.list().await?;
        let shared = self.shared.clone();
        tokio::select! {
            biased;
            result = self.watch_until_relist() => result,
            never = shared.resync_for_ever() => match never {},
        }
    }

    async fn list(&mut self) -> Result<()> {
        let version = self.version_to_list();
        let mut result = self.list_pages(version.clone()).await;
        if let Err(error) = &result
            && (error.is_expired() || error.is_too_large_resource_version())
        {
            self.version_unavailable = true;
            result = self.list_pages(self.version_to_list()).await;
        }
        let (list, pages) = result?;
        self.paginated |= version == "0" && pages > 1;
        self.version_unavailable = false;
        let version = list.resource_version().to_owned();
        self.shared.replace(list.items, version);
        Ok(())
    }

    /// The first list is served from any cache; later ones are no older than what was seen; after a 410 the newest is asked for.
    fn version_to_list(&self) -> String {
        let seen = self.shared.version();
        match () {
            () if self.version_unavailable => String::new(),
            () if seen.is_empty() => "0".to_owned(),
            () => seen,
        }
    }

    async fn list_pages(&self, version: String) -> Result<(List<K>, u32)> {
        let unlimited = !self.paginated && !version.is_empty() && version != "0";
        let whole = self.selection(&version);
        let mut params = if unlimited { whole.clone() } else { whole.clone().limit(PAGE_SIZE) };
        let mut pages = 1;
        let mut list = self.shared.api.list(&params).await?;
        while let Some(token) = list.continue_token() {
            // A continued list carries its version in the token.
            params.resource_version = None;
            params.continue_token = Some(token.to_owned());
            match self.shared.api.list(&params).await {
                Ok(mut page) => {
                    pages += 1;
                    list.metadata.continue_ = page.metadata.continue_.take();
                    list.items.append(&mut page.items);
                }
                // The token expired on the way: one list without pages instead.
                Err(error) if error.is_resource_expired() => return Ok((self.shared.api.list(&whole).await?, pages)),
                Err(error) => return Err(error),
            }
        }
        Ok((list, pages))
    }

    fn selection(&self, version: &str) -> ListParams {
        let selection = &self.shared.selection;
        ListParams {
            label_selector: selection.labels.clone(),
            field_selector: selection.fields.clone(),
            resource_version: (!version.is_empty()).then(|| version.to_owned()),
            ..ListParams::default()
        }
    }

    async fn watch_until_relist(&mut self) -> Result<()> {
        loop {
            let started = Instant::now();
            let timeout = self.random.duration(MINIMUM_WATCH_TIMEOUT, MINIMUM_WATCH_TIMEOUT * 2);
            let ended = match self.open_watch(timeout).await {
                Ok(watch) => match host::time::timeout(timeout + WATCH_GRACE, self.follow(watch, started)).await {
                    Ok(ended) => ended,
                    Err(_elapsed) => Ended::Resume,
                },
                Err(error) if error.is_connection_refused() || error.is_too_many_requests() => Ended::BackOff,
                // Tried ten times over already. client-go makes an empty watch of it.
                Err(error) if error.is_connection_broken() || error.is_connection_timeout() => quiet_end(started),
                Err(error) => return Err(error),
            };
            match ended {
                Ended::Resume => {}
                Ended::BackOff => host::time::sleep(self.backoff.next_wait()).await,
                Ended::Relist => return Ok(()),
            }
        }
    }

    async fn open_watch(&self, timeout: Duration) -> Result<Watch<K>> {
        let params = WatchParams {
            label_selector: self.shared.selection.labels.clone(),
            field_selector: self.shared.selection.fields.clone(),
            timeout: Some(u32::try_from(timeout.as_secs()).expect("at most ten minutes")),
            bookmarks: true,
            send_initial_events: false,
        };
        self.shared.api.watch(&params, &self.shared.version()).await
    }

    async fn follow(&self, mut watch: Watch<K>, started: Instant) -> Ended {
        let mut silent = true;
        while let Some(event) = watch.next().await {
            let applied = match event {
                Ok(WatchEvent::Error(status)) => Err(Error::Api(status)),
                Ok(event) => Ok(event),
                Err(error) => Err(error),
            };
            match applied {
                Ok(event) => self.shared.apply(event),
                Err(error) if error.is_too_many_requests() => return Ended::BackOff,
                Err(error) => {
                    tracing::debug!(kind = %self.shared.api.resource().kind, %error, "a watch ended with an error");
                    return Ended::Relist;
                }
            }
            silent = false;
        }
        if silent { quiet_end(started) } else { Ended::Resume }
    }
}

fn quiet_end(started: Instant) -> Ended {
    if started.elapsed() < VERY_SHORT_WATCH { Ended::Relist } else { Ended::Resume }
}

impl<K: Object> Shared<K> {
    /// Resyncs whenever a listener is due; never returns.
    async fn resync_for_ever(&self) -> Infallible {
        let (period, first) = {
            let mut state = lock(&self.state);
            (state.check_period, state.first_resync.take())
        };
        if period.is_zero() {
            return std::future::pending().await;
        }
        let mut wait = first.unwrap_or(period);
        loop {
            host::time::sleep(wait).await;
            self.resync();
            wait = period;
        }
    }
}
