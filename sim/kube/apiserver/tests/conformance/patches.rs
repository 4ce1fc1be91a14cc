//! Patches of each kind, over HTTP.

use serde_json::json;

use crate::harness::*;

both!(
    merge_patches_merge,
    json_patches_apply_or_fail_as_a_whole,
    strategic_patches_know_the_built_in_kinds,
    concurrent_patches_all_land,
    status_is_its_own_resource,
    unknown_patches_are_refused,
);

async fn merge_patches_merge() {
    let cluster = Cluster::start().await;
    let path = format!("{THINGS}/a");
    cluster
        .post(
            THINGS,
            json!({"apiVersion": "test.example/v1", "kind": "Thing", "metadata": {"name": "a"},
        "spec": {"size": 1, "mode": "ro", "tags": ["x"], "params": {"a": "1", "b": "2"}}}),
        )
        .await
        .expect(201);
    let patched = cluster
        .patch(&path, json!({"spec": {"mode": null, "tags": ["y"], "params": {"a": null, "c": "3"}}}))
        .await
        .expect(200);
    assert_eq!(
        patched["spec"],
        json!({"size": 1, "mode": "rw", "tags": ["y"], "params": {"b": "2", "c": "3"}}),
        "what is taken away is default again"
    );
    cluster.patch(&path, json!({"spec": {"size": -1}})).await.refused(422, "Invalid");
    cluster.patch(&format!("{THINGS}/absent"), json!({})).await.refused(404, "NotFound");
}

async fn json_patches_apply_or_fail_as_a_whole() {
    let cluster = Cluster::start().await;
    let path = format!("{THINGS}/a");
    let created = cluster.thing("a").await;
    let test_first =
        json!([{"op": "test", "path": "/spec/size", "value": 9}, {"op": "replace", "path": "/spec/size", "value": 2}]);
    cluster.json_patch(&path, test_first).await.refused(422, "Invalid");
    cluster
        .json_patch(
            &path,
            json!([{"op": "replace", "path": "/spec/size", "value": 2}, {"op": "remove", "path": "/spec/absent"}]),
        )
        .await
        .refused(422, "Invalid");
    assert_eq!(cluster.get(&path).await.expect(200), created);
    let added = json!([{"op": "add", "path": "/metadata/labels", "value": {}}, {"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}]);
    assert_eq!(cluster.json_patch(&path, added).await.expect(200)["metadata"]["labels"], json!({"a/b": "c"}));
}

async fn strategic_patches_know_the_built_in_kinds() {
    let cluster = Cluster::start().await;
    let nodes = "/api/v1/nodes";
    cluster.post(nodes, json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})).await.expect(201);
    let status = format!("{nodes}/n/status");
    let conditions = |list| json!({"status": {"conditions": list}});
    cluster
        .strategic(&status, conditions(json!([{"type": "Ready", "status": "True"}, {"type": "X", "status": "False"}])))
        .await
        .expect(200);
    let patched =
        cluster.strategic(&status, conditions(json!([{"type": "Ready", "status": "Unknown"}]))).await.expect(200);
    assert_eq!(
        patched["status"]["conditions"],
        json!([{"type": "Ready", "status": "Unknown"}, {"type": "X", "status": "False"}])
    );
    cluster.post(MAPS, map("m")).await.expect(201);
    assert_eq!(
        cluster.strategic(&format!("{MAPS}/m"), json!({"data": {"a": null, "b": "2"}})).await.expect(200)["data"],
        json!({"b": "2"})
    );
    cluster.thing("a").await;
    cluster.strategic(&format!("{THINGS}/a"), json!({})).await.refused(415, "UnsupportedMediaType");
}

async fn concurrent_patches_all_land() {
    let cluster = std::sync::Arc::new(Cluster::start().await);
    cluster.thing("a").await;
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let cluster = cluster.clone();
            host::spawn(async move {
                let key = format!("k{number}");
                cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"params": {key: "v"}}})).await.expect(200);
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("it ends");
    }
    let stored = cluster.get(&format!("{THINGS}/a")).await.expect(200);
    assert_eq!(stored["spec"]["params"].as_object().map(serde_json::Map::len), Some(20));
}

async fn status_is_its_own_resource() {
    let cluster = Cluster::start().await;
    let path = format!("{THINGS}/a");
    let mut with_status = thing("a");
    with_status["status"] = json!({"state": "x"});
    let created = cluster.post(THINGS, with_status).await.expect(201);
    assert_eq!(created.get("status"), None, "a create has no status");
    let mut change = created.clone();
    change["status"] = json!({"state": "y"});
    change["spec"] = json!({"size": "nonsense"});
    change["metadata"]["labels"] = json!({"a": "b"});
    change["metadata"]["finalizers"] = json!(["test.example/hold"]);
    let changed = cluster.put(&format!("{path}/status"), change).await.expect(200);
    assert_eq!(
        (
            &changed["status"],
            &changed["spec"]["size"],
            changed["metadata"].get("labels"),
            changed["metadata"].get("finalizers")
        ),
        (&json!({"state": "y"}), &json!(1), None, None)
    );
    let same = cluster.patch(&path, json!({"status": {"state": "z"}})).await.expect(200);
    assert_eq!(same, changed, "the main resource does not touch the status");
    cluster
        .put(&format!("{THINGS}/absent/status"), thing_with("absent", json!({"resourceVersion": "1"})))
        .await
        .refused(404, "NotFound");
}

async fn unknown_patches_are_refused() {
    let cluster = Cluster::start().await;
    cluster.thing("a").await;
    let path = format!("{THINGS}/a");
    for (kind, body) in [("application/json", "{}"), ("application/apply-patch+yaml", "{}"), ("text/plain", "{}")] {
        cluster.send(http::Method::PATCH, &path, kind, Some(body.into())).await.refused(415, "UnsupportedMediaType");
    }
    cluster
        .send(http::Method::PATCH, &path, "application/merge-patch+json", Some("{".into()))
        .await
        .refused(400, "BadRequest");
    cluster.json_patch(&path, json!({"op": "add"})).await.refused(400, "BadRequest");
}
