//! The deletion of a backup volume through the Longhorn API, against what the real controllers wrote.

use std::time::Duration;

use crate::common::trace::{Golden, Recorder, Write, precedences, sequences, writes};
use crate::common::{Longhorn, Patience, fill, play};
use corral_apiserver::Commit;
use corral_core::journal::Kept;
use http::Method;
use longhorn_api::{Backup, BackupVolume};
use serde_json::Value;

const KINDS: [&str; 2] = ["BackupVolume", "Backup"];
const BACKUPS: usize = 5;

/// Pulls a volume's backups from the store and deletes the volume. Gives the commits of both halves.
fn pull_and_delete(tag: &'static str, backups: usize, seed: u64) -> (Vec<Commit>, Vec<Commit>, Kept) {
    let (commits, journal) = play(seed, async move {
        let longhorn = Longhorn::boot(tag).await;
        fill::backups(&longhorn.build, "bv", backups).await;
        let recorder = Recorder::new(longhorn.cluster.store());
        longhorn.pull(backups).await;
        // What is still under way ends.
        host::time::sleep(Duration::from_secs(15)).await;
        let pull = recorder.commits();

        let recorder = Recorder::new(longhorn.cluster.store());
        let (_, volumes) = longhorn.request(Method::GET, "/v1/backupvolumes", Value::Null).await;
        let name = volumes["data"][0]["id"].as_str().unwrap_or_else(|| panic!("no backup volume: {volumes}"));
        let path = format!("/v1/backupvolumes/{name}");
        let (status, answer) = longhorn.request(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        let patience = Patience::new("all backups are gone", 60);
        while !longhorn.list::<Backup>().await.is_empty() || !longhorn.list::<BackupVolume>().await.is_empty() {
            patience.wait().await;
        }
        (pull, recorder.commits())
    });
    (commits.0, commits.1, journal.expect("it was asked for"))
}

#[test]
fn a_backup_volume_is_deleted_as_by_the_real_controllers() {
    let golden = Golden::read(include_str!("../golden/backup5.json")).after_mark(&KINDS);
    for seed in 1..=3 {
        let (_, deletion, journal) = pull_and_delete("v1.8.0", BACKUPS, seed);
        let deletion = writes(&deletion, &journal, &KINDS);
        assert_eq!(sequences(&deletion), sequences(&golden), "seed {seed}");
        assert_eq!(precedences(&deletion), precedences(&golden), "seed {seed}");
        let gone = |kind: &str| deletion.iter().filter(|write| write.kind == kind && write.gone).count();
        assert_eq!((gone("BackupVolume"), gone("Backup")), (1, BACKUPS));
    }
}

#[test]
fn a_backup_volume_with_one_backup_is_pulled_and_deleted_as_by_the_real_controllers() {
    let golden = Golden::read(include_str!("../golden/backup.json"));
    let (pull, deletion, journal) = pull_and_delete("v1.9.2", 1, 4);
    let deletion = writes(&deletion, &journal, &KINDS);
    let expected = golden.after_mark(&KINDS);
    let steps = |writes: &[Write]| -> Vec<_> { writes.iter().map(Write::step).collect() };
    assert_eq!(steps(&deletion), steps(&expected), "one order is possible, with one backup");
    let pull = writes(&pull, &journal, &["BackupVolume"]);
    for expected in golden.before_mark(&["BackupVolume"]) {
        let found = pull.iter().any(|write| write.step() == expected.step());
        assert!(found, "{expected:#?}\nis not among\n{pull:#?}");
    }
}

fn time_of(writes: &[Write], wanted: impl Fn(&Write) -> bool) -> Vec<f64> {
    writes.iter().filter(|write| wanted(write)).map(|write| write.t_ms).collect()
}

#[test]
fn backups_outlive_their_volume_since_owner_references_only() {
    for (tag, outlive) in [("v1.8.0", true), ("v1.7.2", false)] {
        let (_, deletion, journal) = pull_and_delete(tag, BACKUPS, 5);
        let deletion = writes(&deletion, &journal, &KINDS);
        let volume_gone = time_of(&deletion, |write| write.kind == "BackupVolume" && write.gone)[0];
        let backups_gone = time_of(&deletion, |write| write.kind == "Backup" && write.gone);
        assert_eq!(backups_gone.len(), BACKUPS, "{tag}");
        assert!(
            backups_gone.iter().all(|gone| (*gone > volume_gone) == outlive),
            "{tag}: {volume_gone} {backups_gone:?}"
        );
        let by_collector = deletion.iter().filter(|write| write.actor == "garbage-collector").count();
        assert_eq!(by_collector, if outlive { BACKUPS } else { 0 }, "{tag}");
    }
}

#[test]
fn one_seed_is_one_run() {
    let digest = |seed| pull_and_delete("v1.8.0", BACKUPS, seed).2.digest();
    assert_eq!(digest(6), digest(6));
    assert_ne!(digest(6), digest(7));
}
