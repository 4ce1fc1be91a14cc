//! The one event queue of a run: timers, deliveries and everything else that is to happen later, ordered by (nanosecond, sequence).
//!
//! madsim's own timers round up to a millisecond and stay until their deadline even when nobody waits any more. Here an entry is removed
//! when its owner is dropped, and madsim is asked for a wake-up only for the earliest one. A single task, the pump, runs what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use madsim::time::TimeHandle;

use crate::nanos::Nanos;

/// Identifies a scheduled entry, for [`EventQueue::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    at: u64,
    sequence: u64,
}

enum Entry {
    Wake(Waker),
    Run(Box<dyn FnOnce() + Send>),
}

/// What is to happen later.
pub struct EventQueue {
    time: TimeHandle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Ticket, Entry>,
    sequence: u64,
    /// Wake-ups asked of madsim and not yet due. A new one is asked for only if it is earlier than all of these.
    armed: BTreeSet<u64>,
    pump: Option<Waker>,
    closed: bool,
}

impl EventQueue {
    /// An empty queue on this clock.
    pub fn new(time: TimeHandle) -> EventQueue {
        EventQueue { time, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time now.
    pub fn now(&self) -> Nanos {
        Nanos(self.time.elapsed().as_nanos() as u64)
    }

    /// Runs `action` at `at` (or as soon as possible, if that is past), on the pump and as nobody's process.
    pub fn run_at(&self, at: Nanos, action: impl FnOnce() + Send + 'static) -> Ticket {
        self.push(at, Entry::Run(Box::new(action)))
    }

    /// Wakes `waker` at `at`.
    pub fn wake_at(&self, at: Nanos, waker: Waker) -> Ticket {
        self.push(at, Entry::Wake(waker))
    }

    fn push(&self, at: Nanos, entry: Entry) -> Ticket {
        let mut state = self.state();
        state.sequence += 1;
        let ticket = Ticket { at: at.0, sequence: state.sequence };
        if state.closed {
            return ticket;
        }
        state.entries.insert(ticket, entry);
        self.arm(&mut state);
        ticket
    }

    /// Replaces the waker of an entry that still waits; false if it is gone.
    pub fn replace_waker(&self, ticket: Ticket, waker: &Waker) -> bool {
        match self.state().entries.get_mut(&ticket) {
            Some(Entry::Wake(old)) => {
                old.clone_from(waker);
                true
            }
            _ => false,
        }
    }

    /// Removes an entry; false if it was due already.
    pub fn cancel(&self, ticket: Ticket) -> bool {
        let entry = self.state().entries.remove(&ticket);
        entry.is_some()
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops everything and accepts nothing more: the end of the run.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.pump = None;
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        drop(entries);
    }

    /// Asks madsim for a wake-up at the earliest entry, unless an earlier one is already on its way.
    fn arm(&self, state: &mut State) {
        let (Some(pump), Some((first, _))) = (&state.pump, state.entries.first_key_value()) else { return };
        let at = first.at;
        if state.armed.first().is_some_and(|&armed| armed <= at) {
            return;
        }
        if at <= self.now().0 {
            pump.wake_by_ref();
            return;
        }
        // Polling a madsim sleep once leaves its timer behind; `reset` avoids the floor of 1 ms that its constructor has.
        let mut sleep = pin!(self.time.sleep(Duration::ZERO));
        let ahead = Duration::from_nanos(at) - self.time.elapsed();
        sleep.as_mut().reset(self.time.now_instant() + ahead);
        let _ = sleep.as_mut().poll(&mut Context::from_waker(pump));
        state.armed.insert(at);
    }

    /// The task that runs what is due; one a run.
    pub async fn pump(self: Arc<Self>) {
        poll_fn(|context| {
            if self.state().closed {
                return Poll::Ready(());
            }
            self.state().pump = Some(context.waker().clone());
            self.run_due();
            Poll::Pending
        })
        .await
    }

    fn run_due(&self) {
        loop {
            let now = self.now();
            let mut state = self.state();
            while state.armed.first().is_some_and(|&armed| armed <= now.0) {
                state.armed.pop_first();
            }
            match state.entries.first_key_value() {
                Some((first, _)) if first.at <= now.0 => {
                    let (_, entry) = state.entries.pop_first().expect("just seen");
                    drop(state);
                    match entry {
                        Entry::Wake(waker) => waker.wake(),
                        Entry::Run(action) => action(),
                    }
                }
                _ => return self.arm(&mut state),
            }
        }
    }
}
