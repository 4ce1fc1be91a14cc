//! The client against a server that says exactly what a test wants it to say. Against the real corral-apiserver it is tested there.

mod api;
mod election;
mod events;
mod fake;
mod informer;
mod informer_failures;
mod reads;
mod retries;
mod work_queue;

use std::future::Future;

/// Runs in the simulated world, in virtual time.
fn simulate<F>(seed: u64, body: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    corral_core::run(corral_core::Options::new(seed), body).unwrap()
}
