//! The garbage collector's rules, and its timing as it was measured on a real one (facts/kubernetes.md, section 2).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_cluster::Cluster;
use corral_core::{Nanos, Options, now, run};
use corral_kube_client::params::{DeleteParams, PropagationPolicy};
use corral_kube_client::{Api, Client, DynamicObject, ResourceDescriptor};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;

use crate::common::*;

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

fn reference(owner: &ConfigMap, blocks: bool) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: owner.metadata.name.clone().unwrap_or_default(),
        uid: owner.metadata.uid.clone().unwrap_or_default(),
        block_owner_deletion: Some(blocks),
        ..OwnerReference::default()
    }
}

fn map(name: &str, owners: Vec<OwnerReference>, finalizers: &[&str]) -> ConfigMap {
    object(json!({"metadata": {"name": name, "ownerReferences": owners, "finalizers": finalizers}}))
}

/// When the objects of a kind were gone, by name: as the store sees it.
fn record_ends(cluster: &Cluster) -> (corral_apiserver::Subscription, Arc<Mutex<BTreeMap<String, Nanos>>>) {
    let ends: Arc<Mutex<BTreeMap<String, Nanos>>> = Arc::default();
    let record = ends.clone();
    let subscription = cluster.store().subscribe(move |commit| {
        if commit.new.is_none() && &*commit.resource == "configmaps" {
            record.lock().expect("one thread").insert(commit.object().name().to_owned(), now());
        }
    });
    (subscription, ends)
}

struct Measured {
    first: f64,
    last: f64,
    owner: f64,
}

/// Deletes an owner of so many dependents, and measures from the answer when they and it are gone.
async fn measure(cluster: &Cluster, client: &Client, count: usize, policy: PropagationPolicy) -> Measured {
    // Long enough for every limit to be full again.
    host::time::sleep(Duration::from_secs(20)).await;
    let maps = maps(client);
    let owner = maps.create(&map("owner", Vec::new(), &[])).await.expect("created");
    for number in 0..count {
        maps.create(&map(&format!("d-{number}"), vec![reference(&owner, true)], &[])).await.expect("created");
    }
    host::time::sleep(Duration::from_secs(5)).await;
    let (subscription, ends) = record_ends(cluster);
    let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    maps.delete("owner", &params).await.expect("deleted");
    let answered = now();
    until_gone(&maps, "owner", 60).await;
    for number in 0..count {
        until_gone(&maps, &format!("d-{number}"), 60).await;
    }
    drop(subscription);
    let ends = std::mem::take(&mut *ends.lock().expect("one thread"));
    let seconds = |at: &Nanos| at.0.saturating_sub(answered.0) as f64 / 1e9;
    let mut dependents: Vec<f64> =
        ends.iter().filter(|(name, _)| *name != "owner").map(|(_, at)| seconds(at)).collect();
    dependents.sort_by(f64::total_cmp);
    Measured { first: dependents[0], last: dependents[count - 1], owner: seconds(&ends["owner"]) }
}

#[test]
fn the_collector_takes_as_long_as_the_real_one() {
    run(Options::new(50), async {
        let (cluster, client) = boot(0).await;
        host::time::sleep(Duration::from_secs(60)).await;
        let mut wrong = Vec::new();
        let mut check = |what: &str, measured: f64, low: f64, high: f64| {
            println!("{what}: {measured:.4} s (real: {low} to {high})");
            if measured < low / 2.0 || measured > high * 2.0 {
                wrong.push(format!("{what}: {measured:.4} s, the real one {low} to {high}"));
            }
        };
        use PropagationPolicy::{Background, Foreground};
        let one = measure(&cluster, &client, 1, Background).await;
        check("background, 1 dependent", one.last, 0.004, 0.008);
        let ten = measure(&cluster, &client, 10, Background).await;
        check("background, 10 dependents, first", ten.first, 0.009, 0.016);
        check("background, 10 dependents, last", ten.last, 0.014, 0.028);
        let fifty = measure(&cluster, &client, 50, Background).await;
        check("background, 50 dependents, first", fifty.first, 0.011, 0.016);
        check("background, 50 dependents, last", fifty.last, 1.75, 1.75);
        let one = measure(&cluster, &client, 1, Foreground).await;
        check("foreground, 1 dependent, last", one.last, 0.005, 0.009);
        check("foreground, 1 dependent, owner", one.owner, 0.011, 0.018);
        let ten = measure(&cluster, &client, 10, Foreground).await;
        check("foreground, 10 dependents, last", ten.last, 0.025, 0.21);
        check("foreground, 10 dependents, owner", ten.owner, 0.35, 0.38);
        let fifty = measure(&cluster, &client, 50, Foreground).await;
        check("foreground, 50 dependents, last", fifty.last, 3.04, 3.11);
        check("foreground, 50 dependents, owner", fifty.owner, 3.37, 3.38);
        assert!(wrong.is_empty(), "{wrong:#?}");
    })
    .unwrap();
}

#[test]
fn a_dependent_lives_as_long_as_one_of_its_owners() {
    run(Options::new(51), async {
        let (_cluster, client) = boot(0).await;
        let maps = maps(&client);
        let one = maps.create(&map("one", vec![], &[])).await.expect("created");
        let two = maps.create(&map("two", vec![], &[])).await.expect("created");
        let owners = vec![reference(&one, true), reference(&two, true)];
        maps.create(&map("shared", owners, &[])).await.expect("created");
        maps.delete("one", &DeleteParams::background()).await.expect("deleted");
        let shared = until(&maps, "shared", 40, |map| {
            map.metadata.owner_references.as_ref().is_some_and(|owners| owners.len() == 1)
        })
        .await;
        assert_eq!(shared.metadata.owner_references, Some(vec![reference(&two, true)]), "the dangling one is dropped");
        maps.delete("two", &DeleteParams::background()).await.expect("deleted");
        until_gone(&maps, "shared", 10).await;
    })
    .unwrap();
}

#[test]
fn owners_wait_for_blocking_dependents_and_release_orphans() {
    run(Options::new(52), async {
        let (_cluster, client) = boot(0).await;
        let maps = maps(&client);
        let owner = maps.create(&map("owner", vec![], &[])).await.expect("created");
        maps.create(&map("held", vec![reference(&owner, true)], &["test/hold"])).await.expect("created");
        maps.create(&map("free", vec![reference(&owner, false)], &["test/hold"])).await.expect("created");
        maps.delete("owner", &DeleteParams::foreground()).await.expect("deleted");
        until(&maps, "held", 40, |map| map.metadata.deletion_timestamp.is_some()).await;
        host::time::sleep(Duration::from_secs(20)).await;
        let waiting = maps.get("owner").await.expect("it waits");
        assert_eq!(waiting.metadata.finalizers, Some(vec!["foregroundDeletion".to_owned()]));
        let release = |name: &'static str| {
            let maps = maps.clone();
            async move {
                let mut map = maps.get(name).await.expect("there");
                map.metadata.finalizers = None;
                maps.update(&map).await.expect("updated");
            }
        };
        release("held").await;
        until_gone(&maps, "owner", 10).await;
        let free = maps.get("free").await.expect("it did not block");
        assert!(free.metadata.deletion_timestamp.is_some(), "but is garbage all the same");
        release("free").await;

        let owner = maps.create(&map("parent", vec![], &[])).await.expect("created");
        maps.create(&map("orphan", vec![reference(&owner, true)], &[])).await.expect("created");
        maps.delete("parent", &DeleteParams::orphan()).await.expect("deleted");
        until_gone(&maps, "parent", 10).await;
        let orphan = maps.get("orphan").await.expect("released");
        assert!(orphan.metadata.owner_references.is_none_or(|owners| owners.is_empty()));
    })
    .unwrap();
}

#[test]
fn references_that_cannot_be_true_are_collected_and_those_that_cannot_be_checked_are_left() {
    run(Options::new(53), async {
        let (_cluster, client) = boot(0).await;
        host::time::sleep(Duration::from_secs(5)).await;
        let spaces: Api<Namespace> = Api::all(&client);
        spaces.create(&object(json!({"metadata": {"name": "other"}}))).await.expect("created");
        let others: Api<ConfigMap> = Api::namespaced(&client, "other");
        let elsewhere = others.create(&map("owner", vec![], &[])).await.expect("created");
        let maps = maps(&client);
        let owner = maps.create(&map("owner", vec![], &[])).await.expect("created");
        let absent = OwnerReference { uid: "0-0-0".into(), name: "never".into(), ..reference(&owner, true) };
        let other_uid = OwnerReference { uid: "1-1-1".into(), ..reference(&owner, true) };
        let unknown = OwnerReference { kind: "Thing".into(), api_version: "x.example/v1".into(), ..absent.clone() };
        let nowhere = OwnerReference { uid: "3-3-3".into(), ..absent.clone() };
        for (name, owner) in [("of-map-nowhere", nowhere), ("of-map", reference(&owner, true))] {
            let space = json!({"metadata": {"name": name, "ownerReferences": [owner]}});
            spaces.create(&object(space)).await.expect("created");
        }
        maps.create(&map("of-absent", vec![absent], &[])).await.expect("created");
        maps.create(&map("of-other-uid", vec![other_uid], &[])).await.expect("created");
        maps.create(&map("of-other-namespace", vec![reference(&elsewhere, true)], &[])).await.expect("created");
        maps.create(&map("of-unknown-kind", vec![OwnerReference { uid: "2-2-2".into(), ..unknown }], &[]))
            .await
            .expect("created");
        for name in ["of-absent", "of-other-uid", "of-other-namespace"] {
            until_gone(&maps, name, 5).await;
        }
        maps.delete("owner", &DeleteParams::default()).await.expect("deleted");
        host::time::sleep(Duration::from_secs(60)).await;
        assert!(maps.get_opt("of-unknown-kind").await.expect("an answer").is_some());
        for name in ["of-map-nowhere", "of-map"] {
            let space = spaces.get_opt(name).await.expect("an answer");
            assert!(
                space.is_some_and(|space| space.metadata.deletion_timestamp.is_none()),
                "{name}: nothing that is in no namespace depends on what is in one"
            );
        }
    })
    .unwrap();
}

#[test]
fn a_fresh_kind_is_collected_from_the_next_resync_on() {
    run(Options::new(54), async {
        let (_cluster, client) = boot(0).await;
        host::time::sleep(Duration::from_secs(47)).await;
        let definitions: Api<CustomResourceDefinition> = Api::all(&client);
        let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        definitions
            .create(&object(json!({
                "metadata": {"name": "things.test.example"},
                "spec": {
                    "group": "test.example", "scope": "Namespaced",
                    "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
                },
            })))
            .await
            .expect("created");
        host::time::sleep(Duration::from_secs(3)).await;
        let resource = ResourceDescriptor::new("test.example", "v1", "Thing", "things");
        let things: Api<DynamicObject> = Api::namespaced_of(&client, "default", &resource);
        let thing = |name: &str, owners: Vec<OwnerReference>| {
            let mut thing = DynamicObject::new(&resource, Default::default());
            thing.metadata.name = Some(name.into());
            thing.metadata.owner_references = (!owners.is_empty()).then_some(owners);
            thing
        };
        let owner = things.create(&thing("owner", vec![])).await.expect("created");
        let owned = OwnerReference {
            api_version: "test.example/v1".into(),
            kind: "Thing".into(),
            name: "owner".into(),
            uid: owner.metadata.uid.expect("a uid"),
            ..OwnerReference::default()
        };
        things.create(&thing("owned", vec![owned])).await.expect("created");
        things.delete("owner", &DeleteParams::background()).await.expect("deleted");
        let deleted = host::time::Instant::now();
        until_gone(&things, "owned", 60).await;
        let took = deleted.elapsed();
        assert!((1..31).contains(&took.as_secs()), "at the next resync, one each 30 s: {took:?}");
    })
    .unwrap();
}

#[test]
fn a_namespace_takes_five_seconds_and_whatever_its_finalizers_take() {
    run(Options::new(55), async {
        let (_cluster, client) = boot(0).await;
        let spaces: Api<Namespace> = Api::all(&client);
        for name in ["empty", "held"] {
            spaces.create(&object(json!({"metadata": {"name": name}}))).await.expect("created");
        }
        let began = host::time::Instant::now();
        spaces.delete("empty", &DeleteParams::default()).await.expect("deleted");
        until_gone(&spaces, "empty", 20).await;
        let took = began.elapsed().as_secs_f64();
        assert!((5.0..6.0).contains(&took), "{took} s; the real one 5.15 to 5.3");

        let maps: Api<ConfigMap> = Api::namespaced(&client, "held");
        maps.create(&map("free", vec![], &[])).await.expect("created");
        maps.create(&map("held", vec![], &["test/hold"])).await.expect("created");
        spaces.delete("held", &DeleteParams::default()).await.expect("deleted");
        until_gone(&maps, "free", 20).await;
        let waiting = until(&spaces, "held", 20, |space| {
            let conditions = space.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.filter(|it| it.type_ == "NamespaceFinalizersRemaining").any(|it| it.status == "True")
        })
        .await;
        assert_eq!(waiting.status.and_then(|status| status.phase).as_deref(), Some("Terminating"));
        let mut held = maps.get("held").await.expect("there");
        held.metadata.finalizers = None;
        maps.update(&held).await.expect("updated");
        until_gone(&spaces, "held", 30).await;
    })
    .unwrap();
}
