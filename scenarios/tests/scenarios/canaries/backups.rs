//! Backups, of volumes, of backing images and of the system.

use corral_core::journal::Event;
use corral_kube_client::{Api, Client, DeleteParams};
use corral_scenarios::oracles::{
    BackingImageBackupsEnd, BackupsBelongToATarget, CompletedBackupsAreComplete, CompletedBackupsHaveTheirBlocks,
    NoBackupOutlivesItsVolumeAndRemote, NoRemoteBackupIsDeletedOnAbsence, SystemBackupsEnd,
};
use corral_world::{Oracle, Stage};
use longhorn_api::{BackupBackingImage, DEFAULT_NAMESPACE, SystemBackup};
use serde_json::json;

use super::{found, make_backup, make_upgrade, nothing};

/// The store loses the configuration of the backup that `make_backup` makes.
fn lose_remote_backup() {
    host::journal::record(Event::StoreOperation {
        verb: "delete".into(),
        key: "backupbucket/backupstore/volumes/5e/23/vol-1/backups/backup_backup-0123456789abcdef.cfg".into(),
        bytes: 0,
        code: 204,
        client: "somebody".into(),
    });
}

#[test]
fn a_remote_backup_that_nobody_deleted_is_missed() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(NoRemoteBackupIsDeletedOnAbsence::default());
    let asked_for = found(oracle, |_stage, client| {
        Box::pin(async move {
            let backups = make_backup(&client, "Completed", "").await;
            backups.delete("backup-0123456789abcdef", &DeleteParams::default()).await.unwrap();
            lose_remote_backup();
        })
    });
    assert!(asked_for.is_empty());
    let unasked = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "Completed", "").await;
            lose_remote_backup();
        })
    });
    assert_eq!(unasked, ["a backup that nobody deleted goes from the store"]);
}

#[test]
fn a_backup_that_nothing_stands_behind_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(NoBackupOutlivesItsVolumeAndRemote);
    assert!(found(oracle, nothing).is_empty());
    let completed = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "Completed", "").await;
        })
    });
    assert_eq!(completed, ["Backup Completed, its BackupVolume and its remote configuration gone"]);
    let unread = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "", "").await;
        })
    });
    assert_eq!(unread, ["Backup in no state, its BackupVolume and its remote configuration gone"]);
    let unfinished = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "InProgress", "snap-1").await;
        })
    });
    assert!(unfinished.is_empty(), "a backup in the making has no remote configuration yet");
    let remote = found(oracle, |stage, client| {
        Box::pin(async move {
            make_backup(&client, "Completed", "").await;
            let store = &stage.stores()[0];
            store.create_bucket("b");
            store.insert("b", "backupstore/volumes/aa/bb/vol-1/backups/backup_backup-0123456789abcdef.cfg", "{}");
        })
    });
    assert!(remote.is_empty(), "its remote configuration is there");
}

#[test]
fn a_completed_backup_without_its_blocks_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(CompletedBackupsHaveTheirBlocks);
    const FOLDER: &str = "backupstore/volumes/aa/bb/vol-1";
    async fn make(stage: &Stage, client: &Client) {
        make_backup(client, "Completed", "").await;
        let store = &stage.stores()[0];
        store.create_bucket("b");
        let configuration =
            json!({ "Name": "backup-0123456789abcdef", "Blocks": [{ "Offset": 0, "BlockChecksum": "abcdef" }] });
        let path = format!("{FOLDER}/backups/backup_backup-0123456789abcdef.cfg");
        store.insert("b", &path, configuration.to_string());
    }
    let without = found(oracle, |stage, client| Box::pin(async move { make(&stage, &client).await }));
    assert_eq!(without, ["Backup Completed, blocks of it not in the store"]);
    let with = found(oracle, |stage, client| {
        Box::pin(async move {
            make(&stage, &client).await;
            stage.stores()[0].insert("b", &format!("{FOLDER}/blocks/ab/cd/abcdef.blk"), "data");
        })
    });
    assert!(with.is_empty(), "{with:?}");
    let not_there = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "Completed", "").await;
        })
    });
    assert_eq!(not_there, ["Backup Completed, its configuration not in the store"]);
    let garbled = found(oracle, |stage, client| {
        Box::pin(async move {
            make(&stage, &client).await;
            let path = format!("{FOLDER}/backups/backup_backup-0123456789abcdef.cfg");
            stage.stores()[0].insert("b", &path, "{ \"Name\":");
        })
    });
    assert_eq!(garbled, ["Backup Completed, its configuration cannot be read"]);
}

#[test]
fn a_backup_of_no_target_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(BackupsBelongToATarget);
    let without = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_upgrade(&client, "v1.8.0").await;
            make_backup(&client, "Completed", "").await;
        })
    });
    assert_eq!(without, ["Backup without its label backup-target", "Backup without its status.backupTargetName"]);
    let not_ended = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_upgrade(&client, "v1.7.2").await;
            make_backup(&client, "Completed", "").await;
        })
    });
    assert!(not_ended.is_empty(), "the upgrade itself is another oracle's matter");
}

#[test]
fn a_system_backup_that_does_not_end_well_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(SystemBackupsEnd);
    async fn make(client: &Client, state: &str) {
        let backups: Api<SystemBackup> = Api::namespaced(client, DEFAULT_NAMESPACE);
        let mut backup = SystemBackup::default();
        backup.metadata.name = Some("backup-1".into());
        let mut made = backups.create(&backup).await.unwrap();
        made.status.state = state.into();
        backups.update_status(&made).await.unwrap();
    }
    let ready = found(oracle, |_stage, client| Box::pin(async move { make(&client, "Ready").await }));
    assert!(ready.is_empty(), "{ready:?}");
    let stays = found(oracle, |_stage, client| Box::pin(async move { make(&client, "Uploading").await }));
    assert_eq!(stays, ["SystemBackup stays Uploading"]);
    let failed = found(oracle, |_stage, client| Box::pin(async move { make(&client, "Error").await }));
    assert_eq!(failed, ["SystemBackup ends in Error"]);
}

/// A backup of backing image `bi-1` in this state, and what the store has of it.
async fn make_image_backup(stage: &Stage, client: &Client, state: &str, remote: Option<&str>) {
    let backups: Api<BackupBackingImage> = Api::namespaced(client, DEFAULT_NAMESPACE);
    let mut backup = BackupBackingImage::default();
    backup.metadata.name = Some("bi-1-0123abcd".into());
    backup.spec.backing_image = "bi-1".into();
    let mut made = backups.create(&backup).await.unwrap();
    made.status.state = state.into();
    backups.update_status(&made).await.unwrap();
    let store = &stage.stores()[0];
    store.create_bucket("b");
    if let Some(complete) = remote {
        let configuration = json!({ "Name": "bi-1", "CompleteTime": complete }).to_string();
        store.insert("b", "backupstore/backing-images/backing-images/bi-1/backing-image.cfg", configuration);
    }
}

#[test]
fn a_backup_of_a_backing_image_that_never_ends_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(BackingImageBackupsEnd::default());
    let ended = found(oracle, |stage, client| {
        Box::pin(async move { make_image_backup(&stage, &client, "Completed", Some("2026-01-01T00:00:00Z")).await })
    });
    assert!(ended.is_empty(), "{ended:?}");
    let all = found(oracle, |stage, client| {
        Box::pin(async move { make_image_backup(&stage, &client, "InProgress", Some("2026-01-01T00:00:00Z")).await })
    });
    assert_eq!(all, ["BackupBackingImage stays InProgress, the store has all of it"]);
    let part = found(oracle, |stage, client| {
        Box::pin(async move { make_image_backup(&stage, &client, "InProgress", Some("")).await })
    });
    assert_eq!(part, ["BackupBackingImage stays InProgress, the store has a part of it"]);
    let nothing =
        found(oracle, |stage, client| Box::pin(async move { make_image_backup(&stage, &client, "", None).await }));
    assert_eq!(nothing, ["BackupBackingImage stays in no state, the store has nothing of it"]);
}

#[test]
fn a_completed_backup_of_a_backing_image_without_its_end_in_the_store_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(CompletedBackupsAreComplete);
    let whole = found(oracle, |stage, client| {
        Box::pin(async move { make_image_backup(&stage, &client, "Completed", Some("2026-01-01T00:00:00Z")).await })
    });
    assert!(whole.is_empty(), "{whole:?}");
    let signature = ["BackupBackingImage Completed, its remote configuration absent or unfinished"];
    let unfinished = found(oracle, |stage, client| {
        Box::pin(async move { make_image_backup(&stage, &client, "Completed", Some("")).await })
    });
    assert_eq!(unfinished, signature);
    let absent = found(oracle, |stage, client| {
        Box::pin(async move { make_image_backup(&stage, &client, "Completed", None).await })
    });
    assert_eq!(absent, signature);
}
