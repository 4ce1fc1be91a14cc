//! Faults of disks: errors, bad sectors, rot, slowness, stalls, read-only and full disks; by pattern, and until they are cleared.

use std::time::Duration;

use crate::common::errno::*;
use crate::common::{errno_of, pause_ms, small_disk, with_disk};
use corral_core::{Latency, now, sleep};
use corral_disk::{FaultKind, FaultRule, OpenOptions, fs};

#[test]
fn errors_meet_the_files_that_match_until_they_are_cleared() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                fs::create_dir("/d").await.unwrap();
                fs::write("/d/a.img", "a").await.unwrap();
                fs::write("/d/b", "b").await.unwrap();
                let reads = disk.set_fault(FaultRule::new("*.img", FaultKind::ReadError));
                assert_eq!(errno_of(fs::read("/d/a.img").await), EIO);
                assert_eq!(fs::read("/d/b").await.unwrap(), b"b");
                fs::write("/d/a.img", "writes work").await.unwrap();
                fs::metadata("/d/a.img").await.unwrap();
                disk.clear_fault(reads);
                assert_eq!(fs::read("/d/a.img").await.unwrap(), b"writes work");

                let writes = disk.set_fault(FaultRule::new("/d/*.img", FaultKind::WriteError));
                let direct = OpenOptions::new().write(true).direct(true).open("/d/a.img").await.unwrap();
                assert_eq!(errno_of(direct.write_at(&[1; 512], 0).await), EIO);
                assert_eq!(errno_of(direct.set_len(0).await), EIO);
                assert_eq!(errno_of(fs::rename("/d/b", "/d/b.img").await), EIO);
                assert_eq!(fs::read("/d/a.img").await.unwrap(), b"writes work");
                disk.clear_fault(writes);
                direct.write_at(&[1; 512], 0).await.unwrap();

                let read_only = disk.set_fault(FaultRule::new("**", FaultKind::ReadOnly));
                assert_eq!(errno_of(fs::write("/d/c", "").await), EROFS);
                assert_eq!(errno_of(fs::write("/d/b", "").await), EROFS);
                assert_eq!(errno_of(fs::remove_file("/d/b").await), EROFS);
                assert_eq!(errno_of(direct.write_at(&[1; 512], 0).await), EROFS);
                assert_eq!(fs::read("/d/b").await.unwrap(), b"b");
                disk.clear_fault(read_only);
                fs::remove_file("/d/b").await.unwrap();
            })
            .await;
    });
}

#[test]
fn a_failed_write_back_is_told_once_and_the_data_is_gone() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                let file = OpenOptions::new().read(true).write(true).create(true).open("/f").await.unwrap();
                file.write_all_at(&[1; 4096], 0).await.unwrap();
                file.sync_all().await.unwrap();
                let fault = disk.set_fault(FaultRule::new("/f", FaultKind::WriteError));
                file.write_all_at(&[2; 4096], 0).await.unwrap();
                assert_eq!(errno_of(file.sync_all().await), EIO);
                disk.clear_fault(fault);
                // The kernel holds the page for clean: nothing is left to sync, and it is read back as if all were well.
                file.sync_all().await.unwrap();
                assert_eq!(fs::read("/f").await.unwrap(), [2; 4096]);
            })
            .await;
        bench.power_cycle();
        assert_eq!(bench.disk.contents("/f").unwrap(), [1; 4096]);
    });
}

#[test]
fn a_write_back_that_fails_behind_the_scenes_is_told_by_the_next_sync() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                let file = OpenOptions::new().write(true).create(true).open("/f").await.unwrap();
                file.write_all_at(&[1; 4096], 0).await.unwrap();
                let fault = disk.set_fault(FaultRule::new("/f", FaultKind::WriteError));
                pause_ms(60_000).await;
                disk.clear_fault(fault);
                assert_eq!(errno_of(file.sync_all().await), EIO);
                file.sync_all().await.unwrap();
            })
            .await;
    });
}

#[test]
fn bad_sectors_follow_the_file_and_heal_when_written() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                fs::write("/snap", [3; 16_384]).await.unwrap();
                disk.set_fault(FaultRule::new("/snap", FaultKind::LatentSector { offset: 5000, len: 1 }));
                fs::hard_link("/snap", "/other").await.unwrap();
                fs::remove_file("/snap").await.unwrap();
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true);
                let cached = options.open("/other").await.unwrap();
                let direct = options.direct(true).open("/other").await.unwrap();
                let mut sector = [0; 512];
                // Sector 4608..5120 is bad. Through the page cache its whole page is.
                assert_eq!(errno_of(direct.read_at(&mut sector, 4608).await), EIO);
                assert_eq!(direct.read_at(&mut sector, 4096).await.unwrap(), 512);
                assert_eq!(errno_of(cached.read_at(&mut sector, 4096).await), EIO);
                assert_eq!(cached.read_at(&mut sector, 8192).await.unwrap(), 512);
                // Changing a part of the page needs the rest of it.
                assert_eq!(errno_of(cached.write_at(b"x", 4096).await), EIO);
                direct.write_at(&[4; 512], 4608).await.unwrap();
                assert_eq!(direct.read_at(&mut sector, 4608).await.unwrap(), 512);
                assert_eq!(sector, [4; 512]);
                let fault = disk.set_fault(FaultRule::new("/other", FaultKind::LatentSector { offset: 0, len: 4096 }));
                assert_eq!(errno_of(fs::read("/other").await), EIO);
                disk.clear_fault(fault);
                assert_eq!(fs::read("/other").await.unwrap().len(), 16_384);
            })
            .await;
    });
}

#[test]
fn rot_inverts_one_bit_of_the_medium() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                fs::write("/f", [0b1000; 8192]).await.unwrap();
                let file = OpenOptions::new().write(true).open("/f").await.unwrap();
                file.sync_all().await.unwrap();
                let id = disk.set_fault(FaultRule::new("/f", FaultKind::BitRot { offset: 5000, bit: 3 }));
                disk.clear_fault(id);
                let content = fs::read("/f").await.unwrap();
                let wrong: Vec<_> = (0..8192).filter(|&at| content[at] != 0b1000).collect();
                assert_eq!((wrong, content[5000]), (vec![5000], 0));
                // What is dirty in the page cache hides the medium, and replaces it.
                file.write_all_at(&[1; 4096], 0).await.unwrap();
                disk.set_fault(FaultRule::new("/f", FaultKind::BitRot { offset: 0, bit: 0 }));
                assert_eq!(fs::read("/f").await.unwrap()[0], 1);
                // There is no medium in a hole.
                file.set_len(1 << 20).await.unwrap();
                disk.set_fault(FaultRule::new("/f", FaultKind::BitRot { offset: 100_000, bit: 0 }));
                assert_eq!(fs::read("/f").await.unwrap()[100_000], 0);
            })
            .await;
    });
}

#[test]
fn slow_is_slower_and_stalled_waits_until_it_is_cleared() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                fs::write("/f", "x").await.unwrap();
                let extra = Latency::fixed(Duration::from_millis(300));
                let slow = disk.set_fault(FaultRule::new("/f", FaultKind::Slow { extra }));
                let began = now();
                fs::metadata("/f").await.unwrap();
                let took = now().since(began);
                assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(310), "{took:?}");
                fs::metadata("/").await.unwrap();
                assert!(now().since(began) < took + Duration::from_millis(1));
                disk.clear_fault(slow);

                let first = disk.set_fault(FaultRule::new("/f", FaultKind::Stall));
                let second = disk.set_fault(FaultRule::new("**", FaultKind::Stall));
                let began = now();
                let (healer, healed) = (disk.clone(), disk.clone());
                corral_core::world().queue().run_at(began + Duration::from_secs(60), move || healer.clear_fault(first));
                corral_core::world()
                    .queue()
                    .run_at(began + Duration::from_secs(90), move || healed.clear_fault(second));
                assert_eq!(fs::read("/f").await.unwrap(), b"x");
                let took = now().since(began);
                assert!(took >= Duration::from_secs(90) && took < Duration::from_secs(91), "{took:?}");
            })
            .await;
    });
}

#[test]
fn whoever_dies_waiting_for_a_stalled_disk_did_not_act() {
    with_disk(1, small_disk(), |bench| async move {
        let fault = bench.disk.set_fault(FaultRule::new("**", FaultKind::Stall));
        let process = bench.start(async {
            fs::write("/f", "x").await.unwrap();
        });
        sleep(Duration::from_secs(1)).await;
        bench.world.signal(&process, corral_core::Signal::Kill);
        sleep(Duration::from_secs(1)).await;
        bench.disk.clear_fault(fault);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.disk.tree(), []);
    });
}
