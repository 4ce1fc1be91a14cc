//! The client against a server that says exactly what a test wants it to say. Against the real corral-apiserver it is tested there.
#![cfg(madsim)]

mod api;
mod determinism;
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

/// Runs in the simulated world and in the real one.
fn in_both_worlds<F>(body: fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    simulate(1, body());
    host::real::block_on(body());
}
