//! Volumes, their engines and replicas.

use corral_disk::{Disk, DiskOptions};
use corral_kube_client::{Api, Client};
use corral_scenarios::oracles::{GoodReplicasAgree, OneObjectPerRole, PromotedReplicasAreWhole};
use corral_world::{Oracle, Stage};
use longhorn_api::kinds::engine::ReplicaMode;
use longhorn_api::kinds::volume::DataEngine;
use longhorn_api::{DEFAULT_NAMESPACE, Engine, Replica};

use super::found;

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
