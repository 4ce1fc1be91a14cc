//! A backup target is set, against what the real controllers wrote.

use crate::common::trace::{Golden, Recorder, Write, writes};
use crate::common::{Longhorn, Patience, TARGET, play};
use corral_kube_client::{Patch, PatchParams};
use longhorn_api::BackupTarget;
use serde_json::json;

const KINDS: [&str; 1] = ["BackupTarget"];

/// Sets the URL of the default target and nothing else of it, as in the recording, and gives the manager's writes until the first synchronisation is stored.
fn set(tag: &'static str, seed: u64) -> Vec<Write> {
    let (commits, journal) = play(seed, async move {
        let longhorn = Longhorn::boot(tag).await;
        let targets = longhorn.api::<BackupTarget>();
        let credential = json!({"spec": {"credentialSecret": "s3-secret"}});
        targets.patch("default", &PatchParams::default(), &Patch::Merge(credential)).await.expect("a valid target");
        // The controllers have nothing to do any more.
        host::time::sleep(std::time::Duration::from_secs(90)).await;
        let recorder = Recorder::new(longhorn.cluster.store());
        let url = json!({"spec": {"backupTargetURL": TARGET}});
        targets.patch("default", &PatchParams::default(), &Patch::Merge(url)).await.expect("a valid target");
        let patience = Patience::new("the target is synchronised", 60);
        while targets.get("default").await.expect("there").status.last_synced_at.is_none() {
            patience.wait().await;
        }
        host::time::sleep(std::time::Duration::from_secs(30)).await;
        recorder.commits()
    });
    let mut writes = writes(&commits, &journal.expect("it was asked for"), &KINDS);
    writes.retain(|write| write.actor == "longhorn-manager");
    writes
}

#[test]
fn a_target_is_set_as_by_the_real_controllers() {
    let golden = Golden::read(include_str!("../golden/backup-target.json")).before_mark(&KINDS);
    let expected: Vec<_> = golden.iter().filter(|write| write.actor == "longhorn-manager").map(Write::step).collect();
    assert_eq!(expected.len(), 2, "it becomes available, then its synchronisation is stored");
    let found: Vec<_> = set("v1.9.2", 1).iter().map(Write::step).collect();
    assert_eq!(found, expected);

    // Earlier releases do both at once (longhorn#11337).
    let mut at_once = expected[0].clone();
    at_once.changed.extend(expected[1].changed.iter().cloned());
    let found: Vec<_> = set("v1.8.0", 1).iter().map(Write::step).collect();
    assert_eq!(found, [at_once]);
}
