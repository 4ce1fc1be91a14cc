//! What becomes of a job whose worker does not give its result.

use std::sync::Arc;
use std::time::Duration;

use corral_explore::{Job, Limits, Outcome, Pool, Workers};
use corral_world::{Arm, Recipe};

/// The end of a job that is given to a shell with this script.
fn end_under(script: &str, run_time: Duration) -> Outcome {
    let program = ("sh".into(), vec!["-c".to_owned(), script.to_owned()]);
    let limits = Limits { run_time, ..Limits::default() };
    let mut pool = Pool::start(Workers { program, count: 1, limits, interrupted: Arc::default() });
    let recipe = Recipe { scenario: "any".to_owned(), arm: Arm::default(), seed: 1, plan: None, fork: None };
    let ticket = pool.submit(Job::from(recipe));
    let result = pool.wait(ticket, Duration::from_secs(60)).expect("a shell starts").expect("a minute is enough");
    assert!(result.verdict().is_none());
    result.outcome
}

#[test]
fn a_worker_that_computes_for_ever_is_stuck() {
    assert!(matches!(end_under("while :; do :; done", Duration::from_millis(200)), Outcome::Stuck));
}

#[test]
fn a_worker_that_waits_for_ever_is_stuck() {
    assert!(matches!(end_under("sleep 1000", Duration::from_millis(50)), Outcome::Stuck));
}

#[test]
fn a_worker_that_ends_is_dead_and_its_last_words_are_kept() {
    let end = end_under("read job; echo 'too much' >&2; exit 1", Duration::from_secs(60));
    assert!(matches!(&end, Outcome::Died(words) if words == "too much"), "{end:?}");
}
