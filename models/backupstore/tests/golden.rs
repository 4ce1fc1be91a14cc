//! Stores that the real Longhorn v1.9.2 wrote, read by us; and the same content written by us, compared with them.
//!
//! tests/golden/README.md says how the archive was made. Contents are known by their SHA-256.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Image, Snapshots, address, golden, golden_store, open, sha256};
use longhorn_backupstore::config::{
    BackingImageConfig, BackupConfig, BlockMapping, LockConfig, SystemBackupConfig, VolumeConfig,
};
use longhorn_backupstore::json;
use longhorn_backupstore::{BackingImageBackupRequest, BackupRequest, Backupstore, Extent};

const SNAP1: &str = "bc37d21eae79a427d2bb832482aecdfb19aa70ad593601f4ac93649472bcff1b";
const SNAP3: &str = "4b41bfb6d1c1d9c0b1551409e90cbbed14066437948f1e9e61c267f395bef7c4";
const BACKING_IMAGE: &str = "85afd3ff744bbce1c8565bcaa9d15fbc5ff5c07881141aa586ad0382f8cbb6b3";

fn rewritten<T: serde::Serialize + serde::de::DeserializeOwned>(path: &str, text: &[u8]) -> Vec<u8> {
    let parsed: T = json::from_bytes(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    json::to_bytes(&parsed)
}

#[test]
fn every_configuration_is_written_back_byte_for_byte() {
    let mut seen = BTreeMap::<&str, usize>::new();
    for (path, text) in golden() {
        let (kind, again) = match path.rsplit('/').next().expect("a name") {
            "volume.cfg" => ("volume", rewritten::<VolumeConfig>(&path, &text)),
            "backing-image.cfg" => ("backing image", rewritten::<BackingImageConfig>(&path, &text)),
            "system-backup.cfg" => ("system backup", rewritten::<SystemBackupConfig>(&path, &text)),
            name if name.starts_with("backup_") => ("backup", rewritten::<BackupConfig>(&path, &text)),
            _ => continue,
        };
        assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&text), "{path}");
        *seen.entry(kind).or_default() += 1;
    }
    assert_eq!(seen, BTreeMap::from([("volume", 4), ("backup", 7), ("backing image", 1), ("system backup", 1)]));
    // Seen in a capture of the real engine; no store in the archive holds a lock.
    let lock = br#"{"Name":"lock-dfb3869e2ab449de","Type":1,"Acquired":false}"#;
    assert_eq!(rewritten::<LockConfig>("lock", lock), lock);
}

#[test]
fn backups_restore_to_the_content_they_were_made_of() {
    let cases = [
        ("backupstore-lz4", "backup-one", SNAP1),
        ("backupstore-lz4", "backup-two", SNAP3),
        ("backupstore-gzip", "backup-one", SNAP1),
        ("backupstore-gzip", "backup-two", SNAP3),
        ("backupstore-none", "backup-one", SNAP1),
        ("backupstore-none", "backup-two", SNAP3),
        ("backupstore-lz4-16mib", "backup-big", SNAP3),
    ];
    for (name, backup, expected) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        common::unpack(&golden_store(name), directory.path());
        host::real::block_on(async {
            let store = open(directory.path(), common::hasty()).await;
            let image = restore(&store, directory.path(), backup).await;
            assert_eq!(sha256(&image.content()), expected, "{name} {backup}");
            assert_eq!(image.end(), (100, None));
        });
    }
}

async fn restore(store: &Backupstore, directory: &std::path::Path, backup: &str) -> Arc<Image> {
    let image = Image::new();
    let address = format!("{}?backup={backup}&volume=golden-vol", address(directory));
    store.restore(&address, image.clone(), 3).await.expect("the restore begins").await.expect("and ends");
    image
}

#[test]
fn an_incremental_restore_turns_one_backup_into_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    common::unpack(&golden_store("backupstore-lz4"), directory.path());
    host::real::block_on(async {
        let store = open(directory.path(), common::hasty()).await;
        let image = restore(&store, directory.path(), "backup-one").await;
        let address = format!("{}?backup=backup-two&volume=golden-vol", address(directory.path()));
        let upload = store.restore_incrementally(&address, "backup-one", image.clone(), 2).await.expect("it begins");
        upload.await.expect("it ends");
        assert_eq!(sha256(&image.content()), SNAP3);
        let locks = directory.path().join("backupstore/volumes/35/21/golden-vol/locks");
        assert!(!locks.exists(), "no lock is left, nor its empty directory");
    });
}

#[test]
fn block_sizes_of_two_backups_must_agree_for_an_incremental_restore() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut files = golden_store("backupstore-lz4");
    let big = golden_store("backupstore-lz4-16mib");
    files.extend(big.into_iter().filter(|(path, _)| path.ends_with("backup_backup-big.cfg")));
    common::unpack(&files, directory.path());
    host::real::block_on(async {
        let store = open(directory.path(), common::hasty()).await;
        let address = format!("{}?backup=backup-big&volume=golden-vol", address(directory.path()));
        let error = store.restore_incrementally(&address, "backup-two", Image::new(), 1).await.expect_err("refused");
        assert_eq!(error.to_string(), "backup block size is changed from 2097152 to 16777216");
    });
}

#[test]
fn lists_and_inspections_say_what_the_configurations_say() {
    let directory = tempfile::tempdir().expect("a directory");
    common::unpack(&golden_store("backupstore-lz4"), directory.path());
    common::unpack(&golden_store("backupstore-backingimage"), directory.path());
    // The real one had its target at /target; addresses in answers are made from the target's.
    let target = address(directory.path());
    let shown = |text: String| text.replace(&target, "vfs:///target");
    host::real::block_on(async {
        let store = open(directory.path(), common::hasty()).await;
        let volumes = store.list(None, true).await.expect("a list");
        insta::assert_snapshot!("list-volumes", json::to_indented(&volumes));
        let backups = store.list(Some("golden-vol"), false).await.expect("a list");
        insta::assert_snapshot!("list-backups", json::to_indented(&backups));
        let volume = store.inspect_volume(&format!("{target}?volume=golden-vol")).await.expect("a volume");
        insta::assert_snapshot!("inspect-volume", json::to_indented(&volume));
        let backup =
            store.inspect_backup(&format!("{target}?backup=backup-one&volume=golden-vol")).await.expect("a backup");
        insta::assert_snapshot!("inspect-backup", shown(json::to_indented(&backup)));
        assert_eq!(store.list_backing_images().await.unwrap().expect("there is one"), ["bi-golden"]);
        let image = store.inspect_backing_image(&format!("{target}?backingImage=bi-golden")).await.expect("an image");
        insta::assert_snapshot!("inspect-backing-image", shown(json::to_indented(&image)));
        let systems = store.list_system_backups().await.expect("a list");
        insta::assert_snapshot!("list-system-backups", json::to_indented(&systems));
        let address = format!("{target}/backupstore/system-backups/v1.9.2/sysbk-1");
        let system = store.system_backup_config(&address).await.expect("a system backup");
        insta::assert_snapshot!("system-backup-config", json::to_indented(&system));
        let local = directory.path().join("fetched.zip");
        store.download_system_backup(&address, local.to_str().expect("readable")).await.expect("the checksum fits");
    });
}

#[test]
fn the_backing_image_restores_to_its_content() {
    let directory = tempfile::tempdir().expect("a directory");
    common::unpack(&golden_store("backupstore-backingimage"), directory.path());
    host::real::block_on(async {
        let store = open(directory.path(), common::hasty()).await;
        let writer = Arc::new(common::image::Memory::default());
        let address = format!("{}?backingImage=bi-golden", address(directory.path()));
        store.restore_backing_image(&address, writer.clone(), 2).await.expect("it begins").await.expect("it ends");
        assert_eq!(sha256(&writer.content()), BACKING_IMAGE);
        assert_eq!(writer.end(), (8 << 20, None));
    });
}

/// The snapshots that the golden backups were made of, restored from them.
async fn snapshots(store: &Backupstore, directory: &std::path::Path) -> Snapshots {
    let (one, two) = (load(directory, "backup-one"), load(directory, "backup-two"));
    let offsets = |blocks: &[BlockMapping]| blocks.iter().map(|block| block.offset).collect::<Vec<_>>();
    let differing: Vec<BlockMapping> = two.blocks.iter().filter(|block| !one.blocks.contains(block)).cloned().collect();
    Snapshots {
        content: BTreeMap::from([
            ("snap1".to_owned(), restore(store, directory, "backup-one").await.content()),
            ("snap3".to_owned(), restore(store, directory, "backup-two").await.content()),
        ]),
        changed: BTreeMap::from([
            (("snap1".to_owned(), None), offsets(&one.blocks)),
            (("snap3".to_owned(), Some("snap1".to_owned())), offsets(&differing)),
        ]),
        ..Snapshots::default()
    }
}

fn load(directory: &std::path::Path, backup: &str) -> BackupConfig {
    let path = format!("backupstore/volumes/35/21/golden-vol/backups/backup_{backup}.cfg");
    json::from_bytes(&std::fs::read(directory.join(path)).expect("a configuration")).expect("readable")
}

fn request(name: &str, snapshot: &str, like: &BackupConfig) -> BackupRequest {
    BackupRequest {
        name: name.to_owned(),
        volume: VolumeConfig {
            name: "golden-vol".to_owned(),
            size: 16 << 20,
            created_time: longhorn_backupstore::now(),
            compression_method: like.compression_method.clone(),
            storage_class_name: "0".to_owned(),
            data_engine: "v1".to_owned(),
            ..VolumeConfig::default()
        },
        snapshot: snapshot.to_owned(),
        began_at: longhorn_backupstore::now(),
        labels: like.labels.clone(),
        parameters: like.parameters.clone(),
        workers: 2,
    }
}

/// Times, and the sizes that depend on the encoder, are not comparable; everything else is.
fn comparable(path: &str, text: &[u8], sizes_too: bool) -> Vec<u8> {
    let time = |field: &mut String| field.replace_range(.., "2026-11-20T00:00:00Z");
    match path.rsplit('/').next().expect("a name") {
        "volume.cfg" => {
            let mut config: VolumeConfig = json::from_bytes(text).expect("readable");
            time(&mut config.created_time);
            time(&mut config.last_backup_at);
            json::to_bytes(&config)
        }
        "backing-image.cfg" => {
            let mut config: BackingImageConfig = json::from_bytes(text).expect("readable");
            time(&mut config.complete_time);
            json::to_bytes(&config)
        }
        name if name.starts_with("backup_") => {
            let mut config: BackupConfig = json::from_bytes(text).expect("readable");
            time(&mut config.created_time);
            time(&mut config.snapshot_created_at);
            if !sizes_too {
                config.newly_uploaded_data_size = 0;
            }
            json::to_bytes(&config)
        }
        _ => text.to_vec(),
    }
}

#[test]
fn a_store_that_we_write_is_the_one_that_the_real_engine_writes() {
    for method in ["none", "lz4", "gzip"] {
        let (theirs, ours) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let golden = golden_store(&format!("backupstore-{method}"));
        common::unpack(&golden, theirs.path());
        host::real::block_on(async {
            let snapshots = Arc::new(snapshots(&open(theirs.path(), common::hasty()).await, theirs.path()).await);
            let store = open(ours.path(), common::hasty()).await;
            for (name, snapshot) in [("backup-one", "snap1"), ("backup-two", "snap3")] {
                let request = request(name, snapshot, &load(theirs.path(), name));
                let started = store.create_backup(request, snapshots.clone()).await.expect("it begins");
                assert_eq!(started.is_incremental, name == "backup-two");
                started.upload.await.expect("it ends");
                let status = snapshots.last_status();
                assert_eq!((status.percent, status.error.as_str()), (100, ""));
                assert_eq!(status.url, format!("{}?backup={name}&volume=golden-vol", address(ours.path())));
            }
            let image = restore(&store, ours.path(), "backup-two").await;
            assert_eq!(sha256(&image.content()), SNAP3);
        });
        assert_same_store(&common::files_below(ours.path()), &golden, method);
    }
}

/// The same files with the same content, but for times and for what depends on the encoder.
fn assert_same_store(written: &BTreeMap<String, Vec<u8>>, golden: &BTreeMap<String, Vec<u8>>, method: &str) {
    assert_eq!(written.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>(), "the same files");
    for (path, content) in written {
        let (is_block, uncompressed) = (path.ends_with(".blk"), method == "none");
        if is_block && !uncompressed {
            let head = if method == "lz4" { 7 } else { 10 };
            assert_eq!(content[..head], golden[path][..head], "{path}: the frame's head");
        } else {
            let [ours, theirs] = [content, &golden[path]].map(|text| comparable(path, text, uncompressed));
            assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{path}");
        }
    }
}

#[test]
fn blocks_of_another_size_are_written_as_the_real_engine_writes_them() {
    let (theirs, ours) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let golden = golden_store("backupstore-lz4-16mib");
    common::unpack(&golden, theirs.path());
    host::real::block_on(async {
        let image = restore(&open(theirs.path(), common::hasty()).await, theirs.path(), "backup-big").await;
        let snapshots = Arc::new(Snapshots {
            content: BTreeMap::from([("snap3".to_owned(), image.content())]),
            changed: BTreeMap::from([(("snap3".to_owned(), None), vec![0])]),
            ..Snapshots::default()
        });
        let store = open(ours.path(), common::hasty()).await;
        let request = request("backup-big", "snap3", &load(theirs.path(), "backup-big"));
        store.create_backup(request, snapshots).await.expect("it begins").upload.await.expect("it ends");
        assert_eq!(sha256(&restore(&store, ours.path(), "backup-big").await.content()), SNAP3);
    });
    assert_same_store(&common::files_below(ours.path()), &golden, "lz4");
}

#[test]
fn a_backing_image_is_written_as_the_real_manager_writes_it() {
    let (theirs, ours) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let golden = golden_store("backupstore-backingimage");
    common::unpack(&golden, theirs.path());
    let path = "backupstore/backing-images/backing-images/bi-golden/backing-image.cfg";
    let config: BackingImageConfig = json::from_bytes(&golden[path]).expect("readable");
    host::real::block_on(async {
        let writer = Arc::new(common::image::Memory::default());
        let address = |directory: &std::path::Path| format!("{}?backingImage=bi-golden", address(directory));
        let restore = open(theirs.path(), common::hasty()).await;
        let restore =
            restore.restore_backing_image(&address(theirs.path()), writer.clone(), 1).await.expect("it begins");
        restore.await.expect("it ends");
        let request = BackingImageBackupRequest {
            config: BackingImageConfig {
                block_count: 0,
                complete_time: String::new(),
                processing_blocks: None,
                blocks: Vec::new(),
                ..config.clone()
            },
            extents: config.blocks.iter().map(|block| Extent { offset: block.offset, size: 2 << 20 }).collect(),
            parameters: None,
            workers: 2,
        };
        let store = open(ours.path(), common::hasty()).await;
        let reader = Arc::new(common::image::Memory::of(writer.content()));
        let started = store.create_backing_image_backup(request, reader.clone()).await.expect("it begins");
        started.expect("it is new").await.expect("it ends");
        assert_eq!(reader.statuses().last().expect("a status").url, address(ours.path()));
    });
    let only_images = |files: BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        files.into_iter().filter(|(path, _)| path.contains("/backing-images/")).collect()
    };
    assert_same_store(&common::files_below(ours.path()), &only_images(golden), "lz4");
}
