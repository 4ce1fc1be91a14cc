//! What a power cut leaves, case by case; each over many seeds, and each outcome that is claimed possible has to occur.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{Bench, pause_ms, small_disk, with_disk};
use corral_core::MachineState;
use corral_disk::{DiskOptions, FaultKind, FaultRule, FileSystem, OpenOptions, fs};

/// Runs a body over many seeds and counts what it gives.
fn outcomes<F>(options: DiskOptions, body: impl Fn(Bench) -> F + Send + Clone + 'static) -> BTreeMap<String, u32>
where
    F: Future<Output = String> + Send + 'static,
{
    let mut counts = BTreeMap::new();
    for seed in 0..100 {
        let body = body.clone();
        *counts.entry(with_disk(seed, options.clone(), body)).or_default() += 1;
    }
    counts
}

fn kinds(counts: &BTreeMap<String, u32>) -> Vec<&str> {
    counts.keys().map(String::as_str).collect()
}

fn text_of(bench: &Bench, path: &str) -> String {
    match bench.disk.contents(path) {
        Ok(content) if content.iter().all(|&byte| byte == 0) => format!("{} zeros", content.len()),
        Ok(content) => String::from_utf8_lossy(&content).into_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

#[test]
fn what_fsync_returned_for_survives_and_what_it_did_not_may() {
    let counts = outcomes(small_disk(), |bench| async move {
        bench
            .run(async {
                let file = OpenOptions::new().write(true).create(true).open("/f").await.unwrap();
                file.write_all_at(b"synced", 0).await.unwrap();
                file.sync_all().await.unwrap();
                file.write_all_at(b"beyond", 0).await.unwrap();
            })
            .await;
        bench.power_cycle();
        text_of(&bench, "/f")
    });
    assert_eq!(kinds(&counts), ["beyond", "synced"], "{counts:?}");
}

#[test]
fn an_unsynced_file_is_there_or_not_and_its_size_can_come_before_its_data() {
    let body = |bench: Bench| async move {
        bench.run(async { fs::write("/f", "data").await.unwrap() }).await;
        bench.power_cycle();
        text_of(&bench, "/f")
    };
    let ext4 = outcomes(small_disk(), body);
    assert_eq!(kinds(&ext4), ["0 zeros", "4 zeros", "NotFound", "data"], "{ext4:?}");
    let xfs = outcomes(DiskOptions { file_system: FileSystem::XFS, ..small_disk() }, body);
    assert_eq!(kinds(&xfs), ["0 zeros", "NotFound", "data"], "{xfs:?}");
}

#[test]
fn syncing_the_directory_keeps_the_name_and_not_the_data() {
    let counts = outcomes(small_disk(), |bench| async move {
        bench
            .run(async {
                fs::create_dir("/d").await.unwrap();
                fs::write("/d/f", "data").await.unwrap();
                fs::sync_dir("/d").await.unwrap();
            })
            .await;
        bench.power_cycle();
        text_of(&bench, "/d/f")
    });
    assert_eq!(kinds(&counts), ["0 zeros", "4 zeros", "data"], "{counts:?}");
}

/// The way most programs replace a file: write a temporary one and rename it, without any sync.
async fn replace(bench: Bench) -> String {
    bench.disk.put("/state", b"old").unwrap();
    bench
        .run(async {
            fs::write("/state.tmp", "new").await.unwrap();
            fs::rename("/state.tmp", "/state").await.unwrap();
        })
        .await;
    bench.power_cycle();
    text_of(&bench, "/state")
}

#[test]
fn a_rename_over_a_file_leaves_one_of_the_two() {
    let ext4 = outcomes(small_disk(), replace);
    assert_eq!(kinds(&ext4), ["new", "old"], "{ext4:?}");
    // XFS flushes nothing: the name is right, the file can be empty. Never is there neither.
    let xfs = outcomes(DiskOptions { file_system: FileSystem::XFS, ..small_disk() }, replace);
    assert_eq!(kinds(&xfs), ["0 zeros", "new", "old"], "{xfs:?}");
}

#[test]
fn a_rename_to_a_new_name_can_leave_an_empty_file() {
    let counts = outcomes(small_disk(), |bench| async move {
        bench
            .run(async {
                fs::write("/tmp", "new").await.unwrap();
                fs::rename("/tmp", "/state").await.unwrap();
            })
            .await;
        bench.power_cycle();
        text_of(&bench, "/state")
    });
    assert_eq!(kinds(&counts), ["0 zeros", "3 zeros", "NotFound", "new"], "{counts:?}");
}

#[test]
fn replacing_by_truncation_is_guarded_once_the_file_is_closed() {
    let body = |closes: bool| {
        move |bench: Bench| async move {
            bench.disk.put("/state", b"old").unwrap();
            let process = bench.start(async move {
                let file = OpenOptions::new().write(true).truncate(true).open("/state").await.unwrap();
                file.write_all_at(b"new", 0).await.unwrap();
                if closes {
                    drop(file);
                }
                pause_ms(1000).await;
            });
            pause_ms(10).await;
            assert!(process.is_alive());
            bench.power_cycle();
            text_of(&bench, "/state")
        }
    };
    let closed = outcomes(small_disk(), body(true));
    assert_eq!(kinds(&closed), ["new", "old"], "{closed:?}");
    let open = outcomes(small_disk(), body(false));
    assert_eq!(kinds(&open), ["0 zeros", "3 zeros", "new", "old"], "{open:?}");
}

#[test]
fn the_kernel_commits_names_after_seconds_and_data_after_half_a_minute() {
    let after = |seconds: u64| {
        outcomes(small_disk(), move |bench| async move {
            bench.run(async { fs::write("/f", "data").await.unwrap() }).await;
            corral_core::sleep(Duration::from_secs(seconds)).await;
            bench.power_cycle();
            text_of(&bench, "/f")
        })
    };
    assert_eq!(kinds(&after(6)), ["0 zeros", "4 zeros", "data"], "the name is there");
    assert_eq!(kinds(&after(41)), ["data"]);
}

#[test]
fn a_frozen_kernel_commits_nothing() {
    let counts = outcomes(small_disk(), |bench| async move {
        bench.run(async { fs::write("/f", "data").await.unwrap() }).await;
        bench.world.set_machine_state(bench.machine.id, MachineState::Frozen);
        pause_ms(100_000).await;
        bench.world.set_machine_state(bench.machine.id, MachineState::Running);
        pause_ms(1000).await;
        bench.power_cycle();
        text_of(&bench, "/f")
    });
    assert_eq!(kinds(&counts), ["0 zeros", "4 zeros", "NotFound", "data"], "{counts:?}");
}

/// Overwrites one synced page, cuts the power, and says which sectors are new.
fn overwritten(options: DiskOptions, direct: bool, wait_us: u64) -> BTreeMap<String, u32> {
    outcomes(options, move |bench| async move {
        bench.disk.put("/f", &[b'o'; 4096]).unwrap();
        bench.start(async move {
            let file = OpenOptions::new().write(true).direct(direct).open("/f").await.unwrap();
            corral_core::sleep(Duration::from_micros(100)).await;
            file.write_all_at(&[b'n'; 4096], 0).await.unwrap();
        });
        corral_core::sleep(Duration::from_micros(wait_us)).await;
        bench.power_cycle();
        let content = bench.disk.contents("/f").unwrap();
        let sectors = content.chunks(512).map(|sector| {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
            char::from(sector[0])
        });
        sectors.collect()
    })
}

#[test]
fn an_overwritten_page_is_old_new_or_torn_between_sectors() {
    let cached = overwritten(small_disk(), false, 10_000);
    assert!(cached.contains_key("oooooooo") && cached.contains_key("nnnnnnnn") && cached.len() > 8, "{cached:?}");
    let large_sectors = overwritten(DiskOptions { sector_bytes: 4096, ..small_disk() }, false, 10_000);
    assert_eq!(kinds(&large_sectors), ["nnnnnnnn", "oooooooo"], "{large_sectors:?}");
}

#[test]
fn a_direct_write_is_torn_while_under_way_and_safe_when_it_returned() {
    let under_way = overwritten(small_disk(), true, 140);
    assert!(under_way.contains_key("oooooooo") && under_way.contains_key("nnnnnnnn") && under_way.len() > 8);
    let returned = overwritten(small_disk(), true, 10_000);
    assert_eq!(kinds(&returned), ["nnnnnnnn"]);
    let in_a_volatile_cache = overwritten(DiskOptions { volatile_write_cache: true, ..small_disk() }, true, 10_000);
    assert!(in_a_volatile_cache.contains_key("oooooooo") && in_a_volatile_cache.len() > 8);
}

#[test]
fn a_direct_write_into_a_hole_waits_for_the_journal() {
    let body = |volatile: bool, syncs: bool, waits_ms: u64| {
        let options = DiskOptions { volatile_write_cache: volatile, ..small_disk() };
        outcomes(options, move |bench| async move {
            bench.disk.put("/f", b"").unwrap();
            bench.disk.put("/other", b"").unwrap();
            bench
                .run(async move {
                    let file = OpenOptions::new().write(true).direct(true).open("/f").await.unwrap();
                    file.write_all_at(&[b'n'; 4096], 0).await.unwrap();
                    if syncs {
                        // Any file's fsync commits the whole journal and flushes the device.
                        let other = OpenOptions::new().write(true).open("/other").await.unwrap();
                        other.sync_all().await.unwrap();
                    }
                    pause_ms(waits_ms).await;
                })
                .await;
            bench.power_cycle();
            text_of(&bench, "/f").chars().take(7).collect()
        })
    };
    assert_eq!(kinds(&body(false, false, 0)), ["0 zeros", "nnnnnnn"]);
    for volatile in [false, true] {
        assert_eq!(kinds(&body(volatile, true, 0)), ["nnnnnnn"]);
        assert_eq!(kinds(&body(volatile, false, 6000)), ["nnnnnnn"]);
    }
}

#[test]
fn a_cut_truncation_or_hole_brings_back_what_it_took() {
    let counts = outcomes(small_disk(), |bench| async move {
        bench.disk.put("/f", &[b'o'; 8192]).unwrap();
        bench
            .run(async {
                let file = OpenOptions::new().write(true).open("/f").await.unwrap();
                file.punch_hole(0, 4096).await.unwrap();
                file.set_len(6000).await.unwrap();
            })
            .await;
        bench.power_cycle();
        let content = bench.disk.contents("/f").unwrap();
        assert!(content[4096..].iter().all(|&byte| byte == b'o'));
        format!("{} {} {}", content.len(), content[0], bench.disk.stat("/f").unwrap().allocated_bytes)
    });
    assert_eq!(kinds(&counts), ["6000 0 4096", "8192 0 4096", "8192 111 8192"], "{counts:?}");
}

#[test]
fn fdatasync_keeps_what_finds_the_data_and_not_the_names() {
    let counts = outcomes(small_disk(), |bench| async move {
        bench.disk.put("/f", &[b'o'; 4096]).unwrap();
        bench
            .run(async {
                let file = OpenOptions::new().write(true).open("/f").await.unwrap();
                fs::rename("/f", "/g").await.unwrap();
                file.write_all_at(&[b'n'; 4096], 0).await.unwrap();
                file.sync_data().await.unwrap();
            })
            .await;
        bench.power_cycle();
        let there = if bench.disk.stat("/f").is_ok() { "/f" } else { "/g" };
        assert_eq!(bench.disk.contents(there).unwrap(), [b'n'; 4096]);
        there.to_owned()
    });
    assert_eq!(kinds(&counts), ["/f", "/g"], "{counts:?}");
    let grown = outcomes(small_disk(), |bench| async move {
        bench.disk.put("/f", b"").unwrap();
        bench
            .run(async {
                let file = OpenOptions::new().write(true).open("/f").await.unwrap();
                fs::rename("/f", "/g").await.unwrap();
                file.write_all_at(b"grown", 0).await.unwrap();
                file.sync_data().await.unwrap();
            })
            .await;
        bench.power_cycle();
        text_of(&bench, "/g")
    });
    assert_eq!(kinds(&grown), ["grown"], "a new size needs the journal, and the journal commits whole");
}

#[test]
fn content_can_be_newer_than_its_times() {
    // What Longhorn's checksums go by: a direct write is on the medium at once, the change time waits for the journal.
    let counts = outcomes(small_disk(), |bench| async move {
        bench.disk.put("/f", &[b'o'; 4096]).unwrap();
        let before = bench.disk.stat("/f").unwrap().changed_ns;
        pause_ms(100).await;
        bench
            .run(async {
                let file = OpenOptions::new().write(true).direct(true).open("/f").await.unwrap();
                file.write_all_at(&[b'n'; 4096], 0).await.unwrap();
            })
            .await;
        assert!(bench.disk.stat("/f").unwrap().changed_ns > before);
        bench.power_cycle();
        assert_eq!(bench.disk.contents("/f").unwrap(), [b'n'; 4096]);
        if bench.disk.stat("/f").unwrap().changed_ns == before { "old times" } else { "new times" }.to_owned()
    });
    assert_eq!(kinds(&counts), ["new times", "old times"], "{counts:?}");
}

#[test]
fn unlinked_and_replaced_files_come_back_or_are_freed() {
    let counts = outcomes(small_disk(), |bench| async move {
        let empty = bench.disk.space().used_bytes;
        bench.disk.put("/f", &[b'o'; 4096]).unwrap();
        let holder = bench.start(async {
            let file = OpenOptions::new().read(true).open("/f").await.unwrap();
            fs::remove_file("/f").await.unwrap();
            pause_ms(1_000_000).await;
            drop(file);
        });
        pause_ms(1).await;
        assert!(holder.is_alive());
        assert_eq!(bench.disk.space().used_bytes, empty + 4096, "held open");
        bench.power_cycle();
        match bench.disk.contents("/f") {
            Ok(content) => {
                assert_eq!((content, bench.disk.space().used_bytes), (vec![b'o'; 4096], empty + 4096));
                "back"
            }
            Err(_) => {
                assert_eq!(bench.disk.space().used_bytes, empty);
                "freed"
            }
        }
        .to_owned()
    });
    assert_eq!(kinds(&counts), ["back", "freed"], "{counts:?}");
}

#[test]
fn an_fsync_that_did_not_return_promises_nothing() {
    let counts = outcomes(small_disk(), |bench| async move {
        bench.disk.put("/f", b"old").unwrap();
        let disk = bench.disk.clone();
        let process = bench.start(async move {
            let file = OpenOptions::new().write(true).open("/f").await.unwrap();
            file.write_all_at(b"new", 0).await.unwrap();
            disk.set_fault(FaultRule::new("**", FaultKind::Stall));
            file.sync_all().await.unwrap();
        });
        pause_ms(1000).await;
        assert!(process.is_alive());
        bench.power_cycle();
        text_of(&bench, "/f")
    });
    assert_eq!(kinds(&counts), ["new", "old"], "{counts:?}");
}

#[test]
fn a_disk_that_is_not_bound_to_power_loses_nothing() {
    let counts = outcomes(DiskOptions::ephemeral(), |bench| async move {
        bench
            .run(async {
                fs::write("/f", "data").await.unwrap();
                fs::rename("/f", "/g").await.unwrap();
            })
            .await;
        bench.power_cycle();
        assert_eq!(bench.disk.last_cut(), None);
        text_of(&bench, "/g")
    });
    assert_eq!(kinds(&counts), ["data"]);
}

#[test]
fn a_killed_process_loses_nothing_even_if_the_power_goes_much_later() {
    with_disk(1, small_disk(), |bench| async move {
        let process = bench.start(async {
            for index in 0..100u8 {
                fs::write(format!("/{index}"), [index; 100]).await.unwrap();
            }
            pause_ms(1_000_000).await;
        });
        pause_ms(100).await;
        bench.world.signal(&process, corral_core::Signal::Kill);
        pause_ms(60_000).await;
        bench.power_cycle();
        for index in 0..100u8 {
            assert_eq!(bench.disk.contents(&format!("/{index}")).unwrap(), [index; 100]);
        }
    });
}
