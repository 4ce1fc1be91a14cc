//! A seed gives the same run; what happens to files is part of the run's digest.

use crate::common::{Bench, pause_ms, small_disk};
use corral_core::{MachineState, Options, run};
use corral_disk::{DiskOptions, FileSystem, OpenOptions, fs};

async fn work(bench: Bench) {
    for index in 0..4u8 {
        bench.start(async move {
            let directory = format!("/d{index}");
            fs::create_dir(&directory).await.unwrap();
            for round in 0..20u8 {
                let path = format!("{directory}/{}", round % 5);
                let file = OpenOptions::new().write(true).create(true).open(&path).await.unwrap();
                file.write_all_at(&vec![round; 5000], u64::from(round) * 1000).await.unwrap();
                if round % 7 == index {
                    file.sync_all().await.unwrap();
                }
                fs::rename(&path, format!("{directory}/{}", round % 3)).await.unwrap();
                fs::read_dir(&directory).await.unwrap();
            }
        });
    }
    pause_ms(2).await;
    bench.power_cycle();
}

fn digest(seed: u64) -> (u128, Vec<(String, u64, u64)>) {
    let outcome = run(Options::new(seed), async {
        let bench = Bench::new(DiskOptions { latency: corral_core::Latency::ZERO, ..small_disk() });
        work(bench.clone()).await;
        let tree = bench.disk.tree().into_iter();
        tree.map(|(path, metadata)| (path, metadata.len, metadata.inode)).collect::<Vec<_>>()
    });
    (outcome.digest, outcome.value.unwrap())
}

#[test]
fn a_seed_gives_the_same_files_and_the_same_digest() {
    let runs: std::collections::BTreeSet<_> = (0..6).map(digest).collect();
    assert_eq!(runs.len(), 6, "each seed gives a run of its own");
    for seed in 0..6 {
        assert_eq!(digest(seed), digest(seed));
    }
    let other_thread = std::thread::Builder::new().spawn(|| digest(3)).unwrap().join().unwrap();
    assert_eq!(digest(3), other_thread);
}

#[test]
fn the_digest_sees_each_operation_and_what_it_wrote() {
    let digest = |byte: u8, offset: u64, reads: bool| {
        run(Options::new(1), async move {
            let file = OpenOptions::new().read(true).write(true).create(true).open("/f").await.unwrap();
            file.write_all_at(&[byte; 100], offset).await.unwrap();
            let mut buffer = [0; 10];
            file.read_at(&mut buffer, if reads { 0 } else { 1 }).await.unwrap();
        })
        .digest
    };
    let base = digest(1, 0, true);
    assert_eq!(base, digest(1, 0, true));
    for other in [digest(2, 0, true), digest(1, 1, true), digest(1, 0, false)] {
        assert_ne!(base, other);
    }
}

#[test]
fn a_power_cut_of_one_machine_leaves_the_others_alone() {
    let other_machines_files = |cut: bool| {
        run(Options::new(5), async move {
            let bench = Bench::new(small_disk());
            let other = bench.world.add_machine("m2");
            let options = DiskOptions { file_system: FileSystem::XFS, ..small_disk() };
            let theirs = corral_disk::Disk::create(&bench.world, other.id, "sda", options);
            let mut on_other = bench.clone();
            on_other.mounts = corral_disk::Mounts::new(theirs.clone());
            on_other.run(async { fs::write("/f", "not synced").await.unwrap() }).await;
            bench.run(async { fs::write("/g", "not synced").await.unwrap() }).await;
            if cut {
                bench.world.set_machine_state(bench.machine.id, MachineState::Off);
                assert!(bench.disk.last_cut().is_some());
            }
            assert_eq!(theirs.last_cut(), None);
            theirs.contents("/f").unwrap()
        })
        .unwrap()
    };
    assert_eq!(other_machines_files(true), b"not synced");
    assert_eq!(other_machines_files(false), b"not synced");
}
