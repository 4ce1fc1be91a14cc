//! What operations take, and what files are stamped with.

use std::time::Duration;

use crate::common::{pause_ms, small_disk, with_disk};
use corral_core::{EPOCH_SECONDS, now};
use corral_disk::{DiskOptions, OpenOptions, fs};

async fn took<T>(work: impl Future<Output = T>) -> Duration {
    let began = now();
    work.await;
    now().since(began)
}

#[test]
fn the_cache_is_quick_and_the_device_takes_its_time() {
    with_disk(1, small_disk(), |bench| async move {
        bench
            .run(async {
                let mut options = OpenOptions::new();
                let file = options.read(true).write(true).create(true).open("/f").await.unwrap();
                let quick = Duration::from_micros(40);
                let mut buffer = vec![0; 4096];
                assert!(took(file.write_all_at(&[1; 4096], 0)).await < quick);
                assert!(took(file.read_at(&mut buffer, 0)).await < quick);
                assert!(took(fs::rename("/f", "/g")).await < quick);
                let sync = took(file.sync_all()).await;
                assert!(sync >= Duration::from_micros(100) && sync < Duration::from_micros(110), "{sync:?}");
                let direct = options.direct(true).open("/g").await.unwrap();
                assert!(took(direct.read_at(&mut buffer, 0)).await >= Duration::from_micros(50));
                assert!(took(direct.write_at(&buffer, 0)).await >= Duration::from_micros(50));
                // A direct write leaves nothing in the cache; the read after it fetches.
                assert!(took(file.read_at(&mut buffer, 0)).await >= Duration::from_micros(50));
                assert!(took(file.read_at(&mut buffer, 0)).await < quick);
                // Eight accesses of the cache in a hundred microseconds: time passes for them all the same.
                let many = took(async {
                    for _ in 0..10_000 {
                        file.read_at(&mut buffer, 0).await.unwrap();
                    }
                })
                .await;
                assert!(many > Duration::from_millis(9) && many < Duration::from_millis(15), "{many:?}");
            })
            .await;
        bench.power_cycle();
        bench
            .run(async {
                let file = OpenOptions::new().read(true).open("/g").await.unwrap();
                let mut buffer = vec![0; 4096];
                assert!(took(file.read_at(&mut buffer, 0)).await >= Duration::from_micros(50), "nothing is cached yet");
            })
            .await;
    });
}

#[test]
fn accesses_queue_and_transfers_take_time() {
    let options = DiskOptions { bytes_per_second: Some(100 << 20), ..small_disk() };
    with_disk(1, options, |bench| async move {
        let began = now();
        let writers: Vec<_> = (0..4)
            .map(|index| {
                bench.start(async move {
                    let path = format!("/f{index}");
                    let file = OpenOptions::new().write(true).create(true).direct(true).open(path).await.unwrap();
                    file.write_all_at(&vec![1; 1 << 20], 0).await.unwrap();
                })
            })
            .collect();
        for writer in writers {
            writer.wait().await;
        }
        let took = now().since(began);
        assert!(took > Duration::from_millis(40) && took < Duration::from_millis(41), "{took:?}");
    });
}

#[test]
fn files_are_stamped_by_the_machines_clock_with_the_kernels_tick() {
    with_disk(1, small_disk(), |bench| async move {
        bench.machine.set_clock(now(), -3600 * 1_000_000_000, 0);
        bench
            .run(async {
                pause_ms(1001).await;
                fs::write("/f", "x").await.unwrap();
                let first = fs::metadata("/f").await.unwrap();
                let an_hour_ago = i128::from(EPOCH_SECONDS - 3600) * 1_000_000_000;
                assert_eq!(first.modified_ns, an_hour_ago + 1_000_000_000, "rounded down to 4 ms");
                assert_eq!(first.changed_ns, first.modified_ns);
                pause_ms(10).await;
                fs::hard_link("/f", "/g").await.unwrap();
                let second = fs::metadata("/f").await.unwrap();
                assert_eq!(second.modified_ns, first.modified_ns);
                assert_eq!(second.changed_ns, first.changed_ns + 8_000_000);
                assert_eq!(fs::metadata("/").await.unwrap().modified_ns, second.changed_ns);
                pause_ms(10).await;
                let file = OpenOptions::new().read(true).write(true).open("/f").await.unwrap();
                file.sync_all().await.unwrap();
                let mut buffer = [0];
                file.read_at(&mut buffer, 0).await.unwrap();
                assert_eq!(fs::metadata("/f").await.unwrap(), second, "neither reading nor syncing is a change");
                file.punch_hole(0, 1).await.unwrap();
                assert!(fs::metadata("/f").await.unwrap().modified_ns > second.changed_ns);
            })
            .await;
    });
}
