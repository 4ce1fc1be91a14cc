//! Optimistic updates: read, change, write, and again if somebody else wrote in between. Source: client-go util/retry/util.go.

use std::future::Future;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::Error;

/// For an object that several clients change: five tries, 10 ms apart.
pub const DEFAULT_RETRY: Backoff =
    Backoff { duration: Duration::from_millis(10), factor: 1.0, jitter: 0.1, steps: 5, cap: Duration::ZERO };

/// For an object that controllers work on all the time: four tries, 10 ms, 50 ms and 250 ms apart.
pub const DEFAULT_BACKOFF: Backoff =
    Backoff { duration: Duration::from_millis(10), factor: 5.0, jitter: 0.1, steps: 4, cap: Duration::ZERO };

/// Tries again while the error is a conflict; returns the last conflict when the tries are used up. The object has to be read inside `attempt`.
pub async fn retry_on_conflict<T, F, A>(client: &Client, backoff: Backoff, attempt: F) -> Result<T, Error>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, Error>>,
{
    retry_if(client, backoff, Error::is_conflict, attempt).await
}

/// Tries again while the error is such; returns the last error when the tries are used up.
pub async fn retry_if<T, E, F, A>(
    client: &Client,
    mut backoff: Backoff,
    again: impl Fn(&E) -> bool,
    mut attempt: F,
) -> Result<T, E>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, E>>,
{
    let mut random = None;
    loop {
        match attempt().await {
            Err(error) if backoff.steps > 1 && again(&error) => {
                let random = random.get_or_insert_with(|| client.random("retry"));
                host::time::sleep(backoff.step(random)).await;
            }
            result => return result,
        }
    }
}
