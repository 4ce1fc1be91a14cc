//! Memory follows the data that was written, not the sizes of files, and goes when files go.

use std::time::Duration;

use crate::common::{small_disk, with_disk};
use corral_core::sleep;
use corral_disk::{DiskOptions, OpenOptions, fs};

#[test]
fn holes_and_zeros_take_no_memory() {
    with_disk(1, DiskOptions { capacity_bytes: 1 << 50, ..small_disk() }, |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                let file = OpenOptions::new().read(true).write(true).create(true).open("/image").await.unwrap();
                file.set_len(10 << 40).await.unwrap();
                file.write_all_at(&[1; 4096], 5 << 40).await.unwrap();
                assert_eq!(disk.memory_bytes(), 4096);
                file.write_all_at(&vec![0; 1 << 20], 1 << 30).await.unwrap();
                assert_eq!(disk.memory_bytes(), 4096);
                assert_eq!(file.metadata().await.unwrap().allocated_bytes, (1 << 20) + 4096);
            })
            .await;
    });
}

#[test]
fn the_devices_version_of_a_page_is_kept_until_it_is_replaced() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                let file = OpenOptions::new().write(true).create(true).open("/f").await.unwrap();
                file.write_all_at(&[1; 40_960], 0).await.unwrap();
                file.sync_all().await.unwrap();
                for round in 0..10 {
                    file.write_all_at(&[round; 40_960], 0).await.unwrap();
                }
                assert_eq!(disk.memory_bytes(), 2 * 40_960);
                file.sync_all().await.unwrap();
                assert_eq!(disk.memory_bytes(), 40_960);
                file.write_all_at(&[9; 40_960], 0).await.unwrap();
                // What is removed is held for the journal, until the commit is due and the disk is used.
                drop(file);
                fs::remove_file("/f").await.unwrap();
                assert_eq!(disk.memory_bytes(), 2 * 40_960);
                sleep(Duration::from_secs(6)).await;
                fs::metadata("/").await.unwrap();
                assert_eq!(disk.memory_bytes(), 0);
            })
            .await;
    });
}

#[test]
fn direct_writes_leave_one_version() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                let file = OpenOptions::new().write(true).create(true).direct(true).open("/f").await.unwrap();
                for _ in 0..100 {
                    file.write_all_at(&[1; 40_960], 0).await.unwrap();
                }
                fs::metadata("/f").await.unwrap();
                assert_eq!(disk.memory_bytes(), 40_960);
            })
            .await;
    });
}
