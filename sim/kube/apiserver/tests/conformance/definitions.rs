//! Definitions: they install resources, take their instances with them, and what the measured server shows around a change.

use std::time::Duration;

use corral_apiserver::Options;
use serde_json::json;

use crate::harness::*;

both!(
    a_definition_is_established_with_its_names,
    what_is_no_definition_is_refused,
    a_definition_takes_its_instances_with_it
);
simulated_only!(
    a_change_of_the_spec_ends_watches,
    a_young_resource_takes_its_time,
    a_finalizer_of_an_instance_holds_its_definition
);

async fn a_definition_is_established_with_its_names() {
    let cluster = Cluster::start().await;
    let stored = cluster.get(&format!("{DEFINITIONS}/things.test.example")).await.expect(200);
    let names = json!({"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"});
    assert_eq!((&stored["status"]["acceptedNames"], &stored["status"]["storedVersions"]), (&names, &json!(["v1"])));
    assert_eq!(stored["spec"]["conversion"], json!({"strategy": "None"}));
    let group = cluster.get("/apis/test.example").await.expect(200);
    assert_eq!(group["preferredVersion"]["groupVersion"], "test.example/v1");
    let resources = cluster.get("/apis/test.example/v1").await.expect(200);
    let all: Vec<_> =
        resources["resources"].as_array().expect("resources").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(all, [json!("things"), json!("things/status")]);
    cluster.post(DEFINITIONS, thing_definition()).await.refused(409, "AlreadyExists");
}

async fn what_is_no_definition_is_refused() {
    let cluster = Cluster::start().await;
    let mut nameless = definition("others", "Other", json!({"type": "object"}));
    nameless["metadata"]["name"] = json!("other.test.example");
    cluster.post(DEFINITIONS, nameless).await.refused(422, "Invalid");
    let mut shapeless = definition("others", "Other", json!({"type": "object"}));
    shapeless["spec"]["versions"][0].as_object_mut().expect("a version").remove("schema");
    cluster.post(DEFINITIONS, shapeless).await.refused(422, "Invalid");
}

async fn a_definition_takes_its_instances_with_it() {
    let cluster = Cluster::start().await;
    let created = cluster.thing("a").await;
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={}", version(&created))).await;
    let path = format!("{DEFINITIONS}/things.test.example");
    assert_eq!(cluster.delete(&path).await.expect(200)["kind"], "CustomResourceDefinition");
    assert_eq!(watch.take(1).await, ["DELETED a"]);
    assert_eq!(watch.next().await, None, "the watch ends with the resource");
    while cluster.get(&path).await.code != 404 {
        host::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(cluster.get(THINGS).await.text, "404 page not found\n");
    // The same name can be defined again, and is empty.
    cluster.define(thing_definition()).await;
    assert_eq!(cluster.get(THINGS).await.expect(200)["items"], json!([]));
}

async fn a_change_of_the_spec_ends_watches() {
    let cluster = Cluster::with(Options::default()).await;
    host::time::sleep(Duration::from_secs(3)).await;
    let before = version(&cluster.thing("a").await);
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={before}")).await;
    let path = format!("{DEFINITIONS}/things.test.example");
    cluster.patch(&path, json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert!(watch.is_silent(Duration::from_secs(5)).await, "a label of the definition changes nothing");
    let column =
        json!([{"op": "replace", "path": "/spec/versions/0/additionalPrinterColumns/0/name", "value": "Bigness"}]);
    cluster.json_patch(&path, column).await.expect(200);
    let changed = host::time::Instant::now();
    let busy = cluster.get(THINGS).await.refused(429, "TooManyRequests");
    assert_eq!(busy["details"]["retryAfterSeconds"], 1);
    cluster.get(&format!("{THINGS}/a")).await.expect(200);
    assert_eq!(watch.next().await, None);
    let passed = changed.elapsed();
    assert!(passed > Duration::from_millis(950) && passed < Duration::from_millis(1050), "{passed:?}");
    let mut old = cluster.watch(THINGS, &format!("resourceVersion={before}")).await;
    assert_eq!(old.next().await.expect("an event")["object"]["code"], 410);
    cluster.get(THINGS).await.expect(200);
}

async fn a_young_resource_takes_its_time() {
    let cluster = Cluster::with(Options::default()).await;
    let begun = host::time::Instant::now();
    cluster.thing("a").await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let begun = host::time::Instant::now();
    cluster.thing("b").await;
    assert!(begun.elapsed() < Duration::from_millis(100));
}

async fn a_finalizer_of_an_instance_holds_its_definition() {
    let cluster = Cluster::start().await;
    cluster.post(THINGS, thing_with("a", json!({"finalizers": ["test.example/hold"]}))).await.expect(201);
    let path = format!("{DEFINITIONS}/things.test.example");
    cluster.delete(&path).await.expect(200);
    host::time::sleep(Duration::from_secs(20)).await;
    let held = cluster.get(&path).await.expect(200);
    assert!(
        held["status"]["conditions"].as_array().expect("conditions").iter().any(|one| one["type"] == "Terminating")
    );
    cluster.post(THINGS, thing("b")).await.refused(405, "MethodNotAllowed");
    cluster.patch(&format!("{THINGS}/a"), json!({"metadata": {"finalizers": null}})).await.expect(200);
    host::time::sleep(Duration::from_secs(10)).await;
    cluster.get(&path).await.refused(404, "NotFound");
}
