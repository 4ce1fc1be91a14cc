//! Watches: history, order, selectors, bookmarks, and the versions from which none can start.

use std::time::Duration;

use corral_apiserver::{HistoryOptions, Options, Store};
use serde_json::json;

use crate::harness::*;

both!(
    a_watch_tells_every_write_in_order,
    history_is_replayed,
    a_watch_can_begin_with_what_is_there,
    selectors_decide_what_comes_into_view,
    a_watch_from_the_future_is_silent_until_then,
    old_versions_are_expired,
    a_restart_expires_every_watch_but_no_list,
    a_watch_ends_when_its_time_is_over,
);
simulated_only!(
    bookmarks_come_each_minute_and_before_the_end,
    a_reader_that_does_not_keep_up_loses_its_watch,
    idle_watches_cost_nothing
);

async fn a_watch_tells_every_write_in_order() {
    let cluster = Cluster::start().await;
    let start = version(&cluster.get(THINGS).await.expect(200));
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={start}")).await;
    let path = format!("{THINGS}/a");
    let mut answers = vec![cluster.thing("a").await];
    answers.push(cluster.patch(&path, json!({"spec": {"size": 2}})).await.expect(200));
    answers.push(cluster.patch(&format!("{path}/status"), json!({"status": {"state": "x"}})).await.expect(200));
    cluster.delete(&path).await.expect(200);
    for (answer, kind) in answers.iter().zip(["ADDED", "MODIFIED", "MODIFIED"]) {
        let event = watch.next().await.expect("an event");
        assert_eq!((&event["type"], &event["object"]), (&json!(kind), answer));
    }
    let mut gone = watch.next().await.expect("an event")["object"].clone();
    assert!(version(&gone) > version(&answers[2]));
    gone["metadata"]["resourceVersion"] = answers[2]["metadata"]["resourceVersion"].clone();
    assert_eq!(gone, answers[2], "a deletion shows the last state");
}

async fn history_is_replayed() {
    let cluster = Cluster::start().await;
    let start = version(&cluster.get(THINGS).await.expect(200));
    let created = cluster.thing("a").await;
    cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"size": 2}})).await.expect(200);
    cluster.delete(&format!("{THINGS}/a")).await.expect(200);
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={start}")).await;
    assert_eq!(watch.take(3).await, ["ADDED a", "MODIFIED a", "DELETED a"]);
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={}", version(&created))).await;
    assert_eq!(watch.take(2).await, ["MODIFIED a", "DELETED a"]);
}

async fn a_watch_can_begin_with_what_is_there() {
    let cluster = Cluster::start().await;
    cluster.thing("a").await;
    cluster.thing("b").await;
    for parameters in ["", "resourceVersion=0"] {
        let mut watch = cluster.watch(THINGS, parameters).await;
        assert_eq!(watch.take(2).await, ["ADDED a", "ADDED b"], "{parameters}");
    }
    let parameters = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = cluster.watch(THINGS, parameters).await;
    assert_eq!(watch.take(2).await, ["ADDED a", "ADDED b"]);
    let end = watch.next().await.expect("a bookmark");
    assert_eq!(
        (&end["type"], &end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"]),
        (&json!("BOOKMARK"), &json!("true"))
    );
    cluster.thing("c").await;
    assert_eq!(watch.take(1).await, ["ADDED c"]);
    cluster.get(&format!("{THINGS}?watch=1&sendInitialEvents=true")).await.refused(422, "Invalid");
}

async fn selectors_decide_what_comes_into_view() {
    let cluster = Cluster::start().await;
    let start = version(&cluster.get(THINGS).await.expect(200));
    let parameters = format!("labelSelector=l%3D1&resourceVersion={start}");
    let mut watch = cluster.watch(THINGS, &parameters).await;
    let path = format!("{THINGS}/a");
    cluster.thing("a").await;
    cluster.patch(&path, json!({"metadata": {"labels": {"l": "1"}}})).await.expect(200);
    cluster.patch(&path, json!({"spec": {"size": 2}})).await.expect(200);
    let away = cluster.patch(&path, json!({"metadata": {"labels": {"l": "2"}}, "spec": {"size": 3}})).await.expect(200);
    cluster.delete(&path).await.expect(200);
    assert_eq!(watch.take(2).await, ["ADDED a", "MODIFIED a"]);
    let gone = watch.next().await.expect("an event");
    // It left the view: the old labels and the old spec under the version of the change.
    assert_eq!(
        (&gone["type"], &gone["object"]["metadata"]["labels"]["l"], &gone["object"]["spec"]["size"]),
        (&json!("DELETED"), &json!("1"), &json!(2))
    );
    assert_eq!(version(&gone["object"]), version(&away));
    assert!(watch.is_silent(Duration::from_millis(50)).await);
    let mut replayed = cluster.watch(THINGS, &parameters).await;
    assert_eq!(replayed.take(3).await, ["ADDED a", "MODIFIED a", "DELETED a"], "history shows the same");
    let mut one = cluster.watch("/apis/test.example/v1/watch/namespaces/test/things/b", "").await;
    cluster.thing("c").await;
    cluster.thing("b").await;
    assert_eq!(one.take(1).await, ["ADDED b"]);
}

async fn a_watch_from_the_future_is_silent_until_then() {
    let cluster = Cluster::start().await;
    let now = version(&cluster.thing("a").await);
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={}", now + 2)).await;
    for name in ["b", "c", "d"] {
        cluster.thing(name).await;
    }
    assert_eq!(watch.take(1).await, ["ADDED d"]);
}

async fn old_versions_are_expired() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.watch(THINGS, "resourceVersion=1").await;
    let event = watch.next().await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert!(event["object"]["message"].as_str().expect("words").starts_with("too old resource version: 1 ("));
    assert_eq!(watch.next().await, None);
}

async fn a_restart_expires_every_watch_but_no_list() {
    let store = Store::new(HistoryOptions::default());
    let first = Cluster::on(store.clone(), quick()).await;
    first
        .post("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}}))
        .await
        .expect(201);
    first.define(thing_definition()).await;
    first.thing("a").await;
    first.thing("b").await;
    let page = first.get(&format!("{THINGS}?limit=1")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().expect("a token").to_owned();
    let before = version(&page);
    first.thing("c").await;
    // Another process over the same store: custom resources are served at once.
    let second = Cluster::on(store, quick()).await;
    let mut watch = second.watch(THINGS, &format!("resourceVersion={before}")).await;
    assert_eq!(watch.next().await.expect("an event")["object"]["code"], 410);
    let rest = second.get(&format!("{THINGS}?continue={token}")).await.expect(200);
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1), "the storage remembers");
    let now = version(&second.get(THINGS).await.expect(200));
    let mut watch = second.watch(THINGS, &format!("resourceVersion={now}")).await;
    second.thing("d").await;
    assert_eq!(watch.take(1).await, ["ADDED d"]);
}

async fn a_watch_ends_when_its_time_is_over() {
    let cluster = Cluster::start().await;
    let begun = host::time::Instant::now();
    let mut watch = cluster.watch(THINGS, "timeoutSeconds=1").await;
    assert_eq!(watch.next().await, None);
    assert!(begun.elapsed() >= Duration::from_millis(990));
    assert_eq!(cluster.store.open_watches(), 0);
}

async fn bookmarks_come_each_minute_and_before_the_end() {
    let cluster = Cluster::start().await;
    let begun = host::time::Instant::now();
    let start = version(&cluster.get(THINGS).await.expect(200));
    let mut watch =
        cluster.watch(THINGS, &format!("allowWatchBookmarks=true&timeoutSeconds=100&resourceVersion={start}")).await;
    // What happens to other resources moves the bookmark on.
    let elsewhere = version(&cluster.post(MAPS, map("m")).await.expect(201));
    for seconds in [60, 98] {
        let bookmark = host::time::timeout(Duration::from_secs(200), watch.next_unbounded())
            .await
            .expect("in time")
            .expect("a bookmark");
        assert_eq!(begun.elapsed().as_secs(), seconds);
        let metadata = json!({"resourceVersion": elsewhere.to_string()});
        let object = json!({"kind": "Thing", "apiVersion": "test.example/v1", "metadata": metadata});
        assert_eq!(bookmark, json!({"type": "BOOKMARK", "object": object}));
    }
    assert_eq!(watch.next_unbounded().await, None);
    assert_eq!(begun.elapsed().as_secs(), 100);
}

async fn a_reader_that_does_not_keep_up_loses_its_watch() {
    let cluster = Cluster::with(Options { watch_queue: 50, ..quick() }).await;
    let mut watch = cluster.watch(THINGS, "").await;
    cluster.thing("a").await;
    let long = "x".repeat(100_000);
    for number in 0..100 {
        cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"free": {"n": number, "long": long}}})).await.expect(200);
    }
    let mut last = 0;
    while let Some(event) = watch.next().await {
        let now = version(&event["object"]);
        assert!(now > last, "what comes, comes in order");
        last = now;
    }
    assert!(last < cluster.store.revision(), "the watch ended before the last write");
}

async fn idle_watches_cost_nothing() {
    let cluster = Cluster::start().await;
    let mut watches = Vec::new();
    for _ in 0..20 {
        watches.push(cluster.watch(THINGS, "timeoutSeconds=3600").await);
    }
    // One timer each, for their end; it is not touched in almost an hour, and nothing is journalled.
    let world = corral_core::world();
    host::time::sleep(Duration::from_secs(1)).await;
    let (timers, digest) = (world.queue().len(), world.journal().digest());
    assert!(timers <= 21, "{timers}");
    host::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!((world.queue().len(), world.journal().digest()), (timers, digest));
    assert_eq!(cluster.store.open_watches(), 20);
    drop(watches);
}
