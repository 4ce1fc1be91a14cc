//! Locks, over a bucket in a simulated world: waits, priorities, expiry by two clocks.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::hasty;
use common::place::{BUCKET, PATH, Place, everywhere, in_simulation};
use corral_object_store::{Effect, ErrorCode, Fault, OperationKind};
use host::time::{Instant, sleep};
use longhorn_backupstore::config::LockConfig;
use longhorn_backupstore::{Backupstore, Behaviour, Context, FileLock, LockKind, json, layout};

const VOLUME: &str = "vol-1";
const RIVAL: &str = "lock-0123456789ab4def";

fn locks(place: &Place) -> Vec<LockConfig> {
    let files = place.files().into_iter().filter(|(name, _)| name.ends_with(".lck"));
    files.map(|(_, text)| json::from_bytes(&text).expect("a lock")).collect()
}

fn put_rival(place: &Place, kind: u8, acquired: bool) {
    let config = LockConfig { name: RIVAL.to_owned(), kind, acquired };
    place.put(&layout::lock(VOLUME, RIVAL), json::to_bytes(&config));
}

fn lock(store: &Backupstore, kind: LockKind) -> Arc<FileLock> {
    FileLock::new(store, VOLUME, kind)
}

#[test]
fn a_lock_waits_two_seconds_and_is_written_as_the_real_one_is() {
    in_simulation(1, |place| async move {
        let store = place.open(Behaviour::default()).await;
        let held = lock(&store, LockKind::CreateOrRestore);
        let began = Instant::now();
        let (waiting, seen) = tokio::join!(held.lock(), async {
            sleep(Duration::from_secs(1)).await;
            let name = place.names().remove(0);
            (name.clone(), place.text(&name))
        });
        waiting.expect("nobody else is there");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2100), "{waited:?}");
        let (path, text) = seen;
        let name = path.rsplit('/').next().expect("a name").strip_suffix(".lck").expect("a lock").to_owned();
        assert_eq!(path, layout::lock(VOLUME, &name));
        assert_eq!((name.len(), &name[..5], &name[17..18]), (21, "lock-", "4"), "a UUID's head: {name}");
        assert_eq!(text, format!(r#"{{"Name":"{name}","Type":1,"Acquired":false}}"#));
        assert_eq!(place.text(&path), format!(r#"{{"Name":"{name}","Type":1,"Acquired":true}}"#));

        held.lock().await.expect("a second holder");
        held.unlock().await.expect("the first leaves");
        assert_eq!(locks(&place).len(), 1, "the second holder is still there");
        held.unlock().await.expect("the last leaves");
        assert!(locks(&place).is_empty());
    });
}

#[test]
fn a_held_lock_keeps_the_other_type_out_and_lets_its_own_in() {
    everywhere(|place| async move {
        let store = place.open(hasty()).await;
        let backup = lock(&store, LockKind::CreateOrRestore);
        backup.lock().await.expect("free");
        let restore = lock(&store, LockKind::CreateOrRestore);
        restore.lock().await.expect("they share");
        let deletion = lock(&store, LockKind::Delete);
        let error = deletion.lock().await.expect_err("the volume is in use").to_string();
        let (before, after) = error.split_once("backupstore/volumes/").expect("the lock file's path");
        assert_eq!(before, "failed to acquire lock ");
        assert!(after.ends_with(".lck when performing backup delete, please try again later."), "{error}");
        assert_eq!(locks(&place).len(), 2, "the refused lock is gone");
        restore.unlock().await.expect("left");
        backup.unlock().await.expect("left");
        deletion.lock().await.expect("free again");
        let error = backup.lock().await.expect_err("being deleted").to_string();
        assert!(error.ends_with("when performing backup create/restore, please try again later."), "{error}");
    });
}

#[test]
fn of_two_that_wait_the_older_one_wins_and_a_held_one_beats_both() {
    in_simulation(1, |place| async move {
        let store = place.open(Behaviour::default()).await;
        put_rival(&place, 1, false);
        sleep(Duration::from_secs(5)).await;
        let mine = lock(&store, LockKind::Delete);
        mine.lock().await.expect_err("the other one has waited longer");
        // Written again now, it is the younger one.
        put_rival(&place, 1, false);
        let rewrite = async {
            sleep(Duration::from_millis(1500)).await;
            put_rival(&place, 1, false);
        };
        tokio::join!(mine.lock(), rewrite).0.expect("this one waits longer now");
        mine.unlock().await.expect("left");
        let take = async {
            sleep(Duration::from_millis(1500)).await;
            put_rival(&place, 1, true);
        };
        tokio::join!(mine.lock(), take).0.expect_err("whoever holds it comes first");
    });
}

#[test]
fn a_lock_is_refreshed_each_minute_and_expires_after_two_and_a_half() {
    in_simulation(1, |place| async move {
        let store = place.open(Behaviour::default()).await;
        let held = lock(&store, LockKind::CreateOrRestore);
        held.lock().await.expect("free");
        let path = place.names().remove(0);
        let written = || place.bucket().object(BUCKET, &format!("{PATH}{path}")).expect("the lock").modified;
        let first = written();
        sleep(Duration::from_secs(59)).await;
        assert_eq!(written(), first);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(written().duration_since(first).as_secs(), 60);
        sleep(Duration::from_secs(600)).await;
        lock(&store, LockKind::Delete).lock().await.expect_err("it is refreshed for as long as it is held");
        held.unlock().await.expect("left");

        put_rival(&place, 1, true);
        sleep(Duration::from_secs(147)).await;
        let deletion = lock(&store, LockKind::Delete);
        deletion.lock().await.expect_err("149 seconds old");
        sleep(Duration::from_secs(2)).await;
        deletion.lock().await.expect("older than 150 seconds");
        assert_eq!(locks(&place).len(), 2, "an expired lock is ignored, not removed");
    });
}

#[test]
fn a_local_clock_that_is_ahead_takes_a_fresh_lock_for_an_expired_one() {
    in_simulation(1, |place| async move {
        let world = corral_core::world();
        let here = world.machine(world.current_process().expect("the body is a process").spec.machine);
        let store = place.open(hasty()).await;
        put_rival(&place, 1, true);
        lock(&store, LockKind::Delete).lock().await.expect_err("a fresh lock");
        here.set_clock(world.now(), 151_000_000_000, 0);
        lock(&store, LockKind::Delete).lock().await.expect("by the local clock it expired");
    });
}

#[test]
fn a_store_that_falters_lets_both_sides_in() {
    let mistakes = [
        // The rival's lock seems to be absent.
        Fault::new(Effect::Refuse(ErrorCode::AccessDenied)).on([OperationKind::Head]).key(format!("*{RIVAL}*")),
        // Its date cannot be read: the second look.
        Fault::new(Effect::Refuse(ErrorCode::AccessDenied)).on([OperationKind::Head]).key(format!("*{RIVAL}*")).skip(1),
        // Its content cannot be read.
        Fault::new(Effect::Refuse(ErrorCode::AccessDenied)).on([OperationKind::Get]).key(format!("*{RIVAL}*")),
        // The locks cannot be listed.
        Fault::new(Effect::Refuse(ErrorCode::AccessDenied)).on([OperationKind::List]).key("*/locks/"),
        Fault::new(Effect::EmptyList).on([OperationKind::List]).key("*/locks/"),
    ];
    for mistake in mistakes {
        in_simulation(1, move |place| {
            let mistake = mistake.clone();
            async move {
                let store = place.open(hasty()).await;
                put_rival(&place, 1, true);
                place.bucket().add_fault(mistake.clone());
                let mine = lock(&store, LockKind::Delete);
                mine.lock().await.unwrap_or_else(|error| panic!("{mistake:?}: {error}"));
                place.bucket().heal();
                assert_eq!(locks(&place).iter().filter(|lock| lock.acquired).count(), 2, "{mistake:?}");
            }
        });
    }
}

#[test]
fn a_new_lock_that_is_listed_late_is_overlooked_if_the_wait_is_shorter() {
    for (window, both) in [(Duration::from_secs(1), false), (Duration::from_secs(10), true)] {
        in_simulation(1, move |place| async move {
            let context = Context::new(Behaviour::default());
            let store = place.open_with(&context).await;
            place.bucket().add_fault(Fault::new(Effect::ListLate { window }).on([OperationKind::Put]));
            let (backup, deletion) = (lock(&store, LockKind::CreateOrRestore), lock(&store, LockKind::Delete));
            let (first, second) = tokio::join!(backup.lock(), async {
                sleep(Duration::from_millis(500)).await;
                deletion.lock().await
            });
            first.expect("the first one");
            assert_eq!(second.is_ok(), both, "{window:?}");
        });
    }
}
