//! Answers that go on.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::mpsc;
use tonic::Status;

/// What a streaming method answers with.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a listener hears, for as long as it is told something.
pub(crate) fn heard<T: Send + 'static>(listener: mpsc::Receiver<T>) -> Answers<T> {
    Box::pin(unfold(listener, async |mut listener| listener.recv().await.map(|message| (Ok(message), listener))))
}
