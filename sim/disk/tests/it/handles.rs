//! Handles: unlinked files that are open live on; a process's end closes what it had open and loses nothing.

use std::sync::{Arc, Mutex};

use crate::common::errno::*;
use crate::common::{errno_of, on_disk, pause_ms, small_disk, with_disk};
use corral_core::Signal;
use corral_disk::{OpenOptions, fs};

#[test]
fn an_open_file_outlives_its_name() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        bench
            .run(async move {
                let file = OpenOptions::new().read(true).write(true).create(true).open("/f").await.unwrap();
                file.write_all_at(&[5; 8192], 0).await.unwrap();
                let before = disk.space().used_bytes;
                fs::remove_file("/f").await.unwrap();
                assert_eq!(errno_of(fs::read("/f").await), ENOENT);
                assert_eq!(file.metadata().await.unwrap().links, 0);
                file.write_all_at(b"still", 0).await.unwrap();
                let mut buffer = [0; 5];
                file.read_exact_at(&mut buffer, 0).await.unwrap();
                assert_eq!(&buffer, b"still");
                fs::write("/f", "another").await.unwrap();
                assert_eq!(disk.space().used_bytes, before + 4096);
                drop(file);
                assert_eq!(disk.space().used_bytes, before - 4096);
            })
            .await;
    });
}

#[test]
fn a_file_replaced_by_rename_lives_on_too() {
    on_disk(|| async {
        fs::write("/old", "old").await.unwrap();
        let old = OpenOptions::new().read(true).open("/old").await.unwrap();
        fs::write("/new", "new").await.unwrap();
        fs::rename("/new", "/old").await.unwrap();
        let mut buffer = [0; 3];
        old.read_exact_at(&mut buffer, 0).await.unwrap();
        assert_eq!(&buffer, b"old");
        assert_eq!(fs::read("/old").await.unwrap(), b"new");
    });
}

#[test]
fn the_end_of_a_process_closes_its_files_and_loses_nothing() {
    with_disk(1, small_disk(), |bench| async move {
        let empty = bench.disk.space().used_bytes;
        let process = bench.start(async {
            let kept = OpenOptions::new().write(true).create(true).open("/kept").await.unwrap();
            let unlinked = OpenOptions::new().write(true).create(true).open("/unlinked").await.unwrap();
            unlinked.write_all_at(&[1; 4096], 0).await.unwrap();
            kept.write_all_at(b"not synced", 0).await.unwrap();
            fs::remove_file("/unlinked").await.unwrap();
            pause_ms(1_000_000).await;
        });
        pause_ms(10).await;
        assert_eq!(bench.disk.space().used_bytes, empty + 8192);
        bench.world.signal(&process, Signal::Kill);
        assert_eq!(bench.disk.space().used_bytes, empty + 4096);
        assert_eq!(bench.disk.contents("/kept").unwrap(), b"not synced");
    });
}

#[test]
fn a_handle_is_dead_once_its_process_is() {
    with_disk(1, small_disk(), |bench| async move {
        let shared = Arc::new(Mutex::new(None));
        let slot = shared.clone();
        let process = bench.start(async move {
            let file = OpenOptions::new().write(true).create(true).open("/f").await.unwrap();
            *slot.lock().unwrap() = Some(file);
            pause_ms(1_000_000).await;
        });
        pause_ms(10).await;
        let file = shared.lock().unwrap().take().unwrap();
        bench.world.signal(&process, Signal::Kill);
        assert_eq!(errno_of(file.write_at(b"x", 0).await), EBADF);
        assert_eq!(errno_of(file.metadata().await), EBADF);
        drop(file);
        assert_eq!(bench.disk.contents("/f").unwrap(), b"");
    });
}

#[test]
fn whoever_stops_waiting_for_an_open_leaves_nothing_open() {
    with_disk(1, small_disk(), |bench| async move {
        let disk = bench.disk.clone();
        let empty = disk.space().used_bytes;
        bench
            .run(async move {
                for _ in 0..3 {
                    poll_once(OpenOptions::new().write(true).create(true).open("/f")).await;
                }
                let file = OpenOptions::new().write(true).open("/f").await.unwrap();
                file.write_all_at(&[1; 4096], 0).await.unwrap();
                fs::remove_file("/f").await.unwrap();
                drop(file);
                assert_eq!(disk.space().used_bytes, empty);
            })
            .await;
    });
}

/// Polls a future once and drops it.
async fn poll_once<F: Future>(future: F) {
    let mut future = Box::pin(future);
    std::future::poll_fn(|context| {
        let _ = future.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
}
