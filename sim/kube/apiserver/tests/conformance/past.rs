//! The past of a cluster: shown at a moment, told from there on, never changed.

use std::sync::Arc;
use std::time::Duration;

use corral_apiserver::{DefinitionTiming, NotYet, Options, Past, Recorder, Server};
use host::http::Client;
use host::time::{Instant, sleep};
use http::Method;
use serde_json::json;

use crate::harness::*;

both!(
    lists_and_objects_are_those_of_the_moment,
    watches_tell_what_followed,
    the_past_is_not_changed,
    before_the_first_write_there_is_nothing,
);
simulated_only!(ages_are_those_of_the_moment, bookmarks_are_of_the_end, nothing_is_finished_afterwards);

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

async fn recorded(options: Options) -> (Cluster, Arc<Recorder>) {
    let recorder = Arc::<Recorder>::default();
    (Cluster::with(Options { recorder: Some(recorder.clone()), ..options }).await, recorder)
}

/// A moment between what was written before and what will be.
async fn moment() -> Duration {
    sleep(Duration::from_millis(2)).await;
    let moment = Instant::now().since_start();
    sleep(Duration::from_millis(2)).await;
    moment
}

async fn show(past: &Past, at: Duration) -> Cluster {
    let server = Server::past(past, at).expect("something was written");
    let store = server.store().clone();
    let (listener, base) = listen().await;
    host::spawn(async move { server.serve(listener).await });
    Cluster { store, client: Client::new(), base }
}

/// Two things then, and a life after that moment.
async fn life() -> Cluster {
    let (cluster, recorder) = recorded(quick()).await;
    cluster.thing("a").await;
    cluster.thing("b").await;
    cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"size": 2}})).await.expect(200);
    let at = moment().await;
    cluster.patch(&format!("{THINGS}/b"), json!({"metadata": {"labels": {"app": "b"}}})).await.expect(200);
    cluster.delete(&format!("{THINGS}/a")).await.expect(200);
    cluster.thing("c").await;
    cluster.post(MAPS, map("later")).await.expect(201);
    show(&recorder.take(), at).await
}

async fn lists_and_objects_are_those_of_the_moment() {
    let past = life().await;
    let list = past.get(THINGS).await.expect(200);
    let items = list["items"].as_array().expect("items");
    let seen: Vec<_> = items.iter().map(|item| (&item["metadata"]["name"], &item["spec"]["size"])).collect();
    assert_eq!(seen, [(&json!("a"), &json!(2)), (&json!("b"), &json!(1))]);
    assert_eq!(version(&list), version(&items[0]), "the last write before the moment");
    assert_eq!(past.get(&format!("{THINGS}/a")).await.expect(200), items[0]);
    past.get(&format!("{THINGS}/c")).await.refused(404, "NotFound");
    assert_eq!(past.get(MAPS).await.expect(200)["items"], json!([]));
    let labelled = past.get(&format!("{THINGS}?labelSelector=app%3Db")).await.expect(200);
    assert_eq!(labelled["items"], json!([]), "the label came later");
    let first = past.get(&format!("{THINGS}?limit=1")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().expect("a second page");
    let second = past.get(&format!("{THINGS}?limit=1&continue={token}")).await.expect(200);
    assert_eq!((version(&second), &second["items"][0]), (version(&list), &items[1]));
    // What was before can be listed too.
    let before = format!("{THINGS}?resourceVersion={}&resourceVersionMatch=Exact", version(&list) - 1);
    assert_eq!(past.get(&before).await.expect(200)["items"][0]["spec"]["size"], 1);
}

async fn watches_tell_what_followed() {
    let past = life().await;
    let start = version(&past.get(THINGS).await.expect(200));
    let followed = ["MODIFIED b", "DELETED a", "ADDED c"];
    let mut watch = past.watch(THINGS, &format!("resourceVersion={start}")).await;
    assert_eq!(watch.take(3).await, followed);
    assert!(watch.is_silent(Duration::from_millis(50)).await, "and stays open");
    let mut watch = past.watch(THINGS, &format!("resourceVersion={start}&labelSelector=app%3Db")).await;
    assert_eq!(watch.take(1).await, ["ADDED b"]);
    let mut watch = past.watch(THINGS, "resourceVersion=0").await;
    assert_eq!(watch.take(2).await, ["ADDED a", "ADDED b"]);
    assert_eq!(watch.take(3).await, followed);
    let initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = past.watch(THINGS, initial).await;
    assert_eq!(watch.take(2).await, ["ADDED a", "ADDED b"]);
    let end = watch.next().await.expect("a bookmark");
    assert_eq!((&end["type"], version(&end["object"])), (&json!("BOOKMARK"), start));
    assert_eq!(watch.take(3).await, followed);
    // A watch goes on where an earlier one has ended.
    let mut watch = past.watch(THINGS, &format!("resourceVersion={}", start + 2)).await;
    assert_eq!(watch.take(1).await, ["ADDED c"]);
}

async fn the_past_is_not_changed() {
    let past = life().await;
    let thing = format!("{THINGS}/a");
    let before = past.get(THINGS).await.expect(200);
    for (method, path, body) in [
        (Method::POST, THINGS, json!({"metadata": {"name": "new"}})),
        (Method::PUT, &thing, before["items"][0].clone()),
        (Method::PUT, &format!("{thing}/status"), before["items"][0].clone()),
        (Method::PATCH, &thing, json!({"spec": {"size": 3}})),
        (Method::DELETE, &thing, json!({})),
        (Method::DELETE, THINGS, json!({})),
        (Method::POST, &format!("{MAPS}?dryRun=All"), map("new")),
    ] {
        let reply = past.send(method.clone(), path, "application/merge-patch+json", Some(body.to_string())).await;
        let status = reply.refused(405, "MethodNotAllowed");
        assert!(status["message"].as_str().is_some_and(|why| why.contains("the past cannot be changed")), "{method}");
    }
    assert_eq!(past.get(THINGS).await.expect(200), before);
}

async fn before_the_first_write_there_is_nothing() {
    assert_eq!(Server::past(&Past::default(), Duration::MAX).err(), Some(NotYet));
    let before = Instant::now().since_start();
    sleep(Duration::from_millis(2)).await;
    let (_cluster, recorder) = recorded(quick()).await;
    let past = recorder.take();
    assert_eq!(Server::past(&past, before).err(), Some(NotYet));
    assert!(past.versions().is_sorted_by(|one, next| one.revision < next.revision && one.at <= next.at));
}

async fn ages_are_those_of_the_moment() {
    let (cluster, recorder) = recorded(quick()).await;
    cluster.post(MAPS, map("m")).await.expect(201);
    sleep(Duration::from_secs(90)).await;
    let at = moment().await;
    sleep(Duration::from_secs(3600)).await;
    cluster.patch(&format!("{MAPS}/m"), json!({"data": {"a": "2"}})).await.expect(200);
    sleep(Duration::from_secs(3600)).await;
    let past = show(&recorder.take(), at).await;
    for path in [MAPS, &format!("{MAPS}/m")] {
        let table = past.get_as(path, TABLE).await.expect(200);
        assert_eq!(table["rows"][0]["cells"], json!(["m", 1, "90s"]), "{path}");
    }
    // What came later is as old as it was then.
    let watch = past.get_as(&format!("{MAPS}?watch=1&resourceVersion=0&timeoutSeconds=1"), TABLE).await.text;
    let cells = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).expect("an event");
        event["object"]["rows"][0]["cells"].clone()
    };
    let told: Vec<_> = watch.lines().map(cells).collect();
    assert_eq!(told, [json!(["m", 1, "90s"]), json!(["m", 1, "61m"])]);
}

async fn bookmarks_are_of_the_end() {
    let past = life().await;
    let start = version(&past.get(THINGS).await.expect(200));
    let mut watch = past.watch(THINGS, &format!("resourceVersion={start}&allowWatchBookmarks=true")).await;
    watch.take(3).await;
    let bookmark = watch.next_unbounded().await.expect("a bookmark");
    assert_eq!((&bookmark["type"], version(&bookmark["object"])), (&json!("BOOKMARK"), start + 4));
}

async fn nothing_is_finished_afterwards() {
    let late = DefinitionTiming { establish: Duration::from_secs(1), ..quick().definitions };
    let recorder = Arc::<Recorder>::default();
    let options = Options { recorder: Some(recorder.clone()), definitions: late, ..quick() };
    let cluster = Cluster::on(corral_apiserver::Store::new(Default::default()), options).await;
    cluster.post(DEFINITIONS, thing_definition()).await.expect(201);
    let at = moment().await;
    sleep(Duration::from_secs(2)).await;
    cluster.get("/apis/test.example/v1/things").await.expect(200);
    let past = show(&recorder.take(), at).await;
    sleep(Duration::from_secs(2)).await;
    past.get("/apis/test.example/v1/things").await.expect(404);
    let definition = past.get(&format!("{DEFINITIONS}/things.test.example")).await.expect(200);
    assert_eq!(definition["status"]["conditions"], json!([]));
}
