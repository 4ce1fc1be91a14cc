//! The work queue with workers and in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::token_bucket::TokenBucket;
use corral_kube_client::workqueue::{ItemExponential, WorkQueue, controller_rate_limiter};
use host::time::{Instant, sleep, timeout};
use proptest::prelude::*;

use crate::simulate;

const MS: Duration = Duration::from_millis(1);

#[test]
fn delayed_keys_come_when_they_are_due_and_wait_once_for_the_earliest() {
    simulate(1, async {
        let queue: WorkQueue<&str> = WorkQueue::default();
        let begun = Instant::now();
        queue.add_after("late", 500 * MS);
        queue.add_after("early", 100 * MS);
        queue.add_after("late", 300 * MS);
        queue.add_after("late", 900 * MS);
        queue.add_after("now", Duration::ZERO);
        let mut seen = Vec::new();
        while let Ok(Some(key)) = timeout(Duration::from_secs(5), queue.get()).await {
            seen.push((key, begun.elapsed().as_millis()));
            queue.done(&key);
        }
        assert_eq!(seen, [("now", 0), ("early", 100), ("late", 300)]);
    });
}

#[test]
fn failures_back_off_and_forget_starts_anew() {
    simulate(2, async {
        let queue: WorkQueue<u8> = WorkQueue::new(controller_rate_limiter(100.0, 1000));
        let mut waits = Vec::new();
        for round in 0..6 {
            if round == 4 {
                assert_eq!(queue.requeues(&1), 4);
                queue.forget(&1);
            }
            let begun = Instant::now();
            queue.add_rate_limited(1);
            let key = queue.get().await.unwrap();
            waits.push(begun.elapsed().as_millis());
            queue.done(&key);
        }
        assert_eq!(waits, [5, 10, 20, 40, 5, 10]);
    });
}

#[test]
fn a_shut_down_queue_gives_out_the_rest_and_then_lets_every_worker_go() {
    simulate(3, async {
        let queue: WorkQueue<u8> = WorkQueue::default();
        let ended = Arc::new(Mutex::new(0));
        for _ in 0..5 {
            let (queue, ended) = (queue.clone(), ended.clone());
            host::spawn(async move {
                while let Some(key) = queue.get().await {
                    sleep(10 * MS).await;
                    queue.done(&key);
                }
                *ended.lock().unwrap() += 1;
            });
        }
        sleep(MS).await;
        for key in 0..20 {
            queue.add(key);
        }
        queue.add_after(99, MS);
        sleep(Duration::from_micros(100)).await;
        let begun = Instant::now();
        queue.shut_down_with_drain().await;
        queue.add(100);
        assert!(begun.elapsed() >= 9 * MS, "work that was going on is waited for");
        sleep(100 * MS).await;
        assert_eq!(*ended.lock().unwrap(), 5);
        assert!(queue.is_empty());
    });
}

#[test]
fn a_key_added_during_its_work_goes_to_a_worker_that_waits_if_its_own_leaves() {
    simulate(4, async {
        let queue: WorkQueue<u8> = WorkQueue::default();
        let waiting = queue.clone();
        queue.add(1);
        let key = queue.get().await.unwrap();
        let other = host::spawn(async move { timeout(Duration::from_secs(5), waiting.get()).await });
        sleep(MS).await;
        queue.add(key);
        sleep(MS).await;
        queue.done(&key);
        assert_eq!(other.await.unwrap().expect("it is woken"), Some(1));
    });
}

/// What workers did, to be checked afterwards.
#[derive(Default)]
struct Books {
    in_work: BTreeMap<u8, u32>,
    last_begun: BTreeMap<u8, Instant>,
    last_added: BTreeMap<u8, Instant>,
    overlaps: u32,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// Five workers of different speed, keys added at random times in every way: none twice at once, and each worked on after its last add.
    #[test]
    fn workers_never_share_a_key_and_miss_none(
        adds in prop::collection::vec((0_u8..8, 0_u32..60, 0_u8..3), 1..80),
        works in prop::collection::vec(0_u32..40, 1..20),
        seed in 0_u64..1000,
    ) {
        let books = simulate(seed, work(adds, works));
        prop_assert_eq!(books.overlaps, 0);
        for (key, added) in &books.last_added {
            prop_assert!(books.last_begun.get(key).is_some_and(|begun| begun >= added), "key {} was lost", key);
        }
    }

    /// Reservations are never sooner than a bucket that counts tokens in real numbers allows, and not later by more than rounding.
    #[test]
    fn a_bucket_grants_as_tokens_in_real_numbers_would(
        gaps in prop::collection::vec(0_u32..400, 1..60), rate in 1_u32..200, burst in 1_u32..20,
    ) {
        let errors = simulate(1, async move {
            let mut bucket = TokenBucket::per_second(f64::from(rate), burst);
            let begun = Instant::now();
            let (mut tokens, mut at, mut errors) = (f64::from(burst), 0.0, Vec::new());
            for gap in gaps {
                sleep(gap * MS).await;
                let now = begun.elapsed().as_secs_f64();
                tokens = (tokens + (now - at) * f64::from(rate)).min(f64::from(burst)) - 1.0;
                at = now;
                let expected = (-tokens / f64::from(rate)).max(0.0);
                errors.push((bucket.reserve().as_secs_f64() - expected).abs());
            }
            errors
        });
        prop_assert!(errors.iter().all(|error| *error < 1e-6), "{:?}", errors);
    }
}

async fn work(adds: Vec<(u8, u32, u8)>, works: Vec<u32>) -> Books {
    let queue: WorkQueue<u8> = WorkQueue::new(Box::new(ItemExponential::new(MS, 50 * MS)));
    let books = Arc::new(Mutex::new(Books::default()));
    for worker in 0..5 {
        let (queue, books, works) = (queue.clone(), books.clone(), works.clone());
        host::spawn(async move {
            let mut turn = worker;
            while let Some(key) = queue.get().await {
                {
                    let mut books = books.lock().unwrap();
                    let others = books.in_work.insert(key, 1).unwrap_or(0);
                    books.overlaps += others;
                    books.last_begun.insert(key, Instant::now());
                }
                sleep(works[turn % works.len()] * MS).await;
                turn += 5;
                books.lock().unwrap().in_work.insert(key, 0);
                queue.done(&key);
            }
        });
    }
    for (key, gap, way) in adds {
        sleep(gap * MS).await;
        books.lock().unwrap().last_added.insert(key, Instant::now());
        match way {
            0 => queue.add(key),
            1 => queue.add_after(key, 7 * MS),
            _ => queue.add_rate_limited(key),
        }
    }
    sleep(Duration::from_secs(60)).await;
    queue.shut_down();
    sleep(Duration::from_secs(1)).await;
    std::mem::take(&mut books.lock().unwrap())
}
