//! Faults from outside: requests refused, delayed, carried out without an answer; watches that lag or break. And what the inside shows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_apiserver::{
    AnswerFate, ClientIdentity, Delivery, Options, Refusal, RequestFate, RequestPolicy, RequestView,
};
use serde_json::json;

use crate::harness::*;

both!(
    a_request_can_be_refused,
    an_answer_can_be_lost_after_the_commit,
    a_watch_can_break,
    the_store_is_open_to_its_owner,
    the_storage_takes_its_time
);
simulated_only!(requests_and_answers_can_be_late, a_watch_can_lag_and_stays_in_order);

struct Faults {
    request: fn(&RequestView<'_>) -> RequestFate,
    delivery: fn(&ClientIdentity) -> Delivery,
}

impl RequestPolicy for Faults {
    fn request(&self, request: &RequestView<'_>) -> RequestFate {
        (self.request)(request)
    }
    fn delivery(&self, client: &ClientIdentity, resource: &str) -> Delivery {
        if resource == "things.test.example" { (self.delivery)(client) } else { Delivery::Prompt }
    }
}

async fn cluster(request: fn(&RequestView<'_>) -> RequestFate, delivery: fn(&ClientIdentity) -> Delivery) -> Cluster {
    Cluster::with(Options { policy: Arc::new(Faults { request, delivery }), ..quick() }).await
}

async fn a_request_can_be_refused() {
    let refuse: fn(&RequestView<'_>) -> RequestFate = |request| {
        let code = match (request.verb, request.name) {
            ("patch", "a") => 409,
            ("delete", _) if request.resource == "things.test.example" => 503,
            _ => return RequestFate::default(),
        };
        let refusal = Refusal { code, retry_after_seconds: None, message: "by a fault".into() };
        RequestFate { refusal: Some(refusal), ..RequestFate::default() }
    };
    let cluster = cluster(refuse, |_| Delivery::Prompt).await;
    let created = cluster.thing("a").await;
    cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"size": 2}})).await.refused(409, "Conflict");
    cluster.delete(&format!("{THINGS}/a")).await.refused(503, "ServiceUnavailable");
    assert_eq!(cluster.get(&format!("{THINGS}/a")).await.expect(200), created, "nothing was done");
}

async fn an_answer_can_be_lost_after_the_commit() {
    let lose: fn(&RequestView<'_>) -> RequestFate = |request| match request.verb {
        "create" if request.resource == "configmaps" => {
            RequestFate { answer: AnswerFate::Lost, ..RequestFate::default() }
        }
        _ => RequestFate::default(),
    };
    let cluster = cluster(lose, |_| Delivery::Prompt).await;
    let request = http::Request::post(format!("{}{MAPS}", cluster.base))
        .body(host::http::full(map("m").to_string()))
        .expect("a request");
    let error = cluster.client.send(request).await.expect_err("no answer");
    assert!(!error.is_connect(), "{error}");
    cluster.get(&format!("{MAPS}/m")).await.expect(200);
}

async fn a_watch_can_break() {
    let cluster = cluster(
        |_| RequestFate::default(),
        |client| if client.user_agent == "watcher" { Delivery::Drop } else { Delivery::Prompt },
    )
    .await;
    let mut watch = cluster.watch(THINGS, "").await;
    cluster.thing("a").await;
    assert_eq!(watch.next().await, Some(json!("broken")));
}

async fn the_store_is_open_to_its_owner() {
    let cluster = Cluster::start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let subscription = cluster.store.subscribe(move |commit| {
        let what = match (&commit.old, &commit.new) {
            (None, Some(_)) => "create",
            (Some(_), Some(_)) => "update",
            _ => "delete",
        };
        log.lock().expect("not poisoned").push(format!(
            "{what} {} {} {}",
            commit.resource,
            commit.object().name(),
            commit.revision
        ));
    });
    let created = cluster.thing("a").await;
    let now = version(&created);
    cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"size": 2}})).await.expect(200);
    assert_eq!(
        cluster
            .store
            .objects("things.test.example")
            .map(|object| object.value["spec"]["size"].clone())
            .collect::<Vec<_>>(),
        [json!(2)]
    );
    assert_eq!(
        cluster.store.object("things.test.example", NS, "a").expect("there").uid(),
        created["metadata"]["uid"].as_str().expect("a uid")
    );
    cluster.delete(&format!("{THINGS}/a")).await.expect(200);
    drop(subscription);
    cluster.thing("b").await;
    let expected = [("create", now), ("update", now + 1), ("delete", now + 2)]
        .map(|(what, revision)| format!("{what} things.test.example a {revision}"));
    assert_eq!(*seen.lock().expect("not poisoned"), expected);
}

async fn the_storage_takes_its_time() {
    let latency = Arc::new(|_| Duration::from_millis(5));
    let cluster = Cluster::with(Options { storage_latency: Some(latency), ..quick() }).await;
    let begun = host::time::Instant::now();
    cluster.thing("a").await;
    cluster.get(&format!("{THINGS}/a")).await.expect(200);
    assert!(begun.elapsed() >= Duration::from_millis(10));
    // Two that race are decided by the storage: one of them finds the other's object.
    let (one, two) =
        futures_util::future::join(cluster.post(THINGS, thing("b")), cluster.post(THINGS, thing("b"))).await;
    let mut codes = [one.code, two.code];
    codes.sort_unstable();
    assert_eq!(codes, [201, 409]);
}

async fn requests_and_answers_can_be_late() {
    let late: fn(&RequestView<'_>) -> RequestFate = |request| match (request.verb, request.resource) {
        ("get", "configmaps") => RequestFate { delay: Duration::from_secs(5), ..RequestFate::default() },
        ("create", "configmaps") => {
            RequestFate { answer: AnswerFate::Delayed(Duration::from_secs(7)), ..RequestFate::default() }
        }
        _ => RequestFate::default(),
    };
    let cluster = cluster(late, |_| Delivery::Prompt).await;
    let mut watch = cluster.watch(MAPS, "").await;
    let begun = host::time::Instant::now();
    let (created, ()) = futures_util::future::join(cluster.post(MAPS, map("m")), async {
        assert_eq!(watch.take(1).await, ["ADDED m"]);
        assert!(begun.elapsed() < Duration::from_secs(1), "it was carried out long before the answer");
    })
    .await;
    created.expect(201);
    assert_eq!(begun.elapsed().as_secs(), 7);
    cluster.get(&format!("{MAPS}/m")).await.expect(200);
    assert_eq!(begun.elapsed().as_secs(), 12);
}

async fn a_watch_can_lag_and_stays_in_order() {
    let lag: fn(&ClientIdentity) -> Delivery = |client| {
        if client.user_agent == "watcher" { Delivery::After(Duration::from_secs(30)) } else { Delivery::Prompt }
    };
    let cluster = cluster(|_| RequestFate::default(), lag).await;
    let mut watch = cluster.watch(THINGS, "").await;
    let begun = host::time::Instant::now();
    cluster.thing("a").await;
    host::time::sleep(Duration::from_secs(10)).await;
    cluster.thing("b").await;
    for (name, seconds) in [("a", 30), ("b", 40)] {
        let event = watch.next_unbounded().await.expect("an event");
        assert_eq!((&event["object"]["metadata"]["name"], begun.elapsed().as_secs()), (&json!(name), seconds));
    }
}

#[test]
fn two_runs_of_a_seed_are_the_same() {
    let run = || {
        corral_core::run(corral_core::Options::new(7), async {
            let cluster = Cluster::start().await;
            let mut uids = Vec::new();
            for number in 0..5 {
                uids.push(cluster.thing(&format!("a{number}")).await["metadata"]["uid"].clone());
            }
            cluster.delete(THINGS).await.expect(200);
            uids
        })
    };
    let (one, two) = (run(), run());
    assert_eq!((one.digest, one.events), (two.digest, two.events));
    assert_eq!(one.unwrap(), two.unwrap());
}
