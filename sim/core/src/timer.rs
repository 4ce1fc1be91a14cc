//! Sleeping on the run's event queue: no 1 ms floor, nothing left behind when dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::nanos::Nanos;
use crate::queue::{EventQueue, Ticket};

/// Completes at a point in simulated time.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    queue: Arc<EventQueue>,
    deadline: Nanos,
    ticket: Option<Ticket>,
}

impl Sleep {
    pub(crate) fn new(queue: Arc<EventQueue>, deadline: Nanos) -> Sleep {
        Sleep { queue, deadline, ticket: None }
    }

    /// When it completes.
    pub fn deadline(&self) -> Nanos {
        self.deadline
    }

    /// Moves the deadline; a sleep that had completed sleeps again.
    pub fn reset(&mut self, deadline: Nanos) {
        self.forget();
        self.deadline = deadline;
    }

    fn forget(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.queue.cancel(ticket);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.queue.now() >= self.deadline {
            self.forget();
            return Poll::Ready(());
        }
        match self.ticket {
            Some(ticket) if self.queue.replace_waker(ticket, context.waker()) => {}
            _ => self.ticket = Some(self.queue.wake_at(self.deadline, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}
