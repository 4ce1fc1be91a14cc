//! What the types write, against objects as the real manager v1.9.2 wrote them in recorded flows (names and times are ours).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use longhorn_api::go::{Duration, List, Map, QuotedInteger};
use longhorn_api::kinds::backup::{BackupMode, BackupSpec, BackupState, BackupStatus};
use longhorn_api::kinds::backup_target::{self, BackupTargetSpec};
use longhorn_api::kinds::backup_volume::{BackupVolumeSpec, BackupVolumeStatus};
use longhorn_api::kinds::condition::{Condition, ConditionStatus};
use longhorn_api::kinds::node::{DiskSpec, DiskType, NodeSpec};
use longhorn_api::kinds::setting::SettingStatus;
use longhorn_api::kinds::system_backup::{SystemBackupState, SystemBackupStatus};
use longhorn_api::kinds::volume::{
    AccessMode, Choice, DataEngine, DataLocality, ReplicaAutoBalance, SnapshotDataIntegrity, VolumeFrontend,
    VolumeSpec, VolumeStatus,
};
use longhorn_api::kinds::volume_attachment::{AttacherType, AttachmentTicketStatus, VolumeAttachmentSpec};
use longhorn_api::{Backup, BackupTarget, Setting, labels};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn time(text: &str) -> Option<Time> {
    Some(Time(text.parse().expect("a time")))
}

/// The value is written as `expected`, and read back from it.
fn assert_encoding<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, expected: Value) {
    assert_eq!(serde_json::to_value(value).expect("it can be written"), expected);
    assert_eq!(&serde_json::from_value::<T>(expected).expect("it can be read"), value);
}

#[test]
fn the_first_status_of_a_backup() {
    let status = BackupStatus { owner_id: "n1".to_owned(), ..BackupStatus::default() };
    // No "error": it is the one field that is left out when empty.
    assert_encoding(
        &status,
        json!({
            "ownerID": "n1", "state": "", "progress": 0, "replicaAddress": "", "url": "", "snapshotName": "",
            "snapshotCreatedAt": "", "backupCreatedAt": "", "size": "", "labels": null, "messages": null,
            "volumeName": "", "volumeSize": "", "volumeCreated": "", "volumeBackingImageName": "",
            "lastSyncedAt": null, "compressionMethod": "", "newlyUploadDataSize": "", "reUploadedDataSize": "",
            "backupTargetName": "",
        }),
    );
}

#[test]
fn a_backup_that_failed() {
    let status = BackupStatus {
        state: BackupState::Error,
        error: "failed to backup snapshot".to_owned(),
        messages: BTreeMap::new().into(),
        last_synced_at: time("2025-01-02T03:04:05.999Z"),
        ..BackupStatus::default()
    };
    let written = serde_json::to_value(&status).expect("it can be written");
    assert_eq!(written["state"], "Error");
    assert_eq!(written["error"], "failed to backup snapshot");
    assert_eq!(written["messages"], json!({}), "a made map is not null");
    assert_eq!(written["lastSyncedAt"], "2025-01-02T03:04:05Z", "times have whole seconds, cut off");
}

#[test]
fn what_a_backup_is_created_with() {
    let mut backup = Backup {
        metadata: ObjectMeta { name: Some("backup-1".to_owned()), ..ObjectMeta::default() },
        spec: BackupSpec {
            snapshot_name: "snap-1".to_owned(),
            labels: Map::from([(labels::VOLUME_ACCESS_MODE, "rwo".to_owned())]),
            backup_mode: BackupMode::Incremental,
            ..BackupSpec::default()
        },
        ..Backup::default()
    };
    labels::set(&mut backup.metadata, labels::BACKUP_VOLUME, "bv");
    labels::set(&mut backup.metadata, labels::BACKUP_TARGET, "default");
    assert!(labels::add_finalizer(&mut backup.metadata));
    assert!(!labels::add_finalizer(&mut backup.metadata));
    let written = serde_json::to_value(&backup).expect("it can be written");
    assert_eq!(
        written["metadata"],
        json!({ "name": "backup-1", "finalizers": ["longhorn.io"],
                "labels": { "backup-target": "default", "backup-volume": "bv" } })
    );
    assert_eq!(
        written["spec"],
        json!({ "syncRequestedAt": null, "snapshotName": "snap-1", "backupMode": "incremental",
                "labels": { "longhorn.io/volume-access-mode": "rwo" } })
    );
    assert!(labels::remove_finalizer(&mut backup.metadata));
    assert!(!labels::remove_finalizer(&mut backup.metadata));
}

#[test]
fn a_backup_volume() {
    assert_encoding(
        &BackupVolumeSpec {
            backup_target_name: "default".to_owned(),
            volume_name: "bv".to_owned(),
            ..BackupVolumeSpec::default()
        },
        json!({ "backupTargetName": "default", "syncRequestedAt": null, "volumeName": "bv" }),
    );
    assert_encoding(
        &BackupVolumeStatus { owner_id: "n1".to_owned(), ..BackupVolumeStatus::default() },
        json!({
            "ownerID": "n1", "lastModificationTime": null, "size": "", "labels": null, "createdAt": "",
            "lastBackupName": "", "lastBackupAt": "", "dataStored": "", "messages": null, "backingImageName": "",
            "backingImageChecksum": "", "storageClassName": "", "lastSyncedAt": null,
        }),
    );
}

#[test]
fn the_default_backup_target() {
    let target = BackupTarget {
        spec: BackupTargetSpec { poll_interval: backup_target::DEFAULT_POLL_INTERVAL, ..BackupTargetSpec::default() },
        ..BackupTarget::default()
    };
    assert_encoding(
        &target,
        json!({
            "apiVersion": "longhorn.io/v1beta2", "kind": "BackupTarget", "metadata": {},
            "spec": { "backupTargetURL": "", "credentialSecret": "", "pollInterval": "5m0s", "syncRequestedAt": null },
            "status": { "ownerID": "", "available": false, "conditions": null, "lastSyncedAt": null },
        }),
    );
}

#[test]
fn a_system_backup_has_a_null_creation_time_that_the_server_drops() {
    assert_encoding(
        &SystemBackupStatus {
            owner_id: "n1".to_owned(),
            state: SystemBackupState::CreatingVolumeBackups,
            ..SystemBackupStatus::default()
        },
        json!({
            "ownerID": "n1", "version": "", "gitCommit": "", "managerImage": "", "state": "CreatingVolumeBackups",
            "conditions": null, "createdAt": null, "lastSyncedAt": null,
        }),
    );
}

#[test]
fn a_volume_as_the_webhook_completes_it() {
    let spec = VolumeSpec {
        size: QuotedInteger(64 << 20),
        frontend: VolumeFrontend::BlockDevice,
        restore_volume_recurring_job: Choice::Ignored,
        data_locality: DataLocality::Disabled,
        image: "longhornio/longhorn-engine:v1.9.2".to_owned(),
        disk_selector: List::from(vec![]),
        node_selector: List::from(vec![]),
        unmap_mark_snap_chain_removed: Choice::Ignored,
        replica_soft_anti_affinity: Choice::Ignored,
        replica_zone_soft_anti_affinity: Choice::Ignored,
        replica_disk_soft_anti_affinity: Choice::Ignored,
        access_mode: AccessMode::ReadWriteOnce,
        number_of_replicas: 1,
        replica_auto_balance: ReplicaAutoBalance::Ignored,
        snapshot_data_integrity: SnapshotDataIntegrity::Ignored,
        backup_compression_method: "lz4".into(),
        data_engine: DataEngine::V1,
        snapshot_max_count: 250,
        freeze_filesystem_for_snapshot: Choice::Ignored,
        backup_target_name: "default".to_owned(),
        offline_rebuilding: Choice::Ignored,
        ..VolumeSpec::default()
    };
    assert_encoding(
        &spec,
        json!({
            "size": "67108864", "frontend": "blockdev", "fromBackup": "", "restoreVolumeRecurringJob": "ignored",
            "dataSource": "", "dataLocality": "disabled", "staleReplicaTimeout": 0, "nodeID": "",
            "migrationNodeID": "", "image": "longhornio/longhorn-engine:v1.9.2", "backingImage": "", "Standby": false,
            "diskSelector": [], "nodeSelector": [], "disableFrontend": false, "revisionCounterDisabled": false,
            "unmapMarkSnapChainRemoved": "ignored", "replicaSoftAntiAffinity": "ignored",
            "replicaZoneSoftAntiAffinity": "ignored", "replicaDiskSoftAntiAffinity": "ignored", "lastAttachedBy": "",
            "accessMode": "rwo", "migratable": false, "encrypted": false, "numberOfReplicas": 1,
            "replicaAutoBalance": "ignored", "snapshotDataIntegrity": "ignored", "backupCompressionMethod": "lz4",
            "dataEngine": "v1", "snapshotMaxCount": 250, "snapshotMaxSize": "0",
            "freezeFilesystemForSnapshot": "ignored", "backupTargetName": "default", "offlineRebuilding": "ignored",
        }),
    );
}

#[test]
fn the_first_status_of_a_volume() {
    let mut status = VolumeStatus { owner_id: "n1".to_owned(), ..VolumeStatus::default() };
    assert_encoding(
        &status,
        json!({
            "ownerID": "n1", "state": "", "robustness": "", "currentNodeID": "", "currentImage": "",
            "kubernetesStatus": { "pvName": "", "pvStatus": "", "namespace": "", "pvcName": "", "lastPVCRefAt": "",
                                  "workloadsStatus": null, "lastPodRefAt": "" },
            "conditions": null, "lastBackup": "", "lastBackupAt": "", "currentMigrationNodeID": "",
            "frontendDisabled": false, "restoreRequired": false, "restoreInitiated": false,
            "cloneStatus": { "sourceVolume": "", "snapshot": "", "state": "", "attemptCount": 0,
                             "nextAllowedAttemptAt": "" },
            "remountRequestedAt": "", "expansionRequired": false, "isStandby": false, "actualSize": 0,
            "lastDegradedAt": "", "shareEndpoint": "", "shareState": "",
        }),
    );
    status.conditions.set_condition("Restore", ConditionStatus::False, "", "", "2025-01-02T03:04:05Z");
    assert_eq!(
        serde_json::to_value(&status.conditions).expect("it can be written"),
        json!([{ "type": "Restore", "status": "False", "lastProbeTime": "",
                 "lastTransitionTime": "2025-01-02T03:04:05Z", "reason": "", "message": "" }])
    );
}

#[test]
fn a_new_node() {
    let disk = DiskSpec {
        disk_type: DiskType::Filesystem,
        path: "/var/lib/longhorn/".to_owned(),
        allow_scheduling: true,
        storage_reserved: 81_165_952_204,
        tags: List::from(vec![]),
        ..DiskSpec::default()
    };
    let spec = NodeSpec {
        name: "n1".to_owned(),
        disks: Map::from([("default-disk-0123456789abcdef", disk)]),
        allow_scheduling: true,
        tags: List::from(vec![]),
        ..NodeSpec::default()
    };
    assert_encoding(
        &spec,
        json!({
            "name": "n1", "allowScheduling": true, "evictionRequested": false, "tags": [],
            "instanceManagerCPURequest": 0,
            "disks": { "default-disk-0123456789abcdef": {
                "diskType": "filesystem", "path": "/var/lib/longhorn/", "diskDriver": "", "allowScheduling": true,
                "evictionRequested": false, "storageReserved": 81_165_952_204_i64, "tags": [] } },
        }),
    );
}

#[test]
fn tickets() {
    let mut spec = VolumeAttachmentSpec { volume: "bv".to_owned(), ..VolumeAttachmentSpec::default() };
    spec.attachment_tickets.make();
    assert_encoding(&spec, json!({ "attachmentTickets": {}, "volume": "bv" }));
    let id = AttacherType::SnapshotController.ticket_id("snap-1");
    assert_eq!(id, "snapshot-controller-snap-1");
    let condition = Condition {
        condition_type: "Satisfied".to_owned(),
        status: ConditionStatus::True,
        last_transition_time: "2025-01-02T03:04:05Z".to_owned(),
        ..Condition::default()
    };
    assert_encoding(
        &AttachmentTicketStatus { id, satisfied: true, conditions: List::from(vec![condition]), generation: 0 },
        json!({
            "id": "snapshot-controller-snap-1", "satisfied": true, "generation": 0,
            "conditions": [{ "type": "Satisfied", "status": "True", "lastProbeTime": "",
                             "lastTransitionTime": "2025-01-02T03:04:05Z", "reason": "", "message": "" }],
        }),
    );
    assert_eq!(AttacherType::CsiAttacher.ticket_id(&"x".repeat(300)).len(), 253);
    assert_eq!(AttacherType::from("somebody").priority(), 0);
}

#[test]
fn a_setting_has_its_value_at_the_top() {
    let setting = Setting { value: "3".to_owned(), status: SettingStatus { applied: true }, ..Setting::default() };
    assert_encoding(
        &setting,
        json!({ "apiVersion": "longhorn.io/v1beta2", "kind": "Setting", "metadata": {}, "value": "3",
                "status": { "applied": true } }),
    );
}

#[test]
fn a_word_of_a_later_release_is_carried_along() {
    let state: BackupState = serde_json::from_value(json!("Hibernating")).expect("any text is taken");
    assert_eq!(serde_json::to_value(&state).expect("it can be written"), "Hibernating");
    assert!(!state.is_final());
    assert_eq!(BackupState::from("Completed"), BackupState::Completed);
    assert_eq!(DataLocality::default().as_str(), "");
    assert_eq!(AttacherType::default().as_str(), "", "also where no word stands for the empty text");
    assert!(BackupState::ALL.iter().all(|word| &BackupState::from(word.as_str()) == word));
}

#[test]
fn durations_are_spelled_as_go_spells_them() {
    // Value and Go's text for it.
    for text in ["0s", "1s", "5m0s", "1h0m0s", "24h0m0s", "1m30.5s", "1.5s", "100ms", "1.001ms", "10µs", "7ns", "-2m3s"]
    {
        let duration: Duration = text.parse().expect("a duration");
        assert_eq!(duration.to_string(), text);
    }
    // Other texts Go takes, and what it makes of them.
    for (text, canonical) in [("300s", "5m0s"), ("+1.5h", "1h30m0s"), ("0", "0s"), (".5m", "30s"), ("90m", "1h30m0s")] {
        assert_eq!(text.parse::<Duration>().expect("a duration").to_string(), canonical);
    }
    for text in ["", "5", "m", "5x", "1.2.3s", "-", "5 m", "99999999999h"] {
        assert!(text.parse::<Duration>().is_err(), "{text:?}");
    }
    assert_eq!(Duration::from_seconds(300).to_std(), std::time::Duration::from_secs(300));
    assert_eq!("-1s".parse::<Duration>().expect("a duration").to_std(), std::time::Duration::ZERO);
}

#[test]
fn nil_and_empty_are_told_apart() {
    let nil: Map<String> = serde_json::from_value(Value::Null).expect("null");
    let mut map: Map<String> = serde_json::from_value(json!({})).expect("an object");
    assert!(nil.is_nil() && !map.is_nil() && nil != map && nil.is_empty() && map.is_empty());
    map.insert("a", "b".to_owned());
    assert_eq!((map.text("a"), map.text("c"), nil.text("a")), ("b", "", ""));
    map.remove("a");
    assert_eq!(serde_json::to_value(&map).expect("it can be written"), json!({}));
    let mut still_nil = nil.clone();
    assert_eq!(still_nil.remove("a"), None);
    still_nil.retain(|_, _| true);
    assert!(still_nil.is_nil());
    let entry: Map<String> = serde_json::from_value(json!({ "a": null })).expect("a null entry is the zero value");
    assert_eq!(entry.text("a"), "");

    let mut list = List::<String>::nil();
    list.retain(|_| true);
    list.reverse();
    assert!(list.is_nil());
    list.push("x".to_owned());
    assert_eq!(list.len(), 1);
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut conditions = List::<Condition>::nil();
    assert_eq!(conditions.condition("Ready").status, ConditionStatus::Unknown);
    conditions.set_condition("Ready", ConditionStatus::Unknown, "a", "", "t0");
    assert_eq!(conditions.condition("Ready").last_transition_time, "", "unknown is what it was");
    conditions.set_condition("Ready", ConditionStatus::True, "", "", "t1");
    let before = conditions.clone();
    conditions.set_condition("Ready", ConditionStatus::True, "", "", "t2");
    assert_eq!(conditions, before);
    conditions.set_condition("Ready", ConditionStatus::True, "new reason", "", "t3");
    assert_eq!(conditions.condition("Ready").last_transition_time, "t1");
    conditions.set_condition("Other", ConditionStatus::False, "", "", "t4");
    assert_eq!(
        conditions.iter().map(|condition| &condition.condition_type[..]).collect::<Vec<_>>(),
        ["Ready", "Other"]
    );
    conditions.remove_condition("Ready");
    assert_eq!(conditions.len(), 1);
}
