//! WATCH: one streamed answer, fed by the store's commits.
//!
//! The body of the answer is polled by hyper's connection and looks into its queue itself: no task and no channel stand between a commit
//! and the socket, and an idle watch has one timer, for its end or its next bookmark.
//! Facts: facts/kubernetes.md section 1; apiserver's `storage/cacher` for bookmarks.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use host::http::BoxError;
use host::time::{Instant, Sleep, sleep_until};
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::answer::{Answer, Form};
use crate::call::Call;
use crate::error::{ApiError, Cause};
use crate::read;
use crate::resource::Resource;
use crate::server::Inner;
use crate::store::{Close, Next, Pending, Tell, Watcher};
use crate::table::{self, ListMeta};

/// The bookmark before the end of a watch comes this much earlier.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// A watch without a time-out of its own lives from one to two of these, as `--min-request-timeout` has it.
const DEFAULT_LIFE_SECONDS: u64 = 1800;

/// How lines of this watch look.
struct Encoder {
    inner: Arc<Inner>,
    resource: Arc<Resource>,
    form: Form,
    query: crate::query::Query,
}

impl Encoder {
    fn line(&self, pending: &Pending) -> Bytes {
        let object = match self.form {
            Form::Plain => return pending.line(&self.resource.head),
            Form::Partial => table::partial(&pending.record.parse()),
            Form::Table => {
                let meta = ListMeta::of_object(&pending.record);
                let now = self.inner.age_reference(pending.record.revision);
                table::table(&self.resource, &[pending.record.parse()], &meta, &self.query, &now)
            }
        };
        let kind = match pending.tell {
            Tell::Added => "ADDED",
            Tell::Modified => "MODIFIED",
            Tell::Deleted => "DELETED",
        };
        line(kind, &object)
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        // Most of what an idle cluster says; its parts need no escapes.
        let annotations = if initial_end { r#""annotations":{"k8s.io/initial-events-end":"true"},"# } else { "" };
        let bare = |kind: &str, version: &str| {
            let metadata = format!(r#"{{{annotations}"resourceVersion":"{revision}"}}"#);
            format!(r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{metadata}}}"#)
        };
        let object = match self.form {
            Form::Plain => bare(&self.resource.kind, &self.resource.api_version()),
            Form::Partial => bare("PartialObjectMetadata", "meta.k8s.io/v1"),
            Form::Table => {
                let meta = ListMeta { version: revision, ..ListMeta::default() };
                table::table_value(&self.resource, &[], &meta, &self.query, "").to_string()
            }
        };
        line("BOOKMARK", object.as_bytes())
    }
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = format!(r#"{{"type":"{kind}","object":"#).into_bytes();
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}

/// The stream of a watch.
struct WatchBody {
    encoder: Encoder,
    watcher: Arc<Watcher>,
    /// What was there before the watch, or what has happened since its version.
    first: VecDeque<Pending>,
    /// A bookmark that ends the initial events.
    initial_end: Option<u64>,
    end: Instant,
    next_bookmark: Option<Instant>,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    ended: bool,
}

impl WatchBody {
    fn frame(bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// When this watch is to wake by itself.
    fn alarm(&self, held: Option<Instant>) -> Instant {
        [self.next_bookmark, held].into_iter().flatten().fold(self.end, Instant::min)
    }

    fn poll_timer(&mut self, at: Instant, context: &mut Context<'_>) -> bool {
        match &mut self.timer {
            Some((set, timer)) if *set == at => timer.as_mut().poll(context).is_ready(),
            other => {
                let mut timer = Box::pin(sleep_until(at));
                let ready = timer.as_mut().poll(context).is_ready();
                *other = Some((at, timer));
                ready
            }
        }
    }

    fn schedule_bookmark(&mut self, now: Instant) {
        let regular = now + self.encoder.inner.options.bookmark_interval;
        let last = self.end - BOOKMARK_BEFORE_END;
        self.next_bookmark = Some(if last > now { regular.min(last) } else { regular });
    }
}

impl http_body::Body for WatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(pending) = this.first.pop_front() {
            return WatchBody::frame(this.encoder.line(&pending));
        }
        if let Some(revision) = this.initial_end.take() {
            return WatchBody::frame(this.encoder.bookmark(revision, true));
        }
        loop {
            let held = match this.watcher.next(context.waker()) {
                Next::Line(pending) => return WatchBody::frame(this.encoder.line(&pending)),
                Next::Closed(Close::Cleanly) => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
                Next::Closed(Close::Broken) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err("the connection was broken".into())));
                }
                Next::HeldUntil(until) => Some(until),
                Next::Idle => None,
            };
            let alarm = this.alarm(held);
            if !this.poll_timer(alarm, context) {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= this.end {
                this.ended = true;
                return Poll::Ready(None);
            }
            if this.next_bookmark.is_some_and(|due| now >= due) {
                this.schedule_bookmark(now);
                if held.is_none() {
                    let revision = this.encoder.inner.store.last_told().max(this.watcher.after);
                    return WatchBody::frame(this.encoder.bookmark(revision, false));
                }
            }
        }
    }
}

impl Drop for WatchBody {
    fn drop(&mut self) {
        self.encoder.inner.store.unwatch(&self.encoder.resource.key, &self.watcher);
    }
}

fn forbidden(field: &str, why: &str) -> ApiError {
    ApiError::invalid("meta.k8s.io", "ListOptions", "", vec![Cause::forbidden(field, why)])
}

/// Whether initial events are asked for, and in a way that is allowed.
fn initial_events(call: &Call) -> Result<Option<bool>, ApiError> {
    let matching = call.query.get("resourceVersionMatch");
    match call.query.get("sendInitialEvents") {
        None if matching.is_some() => Err(forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        None => Ok(None),
        Some(_) if matching != Some("NotOlderThan") => Err(forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        Some(_) => Ok(Some(call.query.flag("sendInitialEvents"))),
    }
}

/// Begins a watch.
pub(crate) async fn watch(call: &mut Call) -> Result<Answer, ApiError> {
    let filter = read::filter(call)?;
    let version = read::version(call).map_err(|why| ApiError::without_reason(500, why))?;
    let initial = initial_events(call)?;
    let bookmarks = call.query.flag("allowWatchBookmarks");
    call.inner.check_ready(&call.resource)?;
    call.check_convertible()?;
    let seconds = call.query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).map(|seconds| seconds as u64);
    let end =
        Instant::now() + Duration::from_secs(seconds.unwrap_or_else(|| call.inner.watch_life(DEFAULT_LIFE_SECONDS)));
    let (policy, client, key) = (call.inner.options.policy.clone(), call.client.clone(), call.resource.key.clone());
    let limit = call.inner.options.watch_queue;
    let make = |after| {
        let (policy, client, key) = (policy.clone(), client.clone(), key.clone());
        let fate = Box::new(move || policy.delivery(&client, &key));
        Arc::new(Watcher::new(filter.clone(), after, limit, fate))
    };
    let mut initial_end = None;
    // Without a version, or with "0", a watch begins with what is there; with initial events it says where they end.
    let from_now = version.unwrap_or(0) == 0 && initial != Some(false);
    let (watcher, first) = if initial == Some(true) || from_now {
        if let Some(version) = version.filter(|version| *version > call.inner.store.revision()) {
            return Err(ApiError::version_too_large(version, call.inner.store.revision()));
        }
        let (revision, items, watcher) = call.inner.store.list_and_watch(&call.resource.key, make);
        initial_end = (initial == Some(true) && bookmarks).then_some(revision);
        let added = |item: crate::store::Item| Pending { tell: Tell::Added, record: item.record, not_before: None };
        (watcher, items.into_iter().map(added).collect())
    } else {
        let after = version.filter(|version| *version > 0).unwrap_or_else(|| call.inner.store.revision());
        let watcher = make(after);
        match call.inner.store.watch(&call.resource.key, &watcher, call.inner.watch_floor(&call.resource)) {
            Ok(replay) => (watcher, VecDeque::from(replay)),
            Err(oldest) => return Ok(expired(after, oldest)),
        }
    };
    let encoder = Encoder {
        inner: call.inner.clone(),
        resource: call.resource.clone(),
        form: call.form,
        query: call.query.clone(),
    };
    let mut body =
        WatchBody { encoder, watcher, first, initial_end, end, next_bookmark: None, timer: None, ended: false };
    if bookmarks {
        body.schedule_bookmark(Instant::now());
    }
    Ok(call.finish(Answer::body(200, body.boxed_unsync())))
}

/// A watch from a version that is gone: an answer of 200 with one event that says so.
fn expired(asked: u64, oldest: u64) -> Answer {
    let error = ApiError::expired(format!("too old resource version: {asked} ({oldest})"));
    let status: Value = serde_json::from_slice(&error.body()).expect("a Status is JSON");
    Answer::json(200, line("ERROR", status.to_string().as_bytes()))
}
