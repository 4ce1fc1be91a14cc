//! Bodies: whole, empty, or streamed through a channel.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use tokio::sync::mpsc;

use super::Error;

/// An error inside a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or answer's body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of nothing.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is sent piece by piece, with at most `capacity` pieces waiting. It ends when the sender is dropped.
pub fn channel(capacity: usize) -> (BodySender, Body) {
    let (sender, receiver) = mpsc::channel(capacity);
    (BodySender { sender }, ChannelBody { receiver }.boxed_unsync())
}

/// Nobody reads the body any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer is gone")]
pub struct Closed;

/// Sends the pieces of a [`channel`] body.
#[derive(Debug)]
pub struct BodySender {
    sender: mpsc::Sender<Result<Bytes, BoxError>>,
}

impl BodySender {
    /// Sends a piece, waiting while the channel is full.
    ///
    /// # Errors
    /// The peer is gone.
    pub async fn send(&self, piece: Bytes) -> Result<(), Closed> {
        self.sender.send(Ok(piece)).await.map_err(|_| Closed)
    }

    /// Sends a piece if there is room: `Ok(false)` if there is none.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn try_send(&self, piece: Bytes) -> Result<bool, Closed> {
        match self.sender.try_send(Ok(piece)) {
            Ok(()) => Ok(true),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed),
        }
    }

    /// Breaks the transfer off: the peer sees a truncated body, not its end.
    pub async fn abort(self) {
        let broken: BoxError = "the transfer was broken off".into();
        let _ = self.sender.send(Err(broken)).await;
    }

    /// Resolves when nobody reads any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

struct ChannelBody {
    receiver: mpsc::Receiver<Result<Bytes, BoxError>>,
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.receiver.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// The whole of a body, if it is no longer than `limit` bytes.
///
/// # Errors
/// The transfer broke, or the body is longer.
pub async fn collect<B>(body: B, limit: usize) -> Result<Bytes, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    Ok(Limited::new(body, limit).collect().await.map_err(Error::Body)?.to_bytes())
}
