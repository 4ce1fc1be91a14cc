//! Tasks of the current process.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Starts a task of the current process; it ends with the process. Dropping the handle lets it run on.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // Both backends are generic over the future; so it is one type for all tasks with the same output, and they are compiled once.
    let future: Pin<Box<dyn Future<Output = F::Output> + Send>> = Box::pin(future);
    #[cfg(madsim)]
    if let Some(world) = corral_core::try_world() {
        return JoinHandle(Backend::Simulated(world.spawn(future)));
    }
    JoinHandle(Backend::Real(tokio_real::spawn(future)))
}

/// Lets other tasks run first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Waits for a task's result.
#[derive(Debug)]
pub struct JoinHandle<T>(Backend<T>);

#[derive(Debug)]
enum Backend<T> {
    #[cfg(madsim)]
    Simulated(madsim::task::JoinHandle<T>),
    Real(tokio_real::task::JoinHandle<T>),
}

/// Why a task gave no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JoinError {
    /// It was aborted, or its process ended.
    #[error("the task was aborted")]
    Aborted,
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
}

impl<T> JoinHandle<T> {
    /// Drops the task's future at its next opportunity.
    pub fn abort(&self) {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(handle) => handle.abort(),
            Backend::Real(handle) => handle.abort(),
        }
    }

    /// Whether the task is done.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(handle) => handle.is_finished(),
            Backend::Real(handle) => handle.is_finished(),
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            #[cfg(madsim)]
            Backend::Simulated(handle) => Pin::new(handle)
                .poll(context)
                .map_err(|error| if error.is_panic() { JoinError::Panicked } else { JoinError::Aborted }),
            Backend::Real(handle) => Pin::new(handle)
                .poll(context)
                .map_err(|error| if error.is_panic() { JoinError::Panicked } else { JoinError::Aborted }),
        }
    }
}
