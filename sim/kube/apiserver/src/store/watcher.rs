//! The store's side of one watch: what it wants, what waits for it, and who to wake.
//!
//! A commit puts a line into the queue of each watcher that is to see it, in commit order, and wakes its reader. Nothing ticks: a watch to
//! which nothing happens costs nothing. A reader that does not keep up loses its watch, as in the real watch cache.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use host::time::Instant;

use super::object::{Record, Tell};
use crate::selector::Filter;

/// A line that waits for its reader.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub tell: Tell,
    pub record: Arc<Record>,
    /// Held back until then by a fault.
    pub not_before: Option<Instant>,
}

/// Why a watch is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// It ends as if its time were over.
    Cleanly,
    /// The connection breaks.
    Broken,
}

/// What a fault does to one delivery; see [`crate::options::RequestPolicy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing.
    #[default]
    Prompt,
    /// It arrives so much later; what follows it waits behind it.
    After(Duration),
    /// The connection breaks instead.
    Drop,
}

#[derive(Debug, Default)]
struct Inbox {
    queue: VecDeque<Pending>,
    waker: Option<Waker>,
    close: Option<Close>,
    hold: Option<Instant>,
}

/// Asked at each delivery what a fault does to it.
pub(crate) type Fate = Box<dyn Fn() -> Delivery + Send + Sync>;

/// One watch.
pub(crate) struct Watcher {
    /// What it wants.
    pub filter: Filter,
    /// Only what is newer.
    pub after: u64,
    fate: Fate,
    limit: usize,
    inbox: Mutex<Inbox>,
}

impl Watcher {
    pub fn new(filter: Filter, after: u64, limit: usize, fate: Fate) -> Watcher {
        Watcher { filter, after, fate, limit, inbox: Mutex::default() }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line into the queue.
    pub fn push(&self, tell: Tell, record: Arc<Record>) {
        let delivery = (self.fate)();
        let mut inbox = self.inbox();
        if inbox.close.is_some() {
            return;
        }
        match delivery {
            Delivery::Prompt => {}
            Delivery::After(lag) => {
                let until = Instant::now() + lag;
                inbox.hold = Some(inbox.hold.map_or(until, |hold| hold.max(until)));
            }
            Delivery::Drop => inbox.close = Some(Close::Broken),
        }
        if inbox.close.is_none() {
            let not_before = inbox.hold;
            inbox.queue.push_back(Pending { tell, record, not_before });
            if inbox.queue.len() > self.limit {
                inbox.close = Some(Close::Cleanly);
            }
        }
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }

    /// Ends the watch after what is queued.
    pub fn close(&self, how: Close) {
        let mut inbox = self.inbox();
        inbox.close.get_or_insert(how);
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }

    /// The next line that is due, or why there is none; remembers whom to wake.
    pub fn next(&self, waker: &Waker) -> Next {
        let mut inbox = self.inbox();
        if inbox.close == Some(Close::Broken) {
            return Next::Closed(Close::Broken);
        }
        match inbox.queue.front().map(|first| first.not_before) {
            Some(Some(until)) if until > Instant::now() => {
                inbox.waker = Some(waker.clone());
                return Next::HeldUntil(until);
            }
            Some(_) => return Next::Line(inbox.queue.pop_front().expect("there is a first")),
            None => {}
        }
        if let Some(close) = inbox.close.clone() {
            return Next::Closed(close);
        }
        inbox.waker = Some(waker.clone());
        Next::Idle
    }
}

/// What a watch has for its reader.
pub(crate) enum Next {
    Line(Pending),
    HeldUntil(Instant),
    Idle,
    Closed(Close),
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Watcher")
            .field("filter", &self.filter)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl Pending {
    /// The line as this watcher's API version has it.
    pub fn line(&self, head: &[u8]) -> Bytes {
        self.record.line(self.tell, head)
    }
}
