//! What becomes of operations when the store falters, over a bucket in a simulated world.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::place::{BUCKET, PATH, Place, credentials, in_simulation};
use common::{BLOCK, Image, Snapshots, hasty};
use corral_object_store::{Effect, ErrorCode, Fault, OperationKind};
use host::time::{Instant, timeout};
use longhorn_backupstore::config::VolumeConfig;
use longhorn_backupstore::{BackupRequest, Backupstore, Context, Credentials, StartedBackup, layout};

const VOLUME: &str = "vol-1";

fn content(letters: &str) -> Vec<u8> {
    letters.bytes().flat_map(|letter| vec![letter; BLOCK]).collect()
}

async fn begin(store: &Backupstore, name: &str, letters: &str, workers: usize) -> (StartedBackup, Arc<Snapshots>) {
    let snapshots = Arc::new(Snapshots::one(name, content(letters)));
    let request = BackupRequest {
        name: name.to_owned(),
        volume: VolumeConfig {
            name: VOLUME.to_owned(),
            size: i64::try_from(letters.len() * BLOCK).expect("small"),
            compression_method: "lz4".to_owned(),
            ..VolumeConfig::default()
        },
        snapshot: name.to_owned(),
        began_at: longhorn_backupstore::now(),
        labels: None,
        parameters: None,
        workers,
    };
    (store.create_backup(request, snapshots.clone()).await.expect("the backup begins"), snapshots)
}

async fn back_up(store: &Backupstore, name: &str, letters: &str) {
    let (started, snapshots) = begin(store, name, letters, 2).await;
    started.upload.await.expect("it ends");
    assert_eq!(snapshots.last_status().error, "");
}

async fn is_whole(store: &Backupstore, place: &Place, backup: &str, letters: &str) -> bool {
    let image = Image::new();
    let restore = store.restore(&place.of_backup(backup, VOLUME), image.clone(), 2).await.expect("it begins");
    restore.await.expect("it ends");
    image.end().1.is_none() && image.content() == content(letters)
}

fn refuse(code: ErrorCode) -> Fault {
    Fault::new(Effect::Refuse(code))
}

#[test]
fn errors_that_may_pass_are_tried_again_three_times_with_growing_delays() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        back_up(&store, "one", "a").await;
        for (code, shortest, longest) in [(ErrorCode::InternalError, 30, 60), (ErrorCode::SlowDown, 500, 1000)] {
            place.bucket().add_fault(refuse(code).on([OperationKind::List]).at_most(3));
            let began = Instant::now();
            store.list(None, true).await.expect("the fourth try succeeds");
            let took = began.elapsed();
            let [least, most] = [shortest, longest].map(|delay| Duration::from_millis(delay * (1 + 2 + 4)));
            assert!(took >= least && took < most + Duration::from_millis(100), "{code:?}: {took:?}");
            place.bucket().heal();
        }
        place.bucket().add_fault(refuse(ErrorCode::InternalError).on([OperationKind::List]).at_most(4));
        let error = store.list(None, true).await.expect_err("four failures are too many").to_string();
        insta::assert_snapshot!(error);
        place.bucket().heal();
        place.bucket().add_fault(refuse(ErrorCode::AccessDenied).on([OperationKind::List]).at_most(1));
        store.list(None, true).await.expect_err("a refusal is not tried again");
    });
}

#[test]
fn a_look_that_fails_counts_as_absence() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        back_up(&store, "one", "a").await;
        place.bucket().add_fault(refuse(ErrorCode::AccessDenied).on([OperationKind::Head]));
        let error = store.inspect_volume(&format!("{}?volume={VOLUME}", place.address())).await.expect_err("no look");
        assert_eq!(error.to_string(), format!("cannot find {} in backupstore", layout::volume_config(VOLUME)));
        let listed = store.list(Some(VOLUME), false).await.expect("a list");
        assert!(listed[VOLUME].messages.as_ref().expect("messages").contains_key("error"));
    });
}

#[test]
fn a_lost_answer_to_an_upload_is_repeated_and_a_silent_store_is_waited_for_without_end() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        place.bucket().add_fault(Fault::new(Effect::LoseAnswer).on([OperationKind::Put]).at_most(3));
        back_up(&store, "one", "ab").await;
        place.bucket().heal();
        assert!(is_whole(&store, &place, "one", "ab").await);
        place.bucket().add_fault(Fault::new(Effect::NeverAnswer).on([OperationKind::List]));
        assert!(
            timeout(Duration::from_secs(3600), store.list_backing_images()).await.is_err(),
            "an hour is not enough"
        );
        let error = timeout(Duration::from_secs(3600), store.list(None, true)).await;
        assert!(error.is_err(), "the first level of volumes has no time-out upstream");
    });
}

#[test]
fn the_lists_of_single_directories_have_a_time_out() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        back_up(&store, "one", "a").await;
        // The directory of the first two characters of the name's checksum; the key of a list is its prefix.
        let first_level = &layout::volume(VOLUME)[.."backupstore/volumes/00/".len()];
        let silent = Fault::new(Effect::NeverAnswer).on([OperationKind::List]).key(format!("*{first_level}"));
        place.bucket().add_fault(silent);
        let began = Instant::now();
        let error = store.list(None, true).await.expect_err("the second level hangs").to_string();
        assert!(error.contains("timeout while executing"), "{error}");
        assert_eq!(began.elapsed().as_secs(), 90);
    });
}

/// Sibling S-10 of the race dossier: a list of backups that fails counts as an empty one, twice, so that no block seems
/// to be needed.
#[test]
fn a_deletion_that_cannot_list_the_other_backups_removes_their_blocks() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        back_up(&store, "one", "ab").await;
        back_up(&store, "two", "ac").await;
        assert!(is_whole(&store, &place, "two", "ac").await);
        place.bucket().add_fault(Fault::new(Effect::EmptyList).on([OperationKind::List]).key("*/backups/"));
        store.delete_backup(&place.of_backup("one", VOLUME)).await.expect("it claims success");
        place.bucket().heal();
        assert_eq!(place.blocks(), 0);
        assert!(!is_whole(&store, &place, "two", "ac").await, "the other backup has lost its blocks");
    });
}

#[test]
fn a_deletion_that_cannot_read_another_backup_keeps_all_blocks() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        back_up(&store, "one", "ab").await;
        back_up(&store, "two", "ac").await;
        place.bucket().add_fault(refuse(ErrorCode::AccessDenied).on([OperationKind::Get]).key("*backup_two.cfg"));
        store.delete_backup(&place.of_backup("one", VOLUME)).await.expect("deleted");
        place.bucket().heal();
        assert_eq!(place.blocks(), 3);
        assert!(is_whole(&store, &place, "two", "ac").await);
    });
}

#[test]
fn a_block_that_was_stored_in_part_is_found_out_when_it_is_restored() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        let cut = Effect::CutUpload { after_bytes: 100, keep: true };
        place.bucket().add_fault(Fault::new(cut).on([OperationKind::Put]).key("*.blk").at_most(4));
        let (started, snapshots) = begin(&store, "one", "a", 1).await;
        started.upload.await.expect("it ends");
        let error = snapshots.last_status().error;
        assert!(error.starts_with("failed to write data during saving blocks: failed to put object: "), "{error}");
        place.bucket().heal();
        // The next backup finds the block by its name and does not look inside.
        back_up(&store, "two", "a").await;
        assert!(!is_whole(&store, &place, "two", "a").await);
    });
}

#[test]
fn workers_that_are_busy_go_on_after_the_backup_has_failed() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        let sum = longhorn_backupstore::block::checksum(&content("a"));
        let slow = Effect::Slow { per_operation: Duration::from_secs(30), bytes_per_second: None };
        let slow = Fault::new(slow).on([OperationKind::Put]).key(format!("*{sum}.blk"));
        let other = longhorn_backupstore::block::checksum(&content("b"));
        let refused = refuse(ErrorCode::AccessDenied).on([OperationKind::Put]).key(format!("*{other}.blk"));
        for fault in [slow, refused] {
            place.bucket().add_fault(fault);
        }
        let (started, snapshots) = begin(&store, "one", "ab", 2).await;
        let began = Instant::now();
        started.upload.await.expect("it ends");
        assert!(began.elapsed() < Duration::from_secs(1) && !snapshots.last_status().error.is_empty());
        assert_eq!(place.blocks(), 0);
        assert!(!place.names().iter().any(|name| name.ends_with(".lck")), "the lock is left");
        host::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(place.blocks(), 1, "the slow block arrives after all");
    });
}

#[test]
fn targets_that_cannot_be_reached_say_why() {
    in_simulation(1, |place| async move {
        let context = Context::new(hasty());
        let try_open = |address: &str, credentials: Credentials| {
            let (address, context) = (address.to_owned(), context.clone());
            async move { Backupstore::open(&address, &credentials, &context).await.err().expect("refused").to_string() }
        };
        let with = |name: &str, value: &str| -> Credentials {
            let mut all: BTreeMap<String, String> = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINTS"]
                .iter()
                .map(|name| ((*name).to_owned(), credentials().get(name).to_owned()))
                .collect();
            all.insert(name.to_owned(), value.to_owned());
            all.into_iter().collect()
        };
        let address = place.address();
        let mut said = vec![
            try_open("", credentials()).await,
            try_open("ftp://x/y", credentials()).await,
            try_open("nfs://server:/path", credentials()).await,
            try_open("s3://bucket", credentials()).await,
            try_open("s3://bucket/path/", credentials()).await,
            try_open(&address, Credentials::none()).await,
            try_open(&address, with("AWS_ENDPOINTS", "https://10.1.0.9:9000")).await,
            try_open(&address, with("HTTP_PROXY", "http://proxy")).await,
            try_open("s3://no-such-bucket@us-east-1/x/", credentials()).await,
            try_open("vfs://host/path", credentials()).await,
        ];
        said.push(try_open(&address, with("AWS_ENDPOINTS", "http://10.1.0.9:9001")).await);
        insta::assert_snapshot!(said.join("\n---\n"));
        Backupstore::open(&address, &with("VIRTUAL_HOSTED_STYLE", "false"), &context).await.expect("path style");
    });
}

#[test]
fn many_objects_are_listed_and_removed_over_several_pages() {
    in_simulation(1, |place| async move {
        let store = place.open(hasty()).await;
        for index in 0..2500 {
            place.bucket().insert(
                BUCKET,
                &format!("{PATH}{}", layout::backing_image_config(&format!("bi-{index}"))),
                "{}",
            );
        }
        assert_eq!(store.list_backing_images().await.unwrap().expect("there are many").len(), 2500);
        back_up(&store, "one", "a").await;
        for index in 0..2500 {
            let sum = longhorn_backupstore::block::checksum(format!("{index}").as_bytes());
            place.bucket().insert(BUCKET, &format!("{PATH}{}", layout::block(VOLUME, &sum)), "block");
        }
        store.delete_volume(VOLUME).await.expect("deleted");
        assert_eq!(place.names().iter().filter(|name| name.contains("/volumes/")).count(), 0);
    });
}

#[test]
fn a_run_repeats_itself() {
    let run = |seed| {
        in_simulation(seed, |place| async move {
            let store = place.open(hasty()).await;
            place.bucket().add_fault(Fault { chance: (1, 3), ..refuse(ErrorCode::SlowDown) });
            let (started, _) = begin(&store, "one", "abcd", 3).await;
            let _ = started.upload.await;
            let _ = store.delete_backup(&place.of_backup("one", VOLUME)).await;
        })
    };
    let digests = [3, 3, 4].map(run);
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}
