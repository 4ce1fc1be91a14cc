//! What the operations leave in a store, in a directory of the real world and in a bucket of a simulated one.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::image::Memory;
use common::place::{Place, everywhere};
use common::{BLOCK, Image, Snapshots, hasty};
use longhorn_backupstore::config::{BackingImageConfig, BackupConfig, Labels, VolumeConfig};
use longhorn_backupstore::{BackingImageBackupRequest, BackupRequest, Backupstore, Behaviour, Extent, json, layout};

const VOLUME: &str = "vol-1";

/// Content of so many blocks, each filled with its letter; a dot stands for a block that was never written.
fn content(letters: &str) -> Vec<u8> {
    letters.bytes().flat_map(|letter| vec![if letter == b'.' { 0 } else { letter }; BLOCK]).collect()
}

fn request(name: &str, snapshot: &str, blocks: usize) -> BackupRequest {
    BackupRequest {
        name: name.to_owned(),
        volume: VolumeConfig {
            name: VOLUME.to_owned(),
            size: i64::try_from(blocks * BLOCK).expect("small"),
            compression_method: "lz4".to_owned(),
            ..VolumeConfig::default()
        },
        snapshot: snapshot.to_owned(),
        began_at: longhorn_backupstore::now(),
        labels: None,
        parameters: Some(BTreeMap::new()),
        workers: 2,
    }
}

async fn back_up(store: &Backupstore, request: BackupRequest, snapshots: Arc<Snapshots>) {
    store.create_backup(request, snapshots).await.expect("the backup begins").upload.await.expect("and ends");
}

/// Backs up a snapshot of this content, as a full compare.
async fn back_up_content(store: &Backupstore, name: &str, letters: &str) {
    let snapshots = Arc::new(Snapshots::one(&format!("snap-of-{name}"), content(letters)));
    back_up(store, request(name, &format!("snap-of-{name}"), letters.len()), snapshots.clone()).await;
    assert_eq!(snapshots.last_status().percent, 100, "{:?}", snapshots.last_status());
}

async fn restored(store: &Backupstore, place: &Place, backup: &str) -> Vec<u8> {
    let image = Image::new();
    let restore = store.restore(&place.of_backup(backup, VOLUME), image.clone(), 2).await.expect("the restore begins");
    restore.await.expect("and ends");
    assert_eq!(image.end(), (100, None));
    image.content()
}

fn volume_config(place: &Place) -> VolumeConfig {
    json::from_bytes(&place.files()[&layout::volume_config(VOLUME)]).expect("a configuration")
}

fn backup_config(place: &Place, backup: &str) -> BackupConfig {
    json::from_bytes(&place.files()[&layout::backup_config(backup, VOLUME)]).expect("a configuration")
}

#[test]
fn backups_share_blocks_and_deleting_one_leaves_the_others_whole() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        back_up_content(&store, "one", "aab.").await;
        assert_eq!((place.blocks(), volume_config(&place).block_count), (2, 2));
        back_up_content(&store, "two", "acb.").await;
        assert_eq!((place.blocks(), volume_config(&place).block_count), (3, 3));
        assert_eq!(volume_config(&place).last_backup_name, "two");
        assert_eq!(restored(&store, &place, "one").await, content("aab."));

        store.delete_backup(&place.of_backup("one", VOLUME)).await.expect("deleted");
        assert_eq!(place.blocks(), 3, "every block of the other is kept");
        assert_eq!(restored(&store, &place, "two").await, content("acb."));
        let error = store.inspect_backup(&place.of_backup("one", VOLUME)).await.expect_err("it is gone");
        assert_eq!(error.to_string(), format!("cannot find {} in backupstore", layout::backup_config("one", VOLUME)));

        store.delete_backup(&place.of_backup("two", VOLUME)).await.expect("deleted");
        let config = volume_config(&place);
        assert_eq!((place.blocks(), config.block_count, config.last_backup_name.as_str()), (0, 0, ""));
        assert_eq!(place.names(), [layout::volume_config(VOLUME)], "no lock is left");
    });
}

#[test]
fn the_last_backup_moves_back_to_the_one_that_began_before() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        for (name, began_at) in
            [("one", "2026-01-01T00:00:01Z"), ("two", "2026-01-01T00:00:03Z"), ("new", "2026-01-01T00:00:09Z")]
        {
            let snapshots = Arc::new(Snapshots::one(name, content("a")));
            back_up(&store, BackupRequest { began_at: began_at.to_owned(), ..request(name, name, 1) }, snapshots).await;
        }
        store.delete_backup(&place.of_backup("new", VOLUME)).await.expect("deleted");
        let config = volume_config(&place);
        assert_eq!((config.last_backup_name.as_str(), config.last_backup_at.as_str()), ("two", "2026-01-01T00:00:03Z"));
        store.delete_backup(&place.of_backup("one", VOLUME)).await.expect("deleted");
        assert_eq!(volume_config(&place).last_backup_name, "two", "another one's end changes nothing");
    });
}

#[test]
fn an_incremental_backup_builds_on_the_last_one_if_its_snapshot_is_still_here() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        let mut snapshots = Snapshots::one("s1", content("ab.."));
        snapshots.content.insert("s2".to_owned(), content("ac.d"));
        let changed = vec![BLOCK as i64, 3 * BLOCK as i64];
        snapshots.changed.insert(("s2".to_owned(), Some("s1".to_owned())), changed);
        let snapshots = Arc::new(snapshots);
        back_up(&store, request("one", "s1", 4), snapshots.clone()).await;
        back_up(&store, request("two", "s2", 4), snapshots.clone()).await;
        let two = backup_config(&place, "two");
        assert!(two.is_incremental && two.processing_blocks.is_none());
        assert_eq!(two.blocks.iter().map(|block| block.offset / BLOCK as i64).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(restored(&store, &place, "two").await, content("ac.d"));

        back_up_content(&store, "three", "ac.d").await;
        assert!(!backup_config(&place, "three").is_incremental, "snapshot s2 is not among the reader's");
        let full: Labels = Some(BTreeMap::from([("backup-mode".to_owned(), "full".to_owned())]));
        let snapshots = Arc::new(Snapshots::one("s4", content("ac.d")));
        back_up(&store, BackupRequest { parameters: full, ..request("four", "s4", 4) }, snapshots).await;
        let four = backup_config(&place, "four");
        assert_eq!(four.newly_uploaded_data_size, 0);
        assert!(four.re_uploaded_data_size > 0, "a full backup uploads again what is there");
        assert_eq!(volume_config(&place).block_count, 4);
    });
}

#[test]
fn a_backup_that_fails_leaves_an_unfinished_configuration_which_keeps_blocks() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        back_up_content(&store, "good", "ab").await;
        let snapshots = Arc::new(Snapshots {
            content: BTreeMap::from([("short".to_owned(), content("c"))]),
            changed: BTreeMap::from([(("short".to_owned(), None), vec![0, BLOCK as i64])]),
            ..Snapshots::default()
        });
        back_up(&store, BackupRequest { workers: 1, ..request("bad", "short", 2) }, snapshots.clone()).await;
        let status = snapshots.last_status();
        assert_eq!((status.error.as_str(), status.url.as_str(), status.failed_to_start), ("unexpected EOF", "", false));
        let error = store.inspect_backup(&place.of_backup("bad", VOLUME)).await.expect_err("unfinished");
        assert_eq!(error.to_string(), "backup bad is still in progress");
        let listed = store.list(Some(VOLUME), false).await.expect("a list");
        assert_eq!(listed[VOLUME].backups.keys().collect::<Vec<_>>(), ["bad", "good"]);

        store.delete_backup(&place.of_backup("good", VOLUME)).await.expect("deleted");
        assert_eq!(place.blocks(), 3, "blocks stay while a backup is in progress");
        assert_eq!(volume_config(&place).last_backup_name, "", "and no other last backup is named");
        store.delete_backup(&place.of_backup("bad", VOLUME)).await.expect("deleted");
        assert_eq!(place.blocks(), 0);
    });
}

#[test]
fn a_request_that_makes_no_sense_fails_before_it_begins() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        let snapshots = Arc::new(Snapshots::one("s", content("a")));
        let parameters: Labels = Some(BTreeMap::from([("backup-block-size".to_owned(), "many".to_owned())]));
        let bad = BackupRequest { parameters: parameters.clone(), ..request("b1", "s", 1) };
        let error = store.create_backup(bad, snapshots.clone()).await.err().expect("refused");
        assert_eq!(error.to_string(), "invalid block size many from parameter backup-block-size");
        let status = snapshots.last_status();
        assert!(status.failed_to_start && status.error == error.to_string());
        let older = Behaviour { block_size_parameter: false, ..hasty() };
        let before = place.open(older).await;
        let same = BackupRequest { parameters, ..request("b1", "s", 1) };
        back_up(&before, same, snapshots.clone()).await;
        assert_eq!(snapshots.last_status().percent, 100, "older releases do not know the parameter");

        let unknown = store.create_backup(request("b2", "nowhere", 1), snapshots).await.err().expect("refused");
        assert_eq!(unknown.to_string(), "no snapshot nowhere");
        assert!(!place.names().iter().any(|name| name.ends_with(".lck")), "no lock is left");
    });
}

#[test]
fn a_volume_with_only_a_lock_is_listed_with_an_error_and_can_be_deleted() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        assert!(store.list(None, true).await.expect("a list").is_empty(), "an empty store");
        back_up_content(&store, VOLUME, "a").await;
        let lock = layout::lock("other-vol", "lock-0123456789ab4def");
        place.put(&lock, br#"{"Name":"lock-0123456789ab4def","Type":1,"Acquired":false}"#);
        let listed = store.list(None, true).await.expect("a list");
        assert_eq!(listed.keys().collect::<Vec<_>>(), ["other-vol", VOLUME]);
        let message = &listed["other-vol"].messages.as_ref().expect("messages")["error"];
        assert_eq!(message, &format!("cannot find {} in backupstore", layout::volume_config("other-vol")));

        store.delete_volume(VOLUME).await.expect("deleted");
        assert_eq!(place.names(), [lock]);
        store.delete_volume(VOLUME).await.expect("what is not there is deleted");
        let error = store.list(Some("../x"), false).await.expect_err("no such name");
        assert_eq!(error.to_string(), "invalid volume name ../x");
    });
}

#[test]
fn a_restore_takes_the_volumes_present_size_and_refuses_what_is_damaged() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        back_up_content(&store, "one", "ab").await;
        let mut config = volume_config(&place);
        config.size = 3 * BLOCK as i64;
        place.put(&layout::volume_config(VOLUME), json::to_bytes(&config));
        assert_eq!(restored(&store, &place, "one").await, content("ab."));

        let damaged = backup_config(&place, "one").blocks[1].block_checksum.clone();
        let (path, other) = (layout::block(VOLUME, &damaged), place.files());
        let intact = &other[&layout::block(VOLUME, &backup_config(&place, "one").blocks[0].block_checksum)];
        place.put(&path, intact);
        let image = Image::new();
        store.restore(&place.of_backup("one", VOLUME), image.clone(), 1).await.expect("begins").await.expect("ends");
        let error = image.end().1.expect("the block is another one");
        assert!(error.ends_with("checksum verification failed for block"), "{error}");

        let image = Image::new();
        image.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        store.restore(&place.of_backup("one", VOLUME), image.clone(), 1).await.expect("begins").await.expect("ends");
        let expected = format!("backup restoration is cancelled since received stop signal for volume {VOLUME}");
        assert_eq!(image.end().1, Some(expected));
        let error = store.restore(&place.of_backup("none", VOLUME), Image::new(), 1).await.expect_err("no such backup");
        assert_eq!(error.to_string(), format!("cannot find {} in backupstore", layout::backup_config("none", VOLUME)));
        let error =
            store.restore(&place.of_backup("none", "no-vol"), Image::new(), 1).await.expect_err("no such volume");
        assert!(error.to_string().starts_with("Source volume doesn't exist in backupstore: cannot find "), "{error}");
    });
}

#[test]
fn a_block_that_was_compressed_the_other_way_is_read_all_the_same() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        back_up_content(&store, "one", "ab").await;
        let mut config = backup_config(&place, "one");
        config.compression_method = "gzip".to_owned();
        place.put(&layout::backup_config("one", VOLUME), json::to_bytes(&config));
        assert_eq!(restored(&store, &place, "one").await, content("ab"));
        config.compression_method = "none".to_owned();
        place.put(&layout::backup_config("one", VOLUME), json::to_bytes(&config));
        let image = Image::new();
        store.restore(&place.of_backup("one", VOLUME), image.clone(), 1).await.expect("begins").await.expect("ends");
        assert!(image.end().1.is_some(), "only gzip and lz4 are tried for one another");
    });
}

fn image_request(name: &str, data: &[u8]) -> BackingImageBackupRequest {
    let extents = data.chunks(BLOCK).enumerate().map(|(index, block)| Extent {
        offset: i64::try_from(index * BLOCK).expect("small"),
        size: i64::try_from(block.len()).expect("small"),
    });
    BackingImageBackupRequest {
        config: BackingImageConfig {
            name: name.to_owned(),
            size: i64::try_from(data.len()).expect("small"),
            checksum: "sum".to_owned(),
            compression_method: "gzip".to_owned(),
            created_time: longhorn_backupstore::now(),
            ..BackingImageConfig::default()
        },
        extents: extents.collect(),
        parameters: Some(BTreeMap::from([
            ("secret".to_owned(), "s".to_owned()),
            ("secret-namespace".to_owned(), "n".to_owned()),
        ])),
        workers: 2,
    }
}

async fn back_up_image(store: &Backupstore, name: &str, data: &[u8]) {
    let reader = Arc::new(Memory::of(data.to_vec()));
    let started =
        store.create_backing_image_backup(image_request(name, data), reader.clone()).await.expect("it begins");
    started.expect("it is new").await.expect("it ends");
    assert_eq!(reader.statuses().last().expect("a status").percent, 100);
}

#[test]
fn backing_images_share_blocks_and_come_back_with_their_short_end() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        let (first, second) = ([content("aab"), vec![7; 512]].concat(), content("ac"));
        back_up_image(&store, "bi-1", &first).await;
        back_up_image(&store, "bi-2", &second).await;
        assert_eq!(place.blocks(), 4, "a, b, c and the short one");
        let mut names = store.list_backing_images().await.unwrap().expect("there are some");
        names.sort();
        assert_eq!(names, ["bi-1", "bi-2"]);
        let info = store.inspect_backing_image(&place.of_image("bi-1")).await.expect("complete");
        assert_eq!(
            (info.size, info.secret.as_str(), info.url.as_str()),
            (6_291_968, "s", place.of_image("bi-1").as_str())
        );

        let writer = Arc::new(Memory::default());
        store
            .restore_backing_image(&place.of_image("bi-1"), writer.clone(), 2)
            .await
            .expect("begins")
            .await
            .expect("ends");
        assert_eq!((writer.content() == first, writer.end()), (true, (6_291_968, None)));
        store.delete_backing_image(&place.of_image("bi-1")).await.expect("deleted");
        assert_eq!(place.blocks(), 2, "a and c");
        let error = store.inspect_backing_image(&place.of_image("bi-1")).await.expect_err("it is gone");
        assert_eq!(error.to_string(), format!("cannot find {} in backupstore", layout::backing_image_config("bi-1")));
    });
}

#[test]
fn a_second_backup_of_an_image_does_nothing_and_says_so_only_where_10740_is_cured() {
    everywhere(|place| async move {
        // An upload that died: the configuration is there and nobody will complete it.
        let unfinished = BackingImageConfig { name: "bi-1".to_owned(), size: 512, ..BackingImageConfig::default() };
        place.put(&layout::backing_image_config("bi-1"), json::to_bytes(&unfinished));
        for cured in [false, true] {
            let store = place.open(Behaviour { existing_backing_image_is_complete: cured, ..hasty() }).await;
            let reader = Arc::new(Memory::of(vec![1; 512]));
            let second = store.create_backing_image_backup(image_request("bi-1", &[1; 512]), reader.clone()).await;
            assert!(second.expect("success").is_none());
            let told: Vec<_> = reader.statuses().iter().map(|status| status.percent).collect();
            assert_eq!(told, if cured { vec![100] } else { vec![] });
            assert_eq!(
                store.list_backing_images().await.unwrap().expect("there is one"),
                ["bi-1"],
                "an unfinished one is listed"
            );
            let error = store.inspect_backing_image(&place.of_image("bi-1")).await.expect_err("unfinished");
            assert_eq!(error.to_string(), "backup backing image bi-1 is still in progress");
            let restore = store.restore_backing_image(&place.of_image("bi-1"), Arc::new(Memory::default()), 1).await;
            let error = restore.expect_err("unfinished");
            assert_eq!(error.to_string(), "BackupBackingImage bi-1 is not completed, please check its status");
        }
    });
}

#[test]
fn system_backups_are_uploaded_once_and_fetched_whole() {
    everywhere(|place| async move {
        let [archive, fetched] = ["local.zip", "fetched.zip"].map(|name| place.local(name));
        host::fs::write(&archive, b"archive").await.expect("a file");
        let store = place.open(hasty()).await;
        let address =
            longhorn_backupstore::url::encode_system_backup("sys-1", "v1.8.0", &place.address()).expect("an address");
        let maker = longhorn_backupstore::SystemBackupMaker {
            git_commit: "c0ffee".to_owned(),
            manager_image: "manager".to_owned(),
            engine_image: "engine".to_owned(),
        };
        store.upload_system_backup(&archive, &address, maker.clone()).await.expect("uploaded");
        let again = store.upload_system_backup(&archive, &address, maker).await.expect_err("it is there");
        assert_eq!(again.to_string(), "backupstore/system-backups/v1.8.0/sys-1/system-backup.zip already exists");
        let config = store.system_backup_config(&address).await.expect("its configuration");
        assert_eq!((config.backup_target_url, config.longhorn_version), (place.address(), "v1.8.0".to_owned()));
        store.download_system_backup(&address, &fetched).await.expect("fetched");
        assert_eq!(host::fs::read(&fetched).await.expect("a file"), b"archive");

        place.put("backupstore/system-backups/v1.8.0/sys-1/system-backup.zip", b"another");
        let error = store.download_system_backup(&address, &fetched).await.expect_err("another archive");
        assert!(error.to_string().contains("checksum mismatched"), "{error}");
        assert!(!host::fs::exists(&fetched).await.expect("a look"), "what does not fit is removed");
        store.delete_system_backup(&address).await.expect("deleted");
        assert!(store.list_system_backups().await.expect("a list").is_empty());
        let gone = store.system_backup_config(&address).await.expect_err("it is gone");
        assert_eq!(
            gone.to_string(),
            "cannot find backupstore/system-backups/v1.8.0/sys-1/system-backup.cfg in backupstore"
        );
    });
}

#[test]
fn head_tells_when_a_configuration_was_written() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        back_up_content(&store, "one", "a").await;
        let backup = store.config_metadata(&place.of_backup("one", VOLUME)).await.expect("there");
        let volume = store.config_metadata(&format!("{}?volume={VOLUME}", place.address())).await.expect("there");
        assert!(backup.modification_time.expect("dated") <= volume.modification_time.expect("dated"));
        let error = store.config_metadata(&place.of_backup("none", VOLUME)).await.expect_err("absent");
        assert!(error.to_string().starts_with("cannot find "));
    });
}
