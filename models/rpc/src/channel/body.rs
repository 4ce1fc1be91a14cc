//! An answer's body: its messages and trailers, under the call's deadline.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use host::time::{Instant, Sleep, sleep_until};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;

use super::connection::broken;
use super::deadline_exceeded;

/// The body of a gRPC answer.
pub struct ResponseBody {
    incoming: Incoming,
    deadline: Option<Sleep>,
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, deadline: Option<Instant>) -> ResponseBody {
        // A refusal has no body, and needs no timer.
        let deadline = deadline.filter(|_| !incoming.is_end_stream()).map(sleep_until);
        ResponseBody { incoming, deadline }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(&error))));
        }
        match &mut self.deadline {
            Some(deadline) => Pin::new(deadline).poll(context).map(|()| Some(Err(deadline_exceeded()))),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
