//! Each oracle fires when its damage is really there: a deliberately broken stand-in does it, in a cluster without Longhorn.

use std::sync::Arc;

use corral_cluster::ClusterSpec;
use corral_core::journal::Event;
use corral_disk::{Disk, DiskOptions};
use corral_kube_client::{Api, Client, ClientOptions, DeleteParams, reads};
use corral_object_store::BucketStore;
use corral_scenarios::catalogue;
use corral_scenarios::install::{create, manifest};
use corral_scenarios::oracles::{
    AbsenceIsProved, BackingImageBackupsEnd, BackupsBelongToATarget, ClientMeetsNoUnexpectedError, ClientsAreServed,
    CompletedBackupsAreComplete, CompletedBackupsHaveTheirBlocks, GoodReplicasAgree,
    NoBackupOutlivesItsVolumeAndRemote, NoRemoteBackupIsDeletedOnAbsence, NothingIsDeletingForEver, OneObjectPerRole,
    OutcomesAreStored, PromotedReplicasAreWhole, RestoredVolumesHoldTheirData, SystemBackupsEnd, SystemPodsAreReady,
    UpgradesEnd, V2InstanceManagersAreUsable,
};
use corral_world::{Arm, Ground, OWN_FAULT, Oracle, Plan, Play, RESTLESS, RunOptions, Scenario, Stage, Violation, run};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::engine::ReplicaMode;
use longhorn_api::kinds::node::{DiskSpec, DiskType};
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{
    Backup, BackupBackingImage, Build, DEFAULT_NAMESPACE, Engine, Node, Release, Replica, Setting, SystemBackup, crds,
};
use serde_json::json;

/// A scenario that does one broken thing.
struct Canary {
    oracle: fn() -> Box<dyn Oracle>,
    play: fn(Arc<Stage>, Client) -> Play,
}

impl Scenario for Canary {
    fn name(&self) -> &'static str {
        "canary"
    }
    fn about(&self) -> &'static str {
        "does one broken thing"
    }
    fn expand(&self, _seed: u64, _arm: &Arm) -> Result<Plan, String> {
        Ok(Plan::default())
    }
    fn check(&self, _plan: &Plan) -> Result<(), String> {
        Ok(())
    }
    fn ground(&self, _plan: &Plan, _arm: &Arm) -> Ground {
        Ground { cluster: ClusterSpec::workers(0), stores: vec![BucketStore::new()] }
    }
    fn oracles(&self) -> Vec<Box<dyn Oracle>> {
        vec![(self.oracle)()]
    }
    fn play(&self, stage: Arc<Stage>) -> Play {
        let play = self.play;
        Box::pin(async move {
            let client = Client::new(&stage.cluster().api_address(), ClientOptions::unlimited("canary")).unwrap();
            create(
                &client,
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": DEFAULT_NAMESPACE } }),
            )
            .await
            .unwrap();
            for definition in crds::all(Release::V1_8_0) {
                create(&client, serde_json::to_value(definition).unwrap()).await.unwrap();
            }
            host::time::sleep(std::time::Duration::from_secs(5)).await;
            play(stage, client).await;
        })
    }
}

fn violations(oracle: fn() -> Box<dyn Oracle>, play: fn(Arc<Stage>, Client) -> Play) -> Vec<Violation> {
    run(Arc::new(Canary { oracle, play }), &Arm::default(), 1, None, RunOptions::default()).unwrap().violations
}

/// The signatures of what the oracle found, where nothing else is found.
fn found(oracle: fn() -> Box<dyn Oracle>, play: fn(Arc<Stage>, Client) -> Play) -> Vec<String> {
    let (name, found) = (oracle().name(), violations(oracle, play));
    assert!(found.iter().all(|violation| violation.oracle == name), "{found:?}");
    found.into_iter().map(|violation| violation.signature).collect()
}

fn nothing(_stage: Arc<Stage>, _client: Client) -> Play {
    Box::pin(async {})
}

async fn make_backup(client: &Client, state: &str, snapshot: &str) -> Api<Backup> {
    let backups: Api<Backup> = Api::namespaced(client, DEFAULT_NAMESPACE);
    let mut backup = Backup::default();
    backup.metadata.name = Some("backup-0123456789abcdef".into());
    backup.metadata.finalizers = Some(vec!["longhorn.io".into()]);
    backup.metadata.labels = Some([("backup-volume".to_owned(), "vol-1".to_owned())].into());
    backup.spec.snapshot_name = snapshot.into();
    let mut made = backups.create(&backup).await.unwrap();
    made.status.state = state.into();
    backups.update_status(&made).await.unwrap();
    backups
}

#[test]
fn an_object_whose_finalizer_nobody_removes_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(NothingIsDeletingForEver);
    assert!(found(oracle, nothing).is_empty());
    let signatures = found(oracle, |_stage, client| {
        Box::pin(async move {
            let backups = make_backup(&client, "Completed", "").await;
            backups.delete("backup-0123456789abcdef", &DeleteParams::default()).await.unwrap();
        })
    });
    assert_eq!(signatures, ["Backup stays deleting, finalizers: longhorn.io"]);
}

/// The store loses the configuration of the backup that `make_backup` makes.
fn lose_remote_backup() {
    host::journal::record(Event::StoreOperation {
        verb: "delete".into(),
        key: "backupbucket/backupstore/volumes/5e/23/vol-1/backups/backup_backup-0123456789abcdef.cfg".into(),
        bytes: 0,
        code: 204,
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

/// What the client of `backup-cleanup` finds under a fault of its own requests: the teardown, with a client that takes "not found" for done.
fn found_by_the_client(fault: &str) -> Vec<String> {
    let scenario = catalogue().scenario("backup-cleanup").unwrap();
    let set = [("machines", "1"), ("volumes", "1"), ("backups", "3"), ("faults", "0")];
    let arm = Arm { set: set.map(|(key, value)| (key.to_owned(), value.to_owned())).into(), ..Arm::default() };
    let mut plan = scenario.expand(1, &arm).unwrap();
    // The last step alone: backups are there, and are deleted at the Kubernetes API.
    plan.steps.retain(|step| !step.action.to_string().contains("backupstore-cleanup"));
    plan.faults.push(
        toml::from_str(&format!("on = {{ api = \"create\", kind = \"Backup\", nth = 3 }}\ndo = {fault}")).unwrap(),
    );
    let verdict = run(scenario, &Arm::default(), 1, Some(plan), RunOptions::default()).unwrap();
    verdict.violations.into_iter().map(|violation| format!("{}: {}", violation.oracle, violation.signature)).collect()
}

#[test]
fn the_tolerant_client_still_fails_on_what_is_no_absence() {
    let oracle = ClientMeetsNoUnexpectedError.name();
    for code in [403, 500] {
        let found = found_by_the_client(&format!(
            r#"{{ api-errors = {{ for = "1h", code = {code}, client = "test-client" }} }}"#
        ));
        assert!(found.iter().any(|one| one.starts_with(oracle)), "{code}: {found:?}");
    }
    let lost = found_by_the_client(r#"{ api-loses-answers = { for = "1h", client = "test-client" } }"#);
    assert!(lost.iter().any(|one| one.starts_with(oracle)), "{lost:?}");
    assert!(found_by_the_client(r#"{ slow-store = { for = "1s", per-operation = "10ms" } }"#).is_empty());
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
}

/// Two good replicas of a volume on one machine, whose snapshots and heads hold these.
async fn make_replicas(stage: &Stage, client: &Client, snapshots: [&str; 2], heads: [&str; 2]) {
    let machine = stage.world().add_machine("n1");
    let disk = Disk::create(stage.world(), machine.id, "n1:/", DiskOptions::default());
    let replicas: Api<Replica> = Api::namespaced(client, DEFAULT_NAMESPACE);
    for ((name, snapshot), head) in ["r-1", "r-2"].into_iter().zip(snapshots).zip(heads) {
        let folder = format!("/data/replicas/{name}");
        disk.create_directories(&folder).unwrap();
        for (file, content) in [
            ("volume.meta", r#"{"Head":"volume-head-001.img"}"#),
            ("volume-head-001.img.meta", r#"{"Parent":"volume-snap-s.img"}"#),
            ("volume-snap-s.img.meta", r#"{"Parent":""}"#),
            ("volume-snap-s.img", snapshot),
            ("volume-head-001.img", head),
        ] {
            disk.put(&format!("{folder}/{file}"), content.as_bytes()).unwrap();
        }
        let mut replica = Replica::default();
        replica.metadata.name = Some(name.into());
        let spec = &mut replica.spec;
        (spec.volume_name, spec.node_id, spec.disk_path) = ("vol-1".into(), "n1".into(), "/data/".into());
        (spec.data_directory_name, spec.healthy_at) = (name.into(), "2026-01-01T00:00:00Z".into());
        spec.data_engine = DataEngine::V1;
        replicas.create(&replica).await.unwrap();
    }
    // A run's end does not wait for who holds it: oracles look after that.
    stage.world().extension(|| disk);
}

#[test]
fn replicas_that_differ_are_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(GoodReplicasAgree);
    let equal = found(oracle, |stage, client| {
        Box::pin(async move { make_replicas(&stage, &client, ["below"; 2], ["head"; 2]).await })
    });
    assert!(equal.is_empty(), "{equal:?}");
    let unequal = found(oracle, |stage, client| {
        Box::pin(async move { make_replicas(&stage, &client, ["below"; 2], ["head", ""]).await })
    });
    assert_eq!(unequal, ["good replicas of a volume differ"]);
}

/// An engine that takes its second replica for a good one after a rebuild.
async fn promote(client: &Client) {
    let engines: Api<Engine> = Api::namespaced(client, DEFAULT_NAMESPACE);
    let mut engine = make_engine(client, "e-1", true).await;
    for second in [ReplicaMode::WriteOnly, ReplicaMode::ReadWrite] {
        let modes = [("r-1", ReplicaMode::ReadWrite), ("r-2", second)];
        engine.status.replica_mode_map = modes.map(|(name, mode)| (name, mode)).into();
        engine = engines.update_status(&engine).await.unwrap();
    }
}

async fn make_engine(client: &Client, name: &str, active: bool) -> Engine {
    let mut engine = Engine::default();
    engine.metadata.name = Some(name.into());
    (engine.spec.volume_name, engine.spec.active) = ("vol-1".into(), active);
    engine.spec.data_engine = DataEngine::V1;
    Api::<Engine>::namespaced(client, DEFAULT_NAMESPACE).create(&engine).await.unwrap()
}

#[test]
fn a_replica_that_is_promoted_too_early_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::<PromotedReplicasAreWhole>::default();
    // What is in the head alone may be on its way.
    let whole = found(oracle, |stage, client| {
        Box::pin(async move {
            make_replicas(&stage, &client, ["below"; 2], ["head", ""]).await;
            promote(&client).await;
        })
    });
    assert!(whole.is_empty(), "{whole:?}");
    let early = found(oracle, |stage, client| {
        Box::pin(async move {
            make_replicas(&stage, &client, ["below", ""], ["head"; 2]).await;
            promote(&client).await;
        })
    });
    assert_eq!(early, ["a replica is promoted without all that the others have"]);
}

#[test]
fn a_second_engine_of_a_volume_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(OneObjectPerRole);
    let of_a_migration = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_engine(&client, "e-1", true).await;
            make_engine(&client, "e-2", false).await;
        })
    });
    assert!(of_a_migration.is_empty(), "{of_a_migration:?}");
    let two = found(oracle, |_stage, client| {
        Box::pin(async move {
            make_engine(&client, "e-1", true).await;
            make_engine(&client, "e-2", true).await;
        })
    });
    assert_eq!(two, ["more than one Engine for one volume"]);
}

/// How often each hazard was seen.
fn hazards(oracle: fn() -> Box<dyn Oracle>, play: fn(Arc<Stage>, Client) -> Play) -> Vec<(String, u64)> {
    let canary = Arc::new(Canary { oracle, play });
    let hazards = run(canary, &Arm::default(), 1, None, RunOptions::default()).unwrap().hazards;
    hazards.into_iter().collect()
}

/// A synchronisation lists the backups of a volume, in so many seconds, and forgets one that it did not see.
async fn synchronise(client: &Client, listing: u64) {
    let backups: Api<Backup> = Api::namespaced(client, DEFAULT_NAMESPACE);
    reads::scope("longhorn-backup-volume vol-1-01234567", async {
        let taken = reads::take();
        let method = "exec longhorn backup ls --volume vol-1";
        reads::record_call(&taken, method, "s3://", "ok", std::time::Duration::from_secs(listing));
        backups.delete("backup-0123456789abcdef", &DeleteParams::default()).await.unwrap();
    })
    .await;
}

#[test]
fn a_deletion_on_the_ground_of_an_older_listing_is_a_hazard() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::<AbsenceIsProved>::default();
    let proved = hazards(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "Completed", "").await;
            host::time::sleep(std::time::Duration::from_secs(5)).await;
            synchronise(&client, 1).await;
        })
    });
    assert!(proved.is_empty(), "{proved:?}");
    let old = hazards(oracle, |_stage, client| {
        Box::pin(async move {
            make_backup(&client, "Completed", "").await;
            synchronise(&client, 1).await;
        })
    });
    assert_eq!(old, [("absence-not-proved".to_owned(), 1)]);
}

/// A reconcile deletes something remote and stores that its backup failed, with or without a conflict.
async fn act_and_store(client: &Client, conflict: bool) {
    let backups = make_backup(client, "Completed", "").await;
    reads::scope("longhorn-backup backup-0123456789abcdef", async {
        let mut backup = backups.get("backup-0123456789abcdef").await.unwrap();
        reads::record_call(&reads::take(), "exec longhorn backup rm", "s3://", "ok", std::time::Duration::ZERO);
        if conflict {
            backup.metadata.resource_version = Some("1".to_owned());
        }
        backup.status.state = "Error".into();
        assert_eq!(backups.update_status(&backup).await.is_err(), conflict);
    })
    .await;
}

#[test]
fn an_outcome_that_could_not_be_stored_is_a_hazard() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::<OutcomesAreStored>::default();
    let stored = hazards(oracle, |_stage, client| Box::pin(async move { act_and_store(&client, false).await }));
    assert!(stored.is_empty(), "{stored:?}");
    let lost = hazards(oracle, |_stage, client| Box::pin(async move { act_and_store(&client, true).await }));
    assert_eq!(lost, [("acted-before-stored".to_owned(), 1)]);
}

#[test]
fn a_pod_that_never_becomes_ready_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(SystemPodsAreReady);
    assert!(found(oracle, nothing).is_empty());
    // There is no machine that it could run on.
    let waiting = found(oracle, |_stage, client| {
        Box::pin(async move {
            let labels = json!({ "app": "longhorn-manager" });
            let metadata = json!({ "name": "p", "namespace": DEFAULT_NAMESPACE, "labels": labels });
            let spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
            let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
            create(&client, pod).await.unwrap();
        })
    });
    assert_eq!(waiting, ["a pod of longhorn-manager is not ready"]);
}

/// Writes so many objects, one in half a minute.
async fn write_nodes(client: Client, count: u32) {
    for number in 0..count {
        let mut node = Node::default();
        node.metadata.name = Some(format!("n{number}"));
        Api::<Node>::namespaced(&client, DEFAULT_NAMESPACE).create(&node).await.unwrap();
        host::time::sleep(std::time::Duration::from_secs(30)).await;
    }
}

#[test]
fn a_cluster_that_does_not_come_to_rest_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(SystemPodsAreReady);
    let rests = violations(oracle, |_stage, client| Box::pin(async move { drop(host::spawn(write_nodes(client, 3))) }));
    assert!(rests.is_empty(), "{rests:?}");
    let restless =
        violations(oracle, |_stage, client| Box::pin(async move { drop(host::spawn(write_nodes(client, u32::MAX))) }));
    let restless: Vec<_> = restless.iter().map(|one| (one.oracle.as_str(), one.signature.as_str())).collect();
    assert_eq!(restless, [(RESTLESS, "Node is written by canary without end")]);
}

#[test]
fn a_panic_is_damage() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(NothingIsDeletingForEver);
    let found = violations(oracle, |_stage, _client| {
        Box::pin(async {
            let task = host::spawn(async { panic!("a canary's") });
            let _ = task.await;
        })
    });
    assert!(found.iter().any(|one| one.oracle == OWN_FAULT && one.detail.contains("a canary's")), "{found:?}");
}

async fn make_ready_node(client: &Client, v2: &str) {
    let mut setting = Setting { value: v2.to_owned(), ..Setting::default() };
    setting.metadata.name = Some("v2-data-engine".into());
    Api::<Setting>::namespaced(client, DEFAULT_NAMESPACE).create(&setting).await.unwrap();
    let mut node = Node::default();
    node.metadata.name = Some("n1".into());
    node.spec.disks.insert("d", DiskSpec { disk_type: DiskType::Block, ..DiskSpec::default() });
    let nodes: Api<Node> = Api::namespaced(client, DEFAULT_NAMESPACE);
    let mut made = nodes.create(&node).await.unwrap();
    made.status.conditions.set_condition("Ready", ConditionStatus::True, "", "", "2026-01-01T00:00:00Z");
    nodes.update_status(&made).await.unwrap();
}

#[test]
fn a_ready_node_without_its_v2_instance_manager_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(V2InstanceManagersAreUsable);
    assert!(found(oracle, nothing).is_empty());
    let off = found(oracle, |_stage, client| Box::pin(async move { make_ready_node(&client, "false").await }));
    assert!(off.is_empty(), "nothing is promised while the data engine is off");
    let on = found(oracle, |_stage, client| Box::pin(async move { make_ready_node(&client, "true").await }));
    assert_eq!(on, ["node without a usable v2 instance manager: there is none", "block disk is not schedulable"]);
}

/// Managers of v1.8.0 are to run, and Longhorn says that it is of this version.
async fn make_upgrade(client: &Client, version: &str) {
    let set = manifest(&Build::published(Release::V1_8_0)).pop().expect("the managers come last");
    create(client, set).await.unwrap();
    let mut setting = Setting { value: version.to_owned(), ..Setting::default() };
    setting.metadata.name = Some("current-longhorn-version".into());
    Api::namespaced(client, DEFAULT_NAMESPACE).create(&setting).await.unwrap();
}

#[test]
fn an_upgrade_that_does_not_end_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(UpgradesEnd);
    assert!(found(oracle, nothing).is_empty());
    let behind = found(oracle, |_stage, client| Box::pin(async move { make_upgrade(&client, "v1.7.2").await }));
    assert_eq!(behind, ["current-longhorn-version stays behind the managers' release"]);
    let ended = found(oracle, |_stage, client| Box::pin(async move { make_upgrade(&client, "v1.8.0").await }));
    assert!(ended.is_empty(), "{ended:?}");
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

/// What a scenario finds when its client does these steps, on one machine.
fn found_with_steps(scenario: &str, steps: &[&str]) -> Vec<String> {
    let steps = steps.iter().map(|step| format!("[[step]]\ndo = {{ {step} }}\n"));
    let plan = toml::from_str(&format!("cluster.machines = 1\n{}", steps.collect::<String>())).unwrap();
    let found = catalogue().scenario(scenario).unwrap();
    let verdict = run(found, &Arm::default(), 1, Some(plan), RunOptions::default()).unwrap();
    verdict.violations.into_iter().map(|violation| format!("{}: {}", violation.oracle, violation.signature)).collect()
}

#[test]
fn a_client_that_waits_in_vain_is_found() {
    let found = found_with_steps("backup-cleanup", &["await-backups = { count = 1 }"]);
    assert_eq!(found, [format!("{}: not within 900 s: 1 Backups are there", ClientsAreServed.name())]);
}

#[test]
fn a_volume_without_what_was_written_to_it_is_found() {
    let create = "create-volume = { name = \"vol-1\", replicas = 1 }";
    let fill = [create, "attach-volume = { name = \"vol-1\" }", "write-volume = { name = \"vol-1\", blocks = 2 }"];
    let check = "check-volume = { name = \"vol-1\" }";
    let kept = ["detach-volume = { name = \"vol-1\" }", check];
    assert!(found_with_steps("system-restore", &[&fill[..], &kept].concat()).is_empty());
    // Another volume of this name stands for one that was restored without its data.
    let lost = ["detach-volume = { name = \"vol-1\" }", "delete-volume = { name = \"vol-1\" }", create, check];
    let found = found_with_steps("system-restore", &[&fill[..], &lost].concat());
    assert_eq!(found, [format!("{}: a restored volume is without its data", RestoredVolumesHoldTheirData.name())]);
}
