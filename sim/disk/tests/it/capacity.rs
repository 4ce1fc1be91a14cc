//! Room: what is taken, what is given back, and what happens when there is none.

use crate::common::errno::*;
use crate::common::{errno_of, small_disk, with_disk};
use corral_disk::{DiskOptions, FaultKind, FaultRule, OpenOptions, fs};

#[test]
fn a_full_disk_writes_what_fits_and_then_refuses() {
    // The root directory takes a block of the eleven.
    with_disk(1, DiskOptions { capacity_bytes: 11 * 4096, ..small_disk() }, |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                assert_eq!(fs::space("/").await.unwrap().free_bytes(), 10 * 4096);
                let file = OpenOptions::new().read(true).write(true).create(true).open("/f").await.unwrap();
                file.set_len(1 << 30).await.unwrap();
                assert_eq!(file.write_at(&[1; 100_000], 100).await.unwrap(), 10 * 4096 - 100);
                assert_eq!(errno_of(file.write_at(&[1; 1], 1 << 20).await), ENOSPC);
                assert_eq!(errno_of(file.write_all_at(&[2; 8192], 9 * 4096).await), ENOSPC);
                // What has a block can be written again, and a name needs none.
                file.write_all_at(&[3; 4096], 0).await.unwrap();
                fs::write("/empty", "").await.unwrap();
                assert_eq!(errno_of(fs::write("/small", "x").await), ENOSPC);
                assert_eq!(errno_of(fs::create_dir("/d").await), ENOSPC);
                assert_eq!(disk.space().free_bytes(), 0);

                file.punch_hole(0, 8192).await.unwrap();
                fs::create_dir("/d").await.unwrap();
                fs::write("/small", "x").await.unwrap();
                assert_eq!(disk.space().free_bytes(), 0);
                fs::remove_dir("/d").await.unwrap();
                fs::write("/small", "").await.unwrap();
                assert_eq!(disk.space().free_bytes(), 8192);
                file.set_len(0).await.unwrap();
                assert_eq!(disk.space().free_bytes(), 10 * 4096);
            })
            .await;
    });
}

#[test]
fn the_fault_takes_room_from_some_files_only() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                fs::write("/a.img", "x").await.unwrap();
                let fault = disk.set_fault(FaultRule::new("*.img", FaultKind::NoSpace));
                let file = OpenOptions::new().write(true).open("/a.img").await.unwrap();
                file.write_all_at(b"y", 0).await.unwrap();
                assert_eq!(errno_of(file.write_at(b"y", 4096).await), ENOSPC);
                assert_eq!(errno_of(fs::write("/b.img", "").await), ENOSPC);
                fs::write("/b", "x").await.unwrap();
                disk.clear_fault(fault);
                file.write_at(b"y", 4096).await.unwrap();
            })
            .await;
    });
}
