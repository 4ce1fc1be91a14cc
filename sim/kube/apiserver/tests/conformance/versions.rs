//! Versions, generations, and what a write may not change.

use serde_json::json;

use crate::harness::*;

both!(
    a_stale_write_conflicts,
    a_write_that_changes_nothing_is_none,
    generations_count_changes_of_content,
    system_fields_are_the_servers,
    an_update_needs_a_version_where_races_matter,
    identities_are_immutable,
    leases_have_microseconds,
    names_are_generated_or_required,
    sizes_have_limits,
);

async fn a_stale_write_conflicts() {
    let cluster = Cluster::start().await;
    let created = cluster.thing("a").await;
    let path = format!("{THINGS}/a");
    cluster.patch(&path, json!({"spec": {"size": 2}})).await.expect(200);
    let refused = cluster.put(&path, created.clone()).await.refused(409, "Conflict");
    assert!(
        refused["message"]
            .as_str()
            .expect("words")
            .ends_with("please apply your changes to the latest version and try again")
    );
    // The status shares the version; a patch without one never conflicts.
    cluster.put(&format!("{path}/status"), created).await.refused(409, "Conflict");
    cluster
        .patch(&path, json!({"metadata": {"resourceVersion": "1"}, "spec": {"size": 3}}))
        .await
        .refused(409, "Conflict");
    cluster.patch(&path, json!({"spec": {"size": 3}})).await.expect(200);
}

async fn a_write_that_changes_nothing_is_none() {
    let cluster = Cluster::start().await;
    let created = cluster.thing("a").await;
    let path = format!("{THINGS}/a");
    let mut watch = cluster.watch(THINGS, &format!("resourceVersion={}", version(&created))).await;
    let mut same = created.clone();
    same["metadata"]["labels"] = json!({});
    same["metadata"]["finalizers"] = json!([]);
    same["metadata"]["annotations"] = json!(null);
    assert_eq!(cluster.put(&path, same).await.expect(200), created);
    assert_eq!(cluster.patch(&path, json!({"spec": {"size": 1}})).await.expect(200), created);
    assert_eq!(
        cluster.json_patch(&path, json!([{"op": "replace", "path": "/spec/size", "value": 1}])).await.expect(200),
        created
    );
    let changed = cluster.patch(&path, json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    assert_eq!(
        watch.next().await.expect("one event")["object"],
        changed,
        "nothing was told before the first real change"
    );
}

async fn generations_count_changes_of_content() {
    let cluster = Cluster::start().await;
    let path = format!("{THINGS}/a");
    cluster.post(THINGS, thing_with("a", json!({"finalizers": ["test.example/hold"]}))).await.expect(201);
    let generation = |reply: Reply| reply.expect(200)["metadata"]["generation"].clone();
    assert_eq!(generation(cluster.patch(&path, json!({"spec": {"size": 2}})).await), 2);
    assert_eq!(generation(cluster.patch(&path, json!({"metadata": {"labels": {"a": "b"}}})).await), 2);
    assert_eq!(generation(cluster.patch(&format!("{path}/status"), json!({"status": {"state": "x"}})).await), 2);
    assert_eq!(generation(cluster.delete(&path).await), 3, "a deletion is a change of content");
    assert_eq!(generation(cluster.delete(&path).await), 3);
    let map = cluster.post(MAPS, map("m")).await.expect(201);
    assert!(map["metadata"].get("generation").is_none(), "config maps do not count");
}

async fn system_fields_are_the_servers() {
    let cluster = Cluster::start().await;
    let uid = "11111111-1111-1111-1111-111111111111";
    let given = json!({"uid": uid, "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 77, "selfLink": "/x",
        "deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 9, "bogus": 1});
    let reply = cluster.post(THINGS, thing_with("a", given)).await;
    assert_eq!(reply.warnings, [r#"299 - "unknown field \"metadata.bogus\"""#]);
    let created = reply.expect(201);
    let metadata = created["metadata"].as_object().expect("metadata");
    assert_eq!(
        metadata.keys().map(String::as_str).collect::<Vec<_>>(),
        ["creationTimestamp", "generation", "name", "namespace", "resourceVersion", "uid"]
    );
    assert_ne!(metadata["uid"], uid);
    let refused = cluster.post(THINGS, thing_with("b", json!({"resourceVersion": "5"}))).await;
    assert_eq!((refused.code, refused.body.get("reason")), (500, None));
}

async fn an_update_needs_a_version_where_races_matter() {
    let cluster = Cluster::start().await;
    cluster.thing("a").await;
    let refused = cluster.put(&format!("{THINGS}/a"), thing("a")).await.refused(422, "Invalid");
    assert_eq!(refused["details"]["causes"][0]["field"], "metadata.resourceVersion");
    cluster.post(MAPS, map("m")).await.expect(201);
    cluster.put(&format!("{MAPS}/m"), map("m")).await.expect(200);
    cluster
        .put(&format!("{THINGS}/absent"), thing_with("absent", json!({"resourceVersion": "1"})))
        .await
        .refused(404, "NotFound");
    cluster.put(&format!("{MAPS}/absent"), map("absent")).await.refused(404, "NotFound");
    let garbage = cluster.put(&format!("{THINGS}/a"), thing_with("a", json!({"resourceVersion": "abc"}))).await;
    assert_eq!((garbage.code, garbage.body.get("reason")), (500, None));
    cluster
        .put(&format!("{THINGS}/a"), thing_with("a", json!({"resourceVersion": "99999"})))
        .await
        .refused(409, "Conflict");
}

async fn identities_are_immutable() {
    let cluster = Cluster::start().await;
    let created = cluster.thing("a").await;
    let path = format!("{THINGS}/a");
    let other = "11111111-1111-1111-1111-111111111111";
    let with = |field: &str, value: &str| {
        let mut object = created.clone();
        object["metadata"][field] = json!(value);
        object
    };
    cluster.put(&path, with("uid", other)).await.refused(409, "Conflict");
    cluster.patch(&path, json!({"metadata": {"uid": other}})).await.refused(422, "Invalid");
    cluster.put(&path, with("name", "b")).await.refused(400, "BadRequest");
    cluster.put(&path, with("namespace", "default")).await.refused(400, "BadRequest");
    cluster.put(&path, with("creationTimestamp", "2001-01-01T00:00:00Z")).await.expect(200);
    cluster
        .patch(&path, json!({"metadata": {"deletionTimestamp": "2035-01-01T00:00:00Z"}}))
        .await
        .refused(422, "Invalid");
    assert_eq!(cluster.get(&path).await.expect(200), created);
}

async fn leases_have_microseconds() {
    let cluster = Cluster::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/test/leases";
    let lease = |time: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"renewTime": time}});
    cluster.post(leases, lease("2026-01-01T00:00:00Z")).await.refused(400, "BadRequest");
    // A PUT of an absent lease creates it; of one that is there it needs the version.
    cluster.put(&format!("{leases}/l"), lease("2026-01-01T00:00:00.000001Z")).await.expect(201);
    cluster.put(&format!("{leases}/l"), lease("2026-01-01T00:00:00.000002Z")).await.refused(422, "Invalid");
    assert_eq!(
        cluster.get(&format!("{leases}/l")).await.expect(200)["spec"]["renewTime"],
        "2026-01-01T00:00:00.000001Z"
    );
}

async fn names_are_generated_or_required() {
    let cluster = Cluster::start().await;
    let unnamed =
        |metadata| json!({"apiVersion": "test.example/v1", "kind": "Thing", "metadata": metadata, "spec": {"size": 1}});
    let name =
        cluster.post(THINGS, unnamed(json!({"generateName": "gn-"}))).await.expect(201)["metadata"]["name"].clone();
    let suffix = name.as_str().and_then(|name| name.strip_prefix("gn-")).expect("the prefix");
    assert!(suffix.len() == 5 && suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)), "{suffix}");
    cluster.post(THINGS, unnamed(json!({}))).await.refused(422, "Invalid");
    for bad in ["Bad", "a_b", "a.", &"a".repeat(254)] {
        cluster.post(THINGS, thing(bad)).await.refused(422, "Invalid");
    }
    cluster.post(THINGS, thing("x")).await.expect(201);
    cluster.post(THINGS, thing("x")).await.refused(409, "AlreadyExists");
    cluster.post("/apis/test.example/v1/namespaces/absent/things", thing("x")).await.refused(404, "NotFound");
    cluster.post(THINGS, thing_with("y", json!({"labels": {"a": 1}}))).await.refused(400, "BadRequest");
}

async fn sizes_have_limits() {
    let cluster = Cluster::start().await;
    let big = |megabytes: f64| {
        let mut thing = thing(&format!("big-{}", (megabytes * 10.0) as u32));
        thing["spec"]["free"] = json!({"x": "x".repeat((megabytes * 1_048_576.0) as usize)});
        thing
    };
    cluster.post(THINGS, big(1.4)).await.expect(201);
    for (megabytes, code) in [(1.7, 500), (2.5, 500), (3.5, 413)] {
        assert_eq!(cluster.post(THINGS, big(megabytes)).await.code, code, "{megabytes} MiB");
    }
    let mut large = map("m");
    large["data"]["x"] = json!("x".repeat((1 << 20) + 1));
    cluster.post(MAPS, large).await.refused(422, "Invalid");
}
