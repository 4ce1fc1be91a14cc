//! What a process sees: the longest prefix wins, mounts are borders, and who is given nothing has a root of its own.

use crate::common::errno::*;
use crate::common::{errno_of, small_disk, with_disk};
use corral_disk::{Disk, DiskOptions, Mounts, fs};

#[test]
fn paths_go_to_the_longest_prefix() {
    with_disk(1, small_disk(), |mut bench| async move {
        let root = Disk::create(&bench.world, bench.machine.id, "rootfs", DiskOptions::ephemeral());
        let other = Disk::create(&bench.world, bench.machine.id, "sdb", small_disk());
        bench.mounts = Mounts::new(root.clone())
            .with_mount("/var/lib/longhorn", bench.disk.clone(), "longhorn")
            .with_mount("/var/lib/longhorn/disk2/", other.clone(), "")
            .with_read_only_mount("/host", bench.disk.clone(), "/");
        bench
            .run(async {
                fs::write("/etc", "root").await.unwrap();
                fs::write("/var/lib/longhorn/a", "first").await.unwrap();
                fs::write("/var/lib/longhorn/disk2/b", "second").await.unwrap();
                fs::write("/var/lib/longhornish", "root too").await.unwrap();
                assert_eq!(fs::read("/var/lib/longhorn/disk2/../a").await.unwrap(), b"first");
                let names = fs::read_dir("/var/lib").await.unwrap();
                assert_eq!(names.len(), 2);

                // The same disk under two mounts is one disk, and two mounts.
                assert_eq!(fs::read("/host/longhorn/a").await.unwrap(), b"first");
                assert_eq!(errno_of(fs::rename("/var/lib/longhorn/a", "/host/a").await), EXDEV);
                assert_eq!(errno_of(fs::hard_link("/var/lib/longhorn/a", "/a").await), EXDEV);
                assert_eq!(errno_of(fs::rename("/var/lib/longhorn/a", "/var/lib/longhorn/disk2/a").await), EXDEV);

                assert_eq!(errno_of(fs::write("/host/longhorn/a", "x").await), EROFS);
                assert_eq!(errno_of(fs::write("/host/new", "x").await), EROFS);
                assert_eq!(errno_of(fs::create_dir("/host/new").await), EROFS);
                assert_eq!(errno_of(fs::create_dir("/host/longhorn").await), EEXIST);
                assert_eq!(errno_of(fs::remove_file("/host/longhorn/a").await), EROFS);
                assert_eq!(errno_of(fs::rename("/host/longhorn/a", "/host/b").await), EROFS);

                assert_eq!(errno_of(fs::remove_dir("/var/lib/longhorn/disk2").await), EBUSY);
                assert_eq!(errno_of(fs::rename("/var/lib/longhorn", "/var/lib/x").await), EXDEV);
                assert_eq!(errno_of(fs::create_dir("/var/lib/longhorn").await), EEXIST);
            })
            .await;
        assert_eq!(bench.disk.contents("/longhorn/a").unwrap(), b"first");
        assert_eq!(other.contents("/b").unwrap(), b"second");
        assert_eq!(root.contents("/etc").unwrap(), b"root");
        assert!(root.stat("/var/lib/longhorn").unwrap().is_dir);
    });
}

#[test]
fn a_process_without_mounts_has_a_root_of_its_own() {
    let (first, second) = corral_core::run(corral_core::Options::new(1), async {
        // The body of a run is a process too.
        fs::write("/mine", "x").await.unwrap();
        let world = corral_core::world();
        let spec = corral_core::ProcessSpec {
            name: "other".into(),
            machine: world.machine_named("corral").unwrap().id,
            address: std::net::Ipv4Addr::new(10, 0, 0, 2),
            hostname: "other".into(),
            arguments: vec![],
            environment: std::collections::BTreeMap::new(),
            attachments: corral_core::Attachments::default(),
        };
        let found = async { i32::from(fs::exists("/mine").await.unwrap()) };
        let process = world.spawn_process(spec, Box::pin(found));
        (fs::exists("/mine").await.unwrap(), process.wait().await)
    })
    .unwrap();
    assert!(first);
    assert_eq!(second, corral_core::journal::End::Exited(0));
}
