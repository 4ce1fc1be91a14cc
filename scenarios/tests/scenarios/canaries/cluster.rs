//! Pods, nodes, upgrades, and runs that do not come to rest.

use corral_kube_client::{Api, Client, DeleteParams};
use corral_scenarios::install::create;
use corral_scenarios::oracles::{
    NothingIsDeletingForEver, SystemPodsAreReady, UpgradesEnd, V2InstanceManagersAreUsable,
};
use corral_world::{OWN_FAULT, Oracle, RESTLESS};
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::node::{DiskSpec, DiskType};
use longhorn_api::{DEFAULT_NAMESPACE, Node, Setting};
use serde_json::json;

use super::{found, make_backup, make_upgrade, nothing, violations};

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

#[test]
fn what_was_found_before_a_run_broke_off_is_told_too() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(NothingIsDeletingForEver);
    let found = violations(oracle, |stage, _client| {
        Box::pin(async move {
            stage.violation("canary", "damage");
            panic!("the canary's end");
        })
    });
    let oracles: Vec<_> = found.iter().map(|one| one.oracle.as_str()).collect();
    assert_eq!(oracles, ["canary", OWN_FAULT], "{found:?}");
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

#[test]
fn an_upgrade_that_does_not_end_is_found() {
    let oracle: fn() -> Box<dyn Oracle> = || Box::new(UpgradesEnd);
    assert!(found(oracle, nothing).is_empty());
    let behind = found(oracle, |_stage, client| Box::pin(async move { make_upgrade(&client, "v1.7.2").await }));
    assert_eq!(behind, ["current-longhorn-version stays behind the managers' release"]);
    let ended = found(oracle, |_stage, client| Box::pin(async move { make_upgrade(&client, "v1.8.0").await }));
    assert!(ended.is_empty(), "{ended:?}");
}
