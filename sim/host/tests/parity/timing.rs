//! Clocks, sleeps, time-outs, intervals, tasks.

use std::time::Duration;

use host::time::{Instant, interval, sleep, timeout};

parity!(
    sleeping_takes_at_least_its_time,
    a_timeout_cuts_off,
    a_ready_future_beats_its_deadline,
    an_interval_keeps_its_pace,
    tasks_give_their_values_and_can_be_aborted,
    the_wall_clock_goes_forward
);

async fn sleeping_takes_at_least_its_time(_folder: String) {
    let began = Instant::now();
    sleep(Duration::from_millis(20)).await;
    assert!(began.elapsed() >= Duration::from_millis(20));
}

async fn a_timeout_cuts_off(_folder: String) {
    let late = timeout(Duration::from_millis(10), sleep(Duration::from_secs(60))).await;
    assert!(late.is_err());
}

async fn a_ready_future_beats_its_deadline(_folder: String) {
    assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7));
}

async fn an_interval_keeps_its_pace(_folder: String) {
    let began = Instant::now();
    let mut ticks = interval(Duration::from_millis(10));
    let first = ticks.tick().await;
    for _ in 0..3 {
        ticks.tick().await;
    }
    let last = ticks.tick().await;
    assert_eq!(last - first, Duration::from_millis(40));
    assert!(began.elapsed() >= Duration::from_millis(40));
}

async fn tasks_give_their_values_and_can_be_aborted(_folder: String) {
    assert_eq!(host::spawn(async { 3 }).await.expect("it ends"), 3);
    let sleeper = host::spawn(sleep(Duration::from_secs(3600)));
    host::yield_now().await;
    sleeper.abort();
    assert!(matches!(sleeper.await, Err(host::JoinError::Aborted)));
}

async fn the_wall_clock_goes_forward(_folder: String) {
    let before = host::wall_clock::now();
    sleep(Duration::from_millis(20)).await;
    let passed = host::wall_clock::now().duration_since(before);
    assert!(passed.as_millis() >= 19, "{passed:?}");
}
