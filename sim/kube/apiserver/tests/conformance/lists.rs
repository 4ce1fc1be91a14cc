//! Lists: order, selectors, pages over a snapshot, versions of the past and of the future.

use std::time::Duration;

use corral_apiserver::{HistoryOptions, Store};
use serde_json::{Value, json};

use crate::harness::*;

both!(
    lists_are_ordered_and_typed,
    selectors_narrow,
    pages_are_a_snapshot,
    the_past_can_be_listed,
    the_future_is_waited_for,
    versions_that_are_none_are_refused,
    other_forms_are_served,
);
simulated_only!(compaction_ends_the_past, events_live_for_an_hour);

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["metadata"]["name"].as_str().expect("a name"))
        .collect()
}

async fn five(cluster: &Cluster) {
    for (name, labels) in [
        ("s1", json!({"app": "a", "tier": "x"})),
        ("s2", json!({"app": "a"})),
        ("s3", json!({"app": "b"})),
        ("s4", json!({"tier": "x"})),
        ("s5", json!({})),
    ] {
        cluster.post(THINGS, thing_with(name, json!({"labels": labels}))).await.expect(201);
    }
}

async fn lists_are_ordered_and_typed() {
    let cluster = Cluster::start().await;
    for name in ["c", "a", "b"] {
        cluster.thing(name).await;
    }
    let list = cluster.get(THINGS).await.expect(200);
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ThingList"), &json!("test.example/v1")));
    assert_eq!(names(&list), ["a", "b", "c"]);
    assert_eq!(list["items"][0]["kind"], "Thing");
    assert!(version(&list) >= list["items"].as_array().expect("items").iter().map(version).max().expect("some"));
    // Items of core kinds carry no type.
    cluster.post(MAPS, map("m")).await.expect(201);
    assert_eq!(cluster.get(MAPS).await.expect(200)["items"][0].get("kind"), None);
    assert_eq!(cluster.get("/apis/test.example/v1/namespaces/absent/things").await.expect(200)["items"], json!([]));
    assert_eq!(names(&cluster.get("/apis/test.example/v1/things").await.expect(200)), ["a", "b", "c"]);
}

async fn selectors_narrow() {
    let cluster = Cluster::start().await;
    five(&cluster).await;
    for (query, expected) in [
        ("labelSelector=app%3Da", "s1 s2"),
        ("labelSelector=app!%3Da", "s3 s4 s5"),
        ("labelSelector=app+in+(a,b),!tier", "s2 s3"),
        ("fieldSelector=metadata.name%3Ds2", "s2"),
        ("fieldSelector=metadata.name!%3Ds2&labelSelector=app", "s1 s3"),
    ] {
        let list = cluster.get(&format!("{THINGS}?{query}")).await.expect(200);
        assert_eq!(names(&list).join(" "), expected, "{query}");
    }
    cluster.get(&format!("{THINGS}?labelSelector=a+in+(")).await.refused(400, "BadRequest");
    cluster.get(&format!("{THINGS}?fieldSelector=spec.size%3D1")).await.refused(400, "BadRequest");
}

async fn pages_are_a_snapshot() {
    let cluster = Cluster::start().await;
    five(&cluster).await;
    let first = cluster.get(&format!("{THINGS}?limit=2")).await.expect(200);
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["s1", "s2"], &json!(3)));
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    cluster.thing("s3a").await;
    cluster.delete(&format!("{THINGS}/s4")).await.expect(200);
    cluster.patch(&format!("{THINGS}/s5"), json!({"spec": {"size": 55}})).await.expect(200);
    let rest = cluster.get(&format!("{THINGS}?limit=10&continue={token}")).await.expect(200);
    assert_eq!((names(&rest), &rest["items"][2]["spec"]["size"]), (vec!["s3", "s4", "s5"], &json!(1)));
    assert_eq!(version(&rest), version(&first));
    cluster.get(&format!("{THINGS}?limit=2&continue={token}&resourceVersion=5")).await.refused(400, "BadRequest");
    cluster.get(&format!("{THINGS}?limit=2&continue=garbage")).await.refused(400, "BadRequest");
    let any = cluster.get(&format!("{THINGS}?limit=2&resourceVersion=0")).await.expect(200);
    assert_eq!(names(&any).len(), 5, "the cache does not page");
    let selected = cluster.get(&format!("{THINGS}?limit=1&labelSelector=app")).await.expect(200);
    assert_eq!(selected["metadata"].get("remainingItemCount"), None);
}

async fn the_past_can_be_listed() {
    let cluster = Cluster::start().await;
    five(&cluster).await;
    let before = version(&cluster.get(THINGS).await.expect(200));
    cluster
        .patch(&format!("{THINGS}/s1"), json!({"spec": {"size": 9}, "metadata": {"labels": {"app": "z"}}}))
        .await
        .expect(200);
    cluster.delete(&format!("{THINGS}/s2")).await.expect(200);
    cluster.thing("s6").await;
    let exact = format!("{THINGS}?resourceVersion={before}&resourceVersionMatch=Exact");
    let list = cluster.get(&exact).await.expect(200);
    assert_eq!((names(&list), version(&list)), (vec!["s1", "s2", "s3", "s4", "s5"], before));
    assert_eq!(list["items"][0]["spec"]["size"], 1);
    assert_eq!(
        names(&cluster.get(&format!("{exact}&labelSelector=app%3Da")).await.expect(200)),
        ["s1", "s2"],
        "labels of the past count"
    );
}

async fn the_future_is_waited_for() {
    let options = corral_apiserver::Options { future_version_wait: Duration::from_millis(100), ..quick() };
    let cluster = Cluster::with(options).await;
    let now = version(&cluster.thing("a").await);
    for query in [
        format!("?resourceVersion={}", now + 1000),
        format!("?resourceVersion={}&resourceVersionMatch=Exact", now + 1000),
    ] {
        let refused = cluster.get(&format!("{THINGS}{query}")).await.refused(504, "Timeout");
        assert_eq!(refused["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    }
    cluster.get(&format!("{THINGS}/a?resourceVersion={}", now + 1000)).await.refused(504, "Timeout");
    cluster.get(&format!("{THINGS}?resourceVersion={now}")).await.expect(200);
}

async fn versions_that_are_none_are_refused() {
    let cluster = Cluster::start().await;
    cluster.get(&format!("{THINGS}?resourceVersion=abc")).await.refused(400, "BadRequest");
    cluster.get(&format!("{THINGS}?resourceVersionMatch=Exact")).await.refused(422, "Invalid");
    cluster.get(&format!("{THINGS}?resourceVersionMatch=Exact&resourceVersion=0")).await.refused(422, "Invalid");
    let watch = cluster.get(&format!("{THINGS}?watch=1&resourceVersion=abc")).await;
    assert_eq!(watch.code, 500);
}

async fn other_forms_are_served() {
    let cluster = Cluster::start().await;
    cluster.thing("a").await;
    let table =
        cluster.get_as(THINGS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await.expect(200);
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().expect("columns").iter().map(|column| column["name"].clone()).collect();
    assert_eq!((columns, &table["rows"][0]["cells"]), (vec![json!("Name"), json!("Size")], &json!(["a", 1])));
    let partial =
        cluster.get_as(THINGS, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await.expect(200);
    assert_eq!((&partial["kind"], partial["items"][0].get("spec")), (&json!("PartialObjectMetadataList"), None));
    cluster.get_as(THINGS, "text/html").await.refused(406, "NotAcceptable");
}

async fn compaction_ends_the_past() {
    let store = Store::new(HistoryOptions::default());
    let cluster = Cluster::on(store, quick()).await;
    cluster
        .post("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}}))
        .await
        .expect(201);
    cluster.define(thing_definition()).await;
    five(&cluster).await;
    let page = cluster.get(&format!("{THINGS}?limit=2")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().expect("a token").to_owned();
    let before = version(&page);
    for minutes in [4, 7] {
        host::time::sleep(Duration::from_secs(minutes * 60)).await;
        cluster.patch(&format!("{THINGS}/s1"), json!({"spec": {"size": minutes}})).await.expect(200);
    }
    cluster.get(&format!("{THINGS}?resourceVersion={before}&resourceVersionMatch=Exact")).await.refused(410, "Expired");
    let refused = cluster.get(&format!("{THINGS}?limit=2&continue={token}")).await.refused(410, "Expired");
    let fresh = refused["metadata"]["continue"].as_str().expect("a token that goes on without consistency");
    assert_eq!(names(&cluster.get(&format!("{THINGS}?limit=2&continue={fresh}")).await.expect(200)), ["s3", "s4"]);
    // The watch cache remembers more than the storage.
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={before}")).await;
    assert_eq!(watch.take(2).await, ["MODIFIED s1", "MODIFIED s1"]);
}

async fn events_live_for_an_hour() {
    let cluster = Cluster::start().await;
    let events = "/api/v1/namespaces/test/events";
    let event = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "reason": "Test",
            "involvedObject": {"kind": "Thing", "name": "a", "namespace": NS}})
    };
    for name in ["once", "again"] {
        cluster.post(events, event(name)).await.expect(201);
    }
    let mut watch = cluster.watch(events, "timeoutSeconds=10000").await;
    assert_eq!(watch.take(2).await, ["ADDED again", "ADDED once"]);
    host::time::sleep(Duration::from_secs(3000)).await;
    cluster.patch(&format!("{events}/again"), json!({"count": 2})).await.expect(200);
    host::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(names(&cluster.get(events).await.expect(200)), ["again"]);
    assert_eq!(watch.next_unbounded().await.expect("an event")["type"], "MODIFIED");
    assert_eq!(watch.next_unbounded().await.expect("an event")["object"]["metadata"]["name"], "once");
    host::time::sleep(Duration::from_secs(3000)).await;
    cluster.get(&format!("{events}/again")).await.refused(404, "NotFound");
}
